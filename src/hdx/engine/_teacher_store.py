"""How a teacher's outputs are kept: a row of 16-bit words for each image, from which logits and features come back in float32.

Both stores keep the scale of the logits and not only their softmax, for the losses that compare sigmoids. Whatever is kept is the
function of one row alone, so that what is read from disk equals what is encoded on the spot, whichever rows stand beside it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

LARGEST = 65504.0  # of float16


class Store(ABC):
    """Rows of words from outputs, and back.

    Args:
        n_classes: C; n_features: D, 0 where features are not kept.
    """

    def __init__(self, n_classes: int, n_features: int) -> None:
        self.n_classes, self.n_features = n_classes, n_features

    @property
    def width(self) -> int:
        """16-bit words of a row."""
        return self.n_words + self.n_features

    @property
    @abstractmethod
    def n_words(self) -> int:
        """Words of a row's logits."""

    @abstractmethod
    def pack(self, logits: np.ndarray) -> np.ndarray:
        """[B, n_words] uint16 of logits [B, C] float64; -inf stays -inf, at least one of a row is finite."""

    @abstractmethod
    def unpack(self, words: np.ndarray) -> np.ndarray:
        """[B, C] float32 of `pack`'s words."""

    def encode(self, logits: np.ndarray, features: np.ndarray) -> np.ndarray:
        """[B, width] uint16 of logits [B, C] and features [B, D], float32; features beyond float16 are brought to its ends."""
        kept = np.clip(features[:, : self.n_features], -LARGEST, LARGEST)
        return np.concatenate([self.pack(logits.astype(np.float64)), _half(kept)], 1)

    def decode(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits [B, C] and features [B, D] float32, or None, of rows [B, width]."""
        logits = self.unpack(words[:, : self.n_words])
        return logits, _from_half(words[:, self.n_words :]) if self.n_features else None


class Fp16(Store):
    """Every logit, as its distance to the row's largest one in float16, and that one in float32.

    A logit z comes back within 2^-11 (max - z) + 2^-25, up to the rounding of float32: the likelier the class, the closer.
    A distance beyond 65,504, whose probability is 0 at every temperature in use, becomes 65,504.
    """

    @property
    def n_words(self) -> int:
        """C, and two for the largest."""
        return self.n_classes + 2

    def pack(self, logits: np.ndarray) -> np.ndarray:
        """See Store."""
        largest = logits.max(1, keepdims=True).astype(np.float32)
        return np.concatenate([_words(largest), _half(_within(logits - largest))], 1)

    def unpack(self, words: np.ndarray) -> np.ndarray:
        """See Store."""
        return _single(words[:, :2]) + _from_half(words[:, 2:])


class TopK(Store):
    """The k largest log-probabilities in float16, the mass of all others spread evenly over them, and the row's log-sum-exp.

    With R the mass of the others, the softmax of what comes back is within R + 2^-11 ln C of the teacher's in total variation
    (up to terms of second order), and each kept log-probability l within 2^-11 |l| before the softmax divides by the sum. The
    order of the others is lost; at a temperature above 1 their flat mass is larger than the true one. Where a phase has a part
    of the teacher's classes, those are taken of what comes back, so a row is flat where no kept class is among them. fp16 has
    none of this.

    Args:
        k: classes kept of each row, all of them where there are no more.
    """

    def __init__(self, n_classes: int, n_features: int, k: int) -> None:
        super().__init__(n_classes, n_features)
        self.k = min(k, n_classes)
        self.wide = n_classes > 1 << 16  # whether a class takes two words

    @property
    def n_words(self) -> int:
        """Two for the log-sum-exp, one for the others, k for log-probabilities and k or 2k for which classes they are of."""
        return 3 + (3 if self.wide else 2) * self.k

    def pack(self, logits: np.ndarray) -> np.ndarray:
        """See Store."""
        top = np.sort(np.argpartition(-logits, self.k - 1, axis=1)[:, : self.k], axis=1)  # [B, k] classes
        others = logits.copy()
        np.put_along_axis(others, top, -np.inf, axis=1)
        whole = _log_sum_exp(logits)  # [B, 1]
        with np.errstate(divide="ignore"):
            even = _log_sum_exp(others) - whole - np.log(max(self.n_classes - self.k, 1))  # of the sum itself: nothing cancels
        kept = np.take_along_axis(logits, top, axis=1) - whole
        classes = top.astype(np.uint32).view(np.uint16) if self.wide else top.astype(np.uint16)
        return np.concatenate([_words(whole.astype(np.float32)), _half(_within(even)), _half(_within(kept)), classes], 1)

    def unpack(self, words: np.ndarray) -> np.ndarray:
        """See Store."""
        whole, even, kept = _single(words[:, :2]), _from_half(words[:, 2:3]), _from_half(words[:, 3 : 3 + self.k])
        classes = np.ascontiguousarray(words[:, 3 + self.k :])
        found = np.repeat(even, self.n_classes, axis=1)
        np.put_along_axis(found, (classes.view(np.uint32) if self.wide else classes).astype(np.int64), kept, axis=1)
        return whole + found


def store_of(name: str, k: int, n_classes: int, n_features: int) -> Store:
    """The store that `teacher.store` names."""
    return TopK(n_classes, n_features, k) if name == "top_k" else Fp16(n_classes, n_features)


def _log_sum_exp(x: np.ndarray) -> np.ndarray:
    """[B, 1] of [B, C]; -inf of a row of -inf."""
    largest = x.max(1, keepdims=True)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide="ignore"):
        return shift + np.log(np.exp(x - shift).sum(1, keepdims=True))


def _within(x: np.ndarray) -> np.ndarray:
    """Finite values at most as far below 0 as float16 goes."""
    return np.where(np.isneginf(x), x, np.maximum(x, -LARGEST))


def _half(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, np.float16).view(np.uint16)


def _from_half(words: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(words).view(np.float16).astype(np.float32)


def _words(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, np.float32).view(np.uint16)


def _single(words: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(words).view(np.float32)
