"""CIFAR files of the published format, made here, with torchvision's table of MD5 sums set to theirs."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from hdx.datasets.cifar import Cifar10, Cifar100
from hdx.errors import DataError

CLASSES10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def dump(file: Path, record: object) -> tuple[str, str]:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(pickle.dumps(record))
    return file.name, hashlib.md5(file.read_bytes()).hexdigest()


def batch(seed: int, n_images: int, n_classes: int, key: str) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    return {"data": rng.integers(0, 256, (n_images, 3072), dtype=np.uint8), key: rng.integers(0, n_classes, n_images).tolist()}


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.parent.mkdir()
    reader = torchvision.datasets.CIFAR10
    train = [dump(folder / f"data_batch_{i}", batch(i, 20, 10, "labels")) for i in range(1, 6)]
    test = [dump(folder / "test_batch", batch(9, 15, 10, "labels"))]
    name, md5 = dump(folder / "batches.meta", {"label_names": CLASSES10})
    monkeypatch.setattr(reader, "train_list", [list(entry) for entry in train])
    monkeypatch.setattr(reader, "test_list", [list(entry) for entry in test])
    monkeypatch.setattr(reader, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return folder.parent


def test_images_and_labels_are_those_of_the_files(cifar10: Path, cache_dir: Path) -> None:
    for _ in range(2):  # decoded, then from the cache
        data = Cifar10(cifar10, cache_dir)
        assert data.classes == CLASSES10
        assert (len(data.train), len(data.test)) == (100, 15)
        expected = [batch(i, 20, 10, "labels") for i in range(1, 6)]
        pixels = np.concatenate([b["data"] for b in expected]).reshape(-1, 3, 32, 32)
        assert np.array_equal(data.train.fetch(np.arange(100)).numpy(), pixels)
        assert data.train.labels.tolist() == [label for b in expected for label in b["labels"]]
        last = batch(9, 15, 10, "labels")
        assert np.array_equal(data.test.fetch(np.array([14]))[0].numpy(), last["data"][14].reshape(3, 32, 32))
        assert data.test.labels.tolist() == last["labels"]


def test_cifar100(tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, reader = tmp_path / "cifar-100-python", torchvision.datasets.CIFAR100
    monkeypatch.setattr(reader, "train_list", [list(dump(folder / "train", batch(0, 30, 100, "fine_labels")))])
    monkeypatch.setattr(reader, "test_list", [list(dump(folder / "test", batch(1, 20, 100, "fine_labels")))])
    names = [f"class{i:02d}" for i in range(100)]
    name, md5 = dump(folder / "meta", {"fine_label_names": names})
    monkeypatch.setattr(reader, "meta", {"filename": name, "key": "fine_label_names", "md5": md5})
    data = Cifar100(None, cache_dir, path=str(folder))
    assert data.classes == names
    assert data.train.labels.tolist() == batch(0, 30, 100, "fine_labels")["fine_labels"]
    assert data.test.fetch(np.arange(3)).dtype == torch.uint8


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_file_with_other_bytes_is_never_unpickled(cifar10: Path, cache_dir: Path, tmp_path: Path, file: str) -> None:
    witness = tmp_path / "witness"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return os.mkdir, (str(witness),)

    dump(cifar10 / "cifar-10-batches-py" / file, Payload())
    with pytest.raises(DataError, match=f"{file} is not the published file"):
        Cifar10(cifar10, cache_dir)
    assert not witness.exists()


def test_a_missing_batch_is_named(cifar10: Path, cache_dir: Path) -> None:
    (cifar10 / "cifar-10-batches-py" / "data_batch_2").unlink()
    with pytest.raises(DataError, match="data_batch_2 is missing"):
        Cifar10(cifar10, cache_dir)


def test_path_may_be_either_folder(cifar10: Path, cache_dir: Path) -> None:
    digests = {Cifar10(None, cache_dir, path=str(p)).train.digest for p in (cifar10, cifar10 / "cifar-10-batches-py")}
    assert len(digests) == 1


def test_not_found(tmp_path: Path, cache_dir: Path) -> None:
    with pytest.raises(DataError, match=r"cifar10 not found under .*Looked for: cifar-10-batches-py"):
        Cifar10(tmp_path, cache_dir)
    with pytest.raises(DataError, match="holds no cifar-100-python/"):
        Cifar100(None, cache_dir, path=str(tmp_path))
    with pytest.raises(DataError, match="nowhere to download to"):
        Cifar10(None, cache_dir, download=True)


def class_folders(root: Path, classes: list[str], splits: dict[str, int]) -> Path:
    for split, n_images in splits.items():
        for cls in classes:
            (root / split / cls).mkdir(parents=True)
            for i in range(n_images):
                Image.fromarray(picture(f"{split}/{cls}/{i}")).save(root / split / cls / f"{i}.webp", lossless=True)
    return root


def picture(name: str) -> np.ndarray:
    return np.random.default_rng(list(name.encode())).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_class_folders_and_a_zip_of_them_stand_for_the_batches(tmp_path: Path, cache_dir: Path, zipped: Any) -> None:
    root = class_folders(tmp_path / "cifar10", CLASSES10, {"train": 2, "test": 1})
    for path in (root, zipped(root)):
        data = Cifar10(None, cache_dir, class_folders=str(path))
        assert (data.classes, len(data.train), len(data.test)) == (CLASSES10, 20, 10)
        for images in (data.train, data.test):
            for i, name in enumerate(images.names or ()):
                assert data.classes[images.labels[i]] == name.split("/")[1]
                shown = images.fetch(np.array([i]))[0].permute(1, 2, 0).numpy()
                np.testing.assert_array_equal(shown, picture(name.removesuffix(".webp")))
    assert len(Cifar10(tmp_path, cache_dir).train) == 20  # found under data_dir
    with pytest.raises(DataError, match="has 10 class folders, expected 100"):
        Cifar100(None, cache_dir, class_folders=str(root))


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Human answers as published: 10,000 rows, and which picture each is of; here 20 are real, in an order of their own."""
    folder = tmp_path / "cifar10h"
    folder.mkdir()
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(10, 0.3), 10_000)
    np.save(folder / "cifar10h-probs.npy", probabilities)
    real = [f"{cls}/{i}.png" for i in (1, 0) for cls in CLASSES10[::-1]]
    others = [f"cat/other_{i}.png" for i in range(9_980)]
    (folder / "cifar10_test_order.txt").write_text("\n".join([*others[:5], *real, *others[5:]]))
    return folder


