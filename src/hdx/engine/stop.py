"""A polite stop: Ctrl-C and SIGTERM ask the run to save and leave; a second Ctrl-C kills it."""

from __future__ import annotations

import signal
from types import FrameType

_requested = False


def requested() -> bool:
    """Whether someone asked this process to stop."""
    return _requested


def _ask(signum: int, frame: FrameType | None) -> None:
    global _requested
    if _requested:
        signal.signal(signum, signal.SIG_DFL)
        signal.raise_signal(signum)
    _requested = True


def listen() -> None:
    """Turn SIGINT and SIGTERM into a request that the engine answers between steps."""
    global _requested
    _requested = False
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _ask)
