"""How far a run is, in its `status.json`, so that another process can show it."""

from __future__ import annotations

import time
from typing import Any

from hdx.engine.report import Report
from hdx.protocols._base import Session
from hdx.store.rundir import RunDir

EVERY_S = 2.0


class Progress(Report):
    """Writes `{session, sessions, epoch, epochs, step, steps, started}` into `status.json` and passes everything on.

    Sessions and epochs count from 1; at most one write in two seconds.

    Args:
        run_dir: whose status it is.
        inner: the report that is shown.
    """

    def __init__(self, run_dir: RunDir, inner: Report) -> None:
        self.run_dir, self.inner = run_dir, inner
        self.started, self.written = time.time(), time.monotonic()
        self.state: dict[str, Any] = {}

    def start(self, about: dict[str, Any]) -> None:
        """Show it."""
        self.inner.start(about)

    def begin(self, session: Session, sessions: list[Session]) -> None:
        """A session begins."""
        self.state = {"session": session.index + 1, "sessions": len(sessions)}
        self._write()
        self.inner.begin(session, sessions)

    def progress(self, state: dict[str, Any]) -> None:
        """Inside a gradient phase or a work, which has no epochs."""
        known = {key: value for key, value in self.state.items() if key in ("session", "sessions")}
        self.state = known | {key: state[key] for key in ("epoch", "epochs", "step", "steps") if key in state}
        self._write()
        self.inner.progress(state)

    def session(self, record: dict[str, Any], sessions: list[Session]) -> None:
        """Show it."""
        self.inner.session(record, sessions)

    def end(self, record: dict[str, Any]) -> None:
        """Show it."""
        self.inner.end(record)

    def _write(self) -> None:
        now = time.monotonic()
        if now - self.written >= EVERY_S:
            self.written = now
            self.run_dir.set_status("running", started=self.started, **self.state)
