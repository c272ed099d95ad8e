"""None: nothing is seen again."""

from __future__ import annotations

from hdx.memories._base import Memory, Samples
from hdx.protocols._base import Session


class NoMemory(Memory):
    """No memory: no sample of an earlier session is seen again.

    Source: hdx
    """

    def keep(self, session: Session, samples: Samples, seed: int) -> None:
        """Nothing."""
