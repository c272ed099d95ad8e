"""What the engine tells while it runs; the command line shows it, a worker without terminal prints lines."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from hdx.protocols._base import Session

QUIET_S = 5.0


class Report:
    """Says nothing; subclasses override what they show."""

    def start(self, about: dict[str, Any]) -> None:
        """The run begins: the head of the run record, and `done`, the sessions finished before."""

    def begin(self, session: Session, sessions: list[Session]) -> None:
        """A session begins."""

    def progress(self, state: dict[str, Any]) -> None:
        """Inside a gradient phase: `{step, steps, epoch, epochs, loss, images_per_s}`; a work: `{step, steps, work, value}`."""

    def session(self, record: dict[str, Any], sessions: list[Session]) -> None:
        """A session is committed."""

    def end(self, record: dict[str, Any]) -> None:
        """The run record is written."""


class Lines(Report):
    """Plain lines, for logs and pipes: one a session, and one every few seconds inside a gradient phase."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.last = time.monotonic()
        self.name = ""

    def say(self, text: str) -> None:
        """Print one line at once."""
        print(text, file=self.stream, flush=True)

    def start(self, about: dict[str, Any]) -> None:
        """Two lines: what runs, and where."""
        for line in headline(about):
            self.say(line)

    def begin(self, session: Session, sessions: list[Session]) -> None:
        """Remember the session's name for the lines inside it."""
        self.name = f"session {session.index + 1}/{len(sessions)}"

    def progress(self, state: dict[str, Any]) -> None:
        """A line every few seconds."""
        if time.monotonic() - self.last >= QUIET_S:
            self.last = time.monotonic()

            self.say(f"{self.name}  {place(state)}  {describe(state)}")

    def session(self, record: dict[str, Any], sessions: list[Session]) -> None:
        """One line with the session's accuracy."""
        self.say(session_line(record, len(sessions)))


def headline(about: dict[str, Any]) -> list[str]:
    """What runs and where, in two lines."""
    done = f", {about['done']} already finished" if about["done"] else ""
    adapter = "" if about["adapter"] == "none" else f" + {about['adapter']}"
    mark = "*" if about.get("exchanged") else ""  # a part is not the preset's
    return [
        f"{about['exp']}{mark}: {about['method']}, {about['backbone']}{adapter} at {about['image_size']} px, "
        f"{about['head']} head, {about['dataset']} ({about['classes']} classes, {about['setting']}{done}), seed {about['seed']}",
        f"run {about['run_id']} on {about['device']}, {about['ranks']} rank(s), precision {about['precision']}",
    ]


def place(state: dict[str, Any]) -> str:
    """Which epoch of a gradient phase, or which work."""
    return str(state["work"]) if "work" in state else f"epoch {state['epoch']}/{state['epochs']}"


def describe(state: dict[str, Any]) -> str:
    """Loss and throughput of a gradient phase; steps of a work, with its number where it has one."""
    if "work" in state:
        return f"step {state['step']}/{state['steps']}" + ("" if state["value"] is None else f"  {state['value']:.4g}")
    return f"loss {state['loss']:.3f}  {state['images_per_s']:,.0f} images/s"


def session_line(record: dict[str, Any], n_sessions: int) -> str:
    """One session in one line."""
    if "n_episodes" in record:
        return (
            f"{record['n_episodes']:,} episodes  accuracy {100 * record['acc']:.2f} ± {100 * record['acc_ci95']:.2f} %"
            f"  ({record['n_test']:,} queries, {record['seconds']['total']:.1f} s)"
        )
    return (
        f"session {record['index'] + 1}/{n_sessions}  {record['classes_seen']} classes  accuracy {100 * record['acc']:.2f} %"
        f"  ({record['n_train']} train, {record['n_test']} test, {record['seconds']['total']:.1f} s)"
    )
