"""CIFAR-10H: what people answered when they were shown CIFAR-10's test images."""

from __future__ import annotations

import io

import numpy as np

from hdx import digest
from hdx.datasets._base import Dataset, ImageSet
from hdx.datasets._memory import InMemory
from hdx.datasets._tree import Files
from hdx.errors import DataError

N_IMAGES, N_CLASSES = 10_000, 10
PROBABILITIES, ORDER = "cifar10h-probs.npy", "cifar10_test_order.txt"


def add_answers(dataset: Dataset, files: Files, majority: bool) -> None:
    """Give the test images of CIFAR-10, in whichever split they are, the answers as `targets`.

    Args:
        files: the folder or .zip with `PROBABILITIES` [10000, 10], and `ORDER`, which names the picture of each row: needed
            where the images have names.
        majority: whether `labels` become the class that most people named.

    Raises: DataError where the files are not those, or name no image of the dataset.
    """
    answers = _probabilities(files)
    row_of: dict[str, int] | None = None
    for split in ("train", "test"):
        images: ImageSet = getattr(dataset, split)
        if images.names is None:
            rows = np.arange(N_IMAGES) if split == "test" and len(images) == N_IMAGES else None
        else:
            row_of = _rows(files) if row_of is None else row_of
            found = [row_of.get(_key(name), -1) for name in images.names]
            rows = np.array(found) if -1 not in found else None
        if rows is not None:
            _give(images, answers[rows], majority)
    if dataset.test.targets is None:
        raise DataError(
            f"{files.path} does not name the images of the test split: human_labels is for CIFAR-10's own test images"
        )


def _give(images: ImageSet, targets: np.ndarray, majority: bool) -> None:
    images.targets = targets
    if majority:
        images.labels = targets.argmax(1).astype(np.int64)
        assert isinstance(images, InMemory)
        images.digest = digest.of_json([images.digest, digest.of_arrays(images.labels)])


def _probabilities(files: Files) -> np.ndarray:
    try:
        found = np.load(io.BytesIO(files.read(_inside(files, PROBABILITIES))), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{PROBABILITIES} in {files.path} is not readable: {error}. Get it again") from None
    if found.shape != (N_IMAGES, N_CLASSES) or not np.allclose(found.sum(1), 1, atol=1e-4):
        seen = f"has shape {list(found.shape)}, expected [{N_IMAGES}, {N_CLASSES}] with rows that sum to 1"
        raise DataError(f"{PROBABILITIES} in {files.path} {seen}. Get it again")
    return found.astype(np.float32)


def _rows(files: Files) -> dict[str, int]:
    lines = files.read(_inside(files, ORDER)).decode("utf-8").split()
    if len(set(lines)) != N_IMAGES:
        raise DataError(f"{ORDER} in {files.path} names {len(set(lines))} pictures, expected {N_IMAGES}. Get it again")
    return {_key(line): row for row, line in enumerate(lines)}


def _key(name: str) -> str:
    """`cat/x` of `test/cat/x.png` and of `cat/x.webp`."""
    return "/".join(name.rpartition(".")[0].split("/")[-2:])


def _inside(files: Files, name: str) -> str:
    """Where a file stands in the folder or .zip."""
    return next((other for other in files.contents().others if other.rpartition("/")[2] == name), name)
