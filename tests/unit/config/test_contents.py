"""What the files hold that a config reads decides which run it is, and nothing else about them does."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from hdx.config import schema
from hdx.config.identity import about, group_hash
from hdx.config.paths import absolute_in
from hdx.config.validate import load


def _photos(root: Path, last: str = "8") -> Path:
    for i in range(8):
        (root / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
        (root / f"class{i % 2}" / f"{i}.png").write_text(f"picture {i}")
    (root / "class1" / "7.png").write_text(f"picture {last}")
    return root


def _zip(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("class/1.png"), content)
    return path


def _hash(*words: str) -> str:
    return load(words).group_hash


def test_a_moved_file_is_the_same_and_a_namesake_is_not(tmp_path: Path) -> None:
    paths = [_zip(tmp_path / name / "photos.zip", content) for name, content in zip(("here", "there", "other"), "aab")]
    here, there, other = (_hash("dataset=folder", f"dataset.path={path}") for path in paths)
    assert here == there != other
    os.utime(paths[0], (1, 1))
    renamed = paths[0].rename(tmp_path / "pictures.zip")
    assert _hash("dataset=folder", f"dataset.path={renamed}") == here


def test_one_byte_of_one_picture_makes_another_run_and_a_moved_folder_does_not(tmp_path: Path) -> None:
    root, other = _photos(tmp_path / "data"), _photos(tmp_path / "other" / "data", "9")
    here = _hash("dataset=folder", f"dataset.path={root}")
    assert _hash("dataset=folder", f"dataset.path={other}") != here
    shutil.copy(root / "class0" / "0.png", root / "class0" / "8.png")
    assert _hash("dataset=folder", f"dataset.path={root}") != here
    (root / "class0" / "8.png").unlink()
    os.utime(root / "class0" / "0.png", (1, 1))
    moved = shutil.move(root, tmp_path / "moved")
    assert _hash("dataset=folder", f"dataset.path={moved}") == here
    assert _hash("dataset=folder", "dataset.path=moved", f"data_dir={tmp_path}") == here


@pytest.mark.parametrize("option", ["backbone.checkpoint", "teacher.checkpoint"])
def test_every_byte_of_a_file_of_weights_counts(tmp_path: Path, option: str) -> None:
    more = ["teacher=model", "method=distill", "adapter=full", "head=linear", "loss=kd"] if "teacher" in option else []
    found = []
    for middle in (b"a", b"b"):
        file = tmp_path / "weights.safetensors"
        file.write_bytes(bytes(200_000) + middle + bytes(200_000))
        found.append(_hash(*more, f"{option}={file}"))
    assert found[0] != found[1] and _hash(*more, f"{option}={tmp_path}/gone.pt") not in found


@pytest.mark.parametrize(
    ("words", "group", "option", "name"),
    [
        (["dataset=caltech101"], "dataset", "path", "caltech101.zip"),
        (["dataset=sign_digits"], "dataset", "path", "sign_digits.zip"),
        (["dataset=omniglot"], "dataset", "path", "omniglot.zip"),
        (["dataset=omniglot_runs"], "dataset", "omniglot_path", "omniglot.zip"),
        (["protocol=few_shot_class_incremental", "protocol.lists=cub200"], "protocol", "lists", "fscil_splits.zip"),
    ],
)
def test_what_is_found_under_data_dir_counts_where_it_is_not_the_known_file(
    tmp_path: Path, words: list[str], group: str, option: str, name: str
) -> None:
    words = [*words, f"data_dir={tmp_path}"]
    without = load(words)
    assert "files" not in about(without.data)[group]  # composes without the data, and is the run of the known file
    found = [without.group_hash]
    for content in "ab":
        file = _zip(tmp_path / name, content)
        config = load(words)
        assert about(config.data)[group]["files"] == {option: [hashlib.sha256(file.read_bytes()).hexdigest()]}
        found.append(config.group_hash)
    assert len(set(found)) == 3


def test_the_known_file_is_the_default_wherever_it_lies(tmp_path: Path, data_dir: Path) -> None:
    usual = _hash("dataset=sign_digits", f"data_dir={tmp_path}")
    assert _hash("dataset=sign_digits", f"data_dir={data_dir}") == usual
    assert _hash("dataset=sign_digits", f"dataset.path={data_dir / 'sign_digits.zip'}") == usual


@pytest.mark.parametrize("name", ["caltech101", "sign_digits", "omniglot", "omniglot_runs"])
def test_known_digests_are_those_of_the_files_at_hand(name: str, data_dir: Path) -> None:
    for file, digest in schema.describe("dataset", name).facts["known"].items():
        assert hashlib.sha256((data_dir / file).read_bytes()).hexdigest() == digest


def test_a_dataset_made_of_others_reads_what_they_read(tmp_path: Path) -> None:
    words = ["dataset=cross_domain", f"data_dir={tmp_path}"]
    found = [_hash(*words)]
    for name in ("omniglot.zip", "caltech101.zip"):
        _zip(tmp_path / name, name)
        found.append(_hash(*words))
    assert len(set(found)) == 3


def test_both_folders_of_omniglot_count_where_one_is_named(tmp_path: Path) -> None:
    for part in ("images_background", "images_evaluation"):
        (tmp_path / part / "Greek").mkdir(parents=True)
        (tmp_path / part / "Greek" / "1.png").write_text(part)
    named = ["dataset=omniglot", f"dataset.path={tmp_path}/images_background"]
    looked_for = ["dataset=omniglot", f"data_dir={tmp_path}"]
    before = [_hash(*named), _hash(*looked_for)]
    assert before[0] == before[1]
    (tmp_path / "images_evaluation" / "Greek" / "1.png").write_text("other")
    assert before[0] != _hash(*named) == _hash(*looked_for)


def test_absolute_paths_leave_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _zip(tmp_path / "photos.zip", "a")
    (tmp_path / "weights.pt").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    config = load(["dataset=folder", "dataset.path=photos.zip", "backbone.checkpoint=weights.pt"])
    moved = absolute_in(config)
    assert moved["dataset.path"] == str(tmp_path / "photos.zip") and moved["backbone.checkpoint"] == str(tmp_path / "weights.pt")
    assert group_hash(moved.data) == config.group_hash
