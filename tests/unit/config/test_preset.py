"""A run whose preset was changed in what it is about carries a mark."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdx.config import files, grid, paths
from hdx.config.preset import DEFINING, parts_of
from hdx.config.validate import load, load_saved
from hdx.store.rows import read_row


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["+exp=fsa_film"], {}),
        (["+exp=fsa_film", "adapter=film", "head.ridge=2", "dataset=omniglot", "seed=3"], {}),
        (["+exp=fsa_film", "adapter=bn"], {"adapter": "film"}),
        (["+exp=fsa_film", "head=ncm", "adapter=bn"], {"adapter": "film", "head": "lda"}),
        (["+exp=[fsa_film,ncm_frozen]"], {}),
        (["adapter=full", "method=finetune", "head=linear"], {}),
    ],
)
def test_what_was_exchanged(words: list[str], expected: dict[str, str], tmp_path: Path) -> None:
    config = load(words)
    assert config.exchanged == expected
    assert config.replace(output_dir="elsewhere", seed=5).exchanged == expected
    file = tmp_path / "runs" / config.run_id / "config.yaml"
    config.save(file)
    again = load_saved(file)
    assert (again.exchanged, again.run_id, again.data) == (expected, config.run_id, config.data)
    mark = ", ".join(f"{group} (not {name})" for group, name in expected.items()) or None
    assert read_row(file.parent)["exchanged"] == mark


def test_grids_mark_their_runs_as_single_runs_are() -> None:
    runs = grid.expand(["+exp=fsa_na,fsa_film", "head=lda,ncm"]).runs
    assert [run.config.exchanged for run in runs] == [load(run.overrides).exchanged for run in runs]
    assert [bool(run.config.exchanged) for run in runs] == [False, True, False, True]


def test_every_packaged_preset_is_what_it_says() -> None:
    folders = paths.config_dirs()
    for name in files.names("exp", folders):
        assert set(parts_of([name], folders)) <= set(DEFINING)
        if not name.startswith("setting"):
            assert load([f"+exp={name}"]).exchanged == {}, name
