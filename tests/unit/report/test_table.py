"""The numbers of a table, against scipy; what is missing, failed or undefined; and that one edit of the file changes it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from hdx.config.validate import load
from hdx.errors import ConfigError
from hdx.report.cells import overrides_of, run_folder
from hdx.report.notes import command
from hdx.report.table import Table, make_table
from hdx.report.table_file import read_table

Finish = Callable[..., None]
Edit = Callable[..., None]
LDA, NCM = [0.81, 0.84, 0.8], [0.7, 0.78, 0.71]


def table(conf: Path, tmp_path: Path, *words: str) -> Table:
    return make_table(read_table("toy", [conf]), [f"output_dir={tmp_path}/out", *words], [conf])


def finish_all(conf: Path, tmp_path: Path, finish: Finish, ncm_seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    cells = {cell.row.label: cell for cell in table(conf, tmp_path).cells}
    for seed, value in enumerate(LDA):
        finish(cells["LDA"].config, seed, {"acc_last": value, "forgetting": None})
    for seed in ncm_seeds:
        finish(cells["NCM"].config, seed, {"acc_last": NCM[seed], "forgetting": 0.1 * seed})


def test_means_intervals_and_paired_differences(conf: Path, tmp_path: Path, finish: Finish) -> None:
    finish_all(conf, tmp_path, finish)
    entries = table(conf, tmp_path).entries
    ours, paired = entries["LDA"]["last"].ours, entries["NCM"]["last"].paired
    assert ours is not None and paired is not None and ours.half is not None and paired.half is not None
    low, high = scipy.stats.t.interval(0.95, 2, 100 * np.mean(LDA), scipy.stats.sem(100 * np.array(LDA)))
    assert (ours.mean, ours.n) == (pytest.approx(100 * np.mean(LDA)), 3)
    assert (ours.mean - ours.half, ours.mean + ours.half) == (pytest.approx(low), pytest.approx(high))
    interval = scipy.stats.ttest_rel(100 * np.array(NCM), 100 * np.array(LDA)).confidence_interval(0.95)
    assert (paired.mean - paired.half, paired.mean + paired.half) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert entries["LDA"]["last"].paired is None and entries["theirs"]["last"].ours is None
    assert entries["LDA"]["last"].difference == pytest.approx(100 * np.mean(LDA) - 92.1)


def test_a_difference_only_within_one_metric(conf: Path, tmp_path: Path, finish: Finish) -> None:
    finish_all(conf, tmp_path, finish)
    entry = table(conf, tmp_path).entries["LDA"]["forgotten"]
    assert entry.published is not None and entry.published.metric == "bwt"
    assert entry.difference is None and entry.ours is None
    assert entry.cell.undefined == (0, 1, 2) and entry.cell.missing == ()


def test_pairs_are_the_shared_seeds(conf: Path, tmp_path: Path, finish: Finish) -> None:
    finish_all(conf, tmp_path, finish, ncm_seeds=(1, 2))
    entry = table(conf, tmp_path).entries["NCM"]["last"]
    assert entry.cell.missing == (0,)
    assert entry.ours is not None and (entry.ours.n, entry.ours.half) == (2, None)
    assert entry.paired is not None and (entry.paired.n, entry.paired.half) == (2, None)
    assert entry.paired.mean == pytest.approx(100 * np.mean([NCM[1] - LDA[1], NCM[2] - LDA[2]]))


def test_missing_failed_and_the_command_that_fills(conf: Path, tmp_path: Path, finish: Finish) -> None:
    finish_all(conf, tmp_path, finish, ncm_seeds=(1,))
    cell = table(conf, tmp_path).entries["NCM"]["last"].cell
    assert cell.missing == (0, 2) and cell.config is not None
    assert command(cell) == f"hdx sweep +exp=fsa_na head=ncm backbone=conv4 output_dir={tmp_path}/out seed=0,2"
    folder = run_folder(cell.config, 2)
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps({"state": "failed", "reason": "disk full"}))
    cell = table(conf, tmp_path).entries["NCM"]["last"].cell
    assert cell.failed == {2: "disk full"} and command(cell).endswith("seed=0,2 --retry-failed")


def test_a_cell_is_the_run_that_its_command_makes(conf: Path, tmp_path: Path) -> None:
    for cell in table(conf, tmp_path).cells:
        if cell.config is not None:
            config = load([*cell.overrides, "seed=2"], [conf])
            assert run_folder(cell.config, 2) == Path(config["output_dir"]) / "runs" / config.run_id


def test_presets_of_row_and_column_are_joined(conf: Path, edit: Edit) -> None:
    edit(lambda content: content["columns"][0].update(set=["+exp=[setting_cifar100]", "trainer.lr=0.1"]))
    spec = read_table("toy", [conf])
    words = overrides_of(spec, spec.rows[1], spec.columns[0])
    assert words == ("+exp=[fsa_na,setting_cifar100]", "head=ncm", "backbone=conv4", "trainer.lr=0.1")
    assert load(words).exp == "fsa_na+setting_cifar100"


def test_wrong_overrides_are_refused_once_each_with_their_place(conf: Path, tmp_path: Path, edit: Edit) -> None:
    edit(lambda content: content["rows"][1].update(run=["+exp=fsa_na", "head=nmc", "protocol.fist=3"]))
    with pytest.raises(ConfigError) as caught:
        table(conf, tmp_path)
    place = "table toy: row 'NCM', column 'last' and 1 more cells: "
    assert [line.split("  (")[0] for line in caught.value.problems] == [
        f"{place}head 'nmc' is unknown. Did you mean 'ncm'?",
        f"{place}protocol.fist is unknown to protocol=class_incremental. Did you mean 'protocol.first'?",
    ]


def test_one_edit_changes_a_number_a_row_or_the_metric(conf: Path, tmp_path: Path, finish: Finish, edit: Edit) -> None:
    finish_all(conf, tmp_path, finish)

    def change(content: dict[str, Any]) -> None:
        content["rows"][0]["published"]["last"]["value"] = 80.0
        content["rows"].append({"label": "cosine", "run": ["+exp=fsa_na", "head=ncm_cosine"]})
        content["columns"][0]["metric"] = "forgetting"

    edit(lambda content: content["rows"][0]["published"]["last"].update(value=80.0))
    assert table(conf, tmp_path).entries["LDA"]["last"].difference == pytest.approx(100 * np.mean(LDA) - 80)
    edit(change)
    changed = table(conf, tmp_path).entries
    assert changed["cosine"]["last"].cell.missing == (0, 1, 2)
    assert changed["NCM"]["last"].ours is not None and changed["NCM"]["last"].ours.mean == pytest.approx(10)
    assert changed["LDA"]["last"].difference is None


def test_over_episodes(conf: Path, tmp_path: Path, finish: Finish, edit: Edit) -> None:
    edit(over="episodes", seeds=[0])
    cells = {cell.row.label: cell for cell in table(conf, tmp_path).cells}
    rng = np.random.default_rng(0)
    a, b = rng.random(200), rng.random(200)
    finish(cells["LDA"].config, 0, {"acc_last": a.mean()}, episodes={"acc_last": a.tolist()})
    finish(cells["NCM"].config, 0, {"acc_last": b.mean()}, episodes={"acc_last": b.tolist()})
    entry = table(conf, tmp_path).entries["NCM"]["last"]
    assert entry.ours is not None and entry.paired is not None and entry.paired.half is not None
    assert (entry.ours.n, entry.paired.n) == (200, 200)
    assert entry.paired.half == pytest.approx(100 * scipy.stats.t.ppf(0.975, 199) * np.std(b - a, ddof=1) / math.sqrt(200))


def test_a_thousand_other_runs_cost_nothing(conf: Path, tmp_path: Path, finish: Finish) -> None:
    """A cell looks at its own paths only: a folder of runs that cannot even be listed changes nothing."""
    finish_all(conf, tmp_path, finish)
    others = tmp_path / "out" / "runs" / "other"
    others.mkdir()
    (others / "0badbad0-s0").write_text("no folder at all")
    assert table(conf, tmp_path).entries["LDA"]["last"].ours is not None
