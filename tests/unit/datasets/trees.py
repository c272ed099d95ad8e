"""Trees of tiny pictures that know what is in them, as folders and as archives of several tools."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from hdx.datasets.folder import Folder

SIDE = 4
FORMS = ("folder", "zip", "zip in a folder", "zip without folders", "zip of windows", "zip of macos")


def pixels(name: str) -> np.ndarray:
    """[4, 4, 3] uint8, another picture for every name."""
    return np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def png(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(name)).save(buffer, "png")
    return buffer.getvalue()


def write(root: Path, names: Iterable[str], form: str = "folder") -> Path:
    """The files in one of `FORMS`: images hold `pixels` of their name, "x/" is an empty folder, all else a few bytes."""
    files = {name: png(name) if Path(name).suffix.lower() in (".png", ".jpg") else b"0 0" for name in names if name[-1] != "/"}
    empty = [name for name in names if name[-1] == "/"]
    if form == "folder":
        for name in [*files, *empty]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
        for name in empty:
            (root / name).mkdir(exist_ok=True)
        for name, data in files.items():
            (root / name).write_bytes(data)
        return root
    path = root.with_suffix(".zip")
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in [*files.items(), *((name, b"") for name in empty)]:
            shown = f"my data/{name}" if form == "zip in a folder" else name
            info = zipfile.ZipInfo(shown.replace("/", "\\") if form == "zip of windows" else shown)
            archive.writestr(info, data)
        if form == "zip":
            for folder in sorted({f"{Path(name).parent}/" for name in files} - {"./"}):
                archive.writestr(folder, b"")
        if form == "zip of macos":
            for name in files:
                archive.writestr(f"__MACOSX/{Path(name).parent}/._{Path(name).name}", b"shadow")
    return path


def given(data: Folder) -> dict[str, dict[str, str]]:
    """For both splits the class of every image by its name; each image must have the pixels of its file."""
    found: dict[str, dict[str, str]] = {}
    for split in ("train", "test"):
        images = getattr(data, split)
        shown = images.fetch(np.arange(len(images))).numpy()
        for name, image in zip(images.names, shown):
            assert np.array_equal(image, pixels(name.removeprefix("my data/")).transpose(2, 0, 1)), name
        found[split] = {
            name.removeprefix("my data/"): data.classes[label] for name, label in zip(images.names, images.labels.tolist())
        }
    return found
