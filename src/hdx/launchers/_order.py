"""Which run is next: the first run of each body extracts its features, then the others of that body run side by side."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hdx.launchers._base import Task

AGAIN_S = 0.5  # how long a run that another process has is left alone


@dataclass
class _Body:
    """Tasks that use one body.

    `warm` once its features are there; before that only one task is out, `leading`.
    """

    waiting: deque[Task] = field(default_factory=deque)
    warm: bool = True
    leading: bool = False


class Order:
    """Hands out tasks and takes them back. Times are seconds of one clock, passed in.

    Args:
        tasks: each once; those of a body in the order in which they are done.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.bodies: dict[str, _Body] = {}
        self.left = len(tasks)
        self.held: dict[str, float] = {}
        for task in tasks:
            body = self.bodies.setdefault(task.body, _Body())
            body.waiting.append(task)
            body.warm = not task.shares

    def next(self, now: float, last: str = "") -> Task | None:
        """The next task, or None where all that are left are out or have to wait.

        Leaders come first, so that no body is started when nothing else is left to do beside it; then runs of the body
        `last`, whose images the worker knows.
        """
        cold = [body for body in self.bodies.values() if body.waiting and not body.warm and not body.leading]
        for body in cold:
            if self._free(body.waiting[0], now):
                body.leading = True
                leader = body.waiting.popleft()
                return replace(leader, also=_uses(body.waiting))
        warm = [body for body in self.bodies.values() if body.waiting and body.warm]
        warm.sort(key=lambda body: body.waiting[0].body != last)
        for body in warm:
            for task in body.waiting:
                if self._free(task, now):
                    body.waiting.remove(task)
                    return task
        return None

    def _free(self, task: Task, now: float) -> bool:
        return self.held.get(task.run_id, now) <= now

    def done(self, task: Task, *, finished: bool) -> None:
        """The task is over; a finished one leaves its features behind."""
        body = self.bodies[task.body]
        body.leading = False
        body.warm = body.warm or finished
        self.left -= 1

    def back(self, task: Task, now: float, *, held: bool) -> None:
        """The task is to be done again: at once, or, where another process has it, after a while."""
        body = self.bodies[task.body]
        body.leading = False
        if held:
            self.held[task.run_id] = now + AGAIN_S
        if held and body.warm:
            body.waiting.append(task)
        else:
            body.waiting.appendleft(task)


def _uses(tasks: Sequence[Task]) -> tuple[dict[str, Any], ...]:
    """What the tasks use, each once (heads differ, and use the same)."""
    return tuple({json.dumps(task.uses, sort_keys=True): task.uses for task in tasks}.values())
