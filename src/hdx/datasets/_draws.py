"""Numbers that are a pure function of their place: an image of a set draws the same in stored crop k, wherever and whenever.

Philox4x32-10, a counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.3): a fixed
bijection of a 128-bit counter under a 64-bit key, so that no state is carried from one sample to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hdx.seeds import derive

LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


@dataclass(frozen=True)
class StoredCrops:
    """Augmentation that repeats: `n` rows of draws for each image of a set.

    Attributes:
        n: crops an image has; epoch e, from 1, takes crop (e - 1) % n.
        seed: tells apart sets of crops. The run's seeds have no say, so that runs share what is kept of a crop.
    """

    n: int
    seed: int

    def draws(self, rows: np.ndarray, crop: int, n_draws: int) -> Tensor:
        """[B, n_draws] float32 in [0, 1): the draws of images `rows` [B] in a crop; the first ones are those of fewer."""
        counters = np.zeros((len(rows), -(-n_draws // 4), 4), np.uint64)
        counters[..., 0], counters[..., 1] = rows[:, None] & 0xFFFFFFFF, rows[:, None] >> 32
        counters[..., 2], counters[..., 3] = crop, np.arange(counters.shape[1])
        words = philox(counters, derive(self.seed, "crops")).reshape(len(rows), -1)[:, :n_draws]
        return torch.from_numpy((words >> np.uint64(8)).astype(np.float32) * np.float32(2**-24))


def philox(counters: np.ndarray, key: int) -> np.ndarray:
    """[..., 4] words of 32 random bits, as uint64, from counters [..., 4] of 32 bits and a key of 64."""
    even, odd = counters[..., 0::2], counters[..., 1::2]  # [..., 2] each: words 0 and 2 are multiplied
    keys = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(ROUNDS):
        product = even * MULTIPLIERS
        high, low = product >> SHIFT, product & LOW
        even, odd = high[..., ::-1] ^ odd ^ np.array(keys, np.uint64), low[..., ::-1]
        keys = [(word + step) & 0xFFFFFFFF for word, step in zip(keys, WEYL)]
    return np.stack([even, odd], -1).reshape(counters.shape)
