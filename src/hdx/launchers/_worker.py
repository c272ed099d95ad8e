"""A worker process on this machine, as the sweep sees it: takes a task, tells when it is over, can be asked to leave."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import IO, Any

from hdx.launchers._base import Task

LAST_LINES = 20

#: Told a worker's answers; None when the worker is gone.
Hear = Callable[["Worker", "dict[str, Any] | None"], None]


class Worker:
    """`python -m hdx.engine.pool` in a session of its own, so that Ctrl-C reaches it through this process only.

    Args:
        environment: variables over this process's own.
        hear: called from a thread with each answer.

    Attributes:
        task: what it is doing.
        answered: whether it ever got as far as taking tasks.
    """

    def __init__(self, environment: Mapping[str, str], hear: Hear) -> None:
        self.task: Task | None = None
        self.last_body = ""
        self.answered = False
        self.hear = hear
        self.words: deque[str] = deque(maxlen=LAST_LINES)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hdx.engine.pool"],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.threads = [threading.Thread(target=self._listen, daemon=True), threading.Thread(target=self._overhear, daemon=True)]
        for thread in self.threads:
            thread.start()

    def take(self, task: Task) -> None:
        """Give it a task; a worker that is gone is heard of soon enough."""
        self.task, self.last_body = task, task.body
        self._say({"task": task.plain()})

    def limit(self) -> None:
        """Ask the run at hand to save and leave; the worker stays."""
        if self.task is not None:
            self._say({"stop": self.task.run_id})

    def leave(self) -> None:
        """Ask the run at hand to save and leave, and the worker to end."""
        with contextlib.suppress(OSError):
            assert self.process.stdin is not None
            self.process.stdin.close()

    def kill(self) -> None:
        """End the worker, and the ranks it may have started, at once."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def ending(self) -> str:
        """How the process ended, in words."""
        code = self.process.wait()
        name = signal.Signals(-code).name if code < 0 else ""
        how = f"was killed by {name}" if name else f"ended with exit code {code}"
        advice = " (out of memory?)" if name == "SIGKILL" else ""
        said = f": {self.words[-1]}" if self.words and code > 0 else ""
        return f"its worker {how}{advice}{said}"

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError, ValueError):  # gone, or asked to leave
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):  # half a line of a worker that was killed
                self.hear(self, json.loads(line))
        self.process.wait()
        self.hear(self, None)

    def _overhear(self) -> None:
        lines: IO[str] | None = self.process.stderr
        for line in lines or ():
            if line.strip():
                self.words.append(line.strip())
