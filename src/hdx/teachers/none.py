"""No teacher."""

from __future__ import annotations

from hdx.errors import ConfigError
from hdx.teachers._base import Teacher


class NoTeacher(Teacher):
    """No teacher: the student learns from labels alone.

    Source: hdx
    """

    def __init__(self) -> None:
        raise ConfigError("teacher=none is no model: take teacher=model or teacher=run")
