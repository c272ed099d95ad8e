"""Errors that a user can cause: one line that names the thing, what was expected, what came and the next step."""

from __future__ import annotations

from collections.abc import Sequence


class HdxError(Exception):
    """Base of every error shown without a traceback; the command line prints it and exits with code 2."""

    exit_code = 2


class ConfigError(HdxError):
    """One or more things wrong with a config, all of them reported at once.

    Args:
        problems: one line each, without the leading `hdx: `.
    """

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(HdxError):
    """A dataset is missing, corrupt or does not fit the protocol."""


class WeightsError(HdxError):
    """A checkpoint is missing, is not plain tensors, or does not fit the backbone."""


class RunError(HdxError):
    """A run directory is missing, held by another process, or damaged."""


class OpsUnavailable(HdxError):
    """The native form of an op was demanded and cannot run."""


class Interrupted(HdxError):
    """The user stopped a run that can be resumed."""

    exit_code = 130
