"""A polite stop: Ctrl-C, SIGTERM and a terminal that hangs up ask the run to save and leave; a second Ctrl-C kills it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hdx.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_requested = False


def requested() -> bool:
    """Whether someone asked this process to stop."""
    return _requested


def answer(text: str) -> None:
    """Raises: Interrupted with `text` when someone asked this process to stop."""
    if _requested:
        raise Interrupted(text)


def ask() -> None:
    """Ask this process to stop, as the signals do."""
    global _requested
    _requested = True


def forget() -> None:
    """Take the request back, once it is answered."""
    global _requested
    _requested = False


def _ask(signum: int, frame: FrameType | None) -> None:
    global _requested
    if _requested and signum == signal.SIGINT:
        signal.signal(signum, signal.SIG_DFL)
        signal.raise_signal(signum)
    _requested = True


def listen() -> None:
    """Turn `SIGNALS` into a request that the engine answers between steps."""
    global _requested
    _requested = False
    keep_listening()


@contextmanager
def listening() -> Iterator[None]:
    """`listen` for a while; afterwards the signals mean what they meant before."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    listen()
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def keep_listening() -> None:
    """Take the signals back from a library that took them (Lightning answers SIGTERM with a collective of its own)."""
    for signum in SIGNALS:
        if signal.getsignal(signum) != signal.SIG_IGN or signum != signal.SIGHUP:  # nohup wants no answer to it
            signal.signal(signum, _ask)
