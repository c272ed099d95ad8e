"""Start a run: in this process, or as ranks under torchrun on the run directory; first everything that can be checked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TextIO

from hdx.config import inputs
from hdx.config.config import Config
from hdx.config.validate import load_saved
from hdx.engine import stop
from hdx.engine.report import Report
from hdx.errors import ConfigError, Interrupted, RunError
from hdx.hardware import cores
from hdx.store.lease import Lease, refuse_if_held
from hdx.store.rundir import RunDir
from hdx.store.trust import refuse_links

POLL_S = 0.1


def launch(
    config: Config, run_dir: RunDir, report: Report, stream: TextIO, *, force: bool = False, retry_failed: bool = False
) -> dict[str, Any]:
    """Do a run, or go on with it, to its end; one that is finished is left as it is.

    Everything that the run is made of is built, and so checked, before anything is written or deleted: what cannot start leaves
    no trace, and takes nothing away.

    Args:
        config: the run's; it is saved in `run_dir`.
        report: shown to when the run is this process.
        stream: where the lines of ranks go.
        force: start over, forgetting the results.
        retry_failed: go on although the run failed before.

    Returns: the run record. Raises: Interrupted when stopped, with the run resumable; RunError when another process has the run,
        it failed, or failed before; the HdxError of whatever does not fit.
    """
    if (record := run_dir.record()) is not None and not force:
        return record
    refuse(config, run_dir, force=force, retry_failed=retry_failed)
    with stop.listening():
        from hdx.engine.ready import ready, rehearse

        if config["devices"] * config["nodes"] == 1:
            assembly = ready(config.data)
            stop.answer("stopped before the run began")
            adopt(config, run_dir, force=force, retry_failed=retry_failed)
            from hdx.engine.worker import work

            return work(run_dir, report, assembly, force=force)
        rehearse(config.data)
        stop.answer("stopped before the run began")
    adopt(config, run_dir, force=force, retry_failed=retry_failed)
    return _ranks(config, run_dir, stream, force)


def _ranks(config: Config, run_dir: RunDir, stream: TextIO, force: bool) -> dict[str, Any]:
    """Run an adopted directory on several ranks."""
    code, stopped = _torchrun(config, run_dir, stream, force)
    record, status = run_dir.record(), run_dir.status()
    if code == 0 and record is not None:
        return record
    refuse_if_held(run_dir.path)  # another process took the run first, and what it writes is its own
    if status["state"] == "interrupted" or (stopped and status["state"] != "failed"):
        run_dir.set_status("interrupted", reason="ranks were stopped")
        raise Interrupted("stopped")
    reason = status.get("reason") if status["state"] == "failed" else None
    reason = reason or f"a rank ended with exit code {code}; see {run_dir.path / 'log.txt'}"
    if record is None:
        run_dir.set_status("failed", reason=reason)
    raise RunError(f"run {config.run_id} failed: {reason}")


def _torchrun(config: Config, run_dir: RunDir, stream: TextIO, force: bool) -> tuple[int, bool]:
    """Start the ranks and wait. Returns: torchrun's exit code, and whether they were asked to stop.

    torchrun is out of the terminal's reach, so that one Ctrl-C reaches each rank once. As an interrupt: Lightning answers
    the other signal with a collective. Ranks that have not left after 30 s are killed by torchrun.
    """
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={config['devices']}", *_meeting(config["nodes"])]
    environment = dict(os.environ)
    threads = config["threads"] or max(1, cores() // config["devices"])
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    process = subprocess.Popen(
        [*command, "-m", "hdx.engine.worker", str(run_dir.path), *(["--force"] if force else [])],
        env=environment,
        stdout=stream,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with stop.listening(), (run_dir.path / "log.txt").open("a", encoding="utf-8", errors="backslashreplace") as log:
        relay = threading.Thread(target=_relay, args=(process.stderr, log), daemon=True)
        relay.start()
        passed_on = False
        while process.poll() is None:
            if stop.requested() and not passed_on:
                passed_on = True
                process.send_signal(signal.SIGINT)
            time.sleep(POLL_S)
        relay.join()
        return process.returncode, passed_on


def _relay(lines: IO[str], log: TextIO) -> None:
    """What the ranks say to the user goes on, what torchrun and the libraries say goes to the log."""
    for line in lines:
        log.write(line)
        log.flush()
        if line.startswith("hdx: "):
            sys.stderr.write(line)


def _meeting(nodes: int) -> list[str]:
    """torchrun's rendezvous: alone on this node, or by MASTER_ADDR and the node's number."""
    if nodes == 1:
        return ["--standalone"]
    number = os.environ.get("NODE_RANK", os.environ.get("SLURM_NODEID"))  # there, as `hardware.problems` saw to
    address, port = os.environ["MASTER_ADDR"], os.environ.get("MASTER_PORT", "29500")
    return [f"--nnodes={nodes}", f"--node-rank={number}", f"--master-addr={address}", f"--master-port={port}"]


def refuse(config: Config, run_dir: RunDir, *, force: bool = False, retry_failed: bool = False) -> None:
    """Nothing, where a run may begin or go on; nothing is written.

    Raises: RunError when another process has the run, or it failed by itself before and neither `force` nor `retry_failed` is
        set; DataError when what it reads is not what it began with.
    """
    refuse_links(run_dir.path)
    refuse_if_held(run_dir.path)
    _refuse_failed(config, run_dir, force or retry_failed)
    _unchanged(config, run_dir)


def _refuse_failed(config: Config, run_dir: RunDir, anyway: bool) -> None:
    status = run_dir.status()
    if status["state"] == "failed" and not (anyway or status.get("outside")):
        raise RunError(
            f"run {config.run_id} failed before: {status.get('reason')}; --retry-failed goes on, train --force starts over"
        )


def adopt(config: Config, run_dir: RunDir, *, force: bool = False, retry_failed: bool = False) -> None:
    """Make `config.yaml` of a run directory that of `config`, unless the run is finished and stays so; results stay.

    Raises: as `refuse`.
    """
    if (run_dir.finished and not force) or _node(config) != "0":
        return
    refuse_links(run_dir.path)
    with Lease(run_dir.path):
        _refuse_failed(config, run_dir, force or retry_failed)
        now, before = _unchanged(config, run_dir)
        config = replace(config, contents=now)
        run_dir.forget_status()
        if before is None or (before.data, before.contents) != (config.data, config.contents):
            config.save(run_dir.config_file)


def _unchanged(config: Config, run_dir: RunDir) -> tuple[dict[str, str], Config | None]:
    """What the run reads now, and the config that it began with. Raises: DataError where that is another."""
    now, before = inputs.found(config.data), _saved(run_dir.config_file)
    for began in (config.contents, {} if before is None else before.contents):  # when it was planned, when it began
        inputs.refuse_changed(began, now, config.run_id)
    return now, before


def _saved(file: Path) -> Config | None:
    try:
        return load_saved(file)
    except ConfigError:  # missing, or damaged: the config at hand has the same identity
        return None


def _node(config: Config) -> str | None:
    """The number of this node; the first one prepares the run directory."""
    return "0" if config["nodes"] == 1 else os.environ.get("NODE_RANK", os.environ.get("SLURM_NODEID"))
