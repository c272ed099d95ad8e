"""CORe50: domestic objects in eleven sessions of video."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from hdx.datasets._given import Given, GivenSplits, contents_of
from hdx.errors import DataError
from hdx.options import FilePath, PositiveFloat, PositiveInt, Unhashed

NAME = re.compile(r"(?:^|/)s(\d+)/o(\d+)/[^/]+$")
TESTED = ("s3", "s7", "s10")
CATEGORIES = (
    "plug adapter", "mobile phone", "scissor", "light bulb", "can", "glass", "ball", "marker", "cup", "remote control"
)  # fmt: skip


class Core50(GivenSplits):
    """164,866 frames, 128x128, of 50 objects of 10 categories in 11 sessions; sessions 3, 7 and 10 are the test split.

    Source: Lomonaco and Maltoni 2017, CORe50: a New Dataset and Benchmark for Continuous Object Recognition

    A session is a domain: protocol=domain_incremental protocol.domains=own is the authors' scenario of new instances.

    Args:
        path: the folder core50_128x128 or its .zip; null looks under data_dir.
        label: which object it is (50 classes), or of which category (10).
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    licence = "CC BY 4.0"
    looked_for = {"path": ("core50_128x128", "core50_128x128.zip", "core50")}

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        label: Literal["object", "category"] = "object",
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        self._label = label
        super().__init__(data_dir, cache_dir, path=path, image_size=image_size, fit=fit, storage=storage, memory_gb=memory_gb)

    def _given(self, place: Path) -> Given:
        contents = contents_of(place)
        found = {name: match for name in sorted(contents.images) if (match := NAME.search(name))}
        if not found:
            raise DataError(f"{place} has no s1/o1/<frame>. Give the folder core50_128x128 as its authors publish it")
        domains = [f"s{number}" for number in sorted({int(match[1]) for match in found.values()})]
        parts: list[list[tuple[str, int]]] = [[], []]
        for name, match in found.items():
            number = int(match[2]) - 1
            parts[f"s{match[1]}" in TESTED].append((name, number if self._label == "object" else number // 5))
        objects = [f"{CATEGORIES[i // 5]} {i % 5 + 1}" for i in range(50)]
        domain_of = {name: domains.index(f"s{match[1]}") for name, match in found.items()}
        classes = objects if self._label == "object" else list(CATEGORIES)
        return Given(contents, classes, parts[0], parts[1], domains=domains, domain_of=domain_of)
