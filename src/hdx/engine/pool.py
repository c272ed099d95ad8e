"""A worker process that imports torch once and takes many runs: `python -m hdx.engine.pool`.

It reads tasks as lines of JSON on stdin and answers on stdout, a line when a run begins and one when it is over.
`{"stop": RUN_ID}` asks that run to save and leave; a closed stdin, or SIGTERM, asks so too, and then the process ends.
Nothing that comes over the pipe can run code.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any, TextIO

import torch

from hdx import streams
from hdx.config.config import Config
from hdx.config.identity import body_stays
from hdx.engine import stop
from hdx.engine.extract import extract
from hdx.engine.launch import adopt, launch, refuse
from hdx.engine.ready import ready
from hdx.engine.report import Report
from hdx.engine.worker import work
from hdx.errors import HdxError, Interrupted
from hdx.launchers._base import Task
from hdx.store.lease import Lease, living_holder
from hdx.store.rundir import RunDir

TIME_LIMIT = "its time limit is over"


def take(task: Task) -> dict[str, Any]:
    """Do a run. Returns: its last event (see `launchers._base.Told`); nothing is raised for a run that fails."""
    run_dir, threads = RunDir(Path(task.run_dir)), torch.get_num_threads()
    try:
        if (record := run_dir.record()) is not None:
            return finished(record, ran=False)
        config = task.checked_config()
        with _logged(run_dir):
            if task.ranks > 1:
                record = launch(config, run_dir, Report(), sys.stderr, retry_failed=task.retry_failed)
            else:
                record = _alone(task, config, run_dir)
        return finished(record, ran=True)
    except Interrupted as error:
        return {"event": "interrupted", "reason": str(error)}
    except Exception as error:
        return _outcome(run_dir, error)
    finally:
        torch.set_num_threads(threads)


def _alone(task: Task, config: Config, run_dir: RunDir) -> dict[str, Any]:
    """The run in this process. Returns: its record."""
    refuse(config, run_dir, retry_failed=task.retry_failed)
    assembly = ready(config.data)
    stop.answer("stopped before the run began")
    adopt(config, run_dir, retry_failed=task.retry_failed)
    if task.also and body_stays(config.data):
        _extract(task, run_dir)
    return work(run_dir, Report(), assembly)


def _extract(task: Task, run_dir: RunDir) -> None:
    """Lead the runs of a body: extract what all of them use, as part of this run as far as other processes see it."""
    with Lease(run_dir.path):
        run_dir.set_status("running")
        try:
            extract(task.config["data"], task.also)
        except Interrupted as error:
            run_dir.set_status("interrupted", reason=str(error))
            raise
        except HdxError:
            return  # one of the other runs does not fit the data, and will say so itself; or this one does when it runs


def finished(record: dict[str, Any], *, ran: bool) -> dict[str, Any]:
    """The event of a finished run, with the numbers that a line of progress shows."""
    metrics = record["metrics"]
    name = "acc" if "acc" in metrics else "acc_last"
    return {"event": "finished", "ran": ran, name: metrics.get(name), "seconds": record["seconds"].get("wall")}


def _outcome(run_dir: RunDir, error: Exception) -> dict[str, Any]:
    """What an error means: another process has the run or has finished it, or it failed and says so in `status.json`."""
    if (record := run_dir.record()) is not None:
        return finished(record, ran=False)
    status = run_dir.status()
    if living_holder(run_dir.path) is not None or (status["state"] != "failed" and _collided(error)):
        return {"event": "held"}
    if status["state"] != "failed":
        text = " ".join(str(error).split())
        status = {"reason": text if isinstance(error, HdxError) else f"{type(error).__name__}: {text}"}
        if not isinstance(error, HdxError):
            run_dir.set_status("failed", **status)
    return {"event": "failed", "reason": status.get("reason") or str(error)}


def _collided(error: Exception) -> bool:
    return "another process took it" in str(error) or "has it; wait for it" in str(error)


class _Log(MemoryHandler):
    """The file `log.txt` of a run, from the moment that there is such a directory."""

    def __init__(self, run_dir: RunDir) -> None:
        file = logging.FileHandler(run_dir.path / "log.txt", delay=True, encoding="utf-8", errors="backslashreplace")
        file.setFormatter(logging.Formatter("hdx: %(message)s"))
        super().__init__(1, target=file)
        self.run_dir, self.file = run_dir, file

    def flush(self) -> None:
        if self.run_dir.path.is_dir():
            super().flush()

    def close(self) -> None:
        super().close()
        self.file.close()


@contextmanager
def _logged(run_dir: RunDir) -> Iterator[None]:
    """Warnings of a run go to its own log."""
    handler = _Log(run_dir)
    logger = logging.getLogger("hdx")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def in_turn(tasks: Sequence[Task], *, fail_fast: bool = False, time_limit_s: float | None = None) -> list[dict[str, Any]]:
    """Do runs one after the other in this process; those that another process has are tried once more at the end.

    Returns: the last event of each, with its `run_id`; fewer after a stop.
    """
    events: dict[str, dict[str, Any]] = {}
    for _ in range(2):
        for task in tasks:
            if events.get(task.run_id, {"event": "held"})["event"] != "held" or stop.requested():
                continue
            events[task.run_id] = {**_in_time(task, time_limit_s), "run_id": task.run_id}
            if fail_fast and events[task.run_id]["event"] == "failed":
                return list(events.values())
    return list(events.values())


def _in_time(task: Task, time_limit_s: float | None) -> dict[str, Any]:
    """The run; asked to save and leave when its time is over."""
    if time_limit_s is None:
        return take(task)
    over = threading.Event()

    def end() -> None:
        over.set()
        stop.ask()

    timer = threading.Timer(time_limit_s, end)
    timer.start()
    try:
        event = take(task)
    finally:
        timer.cancel()
        if over.is_set():
            stop.forget()
    if event["event"] == "interrupted" and over.is_set():
        RunDir(Path(task.run_dir)).set_status("interrupted", reason=TIME_LIMIT)
        return {**event, "reason": TIME_LIMIT}
    return event


class Pool:
    """The loop of a worker process.

    Args:
        lines: tasks and requests to stop.
        answers: lines of JSON.
    """

    def __init__(self, lines: TextIO, answers: TextIO) -> None:
        self.lines, self.answers = lines, answers
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.current = ""
        self.limited = self.leaving = False

    def run(self) -> None:
        """Take tasks until there are none, or someone asks the process to leave."""
        threading.Thread(target=self._listen, daemon=True).start()
        self._answer({"event": "ready"})
        while (task := self.tasks.get()) is not None and not self._begins(task):
            self._answer({"event": "began", "run_id": task.run_id})
            event = take(task)
            with self.lock:
                self.current = ""
                if event["event"] == "interrupted" and self.limited:
                    event["reason"] = TIME_LIMIT
                    RunDir(Path(task.run_dir)).set_status("interrupted", reason=TIME_LIMIT)
            self._answer({**event, "run_id": task.run_id})
            if stop.requested() and not self.limited:
                break

    def _begins(self, task: Task) -> bool:
        """Note which run is at hand. Returns: whether the process is to leave instead."""
        with self.lock:
            if self.limited and not self.leaving:
                stop.forget()
            self.current, self.limited = task.run_id, False
            return stop.requested()

    def _listen(self) -> None:
        for line in self.lines:
            message = json.loads(line)
            if "stop" in message:
                with self.lock:
                    if message["stop"] == self.current:
                        self.limited = True
                        stop.ask()
            else:
                self.tasks.put(Task(**message["task"]))
        with self.lock:
            self.leaving = True
            stop.ask()
        self.tasks.put(None)

    def _answer(self, message: dict[str, Any]) -> None:
        self.answers.write(json.dumps(message) + "\n")
        self.answers.flush()


def main() -> int:
    """Entry point. What libraries print goes to stderr, so that stdout holds answers only."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    streams.protect()
    logging.getLogger("hdx").propagate = False
    stop.listen()
    try:
        Pool(sys.stdin, answers).run()
    except BrokenPipeError:  # whoever asked is gone; the run directories hold everything
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
