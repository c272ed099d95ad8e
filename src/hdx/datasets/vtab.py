"""VTAB-1k: a thousand labelled images of each of nineteen tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hdx.datasets._given import Given, GivenSplits, contents_of, lines_of
from hdx.errors import ConfigError, DataError
from hdx.options import FilePath, PositiveFloat, PositiveInt, Unhashed
from hdx.rules import needed, refuse


class Vtab(GivenSplits):
    """A task of the Visual Task Adaptation Benchmark with 1,000 training images, by the field's lists of 800 and 200.

    Source: Zhai et al. 2020, A Large-scale Study of Representation Learning with the Visual Task Adaptation Benchmark

    The folder holds a folder for each task with images/ and lists of `<path> <label>`: train800.txt, val200.txt,
    train800val200.txt and test.txt. Classes are called by their numbers.

    Args:
        path: the folder vtab-1k; null looks under data_dir.
        task: name of the task's folder, as caltech101, dtd, clevr_count; required.
        train: the list that is trained on: 800 images (settings are chosen on the other 200), or all 1,000.
        test: the task's test images, or the 200 held out of training, for choosing settings.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    licence = "those of the tasks' datasets"
    looked_for = {"path": ("vtab-1k", "vtab", "vtab-1k.zip")}
    rules = (
        needed("task", "dataset.task=caltech101, the name of a folder of vtab-1k"),
        refuse(
            {"train": "train800val200", "test": "val200"},
            "dataset.test=val200 is part of what is trained on: take dataset.train=train800",
        ),
    )

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        task: str | None = None,
        train: Literal["train800", "train800val200"] = "train800val200",
        test: Literal["test", "val200"] = "test",
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        self._task, self._lists = task, (f"{train}.txt", f"{test}.txt")
        super().__init__(data_dir, cache_dir, path=path, image_size=image_size, fit=fit, storage=storage, memory_gb=memory_gb)

    def _given(self, place: Path) -> Given:
        contents = contents_of(place)
        tasks = sorted(name.split("/")[-2] for name in contents.others if f"/{name}".endswith("/test.txt") and "/" in name)
        if self._task not in tasks:
            raise ConfigError(f"dataset.task: expected one of {', '.join(tasks)} (folders in {place}), got {self._task}")
        parts: list[list[tuple[str, int]]] = []
        for file in self._lists:
            above, lines = lines_of(contents, f"{self._task}/{file}")
            samples = [line.rpartition(" ") for line in lines]
            if odd := [line for (path, _, label), line in zip(samples, lines) if not path or not label.isdigit()]:
                raise DataError(f"{place}: {self._task}/{file} has a line that is no path and label: '{odd[0]}'. Mend it")
            parts.append([(f"{above}{self._task}/{path.strip()}", int(label)) for path, _, label in samples])
        n_classes = 1 + max((label for _, label in parts[0]), default=0)
        return Given(contents, [str(i) for i in range(n_classes)], parts[0], parts[1])
