"""`hdx resume`: which run, with what changed, and what is said when it cannot go on."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from scripts.bench.kill import differences, results
from tests.integration.harness import config_words, environment, errors_of, small_train, train
from tests.integration.harness import interrupted as stopped

from hdx.store.rundir import RunDir

Inside = Callable[..., tuple[int, str, str]]
WORDS = ("+exp=ncm_frozen", "protocol.shots=5")


@pytest.fixture
def interrupted(tmp_path: Path) -> RunDir:
    """A run of five sessions that was stopped after the fourth."""
    run_dir = stopped(tmp_path / "outputs", *WORDS, after=4)
    assert run_dir.status()["state"] == "interrupted" and len(run_dir.session_records()) == 4
    return run_dir


def test_it_goes_on_by_path_and_ends_as_undisturbed(interrupted: RunDir, inside: Inside, tmp_path: Path) -> None:
    before = (interrupted.path / "sessions" / "03.json").stat().st_mtime_ns
    code, out, err = inside("resume", str(interrupted.path), "--json")
    assert code == 0, err
    assert "4 already finished" in err and "session 5/5" in err and "session 4/5" not in err
    assert (interrupted.path / "sessions" / "03.json").stat().st_mtime_ns == before
    undisturbed = results(Path(train(tmp_path / "other", *WORDS)["run_dir"]))
    assert differences(undisturbed, results(interrupted.path)) == []
    record = json.loads(out)
    assert record["state"] == "finished" and record["images_forwarded"] == 50 + 539  # those of both attempts


@pytest.mark.parametrize("part", [slice(None), slice(-10, None)])
def test_it_goes_on_by_id_or_the_end_of_it(part: slice, interrupted: RunDir, inside: Inside, tmp_path: Path) -> None:
    name = str(interrupted.path.relative_to(tmp_path / "outputs" / "runs"))[part]
    code, out, err = inside("resume", name, "--json")  # under ./outputs, which is the default
    assert code == 0 and len(json.loads(out)["sessions"]) == 5, err


def test_a_folder_that_was_moved_goes_on_where_it_is(interrupted: RunDir, inside: Inside, tmp_path: Path) -> None:
    where = interrupted.path.relative_to(tmp_path / "outputs")
    (tmp_path / "outputs").rename(tmp_path / "moved")
    code, _, err = inside("resume", str(tmp_path / "moved" / where))
    assert code == 0, err
    assert not (tmp_path / "outputs").exists()
    assert yaml.safe_load((tmp_path / "moved" / where / "config.yaml").read_text())["output_dir"] == str(tmp_path / "moved")


def test_a_finished_run_is_shown(inside: Inside, tmp_path: Path) -> None:
    record = train(tmp_path / "outputs", *WORDS)
    code, out, err = inside("resume", record["run_dir"], "--json")
    assert code == 0 and json.loads(out) == record and "is finished" in err


@pytest.mark.parametrize("change", ["seed=1", "head.ridge=3", "precision=bf16-mixed", "protocol.shots=7", "method=joint"])
def test_what_makes_another_run_is_refused(change: str, interrupted: RunDir, inside: Inside) -> None:
    config = interrupted.config_file.read_bytes()
    code, _, err = inside("resume", str(interrupted.path), change)
    assert code == 2 and "a run keeps its config" in err and len(err.splitlines()) == 1
    assert interrupted.config_file.read_bytes() == config and interrupted.status()["state"] == "interrupted"


def test_machine_options_are_taken_over(interrupted: RunDir, inside: Inside) -> None:
    code, _, err = inside("resume", str(interrupted.path), "workers=0", "threads=2")
    assert code == 0, err
    saved = yaml.safe_load(interrupted.config_file.read_text())
    assert (saved["workers"], saved["threads"], saved["seed"]) == (0, 2, 0)


def test_a_run_that_is_not_there(inside: Inside, tmp_path: Path) -> None:
    code, _, err = inside("resume", "nothing/here-s0")
    assert code == 2 and "no run matches" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_a_damaged_session_record(content: str, interrupted: RunDir, inside: Inside) -> None:
    (interrupted.path / "sessions" / "02.json").write_text(content)
    code, _, err = inside("resume", str(interrupted.path))
    assert code in (1, 2) and "Traceback" not in err
    if content != "[1]":
        assert code == 2 and "02.json" in err


def test_an_output_dir_that_cannot_be_written(inside: Inside, tmp_path: Path) -> None:
    closed = Path("/proc/hdx") if os.geteuid() == 0 else tmp_path / "closed"  # root is kept out of no ordinary folder
    if os.geteuid() != 0:
        closed.mkdir(mode=0o555)
    code, _, err = inside("train", *config_words(closed / "out", *WORDS))
    lines = errors_of(err)
    assert code == 2 and len(lines) == 1, err
    assert str(closed) in lines[0] and "cannot write" in lines[0] and "output_dir=" in lines[0]


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: writing fails where opening did not."""
    resource = pytest.importorskip("resource")
    (tmp_path / "out").mkdir()

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    words = small_train(tmp_path / "out", *WORDS)
    done = subprocess.run(words, env=environment(), preexec_fn=full, capture_output=True, text=True, check=False)
    lines = errors_of(done.stderr)
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert "cannot write" in lines[0] and "output_dir=" in lines[0]
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
