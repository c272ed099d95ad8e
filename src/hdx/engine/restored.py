"""A finished run in the state that it ended in."""

from __future__ import annotations

from hdx.config.config import Config
from hdx.engine.build import Assembly, assemble
from hdx.engine.state import load_session
from hdx.store.rundir import RunDir


def restored(config: Config, run_dir: RunDir) -> Assembly:
    """Everything of a run as it was after its last session, on the device that `config` says, in eval mode.

    Raises: RunError where its checkpoint is missing or damaged.
    """
    assembly = assemble(config.data)
    assembly.attach(config.data["adapter"])
    last = assembly.sessions[-1]
    load_session(run_dir.checkpoints, last.index, assembly.method, len(last.seen_classes))
    assembly.method.to(assembly.device).eval()
    return assembly
