"""Every table that ships: its header, its overrides, its published numbers, and that its cells run on data of its format."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torchvision

from hdx.config import files, grid, paths
from hdx.config.validate import load
from hdx.engine.launch import launch
from hdx.engine.report import Report
from hdx.report.cells import overrides_of
from hdx.report.layout import lay_out
from hdx.report.table import make_table, trusted
from hdx.report.table_file import read_table
from hdx.report.text import terminal
from hdx.store.rundir import RunDir

CONF = paths.packaged()
TABLES = files.names("table", [CONF])


@pytest.mark.parametrize("name", TABLES)
def test_header_and_title(name: str) -> None:
    head = files.header(CONF / "table" / f"{name}.yaml")
    assert head.summary and head.source and head.command == f"hdx table {name}"


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_composes_as_its_command_would(name: str) -> None:
    spec = read_table(name)
    words = [overrides_of(spec, row, column) for row in spec.rows if row.run is not None for column in spec.columns]
    configs = grid.each(words)
    assert not [problem for result in configs if isinstance(result, list) for problem in result]
    for chosen in list(zip(words, configs))[:: max(1, len(words) // 3)]:
        alone = load(chosen[0])
        assert (alone.data, alone.run_id) == (chosen[1].data, chosen[1].run_id)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", TABLES)
def test_it_prints_without_runs(name: str, tmp_path: Path) -> None:
    spec = read_table(name)
    text = terminal(lay_out(make_table(spec, [f"output_dir={tmp_path}"])))
    assert text.startswith(spec.title) and all(row.label in text for row in spec.rows)
    assert all(line in text for line in spec.caption)
    if spec.unavailable and any(row.run is not None for row in spec.rows):
        assert f"Not run here: {spec.unavailable}" in text


def test_published_numbers() -> None:
    """The ones a reader would look for, and that what is not verified is flagged."""
    ranpac, nmc, teen = read_table("ranpac_vitb16"), read_table("nmc_baseline"), read_table("teen_fscil")
    assert [ranpac.row("RanPAC").published[column.label].value for column in ranpac.columns] == [
        92.2,
        77.9,
        62.4,
        90.3,
        79.9,
        92.2,
        77.5,
    ]
    assert [ranpac.row("NCM").published[column.label].value for column in ranpac.columns] == [
        83.4,
        61.2,
        49.3,
        85.1,
        73.1,
        88.4,
        37.7,
    ]
    last, average = (nmc.row("NMC").published[column.label] for column in nmc.columns)
    assert (last.value, last.metric, trusted(last)) == (83.70, "acc_last", False)
    assert (average.value, average.metric, trusted(average)) == (88.53, "acc_avg_inc", True)
    assert [number.value for number in teen.row("TEEN").published.values()] == [52.08, 21.45, 52.64, 63.10, 59.31, 66.63]
    assert {number.value for row in read_table("fsa_settings").rows for number in row.published.values()} == {None}


def test_the_settings_of_fsa_are_those_of_its_presets() -> None:
    spec = read_table("fsa_settings")
    for column, method in zip(spec.columns, ("fsa_na", "fsa_film", "fsa_full")):
        words = overrides_of(spec, spec.rows[0], column)
        assert load(words).group_hash == load([f"+exp=[{method},setting_cifar100]", "backbone=efficientnet_b0"]).group_hash


@pytest.fixture
def cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """100 classes of 3 training and 1 test images as CIFAR-100's files hold them, their MD5 sums in torchvision's table."""
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    centres = rng.integers(60, 196, (100, 1, 3072))

    def dump(name: str, record: object) -> tuple[str, str]:
        (folder / name).write_bytes(pickle.dumps(record))
        return name, hashlib.md5((folder / name).read_bytes()).hexdigest()

    def images(each: int) -> dict[str, object]:
        pixels = (centres + rng.integers(-10, 11, (100, each, 3072))).astype(np.uint8)
        return {"data": pixels.reshape(-1, 3072), "fine_labels": np.repeat(np.arange(100), each).tolist()}

    reader = torchvision.datasets.CIFAR100
    monkeypatch.setattr(reader, "train_list", [list(dump("train", images(3)))])
    monkeypatch.setattr(reader, "test_list", [list(dump("test", images(1)))])
    name, md5 = dump("meta", {"fine_label_names": [f"class {i:03}" for i in range(100)]})
    monkeypatch.setattr(reader, "meta", {"filename": name, "key": "fine_label_names", "md5": md5})
    return folder.parent


def test_a_table_whose_data_is_elsewhere_runs_on_data_of_the_format(cifar100: Path, tmp_path: Path) -> None:
    """NMC on CIFAR-100's files with a small vision transformer: its cells fill, and stand beside the published ones."""
    small = ["backbone.model=test_vit", "backbone.pretrained=false", "backbone.image_size=32"]
    words = [f"output_dir={tmp_path}/out", f"data_dir={cifar100}", *small]
    spec = read_table("nmc_baseline")
    cell = make_table(spec, words).entries["NMC"]["last accuracy"].cell
    for config in cell.configs(cell.missing):
        launch(config, RunDir.of(config["output_dir"], config.run_id), Report(), None)  # type: ignore[arg-type]
    entries = make_table(spec, words).entries["NMC"]
    last, average = entries["last accuracy"], entries["average incremental accuracy"]
    assert last.ours is not None and average.ours is not None and last.cell.missing == ()
    assert last.ours.mean > 20 and average.ours.mean >= last.ours.mean  # 1 % by chance; the classes are easy to tell apart
    assert last.difference == pytest.approx(last.ours.mean - 83.70)
    assert average.difference == pytest.approx(average.ours.mean - 88.53)
