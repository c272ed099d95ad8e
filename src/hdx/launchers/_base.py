"""The contract of a launcher, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from hdx.config.config import Config
from hdx.config.validate import teacher_of
from hdx.rules import Rule


@dataclass(frozen=True)
class Task:
    """One run to do, as plain data that can travel to another process or machine.

    Attributes:
        run_id: `<exp>/<hash>-s<seed>`.
        run_dir: absolute path of its directory.
        config: `{data, exp, choices, group, contents}`.
        overrides: what `hdx train` would make it with.
        body: runs of the same key use the same states of the same body.
        shares: whether the first run of a body goes before the others: it extracts their features, or trains their body.
        also: of that first run: `{protocol, seed}` of the others, which say what images they use.
        ranks: processes of the run on its machine.
        retry_failed: go on although the run failed before.
    """

    run_id: str
    run_dir: str
    config: dict[str, Any]
    overrides: tuple[str, ...] = ()
    body: str = ""
    shares: bool = False
    ranks: int = 1
    retry_failed: bool = False
    also: tuple[dict[str, Any], ...] = ()

    @property
    def on_cpu(self) -> bool:
        """Whether the run asks for no GPU."""
        return self.config["data"]["accelerator"] == "cpu"

    @property
    def uses(self) -> dict[str, Any]:
        """What says which images the run uses."""
        return {"protocol": self.config["data"]["protocol"], "seed": self.config["data"]["seed"]}

    def plain(self) -> dict[str, Any]:
        """As JSON has it; `Task(**plain)` reads it back."""
        return asdict(self)

    def checked_config(self) -> Config:
        """The config, as it was checked when the grid was expanded."""
        known = self.config
        held = (known["contents"], known["exchanged"])
        return Config(known["data"], known["exp"], known["choices"], known["group"], *held, teacher_of)


@dataclass(frozen=True)
class Rules:
    """How a sweep goes about its runs.

    Attributes:
        fail_fast: stop all when one fails.
        max_parallel: at most so many runs at once; None leaves it to the launcher.
        time_limit_s: seconds after which a run is asked to save and leave; None for none.
    """

    fail_fast: bool = False
    max_parallel: int | None = None
    time_limit_s: float | None = None


#: Told what happens: `{event, …}` of a task. Events: started; finished (`ran`: here, and not by another process before);
#: failed and interrupted (`reason`); held (another process has the run); submitted (`job`); lost (`reason`; it is tried again).
Told = Callable[[Task, dict[str, Any]], None]


class Launcher(ABC):
    """Starts the runs of a sweep and waits for them. Options are keyword arguments, as for every component."""

    unhashed: ClassVar[bool] = True
    rules: ClassVar[tuple[Rule, ...]] = ()
    requires: ClassVar[str] = ""  # a package that it imports, read from source (`hdx.config.ready`)
    extra: ClassVar[str] = ""  # of hdx that installs it

    @abstractmethod
    def launch(self, tasks: Sequence[Task], rules: Rules, told: Told) -> None:
        """Do the tasks, in an order in which runs of one body stand together.

        Returns when every task has got its last event. A failed run stops no other unless `rules.fail_fast`.
        Raises: Interrupted when this process was asked to stop (all runs resumable); RunError when no worker can be started.
        """
