"""Readers through torchvision, each on tiny files of the published format that the test writes: images, labels, classes, splits.

Every picture is of one colour a class and split, so that what is read says where it came from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from scipy.io import savemat

from hdx import registry
from hdx.datasets._base import Dataset, ImageSet
from hdx.errors import DataError

SPLITS = {"train": 1, "val": 2, "test": 3}
SPECIES = ("Lumbricus_terrestris", "Sabella_spallanzanii")


def shade(label: int, split: str) -> int:
    """The grey level of a picture."""
    return 20 * label + 60 * SPLITS[split] + 5


def picture(path: Path, label: int, split: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 9), (shade(label, split),) * 3).save(path)


def read(name: str, root: Path, **options: Any) -> Dataset:
    sized = {"image_size": 4} if "image_size" in registry.load("dataset", name).__init__.__kwdefaults__ else {}
    return registry.build("dataset", {"name": name, **sized, **options}, root, root / "cache")


def seen(images: ImageSet) -> list[tuple[int, str]]:
    """(label, split) that each picture itself says it is of; its label must be the same."""
    found = []
    for label, level in zip(images.labels.tolist(), images.fetch(np.arange(len(images))).float().mean((1, 2, 3)).tolist()):
        of = {shade(label, split): split for split in SPLITS}
        found.append((label, of[min(of, key=lambda value: abs(value - level))]))
        assert min(abs(value - level) for value in of) < 3
    return found


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def dtd(root: Path, patch: Any) -> None:
    for split in SPLITS:
        for label, cls in enumerate(("banded", "woven")):
            picture(root / f"dtd/dtd/images/{cls}/{cls}_{split}.jpg", label, split)
        text(root / f"dtd/dtd/labels/{split}1.txt", f"banded/banded_{split}.jpg", f"woven/woven_{split}.jpg")


def flowers102(root: Path, patch: Any) -> None:
    folder = root / "flowers-102"
    for i, split in enumerate(SPLITS):
        for label in (0, 1):
            picture(folder / f"jpg/image_{2 * i + label + 1:05d}.jpg", label, split)
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 2, 1, 2, 1, 2]])})
    savemat(folder / "setid.mat", {"trnid": [[1, 2]], "valid": [[3, 4]], "tstid": [[5, 6]]})
    files = {"image": ("102flowers.tgz", ""), "label": ("imagelabels.mat", ""), "setid": ("setid.mat", "")}
    table = {key: (name, md5(folder / name) if key != "image" else "") for key, (name, _) in files.items()}
    patch.setattr(torchvision.datasets.Flowers102, "_file_dict", table)


def fgvc_aircraft(root: Path, patch: Any) -> None:
    data = root / "fgvc-aircraft-2013b/data"
    text(data / "variants.txt", "707-320", "A300 B4")
    for i, split in enumerate(SPLITS):
        for label in (0, 1):
            picture(data / f"images/{i}{label}.jpg", label, split)
        text(data / f"images_variant_{split}.txt", f"{i}0 707-320", f"{i}1 A300 B4")


def country211(root: Path, patch: Any) -> None:
    for folder, split in (("train", "train"), ("valid", "val"), ("test", "test")):
        for label, cls in enumerate(("AD", "AE")):
            picture(root / f"country211/{folder}/{cls}/0.jpg", label, split)


def oxford_pets(root: Path, patch: Any) -> None:
    for split, file in (("train", "trainval"), ("test", "test")):
        for label, cls in enumerate(("Abyssinian", "american_bulldog")):
            picture(root / f"oxford-iiit-pet/images/{cls}_{split}.jpg", label, split)
        lines = [f"Abyssinian_{split} 1 1 1", f"american_bulldog_{split} 2 2 1"]
        text(root / f"oxford-iiit-pet/annotations/{file}.txt", *lines)


def food101(root: Path, patch: Any) -> None:
    for split in ("train", "test"):
        for label, cls in enumerate(("apple_pie", "waffles")):
            picture(root / f"food-101/images/{cls}/{split}.jpg", label, split)
        text(root / f"food-101/meta/{split}.json", json.dumps({cls: [f"{cls}/{split}"] for cls in ("apple_pie", "waffles")}))


def stanford_cars(root: Path, patch: Any) -> None:
    folder = root / "stanford_cars"
    for split in ("train", "test"):
        for label in (0, 1):
            picture(folder / f"cars_{split}/{label:05d}.jpg", label, split)
    kinds = [("fname", "O"), ("class", "O")]
    annotations = np.array([(f"{label:05d}.jpg", label + 1) for label in (0, 1)], dtype=kinds)
    (folder / "devkit").mkdir()
    savemat(folder / "devkit/cars_train_annos.mat", {"annotations": annotations})
    savemat(folder / "cars_test_annos_withlabels.mat", {"annotations": annotations})
    savemat(folder / "devkit/cars_meta.mat", {"class_names": np.array(["AM Hummer", "Acura RL"], dtype=object)})


def gtsrb(root: Path, patch: Any) -> None:
    base = root / "gtsrb/GTSRB"
    for label in (0, 1):
        picture(base / f"Training/{label:05d}/00000_00000.ppm", label, "train")
        picture(base / f"Final_Test/Images/{label:05d}.ppm", label, "test")
    header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
    text(root / "gtsrb/GT-final_test.csv", header, "00000.ppm;12;9;1;1;8;8;0", "00001.ppm;12;9;1;1;8;8;1")


def places365(root: Path, patch: Any) -> None:
    folder, reader = root / "places365", torchvision.datasets.Places365
    text(folder / "categories_places365.txt", "/a/airfield 0", "/z/zen_garden 1")
    for split, place, file in (("train", "data_256_standard", "train_standard"), ("val", "val_256", "val")):
        for label in (0, 1):
            picture(folder / place / f"{label}.jpg", label, split)
        text(folder / f"places365_{file}.txt", "/0.jpg 0", "/1.jpg 1")
    patch.setattr(reader, "_CATEGORIES_META", ("categories_places365.txt", md5(folder / "categories_places365.txt")))
    lists = {"train-standard": "places365_train_standard.txt", "val": "places365_val.txt"}
    patch.setattr(reader, "_FILE_LIST_META", {key: (name, md5(folder / name)) for key, name in lists.items()})


def inaturalist(root: Path, patch: Any) -> None:
    for version, split in (("2021_train_mini", "train"), ("2021_valid", "val")):
        for label, species in enumerate(SPECIES):
            name = f"{label:05d}_Animalia_Annelida_Class_Order_Family_{species}"
            picture(root / "inaturalist" / version / name / "0.jpg", label, split)


def imagenet(root: Path, patch: Any) -> None:
    for split in ("train", "val"):
        for label, wnid in enumerate(("n01440764", "n01443537")):
            picture(root / f"imagenet/{split}/{wnid}/{wnid}_{split}.JPEG", label, split)
    torch.save(({"n01440764": ("tench", "Tinca tinca"), "n01443537": ("goldfish",)}, []), root / "imagenet/meta.bin")


FILES: dict[str, tuple[Callable[[Path, Any], None], list[str], list[str], str]] = {
    "dtd": (dtd, ["banded", "woven"], ["train", "val"], "test"),
    "flowers102": (flowers102, ["pink primrose", "hard-leaved pocket orchid"], ["train", "val"], "test"),
    "fgvc_aircraft": (fgvc_aircraft, ["707-320", "A300 B4"], ["train", "val"], "test"),
    "country211": (country211, ["AD", "AE"], ["train", "val"], "test"),
    "oxford_pets": (oxford_pets, ["Abyssinian", "American Bulldog"], ["train"], "test"),
    "food101": (food101, ["apple_pie", "waffles"], ["train"], "test"),
    "stanford_cars": (stanford_cars, ["AM Hummer", "Acura RL"], ["train"], "test"),
    "gtsrb": (gtsrb, ["00000", "00001"], ["train"], "test"),
    "places365": (places365, ["/a/airfield", "/z/zen_garden"], ["train"], "val"),
    "inaturalist": (
        inaturalist,
        [
            f"{i:05d}_Animalia_Annelida_Class_Order_Family_{s}"
            for i, s in enumerate(("Lumbricus_terrestris", "Sabella_spallanzanii"))
        ],
        ["train"],
        "val",
    ),
    "imagenet": (imagenet, ["tench", "goldfish"], ["train"], "val"),
}


@pytest.mark.parametrize("name", FILES)
def test_images_labels_and_splits_of_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, classes, train, test = FILES[name]
    write(tmp_path, monkeypatch)
    data = read(name, tmp_path)
    assert data.classes[:2] == classes
    assert sorted(seen(data.train)) == sorted((label, split) for split in train for label in (0, 1))
    assert sorted(seen(data.test)) == [(0, test), (1, test)]
    place = tmp_path / registry.load("dataset", name).looked_for["path"][0]
    again = read(name, tmp_path / "elsewhere", path=str(place))
    assert again.train.digest == data.train.digest
    if len(train) > 1:
        assert sorted(seen(read(name, tmp_path, with_validation=False).train)) == [(0, "train"), (1, "train")]


def test_eurosat_is_divided_by_fraction(tmp_path: Path) -> None:
    for label, cls in enumerate(("AnnualCrop", "Forest")):
        for i in range(5):
            picture(tmp_path / f"eurosat/2750/{cls}/{cls}_{i}.jpg", label, "train")
    data = read("eurosat", tmp_path, test_fraction=0.4)
    assert data.classes == ["AnnualCrop", "Forest"]
    assert (np.bincount(data.train.labels).tolist(), np.bincount(data.test.labels).tolist()) == ([3, 3], [2, 2])
    assert len({label for label, _ in seen(data.train)}) == 2 and not set(data.train.names or ()) & set(data.test.names or ())


def idx(path: Path, array: np.ndarray) -> None:
    """A file in the format of MNIST."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def digits(seed: int, n_images: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n_images, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")])
