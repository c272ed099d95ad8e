"""Tables in a folder of their own, and run records as the engine writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hdx.config.config import Config
from hdx.report.cells import run_folder

TOY = """\
# A toy.
# source: nobody
# hdx table toy
title: Toy
caption: a note
metric: acc_last
seeds: [0, 1, 2]
set: [backbone=conv4]
compare_to: LDA
columns:
  - {label: last}
  - {label: forgotten, metric: forgetting}
rows:
  - label: LDA
    run: [+exp=fsa_na]
    published:
      last: {value: 92.10, ci: 0.3, paper: Nobody 2020, table: "3", setting: digits, metric: acc_last, certainty: source}
      forgotten: {value: 7.5, paper: Nobody 2020, setting: digits, metric: bwt, certainty: memory}
  - {label: NCM, run: [+exp=fsa_na, head=ncm]}
  - label: theirs
    run: null
    published:
      last: {value: 95.5, paper: Somebody 2021, setting: digits & more, metric: acc_last, certainty: source}
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A folder of config files with the table `toy`."""
    folder = tmp_path / "conf_of_mine"
    (folder / "table").mkdir(parents=True)
    (folder / "table" / "toy.yaml").write_text(TOY)
    return folder


@pytest.fixture
def edit(conf: Path) -> Callable[..., None]:
    """`edit(key=value)` changes keys of the table; `edit(function)` passes its content through a function."""

    def change(function: Callable[[dict[str, Any]], None] | None = None, **values: Any) -> None:
        file = conf / "table" / "toy.yaml"
        content = yaml.safe_load(file.read_text())
        content.update(values)
        if function is not None:
            function(content)
        file.write_text(yaml.safe_dump(content, sort_keys=False))

    return change


@pytest.fixture
def finish() -> Callable[..., None]:
    """`finish(config, seed, metrics)` leaves the record of a finished run of sessions with the given accuracy matrix."""

    def write(
        config: Config, seed: int, metrics: Mapping[str, float | None], matrix: list[list[float]] | None = None, **more: Any
    ) -> None:
        folder = run_folder(config, seed)
        folder.mkdir(parents=True, exist_ok=True)
        rows = matrix or [[1.0], [0.5, 0.75]]
        sessions = [
            {"index": i, "classes_seen": 2 * (i + 1), "acc": sum(row) / len(row), "acc_by_session": row}
            for i, row in enumerate(rows)
        ]
        record = {
            "metrics": dict(metrics),
            "sessions": sessions,
            "trainable_parameters": 0,
            "images_forwarded": 100,
            "images_trained": 0,
            "n_sessions": len(rows),
            "seconds": {"wall": 1.5, "sessions": 2.0, "gain_predictor": 0.5},
            **more,
        }
        config.replace(seed=seed).save(folder / "config.yaml")
        (folder / "record.json").write_text(json.dumps(record))

    return write
