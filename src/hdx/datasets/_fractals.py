"""Fractals drawn by the chaos game on iterated function systems; one system is one class.

Kataoka et al. 2020 (FractalDB: fractals as classes, jittered parameters as instances); the singular values of the maps
are drawn so that the attractors fill the plane well (the sigma-factor of Anderson & Farrell 2022, from memory).
"""

from __future__ import annotations

import numpy as np

from hdx.seeds import stream

WALKERS, STEPS, BURN_IN = 16, 220, 12


def _rotation(angle: np.ndarray) -> np.ndarray:
    """[..., 2, 2] rotation matrices of angles [...]."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


def system(rng: np.random.Generator, n_maps: int) -> tuple[np.ndarray, np.ndarray]:
    """One contractive system: matrices [n, 2, 2] with sum(sigma1 + 2 sigma2) in [(5+n)/2, (6+n)/2], offsets [n, 2]."""
    total = 0.5 * (5 + n_maps) + 0.5 * rng.random()
    shares = rng.dirichlet(np.full(n_maps, 4.0)) * total
    ratio = rng.uniform(0.2, 1.0, n_maps)
    sigma1 = np.minimum(shares / (1 + 2 * ratio), 0.95)
    sigma = np.stack([sigma1, sigma1 * ratio], -1)
    flips = rng.choice([-1.0, 1.0], (n_maps, 2))
    matrices = (
        _rotation(rng.uniform(0, 2 * np.pi, n_maps)) * (sigma * flips)[:, None, :] @ _rotation(rng.uniform(0, 2 * np.pi, n_maps))
    )
    return matrices, rng.uniform(-1, 1, (n_maps, 2))


def _walk(matrices: np.ndarray, offsets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points [K, WALKERS * STEPS, 2] on the attractors of K systems ([K, n, 2, 2], [K, n, 2])."""
    n_images, n_maps = offsets.shape[:2]
    weight = np.abs(np.linalg.det(matrices)) + 0.01
    edges = np.cumsum(weight / weight.sum(1, keepdims=True), 1).astype(np.float32)
    flat_a = matrices.reshape(n_images * n_maps, 4).astype(np.float32)
    flat_b = offsets.reshape(n_images * n_maps, 2).astype(np.float32)
    base = np.arange(n_images)[:, None] * n_maps
    x = np.zeros((n_images, WALKERS), np.float32)
    y = np.zeros((n_images, WALKERS), np.float32)
    points = np.empty((STEPS, n_images, WALKERS, 2), np.float32)
    for step in range(-BURN_IN, STEPS):
        draw = rng.random((n_images, WALKERS), dtype=np.float32)
        choice = np.minimum((draw[:, :, None] > edges[:, None, :]).sum(-1), n_maps - 1) + base
        a, b = flat_a[choice], flat_b[choice]
        x, y = a[..., 0] * x + a[..., 1] * y + b[..., 0], a[..., 2] * x + a[..., 3] * y + b[..., 1]
        if step >= 0:
            points[step, ..., 0], points[step, ..., 1] = x, y
    return points.transpose(1, 0, 2, 3).reshape(n_images, -1, 2)


def splat(points: np.ndarray, size: int) -> np.ndarray:
    """Counts [K, size, size] of points [K, P, 2] on the [0, 1] square; points outside are dropped."""
    n_images = len(points)
    cell = np.floor(points * size).astype(np.int64)
    inside = ((cell >= 0) & (cell < size)).all(-1)
    index = (np.arange(n_images)[:, None] * size + cell[..., 1]) * size + cell[..., 0]
    return np.bincount(index[inside], minlength=n_images * size * size).reshape(n_images, size, size)


def placed(points: np.ndarray, rng: np.random.Generator, *, turn: float, spread: tuple[float, float]) -> np.ndarray:
    """Centre points [K, P, 2], scale them to unit spread, and put each image under its own random similarity and shear."""
    n_images = len(points)
    low, high = np.quantile(points[:, ::7], [0.02, 0.98], axis=1)
    scale = np.maximum((high - low).max(-1), 1e-3)[:, None, None]
    unit = (points - ((low + high) / 2)[:, None]) / scale
    matrix = _rotation(rng.uniform(-turn, turn, n_images)) * rng.uniform(*spread, (n_images, 1, 1))
    matrix = matrix @ (np.eye(2) + rng.normal(0, 0.08, (n_images, 2, 2)))
    return unit @ matrix.transpose(0, 2, 1) + 0.5 + rng.uniform(-0.08, 0.08, (n_images, 1, 2))


def fractal_masks(seed: int, index: int, variants: int, size: int) -> np.ndarray:
    """Intensities [variants, size, size] in [0, 1] of class `index`: one system, its parameters jittered per variant."""
    rng = stream(seed, "fractal", index)
    while True:
        matrices, offsets = system(rng, int(rng.integers(2, 7)))
        share = (splat(placed(_walk(matrices[None], offsets[None], rng), rng, turn=0, spread=(0.8, 0.8)), 32) > 0).mean()
        if 0.12 < share < 0.85:  # neither a few dots nor a filled blob
            break
    many_a = matrices[None] * (1 + rng.normal(0, 0.06, (variants, *matrices.shape)))
    many_b = offsets[None] + rng.normal(0, 0.04, (variants, *offsets.shape))
    norm = np.linalg.norm(many_a, 2, axis=(-2, -1), keepdims=True)
    many_a = many_a * np.minimum(1.0, 0.97 / norm)
    points = placed(_walk(many_a, many_b, rng), rng, turn=0.5, spread=(0.6, 1.0))
    counts = splat(points, size)
    return (1 - np.exp(-counts / rng.uniform(0.6, 2.5, (variants, 1, 1)))).astype(np.float32)