def test_the_format_of_mnist(name: str, folder: str, tmp_path: Path) -> None:
    raw = tmp_path / folder / "raw"
    for part, seed, labels in (("train", 1, [3, 1, 4]), ("t10k", 2, [1, 5])):
        idx(raw / f"{part}-images-idx3-ubyte", digits(seed, len(labels)))
        idx(raw / f"{part}-labels-idx1-ubyte", np.array(labels))
    data = read(name, tmp_path)
    assert (data.train.labels.tolist(), data.test.labels.tolist(), len(data.classes)) == ([3, 1, 4], [1, 5], 10)
    np.testing.assert_array_equal(data.test.fetch(np.arange(2)).numpy(), digits(2, 2)[:, None])
    idx(raw / "t10k-labels-idx1-ubyte", np.array([1, 77]))
    with pytest.raises(DataError, match=f"{folder}: image 4 has label 77, expected 0 to 9"):
        read(name, tmp_path)
    idx(raw / "t10k-labels-idx1-ubyte", np.array([1]))
    with pytest.raises(DataError, match="has 5 images and 4 labels"):
        read(name, tmp_path)
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=f"is not as published: Dataset not found.*hdx data get {name}"):
        read(name, tmp_path)


def test_emnist_letters_are_upright_and_counted_from_a(tmp_path: Path) -> None:
    for part, seed, labels in (("train", 1, [1, 26]), ("test", 2, [2, 1])):
        idx(tmp_path / f"EMNIST/raw/emnist-letters-{part}-images-idx3-ubyte", digits(seed, 2))
        idx(tmp_path / f"EMNIST/raw/emnist-letters-{part}-labels-idx1-ubyte", np.array(labels))
    data = read("emnist", tmp_path)
    assert data.classes == [chr(97 + i) for i in range(26)]
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 25], [1, 0])
    np.testing.assert_array_equal(data.train.fetch(np.arange(2)).numpy()[:, 0], digits(1, 2).swapaxes(1, 2))


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "svhn").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    table = {}
    for split in ("train", "test"):
        file = tmp_path / "svhn" / f"{split}_32x32.mat"
        savemat(file, {"X": images, "y": np.array([[10], [1], [9], [10]])})
        table[split] = ["", file.name, md5(file)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", table | {"extra": table["test"]})
    data = read("svhn", tmp_path)
    assert data.train.labels.tolist() == [0, 1, 9, 0] and data.classes == list("0123456789")
    np.testing.assert_array_equal(data.test.fetch(np.array([2]))[0].numpy(), images[..., 2].transpose(2, 0, 1))
    (tmp_path / "svhn" / "test_32x32.mat").write_bytes(b"other")
    with pytest.raises(DataError, match="svhn: .* is not as published: Dataset not found or corrupted"):
        read("svhn", tmp_path)


def test_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, reader = tmp_path / "stl10_binary", torchvision.datasets.STL10
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
    files = {"train_X.bin": images, "train_y.bin": np.array([1, 10], np.uint8), "unlabeled_X.bin": images[:1]}
    files |= {"test_X.bin": images[::-1], "test_y.bin": np.array([10, 2], np.uint8)}
    for name, content in files.items():
        (folder / name).write_bytes(np.ascontiguousarray(content).tobytes())
    text(folder / "class_names.txt", *torchvision.datasets.CIFAR10.__name__, *"uvw")  # ten names
    for table in ("train_list", "test_list"):
        monkeypatch.setattr(reader, table, [[name, md5(folder / name)] for name, _ in getattr(reader, table)])
    data = read("stl10", tmp_path)
    assert (data.train.labels.tolist(), data.test.labels.tolist(), data.classes[7:]) == ([0, 9], [9, 1], ["u", "v", "w"])
    np.testing.assert_array_equal(data.train.fetch(np.array([1]))[0].numpy(), images[1].transpose(0, 2, 1))


def test_a_label_that_no_class_has_is_named_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oxford_pets(tmp_path, monkeypatch)
    text(tmp_path / "oxford-iiit-pet/annotations/test.txt", "Abyssinian_test 1 1 1", "american_bulldog_test 9 2 1")
    with pytest.raises(DataError, match=r"image 'images/american_bulldog_test.jpg' has label 8, expected 0 to 1 \(2 classes\)"):
        read("oxford_pets", tmp_path)
    text(tmp_path / "oxford-iiit-pet/annotations/test.txt", "Abyssinian_test 1 1 1", "american_bulldog_gone 2 2 1")
    with pytest.raises(DataError, match="1 of the 4 images .* are not there .first: 'images/american_bulldog_gone.jpg'"):
        read("oxford_pets", tmp_path)


def test_a_folder_of_another_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "textures").mkdir()
    with pytest.raises(DataError, match=r"dataset dtd: .*textures holds no dtd/"):
        read("dtd", tmp_path, path=str(tmp_path / "textures"))
    with pytest.raises(DataError, match="dataset inaturalist: .*textures holds no 2021_train_mini/"):
        read("inaturalist", tmp_path, path=str(tmp_path / "textures"))
    assert not list((tmp_path / "textures").iterdir())


CHECKED = [
    "mnist",
    "fashion_mnist",
    "kmnist",
    "emnist",
    "svhn",
    "stl10",
    "dtd",
    "eurosat",
    "flowers102",
    "oxford_pets",
    "food101",
]


@pytest.mark.parametrize("name", [*CHECKED, "country211", "gtsrb"])
def test_every_download_has_a_checksum(name: str) -> None:
    remotes = registry.load("dataset", name).remotes()
    assert remotes and all(len(remote.checksum) == 32 and remote.urls[0].startswith("http") for remote in remotes)


def test_checksums_inside_torchvisions_functions_are_those_of_this_version() -> None:
    import inspect

    for name, reader in (("eurosat", torchvision.datasets.EuroSAT), ("gtsrb", torchvision.datasets.GTSRB)):
        source = inspect.getsource(reader.download)
        for remote in registry.load("dataset", name).remotes():
            assert remote.checksum in source and remote.name.rpartition("/")[2] in source
