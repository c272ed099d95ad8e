"""Local: worker processes on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hdx.config.identity import body_stays
from hdx.errors import ConfigError
from hdx.hardware import AGAIN, cores, oversubscribed, visible_gpus
from hdx.launchers._base import Launcher, Rules, Task, Told
from hdx.launchers._dispatch import Dispatch, Hand
from hdx.launchers._worker import Worker
from hdx.options import PositiveInt

MOST = 8  # workers that a machine without GPUs gets unasked; each holds torch in memory


class Local(Launcher):
    """Worker processes on this machine, which load torch once and take many runs.

    A worker that dies is replaced and its run goes on in another one; workers end when the sweep does, however it ends.

    Source: hdx

    Args:
        workers: runs at once; null takes one for each GPU, or without GPUs the cores divided by threads_per_worker.
        threads_per_worker: of torch; null divides the cores between the workers, at most 8 of them.
    """

    def __init__(self, *, workers: PositiveInt | None = None, threads_per_worker: PositiveInt | None = None) -> None:
        self.workers, self.threads_per_worker = workers, threads_per_worker

    def launch(self, tasks: Sequence[Task], rules: Rules, told: Told) -> None:
        """See `Launcher`. Raises: ConfigError for runs on several nodes, or on more GPUs than there are."""
        ranks = max(task.ranks for task in tasks)
        gpus = [] if all(task.on_cpu for task in tasks) else visible_gpus()
        at_most = bodies_to_train(tasks)
        seats, threads = seats_of(self.workers or at_most, self.threads_per_worker, gpus, ranks, cores())
        shares = shares_of(gpus, ranks, seats)
        if not gpus and not oversubscribed() and seats > cores():
            what = f"expected at most {cores()} (cores here), got {seats}"
            raise ConfigError(f"launcher.workers: {what}; {AGAIN}=1 starts them all the same")
        seats = min(seats, rules.max_parallel or seats)

        def start(seat: int, hear: Callable[[Any, dict[str, Any] | None], None]) -> Hand:
            devices = {"CUDA_VISIBLE_DEVICES": shares[seat]} if gpus else {}
            return Worker({"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), **devices}, hear)

        Dispatch(tasks, rules, told, start, seats).run()


def bodies_to_train(tasks: Sequence[Task]) -> int | None:
    """Workers that trainings can keep busy, where they are fewer than the cores: beside the first run of a body the others wait,
    and it does better with all cores. None where nothing is trained for other runs."""
    if not all(task.shares for task in tasks) or all(body_stays(task.config["data"]) for task in tasks):
        return None
    bodies = len({task.body for task in tasks})
    return bodies if bodies < min(MOST, cores()) else None


def seats_of(workers: int | None, threads: int | None, gpus: list[str], ranks: int, n_cores: int) -> tuple[int, int]:
    """Workers at once, and threads of each."""
    if gpus:
        seats = workers or max(1, len(gpus) // ranks)
    elif threads:
        seats = workers or max(1, n_cores // threads)
    else:
        seats = workers or max(1, min(MOST, n_cores // ranks))
    return seats, threads or max(1, n_cores // (seats * ranks))


def shares_of(gpus: list[str], ranks: int, seats: int) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each worker; more workers than GPUs take turns. Raises: ConfigError for too few."""
    if not gpus:
        return [""] * seats
    if ranks > len(gpus):
        raise ConfigError(f"devices: expected at most {len(gpus)} GPUs (what this machine has), got {ranks}; or accelerator=cpu")
    slots = [gpus[first : first + ranks] for first in range(0, len(gpus) - ranks + 1, ranks)]
    return [",".join(slots[seat % len(slots)]) for seat in range(seats)]
