"""Images drawn from formulas: what the shipped body is pretrained on. No photograph, no licence of anyone else's data."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from hdx import digest
from hdx.datasets._base import Dataset
from hdx.datasets._cache import Decoded, load_or_build
from hdx.datasets._decode import n_cores
from hdx.datasets._fractals import fractal_masks
from hdx.datasets._memory import InMemory, Pixels
from hdx.datasets._shapes import painted, shape_images, softened
from hdx.datasets._strokes import stroke_masks
from hdx.options import NonNegativeInt, PositiveInt, Seed
from hdx.seeds import stream

log = logging.getLogger("hdx")
VERSION = 2


class Formulas(Dataset):
    """Fractals, pen-stroke glyphs and textured shapes, each drawn from a formula; one set of parameters is one class.

    Source: fractals as classes after Kataoka et al. 2020 (FractalDB); glyphs and superformula shapes are hdx's own.

    A class's parameters are jittered for every image, which is then turned, scaled, coloured and sometimes blurred. The
    same options give the same pixels up to rounding on every machine.

    Args:
        fractals: classes that are attractors of iterated function systems.
        glyphs: classes that are a few Bezier pen strokes.
        shapes: classes that are superformula outlines filled with gratings.
        train_per_class: training images a class.
        test_per_class: test images a class.
        image_size: side in pixels.
        formula_seed: which formulas; not the seed of the run.
    """

    licence = "public domain"

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        fractals: NonNegativeInt = 1200,
        glyphs: NonNegativeInt = 1200,
        shapes: NonNegativeInt = 800,
        train_per_class: PositiveInt = 40,
        test_per_class: PositiveInt = 4,
        image_size: PositiveInt = 40,
        formula_seed: Seed = 0,
    ) -> None:
        super().__init__(data_dir, cache_dir)
        families = [("fractal", fractals), ("glyph", glyphs), ("shape", shapes)]
        jobs = [(family, index) for family, count in families for index in range(count)]
        self.classes = [f"{family}-{index:04d}" for family, index in jobs]
        self.groups = [family for family, _ in jobs]
        variants = train_per_class + test_per_class
        key = digest.of_json([VERSION, families, variants, image_size, formula_seed])[:24]
        draw = partial(_draw, seed=formula_seed, variants=variants, size=image_size)
        pixels = Pixels(load_or_build(cache_dir, f"formulas-{key}", lambda: _draw_all(jobs, draw)))
        rows = np.arange(len(jobs) * variants)
        labels, testing = rows // variants, rows % variants >= train_per_class
        self.train = InMemory(pixels, rows[~testing], labels[~testing])
        self.test = InMemory(pixels, rows[testing], labels[testing])


def _draw(job: tuple[str, int], seed: int, variants: int, size: int) -> np.ndarray:
    """Images [variants, 3, size, size] uint8 of one class."""
    family, index = job
    rng = stream(seed, "paint", family, index)
    if family == "shape":
        images = shape_images(seed, index, variants, size)
    else:
        masks = {"fractal": fractal_masks, "glyph": stroke_masks}[family](seed, index, variants, size)
        images = painted(masks, rng)
    return np.rint(softened(images, rng) * 255).astype(np.uint8)


def _draw_all(jobs: list[tuple[str, int]], draw: Callable[[tuple[str, int]], np.ndarray]) -> Decoded:
    log.info("drawing %d classes from formulas (once)", len(jobs))
    if len(jobs) < 64 or n_cores() == 1:
        return Decoded(np.concatenate([draw(job) for job in jobs]))
    with ProcessPoolExecutor(n_cores(), get_context("spawn")) as pool:
        return Decoded(np.concatenate(list(pool.map(draw, jobs, chunksize=16))))
