"""`hdx data`: what is here, planted faults each in a line, a contact sheet, counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Inside = Callable[..., tuple[int, str, str]]
Document = Callable[..., Any]


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root, seed = tmp_path / "photos", 0
    for split, n_images in (("train", 5), ("test", 3)):
        for cls in ("ant", "bee"):
            (root / split / cls).mkdir(parents=True)
            for i in range(n_images + (cls == "bee" and split == "train")):
                picture(seed := seed + 1).save(root / split / cls / f"{i}.jpg", quality=95)
    return root


def test_a_good_dataset_has_nothing(inside: Inside, photos: Path) -> None:
    code, out, _ = inside("data", "check", "folder", f"dataset.path={photos}")
    assert (code, out) == (0, "folder: 17 images (11 train, 6 test), 2 classes: nothing found\n")


def test_planted_faults_are_each_named_in_a_line(inside: Inside, photos: Path) -> None:
    (photos / "train/ant/2.jpg").write_bytes((photos / "train/ant/2.jpg").read_bytes()[:300])  # truncated
    (photos / "test/ant/copy.jpg").write_bytes((photos / "train/ant/1.jpg").read_bytes())
    Image.open(photos / "train/bee/4.jpg").resize((96, 80)).save(photos / "test/ant/near.jpg", quality=60)
    code, out, _ = inside("data", "check", "folder", f"dataset.path={photos}")
    lines = out.splitlines()
    assert code == 2 and len(lines) == 4
    assert lines[0].startswith("broken: 'train/ant/2.jpg': ")
    assert lines[1] == "in train and test: test 'test/ant/copy.jpg' equals train 'train/ant/1.jpg'"
    assert lines[2].startswith("in train and test: test 'test/ant/near.jpg' shows the same (")
    assert lines[2].endswith("as train 'train/bee/4.jpg'; classes 'ant' and 'bee'")
    assert lines[3] == "folder: 18 images (10 train, 8 test), 2 classes: 3 problems"
    code, out, _ = inside("data", "check", "folder", f"dataset.path={photos}", "--json")
    assert code == 2 and [problem["kind"] for problem in json.loads(out)["problems"]] == ["broken"] + ["in train and test"] * 2


def test_broken_files_of_datasets_that_refuse_them_are_all_named(inside: Inside, tmp_path: Path) -> None:
    for seed, (domain, cls) in enumerate([("ink", "ant"), ("ink", "bee"), ("oil", "ant"), ("oil", "bee")]):
        (tmp_path / "art" / domain / cls).mkdir(parents=True)
        for i in range(4):
            picture(10 * seed + i).save(tmp_path / "art" / domain / cls / f"{i}.png")
    (tmp_path / "art/ink/ant/0.png").write_bytes(b"")
    (tmp_path / "art/oil/bee/3.png").write_bytes(b"no image")
    code, out, _ = inside("data", "check", "domain_folders", f"dataset.path={tmp_path / 'art'}")
    assert code == 2
    assert "broken: 'ink/ant/0.png': is empty" in out and "broken: 'oil/bee/3.png': is no image that Pillow knows" in out
    assert "domain_folders: 14 images" in out
    code, _, err = inside("data", "stats", "domain_folders", f"dataset.path={tmp_path / 'art'}")  # nobody collects here
    assert code == 2 and "2 files in" in err


def test_ls_says_what_is_here_and_where_it_was_looked_for(document: Document, inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "omniglot.zip").write_bytes(b"")
    found = {row["name"]: row for row in document("data", "ls", f"data_dir={tmp_path / 'd'}")}
    assert found["omniglot"]["here"] and found["omniglot"]["found"] == [str(tmp_path / "d" / "omniglot.zip")]
    assert not found["caltech101"]["here"] and "caltech101.zip" in found["caltech101"]["looked_for"]
    assert found["digits"]["here"] and not found["folder"]["here"]
    assert found["sign_digits"]["licence"] == "Apache-2.0" and found["cifar100"]["classes"] == 100
    code, out, _ = inside("data", "ls", "caltech101", f"data_dir={tmp_path / 'd'}")
    assert code == 0 and out.splitlines()[0].startswith("missing  caltech101  Photographs of 100 kinds")
    assert inside("data", "ls", "caltch")[2].startswith("hdx: dataset 'caltch' is unknown")


def test_show_is_a_sheet_with_a_row_a_class(inside: Inside, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    code, said, _ = inside("data", "show", "folder", f"dataset.path={photos}", "--out", str(out), "--images", "4")
    assert (code, said) == (0, f"{out}: 2 of 2 classes, train split\n")
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (2 * 66, 150 + 4 * 66, 3)
    for row in range(2):
        for column in range(4):
            tile = sheet[row * 66 : row * 66 + 64, 150 + column * 66 : 150 + column * 66 + 64]
            assert tile.std() > 10  # a picture, and no two alike
    code, _, err = inside("data", "show", "folder", f"dataset.path={photos}", "--out", str(tmp_path / "no" / "sheet.png"))
    assert code == 2 and "cannot write" in err


def test_stats_are_the_counts(document: Document, inside: Inside, photos: Path) -> None:
    found = document("data", "stats", "folder", f"dataset.path={photos}")
    assert found["train"] == {"images": 11, "fewest": ["ant", 5], "median": 5.5, "most": ["bee", 6], "imbalance": 1.2}
    assert found["test"]["images"] == 6 and found["file_sizes"]["median"] == [48, 40] and found["image_shape"] == [3, 64, 64]
    pixels = [np.asarray(Image.open(file)).mean((0, 1)) / 255 for file in sorted((photos / "train").rglob("*.jpg"))]
    np.testing.assert_allclose(found["mean"], np.mean(pixels, 0), atol=0.03)
    assert (
        "train       11 images; a class 5 (ant) to 6 (bee), median 5.5, ratio 1.2"
        in inside("data", "stats", "folder", f"dataset.path={photos}")[1]
    )


def test_what_cannot_be_got_or_named_is_said(inside: Inside) -> None:
    assert inside("data", "get", "caltech101")[2].startswith("hdx: dataset caltech101 has no address to download from")
    assert inside("data", "check")[2].startswith("hdx: which dataset?")
    assert inside("data", "check", "digits", "omniglot")[2].startswith("hdx: 'omniglot' is one argument too many")
    assert "is unknown" in inside("data", "check", "caltch101")[2]
