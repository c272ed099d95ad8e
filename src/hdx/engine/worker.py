"""A run, from its directory: `python -m hdx.engine.worker RUN_DIR` on each rank, or `work(run_dir)` in this process."""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from hdx import registry, streams
from hdx.config import inputs
from hdx.config.config import Config
from hdx.config.validate import load_saved
from hdx.engine import ranks, stop
from hdx.engine.artefacts import leave
from hdx.engine.bank import Bank
from hdx.engine.blame import blaming
from hdx.engine.build import Assembly, choose_device
from hdx.engine.episodes import EpisodeLoop
from hdx.engine.loop import Loop
from hdx.engine.progress import Progress
from hdx.engine.ready import ready
from hdx.engine.record import run_record
from hdx.engine.report import Lines, Report
from hdx.engine.trained import TrainedBodies
from hdx.errors import ConfigError, DataError, HdxError, Interrupted, WeightsError
from hdx.protocols._base import Session
from hdx.store.files import write_json
from hdx.store.lease import Lease, living_holder
from hdx.store.meta import machine
from hdx.store.rundir import RunDir


class Tracked(Report):
    """Passes everything on to another report, and the numbers to the trackers."""

    def __init__(self, inner: Report, trackers: list[Any]) -> None:
        self.inner, self.trackers = inner, trackers

    def start(self, about: dict[str, Any]) -> None:
        """Show it."""
        self.inner.start(about)

    def begin(self, session: Session, sessions: list[Session]) -> None:
        """Show it."""
        self.inner.begin(session, sessions)

    def progress(self, state: dict[str, Any]) -> None:
        """Show it."""
        self.inner.progress(state)

    def session(self, record: dict[str, Any], sessions: list[Session]) -> None:
        """Log the session, show it."""
        names = ("acc", "nll", "ece", "classes_seen", "images_forwarded", "images_trained")
        numbers = {name: record[name] for name in names if name in record}
        for tracker in self.trackers:
            tracker.log({"session": record["index"], **numbers, "seconds": record["seconds"]["total"]}, step=record["index"])
        self.inner.session(record, sessions)

    def end(self, record: dict[str, Any]) -> None:
        """Close the trackers with the metrics, show it."""
        for tracker in self.trackers:
            tracker.close({name: value for name, value in record["metrics"].items() if value is not None})
        self.inner.end(record)


def work(run_dir: RunDir, report: Report, assembly: Assembly | None = None, *, force: bool = False) -> dict[str, Any]:
    """Run what `config.yaml` of a run directory says, from its last finished session. Returns: the run record.

    Args:
        assembly: what `ready` made of the config; None makes it here.
        force: forget the results first, once nothing stands in the way of new ones.

    Raises: Interrupted, with the run resumable; any HdxError with the run marked failed and the reason in `status.json`.
    """
    config = load_saved(run_dir.config_file)
    with Lease(run_dir.path) if ranks.rank() == 0 else nullcontext():
        if ranks.world() == 1 and not force and (record := run_dir.record()) is not None:
            return record  # another process finished it before this one got the lease
        try:
            with blaming():
                return _work(config, run_dir, report, assembly, force)
        except Interrupted as error:
            _status(run_dir, "interrupted", reason=str(error))
            raise
        except Exception as error:
            _failed(run_dir, error)
            raise


