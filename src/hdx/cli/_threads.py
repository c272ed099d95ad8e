"""How torch's threads wait for each other; set before torch is imported, because OpenMP reads it once."""

from __future__ import annotations

import os

SPINS = "1000"  # what OpenMP itself takes once it knows that there are more threads than cores


def wait_briefly() -> None:
    """Let a thread that waits for another give its core away after a moment, unless the environment says otherwise.

    By default libgomp spins 300,000 times at each of the hundreds of barriers of a training step. Where another process
    has the core that the other thread needs, that costs milliseconds a barrier: steps ten times as long as on one thread.
    Ranks and workers inherit it.
    """
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        os.environ["GOMP_SPINCOUNT"] = SPINS
