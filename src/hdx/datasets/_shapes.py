"""Textured objects: superformula outlines filled with gratings; one set of parts is one class."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hdx.seeds import stream


def gratings(rng: np.random.Generator, n_images: int, size: int, waves: int = 3) -> np.ndarray:
    """Random smooth textures [K, size, size] in [0, 1]: sums of sinusoids with 1/f amplitudes."""
    grid = (np.arange(size) + 0.5) / size
    angle, frequency = rng.uniform(0, np.pi, (n_images, waves)), rng.uniform(0.5, 7, (n_images, waves))
    kx, ky = frequency * np.cos(angle), frequency * np.sin(angle)
    phase = 2 * np.pi * (kx[..., None, None] * grid + ky[..., None, None] * grid[:, None] + rng.random((n_images, waves, 1, 1)))
    field = (np.sin(phase) / frequency[..., None, None]).sum(1)
    low, high = field.min((1, 2), keepdims=True), field.max((1, 2), keepdims=True)
    return (field - low) / (high - low + 1e-6)


def _radius(phi: np.ndarray, m: float, n1: float, n2: float, n3: float) -> np.ndarray:
    """Gielis' superformula with a = b = 1, scaled to at most 1."""
    r = (np.abs(np.cos(m * phi / 4)) ** n2 + np.abs(np.sin(m * phi / 4)) ** n3 + 1e-6) ** (-1 / n1)
    return r / r.max()


def shape_images(seed: int, index: int, variants: int, size: int) -> np.ndarray:
    """Images [variants, 3, size, size] in [0, 1] of class `index`: its parts, jittered, on a random textured ground."""
    rng = stream(seed, "shape", index)
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    turn = rng.normal(0, 0.25, (variants, 1, 1))
    zoom = rng.uniform(0.75, 1.35, (variants, 1, 1))
    moved = rng.uniform(-0.2, 0.2, (2, variants, 1, 1))
    x, y = axis[None, None, :] - moved[0], axis[None, :, None] - moved[1]
    x, y = (x * np.cos(turn) + y * np.sin(turn)) / zoom, (y * np.cos(turn) - x * np.sin(turn)) / zoom
    ground = gratings(rng, variants, size)[:, None]
    colours = rng.random((2, variants, 3, 1, 1))
    image = colours[0] * ground + colours[1] * (1 - ground)
    light = rng.uniform(0.6, 1.15, (variants, 1, 1, 1))
    for part in range(int(rng.integers(1, 4))):
        centre = rng.uniform(-0.35, 0.35, 2) if part else np.zeros(2)
        m, (n1, n2, n3) = float(rng.integers(2, 9)), rng.uniform(0.4, 6, 3)
        scale, stretch, tilt = rng.uniform(0.5, 0.9) * 0.75**part, rng.uniform(0.5, 1.0), rng.uniform(0, np.pi)
        u = (x - centre[0] - rng.normal(0, 0.03, (variants, 1, 1))) / scale
        v = (y - centre[1] - rng.normal(0, 0.03, (variants, 1, 1))) / scale
        u, v = u * np.cos(tilt) + v * np.sin(tilt), (v * np.cos(tilt) - u * np.sin(tilt)) / stretch
        mask = 1 / (1 + np.exp(-28 * scale * (_radius(np.arctan2(v, u), m, n1, n2, n3) - np.hypot(u, v))))
        angle, frequency = rng.uniform(0, np.pi), rng.uniform(0.5, 5)
        wave = np.sin(
            2 * np.pi * frequency * (u * np.cos(angle) + v * np.sin(angle)) + rng.uniform(0, 2 * np.pi, (variants, 1, 1))
        )
        weight = (1 / (1 + np.exp(-rng.uniform(1, 6) * wave)))[:, None]
        tone = np.clip(rng.random((2, 1, 3, 1, 1)) + rng.normal(0, 0.1, (2, variants, 3, 1, 1)), 0, 1)
        fill = (tone[0] * weight + tone[1] * (1 - weight)) * light
        image = image * (1 - mask[:, None]) + fill * mask[:, None]
    return np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1).astype(np.float32)


def painted(masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colour images [K, 3, S, S] in [0, 1] of intensities [K, S, S]: ink on plain paper half of the time, else on textures."""
    n_images, size = len(masks), masks.shape[-1]
    ink, paper = rng.random((n_images, 3, 1, 1)), rng.random((n_images, 3, 1, 1))
    grey = rng.random((n_images, 1, 1, 1)) < 0.4
    ink, paper = np.where(grey, ink.mean(1, keepdims=True), ink), np.where(grey, paper.mean(1, keepdims=True), paper)
    near = np.abs(ink - paper).max(1, keepdims=True) < 0.35
    ink = np.where(near, np.where(paper > 0.5, paper * 0.3, 1 - (1 - paper) * 0.3), ink)
    ground = gratings(rng, n_images, size)[:, None]
    strength = np.where(rng.random((n_images, 1, 1, 1)) < 0.5, 0.0, rng.uniform(0.1, 0.6, (n_images, 1, 1, 1)))
    paper = paper * (1 - strength) + strength * (ground * rng.random((n_images, 3, 1, 1)))
    return (paper * (1 - masks[:, None]) + ink * masks[:, None]).astype(np.float32)


def softened(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images [K, 3, S, S], a third of them as if enlarged from 8 to 24 pixels (mean pooling, then linear interpolation)."""
    size = images.shape[-1]
    result = images.copy()
    for k in np.flatnonzero(rng.random(len(images)) < 0.33):
        matrix = _lower_resolution(size, int(rng.choice([8, 10, 14, 20, 24])))
        result[k] = matrix @ images[k] @ matrix.T
    return np.clip(result, 0, 1)


@lru_cache
def _lower_resolution(size: int, low: int) -> np.ndarray:
    """[size, size] matrix that pools a row of `size` pixels to `low` and interpolates back."""
    edges = np.linspace(0, size, low + 1)
    grid = np.arange(size)
    overlap = np.minimum(edges[1:, None], grid + 1) - np.maximum(edges[:-1, None], grid)
    pool = np.clip(overlap, 0, 1) / (size / low)
    centres = (np.arange(low) + 0.5) * size / low - 0.5
    back = np.stack([np.interp(grid, centres, row) for row in np.eye(low)], 1)
    return (back @ pool).astype(np.float32)
