"""Start a run: in this process, or as ranks under torchrun on the run directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

from hdx.config.config import Config
from hdx.engine.report import Report
from hdx.errors import ConfigError, HdxError, Interrupted, RunError
from hdx.store.rundir import RunDir


def launch(config: Config, run_dir: RunDir, report: Report, stream: TextIO) -> dict[str, Any]:
    """Run a run directory to its end. Returns: the run record.

    Args:
        config: what `config.yaml` holds.
        run_dir: of the run, its config written.
        report: shown to when the run is this process.
        stream: where the lines of ranks go.

    Raises: Interrupted when stopped, with the run resumable; RunError when a rank failed.
    """
    if config["devices"] * config["nodes"] == 1:
        from hdx.engine import stop
        from hdx.engine.worker import work

        stop.listen()
        return work(run_dir, report)
    code = _torchrun(config, run_dir, stream)
    record, status = run_dir.record(), run_dir.status()
    if code == 0 and record is not None:
        return record
    if status["state"] == "interrupted" or code in (-2, -15):
        run_dir.set_status("interrupted", reason="ranks were stopped")
        raise Interrupted("stopped")
    reason = status.get("reason") or f"a rank ended with exit code {code}"
    if status["state"] == "running":
        run_dir.set_status("failed", reason=reason)
    raise RunError(f"run {config.run_id} failed: {reason}")


def _torchrun(config: Config, run_dir: RunDir, stream: TextIO) -> int:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={config['devices']}", *_meeting(config["nodes"])]
    environment = dict(os.environ)
    threads = config["threads"] or max(1, (os.cpu_count() or 1) // config["devices"])
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    process = subprocess.Popen([*command, "-m", "hdx.engine.worker", str(run_dir.path)], env=environment, stdout=stream)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the ranks got the signal as well: they save and leave


def _meeting(nodes: int) -> list[str]:
    """torchrun's rendezvous: alone on this node, or by MASTER_ADDR and the node's number."""
    if nodes == 1:
        return ["--standalone"]
    number = os.environ.get("NODE_RANK", os.environ.get("SLURM_NODEID"))
    address = os.environ.get("MASTER_ADDR")
    if number is None or address is None:
        raise ConfigError(
            f"nodes={nodes}: expected MASTER_ADDR and NODE_RANK (or SLURM_NODEID) in the environment of each node, got neither; "
            "start the same command once on every node with both set"
        )
    port = os.environ.get("MASTER_PORT", "29500")
    return [f"--nnodes={nodes}", f"--node-rank={number}", f"--master-addr={address}", f"--master-port={port}"]


def prepare(config: Config, *, force: bool = False, retry_failed: bool = False) -> RunDir:
    """The run directory of a config with `config.yaml` in it.

    Raises: RunError when the run failed before and neither `force` nor `retry_failed` is set.
    """
    run_dir = RunDir(Path(config["output_dir"]) / "runs" / config.run_id)
    status = run_dir.status()
    if status["state"] == "failed" and not (force or retry_failed):
        raise RunError(f"run {config.run_id} failed before: {status.get('reason')}; --retry-failed goes on, --force starts over")
    if force:
        run_dir.clear()
    if not run_dir.config_file.exists():
        try:
            run_dir.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HdxError(
                f"output_dir: expected a folder that can be written, got {config['output_dir']} ({error.strerror})"
            ) from None
        config.save(run_dir.config_file)
    return run_dir
