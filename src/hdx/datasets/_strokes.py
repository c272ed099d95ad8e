"""Glyphs: a few Bezier strokes drawn with a soft pen; one set of control points is one class."""

from __future__ import annotations

import numpy as np

from hdx.datasets._fractals import placed, splat
from hdx.seeds import stream

SAMPLES = 160


def _curves(control: np.ndarray) -> np.ndarray:
    """Points [K, strokes * SAMPLES, 2] of cubic Bezier curves with control points [K, strokes, 4, 2]."""
    t = np.linspace(0, 1, SAMPLES)[:, None]
    basis = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], 1)
    return np.einsum("sp,knpc->knsc", basis, control).reshape(len(control), -1, 2)


def _alphabet_glyph(rng: np.random.Generator) -> np.ndarray:
    """Control points [strokes, 4, 2]: curves, straight lines and loops; a stroke often starts where the last one ended."""
    strokes: list[np.ndarray] = []
    for _ in range(int(rng.choice([1, 2, 3, 4, 5], p=[0.2, 0.3, 0.25, 0.15, 0.1]))):
        control = rng.uniform(0, 1, (4, 2))
        if strokes and rng.random() < 0.55:
            control[0] = strokes[-1][int(rng.choice([0, 1, 3]))]
        kind = rng.random()
        if kind < 0.35:  # straight
            control[1], control[2] = control[0] * 2 / 3 + control[3] / 3, control[0] / 3 + control[3] * 2 / 3
        elif kind < 0.5:  # loop
            control[3] = control[0] + rng.normal(0, 0.05, 2)
        strokes.append(control)
    return np.stack(strokes)


def _pen(counts: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Blur each image [K, S, S] with its own Gaussian pen [K] and saturate: a line of even darkness."""
    size = counts.shape[-1]
    offset = np.arange(size)[:, None] - np.arange(size)[None, :]
    kernel = np.exp(-0.5 * (offset[None] / sigma[:, None, None]) ** 2)
    blurred = kernel @ np.minimum(counts, 2.0) @ kernel
    return np.clip(blurred / (1.2 * sigma[:, None, None]), 0, 1)


def stroke_masks(seed: int, index: int, variants: int, size: int) -> np.ndarray:
    """Intensities [variants, size, size] in [0, 1] of class `index`: one glyph, written with a new hand each time."""
    rng = stream(seed, "stroke", index)
    glyph = _alphabet_glyph(rng)
    control = glyph[None] + rng.normal(0, 0.045, (variants, *glyph.shape))
    points = placed(_curves(control), rng, turn=0.22, spread=(0.55, 0.9))
    return _pen(splat(points, size).astype(np.float64), rng.uniform(0.45, 1.3, variants)).astype(np.float32)
