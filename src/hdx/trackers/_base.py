"""The contract of a tracker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from hdx.rules import Rule


class Tracker(ABC):
    """Where the numbers of a run also go while it runs. A run directory is complete without any.

    A resumed run builds its tracker again and logs some steps a second time; the later values hold.

    Args:
        run_dir: the run directory; what a tracker writes lies inside it.
        config: the resolved config, plain data.
        run_id: the run's name, the same after a resume.
    """

    unhashed: ClassVar[bool] = True
    rules: ClassVar[tuple[Rule, ...]] = ()
    requires: ClassVar[str] = ""  # a package that it imports, read from source (`hdx.config.ready`)
    extra: ClassVar[str] = ""  # of hdx that installs it

    def __init__(self, run_dir: Path, config: dict[str, Any], run_id: str) -> None:
        self.run_dir = run_dir
        self.config = config
        self.run_id = run_id

    @abstractmethod
    def log(self, metrics: dict[str, float], step: int) -> None:
        """Numbers at a step; the entry `session`, where there is one, says which session they belong to."""

    @abstractmethod
    def close(self, summary: dict[str, float]) -> None:
        """The run's final numbers; nothing is logged after this."""