def _work(config: Config, run_dir: RunDir, report: Report, assembly: Assembly | None, force: bool) -> dict[str, Any]:
    started, data = time.monotonic() - (assembly.seconds if assembly else 0.0), config.data
    _status(run_dir, "running")
    inputs.check(config)
    assembly = assembly or ready(data)
    trackers = _trackers(config, run_dir) if ranks.rank() == 0 else []
    if force:
        _forget(run_dir, Path(data["output_dir"]), config.run_id)
    if ranks.any_rank(stop.requested()):
        raise Interrupted("stopped before the first session")
    body, teacher = assembly.method.body, assembly.method.parts.teacher
    bank = Bank(Path(data["output_dir"]) / "bank", assembly.method.recipe.eval_batch_size, data["feature_dtype"], assembly.device)
    about = {
        "run_id": config.run_id,
        "run_dir": str(run_dir.path),
        "exp": config.exp,
        **({"exchanged": config.exchanged} if config.exchanged else {}),
        "seed": data["seed"],
        "dataset": data["dataset"]["name"],
        "classes": len(assembly.dataset.classes),
        **({"data": dict(assembly.dataset.notes)} if assembly.dataset.notes else {}),
        "n_sessions": len(assembly.sessions),
        "setting": assembly.protocol.setting(assembly.sessions),
        "method": data["method"]["name"],
        "adapter": data["adapter"]["name"],
        "head": data["head"]["name"],
        "backbone": data["backbone"]["name"],
        **({} if teacher is None else {"teacher": teacher.about()}),
        "image_size": body.transform.size,
        "device": assembly.device.type,
        "ranks": ranks.world(),
        "precision": body.precision,
    }
    tracked = Tracked(Progress(run_dir, report), trackers) if ranks.rank() == 0 else Report()
    finished = run_dir.session_records()
    before = sum(session["seconds"]["total"] + session.get("gain_predictor_seconds", 0.0) for session in finished)
    tracked.start({**about, "done": len(finished)})
    trained = TrainedBodies(Path(data["output_dir"]) / "bodies", config.run_id)
    loop = EpisodeLoop if assembly.protocol.episodic else Loop
    sessions = loop(config, assembly, run_dir, bank, trained, tracked).run()
    about["trainable_parameters"] = sum(p.numel() for p in body.trainable)
    about["head_parameters"] = sum(p.numel() for p in assembly.method.head.parameters())
    about["head_state_bytes"] = _bytes(assembly.method.head)
    if ranks.rank() != 0:
        return {}
    record = run_record(run_dir, about, sessions, assembly.protocol) | leave(config, assembly, run_dir)
    record["seconds"]["wall"] = round(before + time.monotonic() - started, 3)
    record["peak_memory_mb"] = round(_peak_memory_mb(assembly.device), 1)
    write_json(
        run_dir.path / "meta.json",
        machine() | {k: record[k] for k in ("precision", "device", "ranks", "peak_memory_mb", "seconds")},
    )
    write_json(run_dir.path / "record.json", record)
    _status(run_dir, "finished")
    record = run_dir.record() or {}  # as it reads back, null where a number is not defined
    tracked.end(record)
    return record


def _forget(run_dir: RunDir, output_dir: Path, run_id: str) -> None:
    """Start over: nothing of the results is left, and what the run trained for others is trained again."""
    if ranks.rank() == 0:
        run_dir.clear()
        run_dir.set_status("running")
        TrainedBodies(output_dir / "bodies", run_id).forget()
    ranks.barrier()


def _status(run_dir: RunDir, state: str, **more: Any) -> None:
    if ranks.rank() == 0 and (state == "finished" or not run_dir.finished):
        run_dir.set_status(state, **more)


def _failed(run_dir: RunDir, error: Exception) -> None:
    """Mark the run failed; of several ranks the first one tells why, the others only lost their connection to it.

    What was wrong `outside` the run (no such data, weights or devices) is for the user to mend: `hdx train` then tries again.
    """
    if run_dir.finished or (ranks.world() > 1 and run_dir.status()["state"] == "failed"):
        return
    text = " ".join(str(error).split("\n", 1)[0].split())
    reason = text if isinstance(error, HdxError) else f"{type(error).__name__}: {text}"
    run_dir.set_status("failed", reason=reason, outside=isinstance(error, (ConfigError, DataError, WeightsError)))
    fault = error if not isinstance(error, HdxError) else error.__cause__  # of a component that is not hdx's
    if fault is not None:
        with (run_dir.path / "log.txt").open("a", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(fault, file=file)


def _trackers(config: Config, run_dir: RunDir) -> list[Any]:
    chosen = [config.data["tracker"]]
    if chosen[0]["name"] != "csv":
        chosen.insert(0, {"name": "csv"})
    return [registry.build("tracker", options, run_dir.path, config.data, config.run_id) for options in chosen]


def _bytes(module: torch.nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def _peak_memory_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: list[str]) -> int:
    """Entry point of a rank under torchrun; why it failed stands in `status.json`."""
    run_dir = RunDir(Path(argv[0]))
    streams.protect()
    quiet = int(os.environ.get("RANK", "0")) > 0
    logging.basicConfig(format="hdx: %(message)s", stream=sys.stderr, level=logging.ERROR if quiet else logging.WARNING)
    stop.listen()
    try:
        ranks.start_ranks(choose_device(load_saved(run_dir.config_file).data))
        work(run_dir, Report() if quiet else Lines(), force="--force" in argv[1:])
    except Interrupted as error:
        return error.exit_code
    except Exception as error:
        if living_holder(run_dir.path) is None and run_dir.status()["state"] != "failed":
            _failed(run_dir, error)
        return error.exit_code if isinstance(error, HdxError) else 1
    finally:
        ranks.stop_ranks()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
