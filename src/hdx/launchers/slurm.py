"""Slurm: jobs of a cluster, through submitit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from hdx.engine import stop
from hdx.errors import ConfigError, Interrupted
from hdx.launchers._base import Launcher, Rules, Task, Told
from hdx.options import NonNegativeInt, PositiveFloat, PositiveInt
from hdx.store.rundir import RunDir

POLL_S = 1.0


class Job:
    """Runs of one job, one after the other; submitit pickles it, and asks it for a checkpoint before a preemption.

    What is finished stands in the run directories, so going on is the same as beginning.

    Args:
        tasks: as `Task.plain` has them.
        fail_fast: leave after the first failed run.
        time_limit_s: of each run.
    """

    def __init__(self, tasks: list[dict[str, Any]], fail_fast: bool = False, time_limit_s: float | None = None) -> None:
        self.tasks, self.fail_fast, self.time_limit_s = tasks, fail_fast, time_limit_s

    def __call__(self) -> list[dict[str, Any]]:
        """Do the runs. Returns: their last events."""
        from hdx.engine.pool import in_turn

        return in_turn([Task(**task) for task in self.tasks], fail_fast=self.fail_fast, time_limit_s=self.time_limit_s)

    def checkpoint(self, *_: Any, **__: Any) -> Any:
        """The job that is put back into the queue."""
        import submitit

        return submitit.helpers.DelayedSubmission(Job(self.tasks, self.fail_fast, self.time_limit_s))


class Slurm(Launcher):
    """Jobs of a Slurm cluster, through submitit: one array, each job with runs that share a body.

    A job that is preempted, or at the end of its time, is put back into the queue and goes on from the run directories. Runs that
    another job, or another sweep, has are left to it. `output_dir` has to be on a file system that all nodes see.

    Source: Slurm (Yoo et al. 2003); submitit (facebookincubator).

    Args:
        partition: of the cluster; null leaves it to the cluster.
        account: charged; null leaves it to the cluster.
        qos: quality of service; null leaves it to the cluster.
        gpus: of each job.
        cpus: of each job.
        mem_gb: memory of each job; null leaves it to the cluster.
        time_min: minutes after which a job is put back into the queue.
        array_parallelism: jobs at once.
        runs_per_job: at most so many runs in a job, which load torch once.
        requeues: how often a job is put back after it ran out of time; a preempted one always is.
        setup: lines of shell before the job, such as `module load cuda`.
        wait: stay until all jobs are over; else the sweep ends when they are submitted.
        executor: local starts the same jobs as processes on this machine.
    """

    requires = "submitit"
    extra = "slurm"

    def __init__(
        self,
        *,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        gpus: NonNegativeInt = 1,
        cpus: PositiveInt = 4,
        mem_gb: PositiveFloat | None = 16,
        time_min: PositiveInt = 240,
        array_parallelism: PositiveInt = 16,
        runs_per_job: PositiveInt = 20,
        requeues: NonNegativeInt = 5,
        setup: list[str] = [],  # noqa: B006 - options are read as literals and never changed
        wait: bool = False,
        executor: Literal["slurm", "local"] = "slurm",
    ) -> None:
        self.partition, self.account, self.qos = partition, account, qos
        self.gpus, self.cpus, self.mem_gb, self.time_min = gpus, cpus, mem_gb, time_min
        self.array_parallelism, self.runs_per_job, self.requeues = array_parallelism, runs_per_job, requeues
        self.setup, self.wait, self.executor = list(setup), wait, executor

    def launch(self, tasks: Sequence[Task], rules: Rules, told: Told) -> None:
        """See `Launcher`. Raises: ConfigError when Slurm is missing."""
        chunks = self.chunks(tasks)
        executor = self.executor_in(folder_of(tasks[0]), rules)
        with executor.batch():
            jobs = [
                executor.submit(Job([task.plain() for task in chunk], rules.fail_fast, rules.time_limit_s)) for chunk in chunks
            ]
        for job, chunk in zip(jobs, chunks):
            for task in chunk:
                told(task, {"event": "submitted", "job": str(job.job_id)})
        if self.wait:
            _watch(list(zip(jobs, chunks)), told)

    def chunks(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """Runs of each job: of one body, at most `runs_per_job`."""
        found: list[list[Task]] = []
        for task in tasks:
            if found and found[-1][0].body == task.body and len(found[-1]) < self.runs_per_job:
                found[-1].append(task)
            else:
                found.append([task])
        return found

    def executor_in(self, folder: Path, rules: Rules) -> Any:
        """submitit's executor with the resources of the options; its files go to `folder`."""
        import submitit

        if self.executor == "local":
            executor: Any = submitit.LocalExecutor(folder=folder)
            executor.update_parameters(timeout_min=self.time_min)
            return executor
        try:
            executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=self.requeues)
        except RuntimeError:
            raise ConfigError(
                "launcher=slurm: this machine has no srun; start the sweep on a node of the cluster, or take launcher=local"
            ) from None
        executor.update_parameters(**self.parameters(rules))
        return executor

    def parameters(self, rules: Rules) -> dict[str, Any]:
        """What stands in the `#SBATCH` lines, without what is left to the cluster."""
        wanted = {
            "job_name": "hdx",
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "gres": f"gpu:{self.gpus}" if self.gpus else None,
            "cpus_per_task": self.cpus,
            "mem": None if self.mem_gb is None else f"{round(self.mem_gb * 1024)}M",
            "time": self.time_min,
            "nodes": 1,
            "ntasks_per_node": 1,
            "array_parallelism": min(self.array_parallelism, rules.max_parallel or self.array_parallelism),
            "setup": self.setup or None,
        }
        return {key: value for key, value in wanted.items() if value is not None}


def folder_of(task: Task) -> Path:
    """Where submitit keeps its own files: `<output_dir>/sweeps/slurm`, with the job's number in the names."""
    return Path(task.config["data"]["output_dir"]) / "sweeps" / "slurm"


def _watch(jobs: list[tuple[Any, list[Task]]], told: Told) -> None:
    """Tell what becomes of the runs. Raises: Interrupted when asked to stop; the jobs are cancelled and resumable."""
    left = {task.run_id: (job, task) for job, chunk in jobs for task in chunk}
    while left:
        if stop.requested():
            for job, _ in left.values():
                job.cancel()
            raise Interrupted("stopped; the jobs are cancelled")
        time.sleep(POLL_S)
        for run_id, (job, task) in list(left.items()):
            over = job.done(force_check=True)
            status = RunDir(Path(task.run_dir)).status()
            if status["state"] == "finished":
                told(task, {"event": "finished", "ran": True})
            elif status["state"] == "failed":
                told(task, {"event": "failed", "reason": status.get("reason", "")})
            elif over:
                reason = status.get("reason") or f"job {job.job_id} ended"
                told(task, _last_event(job, task) or {"event": "interrupted", "reason": reason})
            else:
                continue
            del left[run_id]


def _last_event(job: Any, task: Task) -> dict[str, Any] | None:
    """That a job which is over failed at a run before it began, and so left no directory; None for any other end."""
    try:
        events = job.result()
    except Exception:  # whatever submitit makes of a job that was killed
        return None
    found = next((event for event in events if event["run_id"] == task.run_id), None)
    return found if found is not None and found["event"] == "failed" else None
