"""hdx's own readers, each on tiny files of the published format: which image is of which class, split, domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.datasets.trees import pixels, write

from hdx import registry
from hdx.datasets._base import Dataset, ImageSet
from hdx.errors import ConfigError, DataError


def read(name: str, root: Path, **options: Any) -> Dataset:
    sized = {} if name == "dsprites" else {"image_size": 4}
    return registry.build("dataset", {"name": name, **sized, **options}, root, root / "cache")


def held(images: ImageSet, classes: list[str]) -> dict[str, str]:
    """The class of every image by its file's name; each must have the pixels of its file."""
    for name, image in zip(images.names or (), images.fetch(np.arange(len(images))).numpy()):
        np.testing.assert_array_equal(image, pixels(name).transpose(2, 0, 1))
    return {name: classes[label] for name, label in zip(images.names or (), images.labels)}


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def test_cub200_is_split_by_its_tables(tmp_path: Path) -> None:
    files = [f"{cls}/{cls}_{i}.png" for cls in ("001.Albatross", "002.Auk") for i in (1, 2)]
    root = write(tmp_path / "CUB_200_2011", [f"images/{file}" for file in files])
    text(root / "images.txt", *(f"{i} {file}" for i, file in enumerate(files, 1)))
    text(root / "classes.txt", "1 001.Albatross", "2 002.Auk")
    text(root / "image_class_labels.txt", "1 1", "2 1", "3 2", "4 2")
    text(root / "train_test_split.txt", "1 1", "2 0", "3 1", "4 0")
    data = read("cub200", tmp_path)
    assert held(data.train, data.classes) == {f"images/{cls}/{cls}_1.png": cls for cls in ("001.Albatross", "002.Auk")}
    assert held(data.test, data.classes) == {f"images/{cls}/{cls}_2.png": cls for cls in ("001.Albatross", "002.Auk")}
    text(root / "image_class_labels.txt", "1 1", "2 1", "3 2", "4 201")
    with pytest.raises(DataError, match="image 'images/002.Auk/002.Auk_2.png' has label 200, expected 0 to 1"):
        read("cub200", tmp_path)
    text(root / "image_class_labels.txt", "1 1", "2 1", "3 2")
    with pytest.raises(DataError, match=r"image_class_labels.txt has no line for image 4 \(002.Auk/002.Auk_2.png\)"):
        read("cub200", tmp_path)
    (root / "classes.txt").unlink()
    with pytest.raises(DataError, match="has no classes.txt"):
        read("cub200", tmp_path)


@pytest.mark.parametrize(("name", "folder"), [("mini_imagenet", "mini_imagenet"), ("tiered_imagenet", "tiered_imagenet")])
@pytest.mark.parametrize("listed", [True, False])
def test_classes_are_split_as_published(name: str, folder: str, listed: bool, tmp_path: Path) -> None:
    owners = {"train": ["n03", "n01"], "val": ["n02"], "test": ["n00", "n04"]}
    files = {part: [f"{cls}{i:05d}.png" for cls in classes for i in range(5)] for part, classes in owners.items()}
    if listed:
        root = write(tmp_path / folder, [f"images/{file}" for own in files.values() for file in own])
        for part, own in files.items():
            text(root / f"{part}.csv", "filename,label", *(f"{file},{file[:3]}" for file in own))
    else:
        write(tmp_path / folder, [f"{part}/{file[:3]}/{file}" for part, own in files.items() for file in own])
    data = read(name, tmp_path)
    splits = {split: [data.classes[label] for label in labels] for split, labels in (data.class_splits or {}).items()}
    assert splits == {"base": ["n01", "n03"], "validation": ["n02"], "novel": ["n00", "n04"]}
    both = held(data.train, data.classes) | held(data.test, data.classes)
    assert len(both) == 25 and all(name.rpartition("/")[2].startswith(cls) for name, cls in both.items())
    assert np.bincount(data.test.labels).tolist() == [1] * 5
    if listed:
        text(root / "val.csv", "filename,label", "n0200000.png,n02", "n0300000.png,n03")
        with pytest.raises(DataError, match="class 'n03' is a base and a validation class"):
            read(name, tmp_path)
        text(root / "val.csv", "filename,label", "n0299999.png,n02", "n0200000.png,n02")
        with pytest.raises(DataError, match="1 of the 22 images that are listed are not there .first: 'n0299999.png'"):
            read(name, tmp_path)


