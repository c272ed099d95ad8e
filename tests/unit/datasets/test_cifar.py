"""CIFAR files of the published format, made here, with torchvision's table of MD5 sums set to theirs."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

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
