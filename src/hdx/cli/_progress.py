"""Progress of a run: bars with session, epoch, throughput and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from hdx.engine.report import Report


def report_to(stream: TextIO) -> Report:
    """The report for a stream: bars where it is a terminal, else lines."""
    if stream.isatty():
        return _bars(stream)
    from hdx.engine.report import Lines

    return Lines(stream)


def _bars(stream: TextIO) -> Report:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hdx.engine.report import Lines, describe, place
    from hdx.protocols._base import Session

    class Bars(Lines):
        """One bar for the gradient phase of the session at hand; finished sessions stay as lines above it."""

        def __init__(self) -> None:
            super().__init__(stream)
            self.progress_bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(file=stream),
                transient=True,
            )
            self.task: Any = None

        def say(self, text: str) -> None:
            self.progress_bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

        def start(self, about: dict[str, Any]) -> None:
            super().start(about)
            self.progress_bar.start()

        def begin(self, session: Session, sessions: list[Session]) -> None:
            super().begin(session, sessions)
            self._drop()
            self.task = self.progress_bar.add_task(f"{self.name}  features", total=None, note="")

        def progress(self, state: dict[str, Any]) -> None:
            text = f"{self.name}  {place(state)}"
            self.progress_bar.update(
                self.task, description=text, total=state["steps"], completed=state["step"], note=describe(state)
            )

        def session(self, record: dict[str, Any], sessions: list[Session]) -> None:
            self._drop()
            super().session(record, sessions)

        def close(self) -> None:
            self._drop()
            self.progress_bar.stop()

        def _drop(self) -> None:
            if self.task is not None:
                self.progress_bar.remove_task(self.task)
                self.task = None

    return Bars()