def test_human_answers_are_matched_by_name(tmp_path: Path, cache_dir: Path, answers: Path) -> None:
    root = class_folders(tmp_path / "only_test", CLASSES10, {"test": 2})
    data = Cifar10(tmp_path, cache_dir, class_folders=str(root), test_fraction=0.5, human_labels="soft")
    probabilities = np.load(answers / "cifar10h-probs.npy")
    order = (answers / "cifar10_test_order.txt").read_text().split()
    for images in (data.train, data.test):
        assert len(images) == 10 and images.targets is not None and images.targets.dtype == np.float32
        for name, target, label in zip(images.names or (), images.targets, images.labels):
            row = order.index(name.removeprefix("test/").replace(".webp", ".png"))
            np.testing.assert_allclose(target, probabilities[row], rtol=1e-6)
            assert data.classes[label] == name.split("/")[1]
    voted = Cifar10(tmp_path, cache_dir, class_folders=str(root), test_fraction=0.5, human_labels="majority")
    np.testing.assert_array_equal(voted.train.labels, data.train.targets.argmax(1))  # type: ignore[union-attr]
    assert voted.train.digest != data.train.digest
    (answers / "cifar10_test_order.txt").write_text("cat/1.png\n")
    with pytest.raises(DataError, match="names 1 pictures, expected 10000"):
        Cifar10(tmp_path, cache_dir, class_folders=str(root), human_labels="soft")


def test_human_answers_are_of_the_test_images_alone(tmp_path: Path, cache_dir: Path, answers: Path) -> None:
    root = class_folders(tmp_path / "both", CLASSES10, {"train": 3, "test": 2})
    data = Cifar10(tmp_path, cache_dir, class_folders=str(root), human_labels="soft")
    assert data.train.targets is None and data.test.targets is not None
    (root / "test" / "cat" / "0.webp").rename(root / "test" / "cat" / "unknown.webp")
    with pytest.raises(DataError, match="does not name the images of the test split"):
        Cifar10(tmp_path, cache_dir, class_folders=str(root), human_labels="soft")
