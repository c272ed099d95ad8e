"""stdout and stderr that cannot end a run: a reader that left is no error, and no character is too much for the terminal."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

HANDLER = "hdx.ascii"  # of characters that an encoding lacks
#: What the characters that hdx draws with are in ASCII; others lose their accents, or are written by their number.
PLAIN = dict(zip("█▇▆▅▄▃▂▁─–—−×·†‘’“”µ", "#%*+=-._----x.*''\"\"u")) | {
    "…": "...",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "°": " deg",
    "Δ": "Delta",
    "λ": "lambda",
    "ß": "ss",
}
#: Whoever read is gone: a closed pipe, a closed terminal, a descriptor that was never open.
GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET, errno.ESHUTDOWN, errno.ENXIO)

_notes: list[str] = []


class Sturdy(io.RawIOBase):
    """A descriptor for writing; once it cannot be written, what goes there is dropped.

    From then on the descriptor is `os.devnull`, so that libraries and child processes that have it are safe as well.

    Attributes:
        lost: the error that ended the output, if any.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.lost: OSError | None = None

    def fileno(self) -> int:
        """The descriptor."""
        return self.descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal, and still there."""
        return self.lost is None and os.isatty(self.descriptor)

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any, /) -> int:
        """Write some of it, or drop all of it."""
        while self.lost is None:
            try:
                return os.write(self.descriptor, data)
            except BlockingIOError:  # someone made the terminal non-blocking
                select.select([], [self.descriptor], [])
            except OSError as error:
                self._lose(error)
        return memoryview(data).nbytes

    def _lose(self, error: OSError) -> None:
        self.lost = error
        with contextlib.suppress(OSError):
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, self.descriptor)
            os.close(sink)
        if _notes and self.descriptor == 1:
            reason = "nobody reads the output any more" if error.errno in GONE else f"the output is lost ({error.strerror})"
            print(f"hdx: {reason}; {_notes[-1]}", file=sys.stderr, flush=True)


def protect() -> None:
    """Make this process's own stdout and stderr sturdy; streams that someone has put in their place stay as they are."""
    _open_missing()
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            continue
        encoding = "utf-8" if stream is None else stream.encoding  # None: closed before Python began
        setattr(sys, name, sturdy(descriptor, encoding, by_line=stream is None or stream.line_buffering or stream.write_through))


def sturdy(descriptor: int, encoding: str, *, by_line: bool = True) -> TextIO:
    """A text stream on a descriptor that takes whatever is printed, whoever reads it."""
    codecs.register_error(HANDLER, _in_ascii)
    return io.TextIOWrapper(io.BufferedWriter(Sturdy(descriptor)), encoding=encoding, errors=HANDLER, line_buffering=by_line)


@contextlib.contextmanager
def noting(what: str) -> Iterator[None]:
    """While this lasts, a lost stdout is told of on stderr: why, and `what` becomes of the work."""
    _notes.append(what)
    try:
        yield
    finally:
        _notes.pop()


def lost(stream: TextIO) -> OSError | None:
    """Why a stream of `protect` cannot be written any more; None where it can."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, Sturdy) else None


def prints(text: str, stream: TextIO) -> bool:
    """Whether a stream's encoding has all the characters."""
    try:
        text.encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _open_missing() -> None:
    """Give standard descriptors that are closed a place: else the next file that is opened would get what is printed."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: characters that cannot be encoded, in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    failed = error.object[error.start : error.end]
    with contextlib.suppress(UnicodeEncodeError):  # bytes of a name that Python could not decode
        failed = failed.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(map(_plain, failed)), error.end


def _plain(character: str) -> str:
    if character in PLAIN:
        return PLAIN[character]
    base = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return base or character.encode("ascii", "backslashreplace").decode()
