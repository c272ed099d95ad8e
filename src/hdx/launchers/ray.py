"""Ray: workers on a cluster."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from hdx.errors import RunError
from hdx.launchers._base import Launcher, Rules, Task, Told
from hdx.launchers._dispatch import Dispatch, Hand
from hdx.options import NonNegativeFloat, PositiveInt

Cpus = Annotated[float, "> 0"]


class Ray(Launcher):
    """Workers on a Ray cluster, a running one or one on this machine.

    Each worker is an actor that keeps a process of hdx on its node; one that is lost is replaced and its run goes on elsewhere.
    `output_dir` has to be on a file system that all nodes see.

    Source: Moritz et al. 2018, Ray.

    Args:
        address: of a running cluster, or auto; null takes $RAY_ADDRESS, else starts Ray on this machine.
        workers: runs at once; null takes as many as the cluster has room for.
        cpus: of each worker.
        gpus: of each worker; a fraction shares a GPU.
    """

    requires = "ray"
    extra = "ray"

    def __init__(
        self, *, address: str | None = None, workers: PositiveInt | None = None, cpus: Cpus = 1, gpus: NonNegativeFloat = 0.0
    ) -> None:
        self.address, self.workers, self.cpus, self.gpus = address, workers, cpus, gpus

    def launch(self, tasks: Sequence[Task], rules: Rules, told: Told) -> None:
        """See `Launcher`. Raises: RunError when there is no cluster at the address."""
        import ray

        mine = not ray.is_initialized()
        if mine:
            self._connect(ray)
        try:
            seats = self.workers or self._room(ray.cluster_resources())
            Dispatch(tasks, rules, told, self._starter(ray), seats).run()
        finally:
            if mine:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        address = self.address or os.environ.get("RAY_ADDRESS")
        quiet = {"configure_logging": False, "log_to_driver": False}
        try:
            if address:
                _knock(address)
            ray.init(**({"address": address} if address else {"include_dashboard": False}), **quiet)
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise RunError(
                f"launcher.address: no Ray cluster at {address or 'this machine'} ({reason}); start one with: ray start --head"
            ) from None

    def _room(self, resources: dict[str, float]) -> int:
        room = resources.get("CPU", 1) / self.cpus
        if self.gpus:
            room = min(room, resources.get("GPU", 0) / self.gpus)
        return max(1, int(room))

    def _starter(self, ray: Any) -> Callable[..., Hand]:
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_concurrency": 3}
        remote = ray.remote(**options)(Actor)
        threads = str(max(1, int(self.cpus)))

        def start(seat: int, hear: Callable[[Any, dict[str, Any] | None], None]) -> Hand:
            return RayHand(ray, remote.remote({"OMP_NUM_THREADS": threads}), hear)

        return start


def _knock(address: str) -> None:
    """Raises: OSError when nobody listens at `host:port`; Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].partition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


class Actor:
    """What runs on a node: a worker process, spoken to from afar.

    Args:
        environment: of the process.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        import queue

        from hdx.launchers._worker import Worker

        self.answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.ready = threading.Event()
        self.worker = Worker(environment, lambda _, message: self._hear(message))

    def take(self, task: dict[str, Any]) -> dict[str, Any]:
        """Do a run. Returns: its last event. Raises: RuntimeError saying how the worker ended, when it did."""
        self.worker.take(Task(**task))
        while (message := self.answers.get()) is not None:
            if message["event"] not in ("ready", "began"):
                return message
        raise RuntimeError(self.worker.ending)

    def begun(self, run_id: str) -> dict[str, Any]:
        """Wait until the worker is ready: the time of a run counts from there."""
        self.ready.wait()
        return {"event": "began", "run_id": run_id}

    def _hear(self, message: dict[str, Any] | None) -> None:
        self.ready.set()
        self.answers.put(message)

    def ask(self, what: str) -> None:
        """`limit` or `leave`, which come in while a run is on."""
        if what == "limit":
            self.worker.limit()
        else:
            self.worker.leave()


class RayHand:
    """An actor as the sweep sees it: a thread waits for each answer.

    Args:
        ray: the module.
        actor: the handle.
        hear: called with answers, None when the actor or its worker is gone.
    """

    def __init__(self, ray: Any, actor: Any, hear: Callable[[Any, dict[str, Any] | None], None]) -> None:
        self.ray, self.actor, self.hear = ray, actor, hear
        self.task: Task | None = None
        self.last_body = ""
        self.answered = False
        self.ending = "its worker ended"

    def take(self, task: Task) -> None:
        """Begin a task."""
        self.task, self.last_body = task, task.body
        self._wait_for(self.actor.begun.remote(task.run_id), self.actor.take.remote(task.plain()))

    def limit(self) -> None:
        """Ask the run at hand to save and leave."""
        self.actor.ask.remote("limit")

    def leave(self) -> None:
        """Ask for that, and to end."""
        self.actor.ask.remote("leave")

    def kill(self) -> None:
        """End the actor; its worker process sees its pipe closed and follows."""
        self.ray.kill(self.actor)

    def _wait_for(self, *answers: Any) -> None:
        def wait() -> None:
            try:
                for answer in answers:
                    self.hear(self, self.ray.get(answer))
            except Exception as error:  # whatever Ray wraps it in: the run is to be done again
                lines = str(error).strip().splitlines() or [type(error).__name__]
                self.ending = f"its worker is lost: {lines[-1]}"
                self.hear(self, None)

        threading.Thread(target=wait, daemon=True).start()
