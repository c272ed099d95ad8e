"""The loop of a sweep: hands tasks to workers, hears what became of them, replaces workers that die."""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from hdx.engine import stop
from hdx.errors import Interrupted, RunError
from hdx.launchers._base import Rules, Task, Told
from hdx.launchers._order import Order
from hdx.store.lease import living_holder
from hdx.store.rundir import RunDir

TICK_S = 0.1
LEAVE_S = 60.0  # how long workers that were asked to leave may save what they have
KILLED_BEFORE = 3  # a run whose workers died so often is left alone


class Hand(Protocol):
    """A worker, wherever it is."""

    task: Task | None
    last_body: str
    answered: bool

    def take(self, task: Task) -> None:
        """Begin a task."""

    def limit(self) -> None:
        """Ask the run at hand to save and leave."""

    def leave(self) -> None:
        """Ask for that, and to end."""

    def kill(self) -> None:
        """End at once."""

    @property
    def ending(self) -> str:
        """How it ended."""


Heard = tuple[Any, "dict[str, Any] | None"]
Start = Callable[[int, Callable[[Any, "dict[str, Any] | None"], None]], Hand]


class Dispatch:
    """One sweep on a number of workers.

    Args:
        tasks: each once, those of a body together.
        rules: see there.
        told: told every event.
        start: makes the worker of a seat; it calls the function it is given with answers, from any thread.
        seats: workers at once.
    """

    def __init__(self, tasks: Sequence[Task], rules: Rules, told: Told, start: Start, seats: int) -> None:
        self.order, self.rules, self.told, self.start = Order(tasks), rules, told, start
        self.heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self.seats = min(seats, len(tasks), rules.max_parallel or seats)
        self.hands: dict[int, Hand] = {}
        self.began: dict[str, float] = {}
        self.killed: Counter[str] = Counter()
        self.duds = 0
        self.stopping = ""

    def run(self) -> None:
        """Until all tasks are over. Raises: Interrupted when this process was asked to stop; RunError when no worker starts."""
        try:
            while self.order.left and not self.stopping:
                if stop.requested():
                    self.stopping = "stopped"
                    break
                self._hand_out()
                self._hear(TICK_S)
                self._limit()
            self._part()
        finally:
            for hand in self.hands.values():
                hand.kill()
        if self.stopping == "stopped":
            raise Interrupted("stopped")

    def _hand_out(self) -> None:
        for seat in range(self.seats):
            if seat not in self.hands and self._needed():
                self.hands[seat] = self.start(seat, lambda hand, message: self.heard.put((hand, message)))
        for hand in list(self.hands.values()):
            while hand.task is None and not self.stopping and (task := self.order.next(time.monotonic(), hand.last_body)):
                self._give(hand, task)

    def _needed(self) -> bool:
        out = sum(hand.task is not None for hand in self.hands.values())
        return self.order.left - out > len(self.hands) - out

    def _give(self, hand: Hand, task: Task) -> None:
        """Begin the task, unless another process has the run, or finished it, since the sweep was planned."""
        path = Path(task.run_dir)
        if (path / "record.json").exists():
            self._over(task, {"event": "finished", "ran": False})
        elif living_holder(path) is not None:
            self._back(task, held=True)
        else:
            hand.take(task)

    def _hear(self, timeout: float) -> None:
        """Take in what workers said, waiting for the first word at most so long."""
        try:
            hand, message = self.heard.get(timeout=timeout)
            while True:
                self._heard(hand, message)
                hand, message = self.heard.get_nowait()
        except queue.Empty:
            return

    def _heard(self, hand: Hand, message: dict[str, Any] | None) -> None:
        if message is None:
            self._gone(hand)
            return
        hand.answered, self.duds = True, 0
        task = hand.task
        if task is None or message.get("run_id") != task.run_id:
            return
        if message["event"] == "began":  # its time counts from here, without the imports of a new worker
            self.began[task.run_id] = time.monotonic()
            self.told(task, {"event": "started"})
            return
        hand.task = None
        limited = self.began.pop(task.run_id, 0.0) < 0
        if message["event"] == "held":
            self._back(task, held=True)
        elif message["event"] == "interrupted" and not (limited or self.stopping):
            self._lost(task, "its worker was asked to leave")
        else:
            self._over(task, message)

    def _gone(self, hand: Hand) -> None:
        """A worker ended: its run goes to another one, and its seat is free."""
        self.hands = {seat: other for seat, other in self.hands.items() if other is not hand}
        if not hand.answered and not self.stopping:
            self.duds += 1
            if self.duds >= KILLED_BEFORE:
                raise RunError(f"no worker starts: {hand.ending}; try hdx doctor, or hdx train with one of the runs")
        if (task := hand.task) is None:
            return
        hand.task = None
        self.began.pop(task.run_id, None)
        run_dir, reason = RunDir(Path(task.run_dir)), hand.ending
        if run_dir.record() is not None:
            self._over(task, {"event": "finished", "ran": True})
        elif self.stopping:
            self._mark(run_dir, reason)
            self._over(task, {"event": "interrupted", "reason": reason})
        else:
            self._mark(run_dir, reason)
            self._lost(task, reason)

    def _lost(self, task: Task, reason: str) -> None:
        self.killed[task.run_id] += 1
        if self.killed[task.run_id] < KILLED_BEFORE:
            self.told(task, {"event": "lost", "reason": reason})
            self.order.back(task, time.monotonic(), held=False)
        else:
            self._over(task, {"event": "interrupted", "reason": f"{reason}, for the {KILLED_BEFORE}. time"})

    @staticmethod
    def _mark(run_dir: RunDir, reason: str) -> None:
        """What stands in `status.json` is what the dead worker wrote; nobody else has the run."""
        if run_dir.path.exists() and living_holder(run_dir.path) is None and run_dir.status()["state"] in ("new", "running"):
            run_dir.set_status("interrupted", reason=reason)

    def _back(self, task: Task, *, held: bool) -> None:
        self.began.pop(task.run_id, None)
        if task.run_id not in self.order.held:
            self.told(task, {"event": "held"})
        self.order.back(task, time.monotonic(), held=held)

    def _over(self, task: Task, event: dict[str, Any]) -> None:
        self.order.done(task, finished=event["event"] == "finished")
        self.told(task, event)
        if event["event"] == "failed" and self.rules.fail_fast and not self.stopping:
            self.stopping = "failed"

    def _limit(self) -> None:
        """Ask runs that are over their time to leave, once each (a negative beginning says that it was done)."""
        if self.rules.time_limit_s is None:
            return
        for hand in self.hands.values():
            began = self.began.get(hand.task.run_id, -1.0) if hand.task else -1.0
            if hand.task and began > 0 and time.monotonic() - began > self.rules.time_limit_s:
                self.began[hand.task.run_id] = -1.0
                hand.limit()

    def _part(self) -> None:
        """Ask all workers to leave, and wait for what the runs at hand can still save."""
        for hand in self.hands.values():
            hand.leave()
        until = time.monotonic() + LEAVE_S
        while any(hand.task for hand in self.hands.values()) and time.monotonic() < until:
            self._hear(TICK_S)
