"""The index: rows are what the directories say, whatever becomes of its file."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.run_dirs import write_run

from hdx.errors import ConfigError
from hdx.store.filters import select
from hdx.store.index import Index, value
from hdx.store.lease import Lease
from hdx.store.rows import read_row

Make = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    return partial(write_run, tmp_path)


def settle(folder: Path) -> None:
    """Make every file look older than the resolution that the index allows for."""
    old = time.time() - 100
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (old, old))


def by_id(output_dir: Path) -> dict[str, dict[str, Any]]:
    return {row["run_id"]: row for row in Index(output_dir).refresh().runs()}


def test_a_row_says_what_the_directory_says(make_run: Make, tmp_path: Path) -> None:
    folder = make_run("fsa/aaaaaaaa-s3", acc=0.75, head="lda_within", ridge=0.5)
    row = by_id(tmp_path)["fsa/aaaaaaaa-s3"]
    assert (row["exp"], row["group"], row["seed"], row["state"]) == ("fsa", "aaaaaaaa", 3, "finished")
    assert (row["dataset"], row["head"], row["protocol"]) == ("digits", "lda_within", "class_incremental")
    assert row["options"]["head.ridge"] == 0.5 and row["options"]["seed"] == 3 and row["options"]["precision"] == "32"
    assert row["metrics"] == {"acc_last": 0.75, "acc_avg_inc": 0.875, "gain_predictor": None}
    assert (row["session_accuracies"], row["n_sessions"], row["sessions_done"]) == ([1.0, 0.75], 2, 2)
    assert (row["trainable_parameters"], row["images_forwarded"], row["seconds"]) == (7, 99, 3.0)
    assert row["reason"] is None and 0 <= row["age"] < 60 and row["dir"] == str(folder)
    assert [value(row, key) for key in ("exp", "acc_last", "head.ridge", "nothing")] == ["fsa", 0.75, 0.5, None]


def test_states(make_run: Make, tmp_path: Path) -> None:
    make_run("a/00000000-s0", "new")
    make_run("a/11111111-s0", "running")
    make_run("a/22222222-s0", "failed", reason="DataError: image 7\n is damaged")
    make_run("a/33333333-s0", "interrupted", reason="stopped")
    alive = make_run("a/44444444-s0", "running")
    damaged = make_run("a/55555555-s0")
    (damaged / "record.json").write_text("{half")
    (make_run("a/66666666-s0") / "config.yaml").write_text("a: [")
    (make_run("a/77777777-s0") / "record.json").write_text('{"sessions": 3}')
    with Lease(alive):
        rows = by_id(tmp_path)
    states = {run_id[2]: (row["state"], row["reason"]) for run_id, row in rows.items()}
    assert states["0"] == ("new", None)
    assert states["1"][0] == "interrupted" and "is gone" in states["1"][1]
    assert states["2"] == ("failed", "DataError: image 7 is damaged")
    assert states["3"] == ("interrupted", "stopped")
    assert states["4"] == ("running", None) and rows["a/44444444-s0"]["pid"] == os.getpid()
    assert states["5"] == ("failed", "record.json is damaged; hdx rm a/55555555-s0 to redo it")
    assert states["6"][0] == "failed" and "config.yaml is no plain YAML" in states["6"][1]
    assert states["7"][0] == "failed" and "does not hold" in states["7"][1]


def test_where(make_run: Make, tmp_path: Path) -> None:
    for seed, acc in enumerate((0.5, 0.75, 1.0)):
        make_run(f"a/aaaaaaaa-s{seed}", acc=acc)
    make_run("b/bbbbbbbb-s0", acc=0.9, ridge=2.0)
    index = Index(tmp_path).refresh()
    assert [row["seed"] for row in index.runs({"exp": "a", "seed": [0, 2]})] == [0, 2]
    assert [row["run_id"] for row in index.runs({"acc_last": lambda acc: acc > 0.8})] == ["a/aaaaaaaa-s2", "b/bbbbbbbb-s0"]
    assert [row["exp"] for row in index.runs({"head.ridge": 2.0})] == ["b"]


def test_only_what_changed_is_read_again(make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(4):
        settle(make_run(f"a/aaaaaaaa-s{seed}"))
    Index(tmp_path).refresh()
    read: list[str] = []
    monkeypatch.setattr("hdx.store.index.read_row", lambda path: read.append(path.name) or read_row(path))
    assert len(Index(tmp_path).refresh().runs()) == 4 and read == []
    make_run("a/aaaaaaaa-s1", acc=0.125)
    shutil.rmtree(tmp_path / "runs/a/aaaaaaaa-s2")
    make_run("a/aaaaaaaa-s9")
    rows = by_id(tmp_path)
    assert sorted(read) == ["aaaaaaaa-s1", "aaaaaaaa-s9"]
    assert sorted(rows) == [f"a/aaaaaaaa-s{seed}" for seed in (0, 1, 3, 9)]
    assert rows["a/aaaaaaaa-s1"]["metrics"]["acc_last"] == 0.125
    assert sorted(by_id(tmp_path)) == sorted(rows)  # the removal was kept as well


def test_a_change_in_place_and_within_the_clocks_resolution_is_seen(make_run: Make, tmp_path: Path) -> None:
    folder = make_run("a/aaaaaaaa-s0", acc=0.25)
    assert by_id(tmp_path)["a/aaaaaaaa-s0"]["metrics"]["acc_last"] == 0.25
    file, times = folder / "record.json", (folder / "record.json").stat()
    file.write_text(file.read_text().replace("0.25", "0.75"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # same size, same time: as when both fall into one tick
    assert by_id(tmp_path)["a/aaaaaaaa-s0"]["metrics"]["acc_last"] == 0.75


@pytest.mark.parametrize("damage", ["garbage", "truncated", "flipped", "other"])
def test_a_damaged_file_is_built_again_with_one_warning(
    damage: str, make_run: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in range(40):
        settle(make_run(f"a/aaaaaaaa-s{seed}", acc=seed / 64))
    index = Index(tmp_path).refresh()
    wanted = {row["run_id"]: row["metrics"] for row in index.runs()}
    content = bytearray(index.file.read_bytes())
    if damage == "flipped":
        content = content.replace(b'"acc_last": 0.25', b'"acc_last": 0.75')
    new = {"garbage": b"no database" * 999, "truncated": content[: len(content) // 2], "flipped": content, "other": b""}[damage]
    index.file.write_bytes(new)
    with caplog.at_level(logging.WARNING, logger="hdx"):
        found = Index(tmp_path).refresh()
        assert {row["run_id"]: row["metrics"] for row in found.runs()} == wanted
        assert len([r for r in caplog.records if "is damaged" in r.message]) == (damage != "other")  # an empty file is a new one
        caplog.clear()
        assert {row["run_id"]: row["metrics"] for row in Index(tmp_path).refresh().runs()} == wanted
        assert not caplog.records
    assert index.file.read_bytes()[:6] == b"SQLite"


def test_the_index_may_be_deleted_or_locked_or_read_only(make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    settle(make_run("a/aaaaaaaa-s0"))
    index = Index(tmp_path).refresh()
    shutil.rmtree(tmp_path / "index")
    assert len(index.refresh().runs()) == len(Index(tmp_path).refresh().runs()) == 1
    monkeypatch.setattr("hdx.store.index.WAIT_S", 0.05)
    settle(make_run("a/aaaaaaaa-s1"))
    holder = sqlite3.connect(index.file, isolation_level=None)
    holder.execute("begin exclusive")
    assert len(Index(tmp_path).refresh().runs()) == 2
    holder.execute("rollback")
    holder.close()
    shutil.rmtree(tmp_path / "index")
    (tmp_path / "index").write_text("a file where the folder should be")
    assert len(Index(tmp_path).refresh().runs()) == 2
    assert Index(tmp_path / "nowhere").refresh().runs() == [] and not (tmp_path / "nowhere" / "runs").exists()


def test_many_processes_index_at_once(make_run: Make, tmp_path: Path) -> None:
    for seed in range(30):
        settle(make_run(f"a/aaaaaaaa-s{seed}", acc=seed / 32))
    code = (
        "import sys, json; from hdx.store.index import Index\n"
        "rows = [Index(sys.argv[1]).refresh().runs() for _ in range(5)]\n"
        "print(json.dumps([[row['metrics']['acc_last'] for row in each] for each in rows]))"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=-1, stderr=-1, text=True) for _ in range(3)]
    wanted = [row["metrics"]["acc_last"] for row in Index(tmp_path).refresh().runs()]
    for process in started:
        out, err = process.communicate()
        assert (err, json.loads(out)) == ("", [wanted] * 5)


def test_what_a_stranger_writes_changes_no_place_and_costs_no_memory(make_run: Make, tmp_path: Path) -> None:
    folder = make_run("a/aaaaaaaa-s0")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("exp: a", "exp: ../../x").replace("aaaaaaaa", "/etc/x"))
    row = by_id(tmp_path)["a/aaaaaaaa-s0"]
    assert (row["exp"], row["group"], row["dir"]) == ("a", "aaaaaaaa", str(folder)) and row["state"] == "finished"
    for text, why in (
        ("a: &a [x, x]\nb: &b [*a, *a]\n", "anchors"),
        ("!!python/object/apply:os.system ['touch pwned']", "no plain YAML"),
        ("x: " + "[" * 5000, "no"),
    ):
        config.write_text(text)
        row = by_id(tmp_path)["a/aaaaaaaa-s0"]
        assert row["state"] == "failed" and why in row["reason"], row["reason"]


def rows_of(make_run: Make, tmp_path: Path) -> list[dict[str, Any]]:
    for seed, acc in enumerate((0.5, 0.75, 1.0)):
        make_run(f"fsa_film/aaaaaaaa-s{seed}", acc=acc)
    make_run("joint/bbbbbbbb-s0", acc=0.9, head="lda_within", ridge=2.0, seconds=7200.0)
    make_run("joint/bbbbbbbb-s1", "failed", reason="x", heartbeat=time.time() - 3 * 86400)
    return Index(tmp_path).refresh().runs()


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        (["state=failed"], ["b1"]),
        (["state!=failed", "exp=joint"], ["b0"]),
        (["exp=fsa_*"], ["a0", "a1", "a2"]),
        (["exp=fsa_film,joint", "seed=0"], ["a0", "b0"]),
        (["acc_last>0.75"], ["a2", "b0"]),
        (["acc_last>=75%", "acc_last<1"], ["a1", "b0"]),
        (["head=lda_within"], ["b0"]),
        (["head=lda"], ["a0", "a1", "a2", "b0", "b1"]),  # the component behind the choice
        (["head.ridge=2"], ["b0"]),
        (["age>2d"], ["b1"]),
        (["age<2d", "seconds>=2h"], ["b0"]),
        (["gain_predictor<1"], []),
        (["acc_last=null", "seed=1"], ["b1"]),
    ],
)
def test_filters(words: list[str], seeds: list[str], make_run: Make, tmp_path: Path) -> None:
    found = select(rows_of(make_run, tmp_path), words)
    assert [f"{row['group'][0]}{row['seed']}" for row in found] == seeds


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("stat=failed", "'stat' is nothing that a run has. Did you mean 'state'?"),
        ("acc_lsat>0.9", "Did you mean 'acc_last'?"),
        ("head.rigde=1", "Did you mean 'head.ridge'?"),
        ("failed", "'failed' is no filter. Did you mean 'state=failed'?"),
        ("state=fialed", "state 'fialed' is unknown. Did you mean 'failed'?"),
        ("acc_last>high", "acc_last: expected a number, as in acc_last>0.9 (or age<2d, acc_last>90%), got 'high'"),
        ("acc_last>2d", "acc_last: expected a number without a unit, got '2d'"),
    ],
)
def test_filters_that_make_no_sense(word: str, line: str, make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        select(rows_of(make_run, tmp_path), ["nonsense", word])
    assert len(caught.value.problems) == 2 and line in caught.value.problems[1]
