"""What makes two configs the same group of runs."""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path

import pytest
import yaml

from hdx.config.config import Config
from hdx.config.identity import LATER, fingerprint, group_hash
from hdx.config.validate import load
from hdx.errors import ConfigError


@pytest.mark.parametrize(
    "override",
    [
        "seed=3",
        "data_dir=elsewhere",
        "output_dir=elsewhere",
        "devices=2",
        "nodes=2",
        "accelerator=cpu",
        "threads=1",
        "workers=0",
        "tracker=wandb",
        "trainer.checkpoint_seconds=1",
        "accelerator=gpu",
    ],
)
def test_where_and_with_what_does_not_count(override: str) -> None:
    assert load([override]).group_hash == load().group_hash


@pytest.mark.parametrize(
    "override",
    ["head.ridge=2", "head=ncm", "precision=bf16-mixed", "feature_dtype=float16", "trainer.batch_size=32", "protocol.step=3"],
)
def test_what_is_computed_counts(override: str) -> None:
    assert load([override]).group_hash != load().group_hash


def test_options_that_came_later_leave_older_runs_their_names() -> None:
    config = load(["trainer.augment=[crop]", "backbone=resnet20", "protocol=offline"])
    older = copy.deepcopy(config.data)
    for group, option, _ in LATER:
        older[group].pop(option, None)
    assert "width" in older["backbone"] and "stem" not in older["backbone"] and "labels" not in older["protocol"]
    assert group_hash(older) == config.group_hash
    stored = [load(["trainer.augment=[crop]", "trainer.crops=2", f"trainer.crop_seed={seed}"]).group_hash for seed in (0, 1)]
    assert len({config.group_hash, *stored}) == 3


def test_a_config_saved_before_an_option_existed_has_its_default(tmp_path: Path) -> None:
    config, file = load(["trainer.lr=0.5"]), tmp_path / "config.yaml"
    config.save(file)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if line.split(":")[0].strip() not in ("crops", "crop_seed", "ridge")))
    again = Config.load(file)
    assert again.data == config.data and again.run_id == config.run_id


def test_run_id() -> None:
    config = load(["seed=3"])
    assert len(config.group_hash) == 8 and int(config.group_hash, 16) >= 0
    assert config.run_id == f"custom/{config.group_hash}-s3"
    assert config.replace(seed=4).run_id == f"custom/{config.group_hash}-s4"
    assert config.replace(precision="bf16-mixed").group_hash != config.group_hash
    assert config["seed"] == 3  # replace copies


def test_a_moved_file_is_the_same_and_a_namesake_is_not(tmp_path: Path) -> None:
    paths = [tmp_path / name / "photos.zip" for name in ("here", "there", "other")]
    for path, content in zip(paths, ("a", "a", "b")):
        path.parent.mkdir()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo("class/1.png"), content)
    here, there, other = (load(["dataset=folder", f"dataset.path={path}"]).group_hash for path in paths)
    assert here == there != other


def test_fingerprints(tmp_path: Path) -> None:
    assert fingerprint(str(tmp_path / "gone.pt")) == "gone.pt"
    (tmp_path / "set" / "cat").mkdir(parents=True)
    one = fingerprint(str(tmp_path / "set"))
    assert one.startswith("set:") and fingerprint(f"{tmp_path}/set/") == one
    (tmp_path / "set" / "dog").mkdir()
    assert fingerprint(str(tmp_path / "set")) != one


def test_saved_and_loaded(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    config = load(["seed=3", "head.ridge=1e-5", "trainer.milestones=[0.5]"])
    config.save(file)
    again = Config.load(file)
    assert (again.data, again.exp, again.choices, again.run_id) == (config.data, config.exp, config.choices, config.run_id)
    assert again["head.ridge"] == 1e-5
    assert list(again.data) == list(config.data)
    assert yaml.safe_load(file.read_text())["trainer"]["milestones"] == [0.5]


def test_the_identity_of_a_saved_config_outlives_its_files(tmp_path: Path) -> None:
    photos = tmp_path / "photos.zip"
    photos.write_bytes(b"zip")
    config = load(["dataset=folder", f"dataset.path={photos}"])
    config.save(tmp_path / "config.yaml")
    photos.unlink()
    assert Config.load(tmp_path / "config.yaml").group_hash == config.group_hash


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "expected a mapping, got list"),
        ("a: [", "is no plain YAML"),
        ("seed: abc\n", "seed: expected an int"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Config.load(file)
    assert any(words in line for line in caught.value.problems)
    assert all("\n" not in line for line in caught.value.problems)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.load(tmp_path / "config.yaml")
