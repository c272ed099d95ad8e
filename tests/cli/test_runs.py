"""`hdx runs`, `status`, `show run=`, `rm` and `query` over run directories made by hand."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdx.config.config import Config
from hdx.config.validate import load, load_saved
from hdx.errors import ConfigError, RunError
from hdx.store.files import write_json
from hdx.store.index import Index
from hdx.store.lease import Lease
from hdx.store.query import LOCKS, ask

Inside = Callable[..., tuple[int, str, str]]
Document = Callable[..., Any]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make("+exp=fsa_na", "head=ncm", seed=1, state="finished", acc=0.5)` under ./outputs, which is tmp_path/outputs."""

    def run(*overrides: str, seed: int = 0, state: str = "finished", acc: float = 0.5, **status: Any) -> Path:
        config = load([*overrides, f"seed={seed}"])
        folder = tmp_path / "outputs" / "runs" / config.run_id
        config.save(folder / "config.yaml")
        about = {"pid": 2**22 + 1, "host": socket.gethostname(), "heartbeat": time.time() - 50}
        if state != "new":
            write_json(folder / "status.json", {"state": state, **about, **status})
        if state == "finished":
            seconds = {"wall": 10.0 + seed, "sessions": 9.0}
            metrics = {"acc_last": acc, "acc_avg_inc": acc, "forgetting": None}
            session = {"index": 0, "acc": acc, "classes_seen": 10, "n_train": 5, "n_test": 6, "seconds": {"total": 9.0}}
            write_json(folder / "sessions" / "00.json", session)
            record = {"metrics": metrics, "sessions": [session], "n_sessions": 1, "trainable_parameters": 0, "seconds": seconds}
            write_json(folder / "record.json", record)
        return folder

    return run


