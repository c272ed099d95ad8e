"""Decoded images on disk: `<key>.npy` with the pixels and `<key>.json` with their checksum, shape and facts beside them.

Both are written under a name of their own and renamed, pixels first, so that a reader sees an old pair, a new pair, or
a pair whose checksum does not fit and is rebuilt. Deleting any of it is safe.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from hdx import digest

logger = logging.getLogger("hdx")


@dataclass(frozen=True)
class Decoded:
    """Images with their checksum and whatever facts the builder wants to find again.

    Attributes:
        images: [N, C, H, W] uint8, memory-mapped copy-on-write when they come from disk.
        facts: plain data.
        checksum: hex digest of shape and bytes.
    """

    images: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)
    checksum: str = ""


def load_or_build(cache_dir: Path, key: str, build: Callable[[], Decoded]) -> Decoded:
    """The cached images of `key`, or those of `build()`, which are then cached.

    The key is a digest of what the files hold and of how they are decoded.

    A corrupt, truncated or mismatching entry is rebuilt with a warning; a folder that cannot be written costs the cache
    and not the run.
    """
    pixels, facts = cache_dir / f"{key}.npy", cache_dir / f"{key}.json"
    if facts.exists():
        try:
            return _load(pixels, facts)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            logger.warning("cached images %s are damaged (%s); decoding them again", pixels, error)
    built = build()
    built = Decoded(np.ascontiguousarray(built.images), built.facts, checksum(built.images))
    try:
        _store(pixels, facts, built)
    except OSError as error:
        logger.warning("cannot cache decoded images in %s: %s", cache_dir, error)
    return built


def _load(pixels: Path, facts: Path) -> Decoded:
    record = json.loads(facts.read_text("utf-8"))
    images = np.load(pixels, mmap_mode="c", allow_pickle=False)
    if images.dtype != np.uint8 or list(images.shape) != record["shape"]:
        raise ValueError(f"shape {list(images.shape)} {images.dtype} instead of {record['shape']} uint8")
    if checksum(images) != record["checksum"]:
        raise ValueError("checksum does not fit")
    if digest.of_json(record["facts"]) != record["facts_checksum"]:
        raise ValueError("checksum of the facts does not fit")
    return Decoded(images, record["facts"], record["checksum"])


def _store(pixels: Path, facts: Path, built: Decoded) -> None:
    pixels.parent.mkdir(parents=True, exist_ok=True)
    _drop_left_over(pixels)
    record: dict[str, Any] = {"shape": list(built.images.shape), "checksum": built.checksum}
    record |= {"facts": built.facts, "facts_checksum": digest.of_json(built.facts)}
    _write(pixels, lambda file: np.save(file, built.images, allow_pickle=False))
    _write(facts, lambda file: file.write(json.dumps(record).encode()))


def _write(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _drop_left_over(pixels: Path) -> None:
    """Remove what a killed writer left an hour ago or longer."""
    for temporary in pixels.parent.glob(f"{pixels.stem}.*.tmp"):
        if temporary.stat().st_mtime < time.time() - 3600:
            temporary.unlink(missing_ok=True)


def checksum(images: np.ndarray) -> str:
    """Hex blake2b (160 bits) of shape and bytes; about 1 GB/s everywhere."""
    total = hashlib.blake2b(str(images.shape).encode(), digest_size=20)
    total.update(np.ascontiguousarray(images).data)
    return total.hexdigest()
