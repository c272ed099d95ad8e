"""Runs the missing cells of a table as a sweep: in the order that shares bodies, by the launcher of their configs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from hdx.config.grid import Planned


def fill(runs: Sequence[Planned], stream: TextIO, *, name: str, command: str, retry_failed: bool = False) -> int:
    """Run what is not finished; one that fails does not stop the others.

    Args:
        stream: where progress is told.
        name: of the table, for `hdx status`.
        command: which goes on with it.
        retry_failed: try runs again that failed before.
    Returns: 0, or 1 when runs are not finished. Raises: Interrupted when stopped, with everything resumable.
    """
    from hdx import registry
    from hdx.cli.sweep import Tally
    from hdx.config.grid import Grid, launcher_of
    from hdx.engine import stop
    from hdx.errors import Interrupted
    from hdx.launchers._base import Rules
    from hdx.launchers.plan import launch, plan
    from hdx.store.sweeps import write_plan

    grid = Grid(list(runs), name)
    planned, options = plan(grid), launcher_of(grid)
    tally = Tally(planned, stream)
    if todo := planned.to_do(retry_failed=retry_failed):
        write_plan(planned.output_dir, planned.rows(), name=name, command=command, launcher=options["name"])
        try:
            with stop.listening():
                launch(planned, todo, registry.build("launcher", options), Rules(), tally.told)
        except Interrupted:
            raise Interrupted(f"stopped; {tally.short()}; nothing finished is lost. Go on with:  {command}") from None
    return tally.end(as_json=False, command=command)
