"""`range(start,stop,step)` of a sweep: never its stop, whatever the rounding of the step."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from hdx.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import RangeSweep

DIGITS = 12  # of the step that count: beyond them is rounding
NEAR = 1e-9  # of a step


def numbers(sweep: RangeSweep, text: str, most: int) -> list[int | float]:
    """start, start + step, … strictly before stop; ints where all three are.

    Hydra's own takes one number too many where the sum of the steps falls short of stop by rounding, as in range(0,0.4,0.1).

    Args:
        text: the override, for messages.
        most: numbers that a range may have.

    Raises: ConfigError for a step of 0, numbers that are not finite, and more than `most`.
    """
    start, stop, step = sweep.start or 0, sweep.stop or 0, sweep.step
    if not all(map(math.isfinite, (start, stop, step))) or step == 0:
        raise ConfigError(f"'{text}': expected range(start,stop,step) with finite numbers and a step other than 0")
    whole = all(isinstance(number, int) for number in (start, stop, step))
    count = -((start - stop) // step) if whole else math.ceil((stop - start) / step - NEAR)
    if count > most:
        raise ConfigError(f"'{text}': the grid has {count:,} runs; expected at most {most:,}: split it")
    decimals = DIGITS - math.floor(math.log10(abs(step)))
    found = [start + i * step if whole else round(float(start + i * step), decimals) for i in range(int(max(0, count)))]
    if sweep.shuffle:
        random.shuffle(found)
    return found
