"""Trees of small images, made by the tests."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TreeMaker = Callable[..., Path]


@pytest.fixture
def make_tree(tmp_path: Path) -> TreeMaker:
    """`make_tree("flowers", {"rose": 4, "tulip": 3}, size=(40, 30))` writes random JPEGs, the same for the same arguments."""

    def make(
        name: str, classes: dict[str, int], *, size: tuple[int, int] = (24, 24), kind: str = "jpg", mode: str = "RGB"
    ) -> Path:
        root = tmp_path / name
        for cls, n_images in classes.items():
            (root / cls).mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([n_images, *cls.encode()])
            for i in range(n_images):
                shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
                Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(root / cls / f"{i:03d}.{kind}")
        return root

    return make


@pytest.fixture
def zipped() -> Callable[[Path], Path]:
    """A .zip beside a folder, with the same names inside."""

    def make(folder: Path) -> Path:
        target = folder.with_suffix(".zip")
        with zipfile.ZipFile(target, "w") as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(folder).as_posix())
        return target

    return make


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests on real data, so that each dataset is decoded once."""
    return tmp_path_factory.mktemp("real_cache")
