"""Folders and zips of class folders, made by the tests that need them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, label: int, size: int = 16, grey: bool = False) -> bytes:
    """A PNG whose brightness tells its class, with noise."""
    noise = np.random.default_rng(seed).integers(0, 60, (size, size) if grey else (size, size, 3))
    file = io.BytesIO()
    Image.fromarray((noise + 40 * label).clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def files_of(counts: dict[str, int], grey: bool = False) -> dict[str, bytes]:
    """`counts[class]` pictures of each class, by name."""
    return {
        f"{name}/{number}.png": picture(1000 * label + number, label, grey=grey)
        for label, (name, count) in enumerate(counts.items())
        for number in range(count)
    }


def write_classes(folder: Path, counts: dict[str, int], grey: bool = False) -> Path:
    """A folder of class folders; a class with no pictures is an empty folder."""
    for name in counts:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, content in files_of(counts, grey).items():
        (folder / name).write_bytes(content)
    return folder


def write_zip(path: Path, counts: dict[str, int]) -> Path:
    """A .zip of class folders."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files_of(counts).items():
            archive.writestr(name, content)
    return path
