"""What a check finds: perceptual hashes, near pictures among many others, and label faults."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from hdx.datasets._base import Dataset
from hdx.datasets._check import Twin, label_faults, twins
from hdx.datasets._memory import InMemory
from hdx.datasets._phash import NEAR, hashes, near


def scene(seed: int, side: int = 64) -> Image.Image:
    """A picture with large and small structures, as a photo has."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)).resize((side, side))
    return Image.blend(coarse, fine, 0.2)


def array(*pictures: Image.Image) -> np.ndarray:
    return np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])


def altered(picture: Image.Image) -> list[Image.Image]:
    """The same scene: compressed, shrunk and enlarged, brighter."""
    buffer = io.BytesIO()
    picture.save(buffer, "jpeg", quality=40)
    small = picture.resize((40, 40), Image.Resampling.BICUBIC).resize(picture.size, Image.Resampling.BICUBIC)
    return [Image.open(buffer).convert("RGB"), small, ImageEnhance.Brightness(picture).enhance(1.15)]


def differing(first: np.ndarray, second: np.ndarray) -> list[int]:
    return [bin(int(a) ^ int(b)).count("1") for a, b in zip(first, second)]


def test_a_hash_stays_near_for_the_same_scene_and_is_far_for_another() -> None:
    scenes = [scene(seed) for seed in range(40)]
    plain = hashes(array(*scenes))
    for kind in range(3):
        same = differing(plain, hashes(array(*(altered(each)[kind] for each in scenes))))
        assert max(same) <= NEAR
    assert min(differing(plain[:20], plain[20:])) > 12
    flat = np.full((2, 3, 16, 16), 100, np.uint8)
    assert hashes(flat).tolist() == [0, 0]


def test_near_finds_what_comparing_all_finds() -> None:
    rng = np.random.default_rng(0)
    second = rng.integers(1, 2**63, 300, dtype=np.uint64)
    first = second[:60].copy()
    for i in range(60):
        for bit in rng.choice(64, i % 9, replace=False):
            first[i] ^= np.uint64(1) << np.uint64(bit)
    found = {i: (j, bits) for i, j, bits in near(first, second)}
    assert found == {i: (i, i % 9) for i in range(60) if i % 9 <= NEAR}


class Two(Dataset):
    licence = "none"

    def __init__(self, train: np.ndarray, test: np.ndarray, n_classes: int = 2) -> None:
        super().__init__(None, Path())
        self.classes = [f"c{i}" for i in range(n_classes)]
        self.train, self.test = (InMemory.of(images, np.arange(len(images)) % 2) for images in (train, test))


def test_twins_are_found_equal_or_near_and_nothing_else() -> None:
    train, others = [scene(seed) for seed in range(30)], [scene(seed) for seed in range(100, 120)]
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    test = [others[0], train[7], altered(train[3])[0], *others[1:], grey]
    found = twins(Two(array(*train, grey), array(*test)))
    assert found[0] == Twin(1, 7, None)
    assert (found[1].test, found[1].train) == (2, 3) and found[1].bits is not None and found[1].bits <= NEAR
    assert len(found) == 2


def test_label_faults_name_the_first() -> None:
    data = Two(array(*(scene(seed) for seed in range(4))), array(scene(9), scene(8)), n_classes=3)
    assert list(label_faults(data)) == [f"{split}: 1 classes have no image (first: c2)" for split in ("train", "test")]
    data.train.labels[2] = 7
    assert next(label_faults(data)) == "train: 1 labels are none of 0 to 2 (first: image 2 has 7)"
