"""No teacher."""

from __future__ import annotations


class NoTeacher:
    """No teacher: the student learns from labels alone.

    Source: hdx
    """