def ids(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def test_runs_lists_newest_first_within_100_characters(make: Make, inside: Inside) -> None:
    first = make("+exp=setting_aircraft_50shot", "dataset=caltech101", "head=ncm_cosine", acc=0.876)
    make("+exp=fsa_na", state="failed", reason="DataError: dataset caltech101 not found, " + "and so on " * 20)
    os.utime(first / "record.json", (1e9, 1e9))
    code, out, err = inside("runs")
    lines = out.splitlines()
    assert (code, err) == (0, "") and len(lines) == 4 and max(map(len, lines)) <= 100
    assert (
        lines[0].split()[:3] == ["run", "state", "dataset"]
        and lines[1].split()[1] == "failed"
        and lines[2].startswith("    DataError")
    )
    assert lines[3].split()[0] == ids(first) and "ncm_cosine" in lines[3] and "87.60" in lines[3]


def test_runs_filters_sorts_and_limits(make: Make, inside: Inside, document: Document) -> None:
    for seed, acc in enumerate((0.5, 0.9, 0.7)):
        make("+exp=fsa_na", seed=seed, acc=acc)
    make("+exp=fsa_na", seed=3, state="interrupted", reason="stopped")
    assert [row["seed"] for row in document("runs", "acc_last>0.6", "--sort", "acc_last")] == [1, 2]
    assert [row["seed"] for row in document("runs", "--sort", "acc_last", "--reverse")] == [0, 2, 1, 3]
    assert [row["seed"] for row in document("runs", "--sort", "seed", "--limit", "2")] == [3, 2]
    code, out, _ = inside("runs", "exp=fsa_na", "--limit", "1")
    assert code == 0 and out.splitlines()[-1] == "… 3 more  (--limit 0 shows all)"
    assert inside("runs", "state=interrupted", "--ids")[1].endswith("-s3\n")
    assert inside("runs", "state=failed")[1] == "none of 4 runs fits\n"
    code, _, err = inside("runs", "stat=failed")
    assert (code, err) == (2, "hdx: 'stat' is nothing that a run has. Did you mean 'state'?  (hdx runs --help)\n")


def test_no_runs_yet(inside: Inside, document: Document) -> None:
    assert inside("runs") == (0, "no runs under outputs/runs\n", "") and document("runs") == []
    assert document("status")["total"] == 0
    assert inside("runs", "output_dir=elsewhere")[1] == "no runs under elsewhere/runs\n"


def test_control_characters_do_not_reach_the_terminal(make: Make, inside: Inside) -> None:
    make("+exp=fsa_na", state="failed", reason="\x1b[2Jgone\x07")
    out = inside("runs")[1] + inside("status")[1]
    assert "\x1b" not in out and "\x07" not in out and "?[2Jgone?" in out


def plan(tmp_path: Path, folders: list[Path | str], **more: Any) -> None:
    runs = [{"run_id": each if isinstance(each, str) else ids(each)} for each in folders]
    about = {"created": time.time(), "pid": os.getpid(), "host": socket.gethostname(), "command": "hdx sweep +sweep=x", **more}
    write_json(tmp_path / "outputs" / "sweeps" / "0a1b2c3d" / "plan.json", {**about, "runs": runs})


def test_status_of_a_sweep(make: Make, tmp_path: Path, document: Document, inside: Inside) -> None:
    done = [make("+exp=fsa_na", seed=seed) for seed in range(3)]  # 10, 11 and 12 seconds
    failed = make("+exp=fsa_na", seed=3, state="failed", reason="RunError: it diverged")
    dead = make("+exp=fsa_na", seed=4, state="running")
    said = {"session": 2, "sessions": 5, "epoch": 3, "epochs": 4, "started": time.time() - 4}
    alive = make("+exp=fsa_film", seed=0, state="running", **said)
    write_json(alive / "sessions" / "00.json", {})
    plan(tmp_path, [*done, failed, dead, alive, "fsa_na/00000000-s0", "fsa_na/00000000-s1"])
    with Lease(alive):
        found = document("status")
        text = inside("status")[1]
    assert found["sweep"] == "0a1b2c3d" and found["total"] == 8 and found["alive"] is True
    assert found["counts"] == {"finished": 3, "running": 1, "interrupted": 1, "failed": 1, "pending": 2}
    assert found["failed"] == [{"run_id": ids(failed), "reason": "RunError: it diverged"}]
    assert found["median_seconds"] == 11.0
    (running,) = found["running"]
    assert (running["session"], running["sessions"], running["epoch"], running["pid"]) == (2, 5, 3, os.getpid())
    assert running["fraction"] == pytest.approx((1 + 2 / 4) / 5)
    assert running["elapsed"] == pytest.approx(4, abs=3) and running["left"] == pytest.approx(7, abs=3)
    assert found["left"] == pytest.approx(3 * 11 + running["left"])
    assert "finished 3   running 1   interrupted 1   failed 1   pending 2" in text and "it diverged" in text
    assert "2/5" in text and "3/4" in text and "median run 11 s" in text


def test_status_of_a_sweep_that_is_gone(make: Make, tmp_path: Path, inside: Inside, document: Document) -> None:
    plan(tmp_path, [make("+exp=fsa_na"), "fsa_na/00000000-s0"], pid=2**22 + 1)
    text = inside("status", "--watch")[1]  # ends at once: nothing runs
    assert "its process is gone; go on with: hdx sweep +sweep=x" in text
    assert document("status", "0a1b2c3d")["counts"]["pending"] == 1
    code, _, err = inside("status", "0a1b2c3e")
    assert code == 2 and "Did you mean '0a1b2c3d'?" in err


def test_show_run(make: Make, inside: Inside, document: Document) -> None:
    folder = make("+exp=fsa_na", "head=ncm", "protocol.step=5", seed=2, acc=0.25)
    shown = document("show", f"run={ids(folder)}")
    assert shown["differences"] == {"head": "ncm", "protocol.step": 5, "seed": 2}
    assert shown["metrics"]["acc_last"] == 0.25 and shown["sessions"][0]["n_test"] == 6
    assert shown["files"]["record.json"] == (folder / "record.json").stat().st_size and "sessions/" in shown["files"]
    text = inside("show", f"run={ids(folder)}")[1]
    assert "  protocol.step=5\n" in text and "acc_last" in text and "25.00 %" in text
    code, _, err = inside("show", "run=nothing")
    assert code == 2 and "no run matches" in err


def test_rm(make: Make, inside: Inside, document: Document, tmp_path: Path) -> None:
    folders = [make("+exp=fsa_na", seed=seed) for seed in range(3)]
    code, _, err = inside("rm", ids(folders[0]))
    assert code == 2 and "add --yes" in err and folders[0].exists()
    assert document("rm", ids(folders[0]), "--yes") == {"removed": [ids(folders[0])]}
    assert not folders[0].exists() and len(document("runs")) == 2
    with Lease(folders[1]):
        code, _, err = inside("rm", ids(folders[2]), ids(folders[1]), "--yes")
    assert code == 2 and "has it" in err and folders[1].exists() and folders[2].exists()  # none, when one may not be
    assert inside("rm", str(folders[1]), ids(folders[2]), "--yes")[0] == 0
    assert not (tmp_path / "outputs/runs/fsa_na").exists() and (tmp_path / "outputs/runs").exists()


def test_rm_asks_on_a_terminal(make: Make, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make("+exp=fsa_na")

    class Terminal:
        def __init__(self, answer: str) -> None:
            self.answer = answer

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return self.answer

    monkeypatch.setattr(sys, "stdin", Terminal("\n"))
    code, out, err = inside("rm", ids(folder))
    assert code == 130 and ids(folder) in out and "nothing was removed" in err and folder.exists()
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert inside("rm", ids(folder))[0] == 0 and not folder.exists()


@pytest.mark.parametrize(
    "where", ["", ".", "fsa_na", "../outside", "{tmp}/outside", "fsa_na/../../../outside", "linked/x-s0", "fsa_na/link-s0"]
)
def test_rm_removes_nothing_but_runs(where: str, make: Make, inside: Inside, tmp_path: Path) -> None:
    folder = make("+exp=fsa_na")
    outside = tmp_path / "outside" / "x-s0"
    outside.mkdir(parents=True)
    (outside / "config.yaml").write_text("mine")
    (folder.parent / "link-s0").symlink_to(outside)
    (folder.parents[1] / "linked").symlink_to(outside.parent)
    code, _, err = inside("rm", where.format(tmp=tmp_path), "--yes")
    assert code == 2 and err.startswith("hdx: ") and "removed" in err
    assert folder.exists() and (outside / "config.yaml").read_text() == "mine"


def test_query(make: Make, inside: Inside, document: Document) -> None:
    for seed, acc in enumerate((0.5, 0.7)):
        make("+exp=fsa_na", "head.ridge=0.5", seed=seed, acc=acc)
    make("+exp=fsa_na", state="failed", reason="x", seed=5)
    sql = "select head, count(*) as n, avg(acc_last) as acc, max(finished) as last from runs where state='finished' group by head"
    (row,) = document("query", sql)
    assert (row["head"], row["n"]) == ("lda", 2) and row["acc"] == pytest.approx(0.6) and row["last"].startswith("20")
    assert document("query", "select seed, acc_last, seconds, forgetting from runs order by seed") == [
        {"seed": 0, "acc_last": 0.5, "seconds": 10.0, "forgetting": None},
        {"seed": 1, "acc_last": 0.7, "seconds": 11.0, "forgetting": None},
        {"seed": 5, "acc_last": None, "seconds": None, "forgetting": None},
    ]
    joined = "select value, sum(accuracy) as a from options join sessions using (run_id) where option='head.ridge' group by 1"
    assert document("query", joined) == [{"value": "0.5", "a": pytest.approx(1.2)}]
    assert inside("query", "select seed from runs order by 1", "--csv")[1] == "seed\n0\n1\n5\n"
    assert inside("query", "select seed, head from runs order by 1")[1].splitlines()[1] == "   0  lda"
    columns = document("query", "--columns")
    assert columns["runs"]["acc_last"] == ["DOUBLE", "metric"] and set(columns) == {"runs", "sessions", "options"}
    code, _, err = inside("query", "select nothing from runs")
    assert code == 2 and err.startswith("hdx: Binder Error") and err.count("\n") == 1


@pytest.mark.parametrize(
    "sql",
    [
        "copy runs to '{file}'",
        "copy (select 1) to '{file}' (format csv)",
        "select * from read_csv('{secret}')",
        "select * from read_text('{secret}')",
        "select * from '{secret}'",
        "select * from glob('{folder}/*')",
        "attach '{file}' as x",
        "export database '{folder}/db'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "reset enable_external_access",
        "pragma database_list",
        "create table x as select 1",
        "drop table runs",
        "select 1; copy runs to '{file}'",
        "explain analyze copy runs to '{file}'",
        "",
    ],
)
def test_sql_reaches_no_file_and_changes_nothing(sql: str, tmp_path: Path, make: Make, inside: Inside) -> None:
    make("+exp=fsa_na")
    secret = tmp_path / "secret.csv"
    secret.write_text("hidden\n1\n")
    code, out, err = inside("query", sql.format(file=tmp_path / "out.csv", secret=secret, folder=tmp_path))
    assert code == 2 and err.startswith("hdx: ") and "Traceback" not in err and "hidden" not in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs", "secret.csv"]


def test_duckdb_itself_is_locked(tmp_path: Path) -> None:
    """The second line of defence, without the first one's look at the kind of statement."""
    import duckdb

    database = duckdb.connect(":memory:")
    for lock in LOCKS:
        database.execute(lock)
    for sql in (
        f"copy (select 1) to '{tmp_path}/x'",
        "select * from read_text('/etc/hostname')",
        "set enable_external_access=true",
    ):
        with pytest.raises(duckdb.Error):
            database.execute(sql)
    rows = [{"secret": 1}]
    with pytest.raises(duckdb.Error):
        database.execute("select * from rows")  # a variable of Python
    assert rows and list(tmp_path.iterdir()) == []


def test_query_without_duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigError, match=r'hdx query needs DuckDB: pip install "hdx\[query\]"'):
        ask([], "select 1")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("exp: ../../x", "exp: expected the name of a preset, got '../../x', which is a path"),
        ("exp: /etc/x", "got '/etc/x', which is a path"),
        ("exp: ..", "got '..', which is a path"),
        ("group: ../../x", "group: expected eight hex digits, got '../../x'"),
        ("head: {_target_: os.system}", "a config is data"),
    ],
)
def test_a_strangers_config_names_no_place(line: str, why: str, make: Make, inside: Inside, tmp_path: Path) -> None:
    folder = make("+exp=fsa_na", state="interrupted")
    file, key = folder / "config.yaml", line.partition(":")[0]
    text = file.read_text()
    start = text.index(f"\n{key}:") + 1 if f"\n{key}:" in text else 0
    end = next(i for i in range(text.index("\n", start) + 1, len(text)) if text[i - 1] == "\n" and text[i] != " ")
    file.write_text(f"{text[:start]}{line}\n{text[end:]}")
    with pytest.raises(ConfigError, match="."):
        load_saved(file)
    for words in (("resume", str(folder)), ("export", str(folder))):
        code, out, err = inside(*words)
        assert code == 2 and why in err, err
    assert [row["run_id"] for row in Index(tmp_path / "outputs").refresh().runs()] == [ids(folder)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs"]


def test_a_strangers_run_directory_with_links_is_not_written_through(make: Make, tmp_path: Path) -> None:
    from hdx.engine.launch import adopt
    from hdx.store.rundir import RunDir

    folder, outside = make("+exp=fsa_na", state="interrupted"), tmp_path / "outside"
    outside.mkdir()
    (folder / "sessions").symlink_to(outside)
    with pytest.raises(RunError, match="sessions is a link"):
        adopt(load_saved(folder / "config.yaml"), RunDir(folder))
    assert list(outside.iterdir()) == []


def test_a_directory_that_lies_elsewhere_does_not_say_where_caches_are(
    make: Make, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make("+exp=fsa_na", f"output_dir={tmp_path / 'target'}", state="interrupted")
    elsewhere = tmp_path / "inbox" / "run"
    elsewhere.parent.mkdir()
    folder.rename(elsewhere)
    gone_on: list[Config] = []
    monkeypatch.setattr("hdx.cli.train.go", lambda config, *_, **__: gone_on.append(config) or 0)
    assert inside("resume", str(elsewhere))[0] == 0
    assert gone_on[0]["output_dir"] == str(tmp_path / "outputs")
    assert not (tmp_path / "target").exists()


def test_json_documents_are_json(make: Make, inside: Inside) -> None:
    make("+exp=fsa_na")
    for words in (("runs",), ("status",), ("query", "select 1/0 as x, 'nan'::double as y"), ("query", "--columns")):
        code, out, _ = inside(*words, "--json")
        assert code == 0

        def strict(constant: str) -> Any:
            raise AssertionError(f"{constant} is no JSON")

        json.loads(out, parse_constant=strict)


def test_a_sweep_takes_no_less_than_its_slowest_run_says() -> None:
    from hdx.store.standing import _left, under_way

    row = {"run_id": "x/a-s0", "group": "a", "progress": {"sessions": 4, "session": 2}, "sessions_done": 1, "host": "h", "pid": 1}
    run = under_way({**row, "started": time.time() - 100}, median=90.0)
    assert run["left"] == pytest.approx(300, abs=1)  # a quarter is done after 100 s, whatever others took
    assert under_way({**row, "started": time.time() - 10}, median=900.0)["left"] == pytest.approx(890, abs=1)
    inside_work = {**row, "progress": {"sessions": 1, "session": 1, "step": 50, "steps": 200}, "sessions_done": 0}
    assert under_way({**inside_work, "started": time.time() - 10})["fraction"] == 0.25
    running = [{"left": 300.0}, {"left": 2.0}]
    assert _left({"pending": 0, "interrupted": 0}, running, 90.0) == 300.0
    assert _left({"pending": 10, "interrupted": 0}, running, 90.0) == pytest.approx((900 + 302) / 2)