@pytest.mark.parametrize(("name", "folder"), [("imagenet_r", "imagenet-r"), ("imagenet_a", "imagenet-a")])
def test_class_folders_are_divided(name: str, folder: str, tmp_path: Path) -> None:
    files = [f"{cls}/art_{i}.png" for cls in ("n01443537", "n01484850") for i in range(5)]
    write(tmp_path / folder, [*files, "README.txt"])
    data = read(name, tmp_path, test_fraction=0.4)
    found = held(data.train, data.classes) | held(data.test, data.classes)
    assert found == {file: file.split("/")[0] for file in files} and (len(data.train), len(data.test)) == (6, 4)


def test_core50_sessions_are_domains_and_three_are_the_test_split(tmp_path: Path) -> None:
    files = [f"s{s}/o{o}/C_{s:02d}_{o:02d}_000.png" for s in (1, 2, 3, 10, 11) for o in (1, 6, 50)]
    write(tmp_path / "core50_128x128", files)
    data = read("core50", tmp_path)
    assert data.domains == ["s1", "s2", "s3", "s10", "s11"] and len(data.classes) == 50
    assert {name.split("/")[0] for name in data.test.names or ()} == {"s3", "s10"}
    assert {data.domains[d] for d in data.train.domains} == {"s1", "s2", "s11"}  # type: ignore[union-attr]
    assert set(held(data.train, data.classes).values()) == {"plug adapter 1", "mobile phone 1", "remote control 5"}
    coarse = read("core50", tmp_path, label="category")
    assert len(coarse.classes) == 10 and sorted(set(coarse.test.labels.tolist())) == [0, 1, 9]


def test_vtab_takes_the_lists_of_800_and_200(tmp_path: Path) -> None:
    files = {"train800": ["a", "b"], "val200": ["c"], "test": ["d", "e"]}
    root = tmp_path / "vtab-1k"
    for task in ("dtd", "svhn"):
        write(root / task, [f"images/{name}.png" for own in files.values() for name in own])
        for part, own in {**files, "train800val200": ["a", "b", "c"]}.items():
            text(root / task / f"{part}.txt", *(f"images/{name}.png {i % 2}" for i, name in enumerate(own)))
    data = read("vtab", tmp_path, task="dtd")
    assert [name.rpartition("/")[2] for name in data.train.names or ()] == ["a.png", "b.png", "c.png"]
    assert data.test.labels.tolist() == [0, 1]
    chosen = read("vtab", tmp_path, task="svhn", train="train800", test="val200")
    assert (chosen.train.names, chosen.test.names) == (["svhn/images/a.png", "svhn/images/b.png"], ["svhn/images/c.png"])
    with pytest.raises(ConfigError, match="dataset.task: expected one of dtd, svhn .*, got cars"):
        read("vtab", tmp_path, task="cars")
    text(root / "dtd" / "test.txt", "images/d.png 0", "images/e.png 9")
    with pytest.raises(DataError, match="image 'dtd/images/e.png' has label 9, expected 0 to 1"):
        read("vtab", tmp_path, task="dtd")


def test_dsprites_factors_are_classes(tmp_path: Path) -> None:
    latents = np.array([(0, s, 0, 0, x, 0) for s in range(3) for x in range(8)])
    images = np.random.default_rng(0).integers(0, 2, (24, 64, 64), dtype=np.uint8)
    file = tmp_path / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    np.savez(file, imgs=images, latents_classes=latents)
    data = read("dsprites", tmp_path, test_fraction=0.25)
    assert data.classes == ["shape 0", "shape 1", "shape 2"] and np.bincount(data.test.labels).tolist() == [2, 2, 2]
    shown = {tuple(image.flatten().tolist()): label for image, label in zip(images * 255, latents[:, 1])}
    for image, label in zip(data.train.fetch(np.arange(18)), data.train.labels):
        assert shown[tuple(image.flatten().tolist())] == label
    binned = read("dsprites", tmp_path, label="x", bins=4, images=None, test_fraction=0.5)
    assert binned.classes == ["x 0", "x 1", "x 2", "x 3"] and np.bincount(binned.train.labels).tolist() == [3] * 4
    file.write_bytes(b"broken")
    with pytest.raises(DataError, match="is not dSprites as published"):
        read("dsprites", tmp_path)
