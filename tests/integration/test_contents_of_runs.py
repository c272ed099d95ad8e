"""A run is of what its files held: other contents are another run, and what changes meanwhile is refused."""

from __future__ import annotations

import io
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hdx.cli.main import main
from hdx.datasets.folder import Folder
from hdx.engine.launch import launch
from hdx.engine.report import Report
from hdx.errors import DataError, Interrupted
from hdx.protocols._base import Session
from tests.integration.harness import StopAfter, config_of, interrupted, place, run_dir_of, train
from tests.integration.images import picture, write_classes

COUNTS = dict.fromkeys("abcd", 4)
WORDS = ("+exp=ncm_frozen", "dataset=folder", "dataset.image_size=16", "protocol.first=2", "protocol.step=2")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "data", COUNTS)


def _words(data: Path) -> tuple[str, ...]:
    return (*WORDS, f"dataset.path={data}")


def _change(data: Path) -> bytes:
    """One picture is another one. Returns: what it was."""
    before = (data / "a" / "0.png").read_bytes()
    (data / "a" / "0.png").write_bytes(picture(77, 0))
    return before


def test_a_namesake_with_the_same_classes_is_another_run_and_a_moved_folder_is_not(tmp_path: Path, data: Path) -> None:
    record = train(tmp_path / "out", *_words(data))
    other = shutil.copytree(data, tmp_path / "other" / "data")
    _change(other)
    assert train(tmp_path / "out", *_words(other))["run_id"] != record["run_id"]
    moved = shutil.move(data, tmp_path / "moved")
    assert train(tmp_path / "out", *_words(moved)) == record  # as it was: with its seconds
    _change(moved)
    assert train(tmp_path / "out", *_words(moved), force=True)["run_id"] != record["run_id"]
    assert run_dir_of(record).record() == record


def test_resume_refuses_other_contents_before_it_trains_and_goes_on_with_those_of_before(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = interrupted(tmp_path / "out", *_words(data), after=1)
    before = _change(data)
    code = main(["resume", str(run_dir.path)])
    line = capsys.readouterr().err.strip()
    assert code == 2 and line.count("\n") == 0
    assert "began with other contents. dataset.path (data): " in line and "… then, " in line and "… now" in line
    assert run_dir.status()["state"] == "interrupted" and len(run_dir.session_records()) == 1
    (data / "a" / "0.png").write_bytes(before)
    assert main(["resume", str(run_dir.path)]) == 0
    assert len((run_dir.record() or {})["sessions"]) == 2


def test_force_refuses_other_contents_before_it_deletes(tmp_path: Path, data: Path) -> None:
    config = config_of(tmp_path / "out", *_words(data))
    run_dir = place(config)
    record = launch(config, run_dir, Report(), io.StringIO())
    _change(data)
    with pytest.raises(DataError, match="began with other contents"):
        launch(config, run_dir, Report(), io.StringIO(), force=True)  # a config that was named before the data changed
    assert run_dir.record() == record


class ChangeAfterFirst(Report):
    """Changes the data once a session is committed."""

    def __init__(self, data: Path) -> None:
        self.data, self.before = data, b""

    def session(self, record: dict[str, Any], sessions: list[Session]) -> None:
        self.before = self.before or _change(self.data)


def test_data_that_change_between_sessions_end_the_run_which_then_goes_on_with_those_of_before(
    tmp_path: Path, data: Path
) -> None:
    config, report = config_of(tmp_path / "out", *_words(data)), ChangeAfterFirst(data)
    run_dir = place(config)
    with pytest.raises(DataError, match=r"dataset\.path \(data\)"):
        launch(config, run_dir, report, io.StringIO())
    assert len(run_dir.session_records()) == 1
    (data / "a" / "0.png").write_bytes(report.before)
    again = train(tmp_path / "out", *_words(data))
    assert again["run_id"] == config.run_id and len(again["sessions"]) == 2


def test_pictures_that_change_places_are_seen(tmp_path: Path, data: Path) -> None:
    def pixels() -> list[int]:
        found = Folder(None, tmp_path / "cache", path=str(data), image_size=16, test_fraction=0.5)
        rows = {name: i for i, name in enumerate(found.train.names or [])}
        return [int(found.train.fetch([rows[name]]).long().sum()) for name in sorted(rows)]  # type: ignore[arg-type]

    before = pixels()
    files = [data / "a" / f"{i}.png" for i in range(4)]
    times, held = files[0].stat(), [file.read_bytes() for file in files]
    size = max(map(len, held))
    padded = [content + bytes(size - len(content)) for content in held]  # of one size: nothing but the bytes tells them apart
    for file, content in zip(files, padded):
        file.write_bytes(content)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert pixels() == before
    for file, content in zip(files, reversed(padded)):
        file.write_bytes(content)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert pixels() != before


def test_an_outputs_folder_that_was_moved_keeps_working(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("+exp=ncm_frozen", "protocol.first=5", "protocol.step=5")
    record = train(tmp_path / "out", *words)
    assert main(["runs", f"output_dir={tmp_path}/out"]) == 0  # writes the index
    for file in Path(record["run_dir"]).rglob("*"):
        os.utime(file, (1e9, 1e9))  # settled, so that rows come from the index
    (tmp_path / "out").rename(tmp_path / "moved")
    capsys.readouterr()
    assert main(["show", f"run={record['run_id']}", f"output_dir={tmp_path}/moved"]) == 0
    assert f"dir    {tmp_path}/moved/runs/{record['run_id']}" in capsys.readouterr().out
    again = train(tmp_path / "moved", *words)
    assert again == {**record, "run_dir": f"{tmp_path}/moved/runs/{record['run_id']}"}


def _as_of_before(record: dict[str, Any], group: str = "0a1b2c3d") -> Path:
    """The run as a version of hdx left it that named it by another rule and recorded no contents."""
    path = Path(record["run_dir"])
    named = path.rename(path.with_name(f"{group}-{path.name.partition('-')[2]}"))
    lines = (named / "config.yaml").read_text().splitlines(keepends=True)
    start, end = (next(i for i, line in enumerate(lines) if line.startswith(word)) for word in ("contents:", "choices:"))
    kept = [line for i, line in enumerate(lines) if not start <= i < end]
    kept[1] = f"group: {group}\n"
    (named / "config.yaml").write_text("".join(kept))
    return named


def test_a_run_of_an_earlier_rule_is_found_by_its_config(tmp_path: Path) -> None:
    from hdx.config.before import as_before

    words = ("+exp=ncm_frozen", "protocol.first=5", "protocol.step=5")
    named = _as_of_before(train(tmp_path / "out", *words))
    for seed in (0, 1):  # the seeds of one group stay together
        assert as_before(config_of(tmp_path / "out", *words, f"seed={seed}")).run_id == f"ncm_frozen/{named.name[:8]}-s{seed}"
    assert as_before(config_of(tmp_path / "out", *words, "pool=gem")).group_hash != named.name[:8]


def test_a_run_of_an_earlier_rule_on_files_says_that_it_cannot_be_matched(
    tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from hdx.config.before import as_before

    _as_of_before(train(tmp_path / "out", *_words(data)))
    config = config_of(tmp_path / "out", *_words(data))
    with caplog.at_level(logging.WARNING, "hdx"):
        assert as_before(config).run_id == config.run_id
    assert "runs ncm_frozen/0a1b2c3d are of the same config, but what their files held was not recorded" in caplog.text


def test_a_stopped_run_of_an_earlier_rule_goes_on(tmp_path: Path) -> None:
    words = ("+exp=ncm_frozen", "protocol.first=5", "protocol.step=5")
    config = config_of(tmp_path / "out", *words)
    run_dir = place(config)
    with pytest.raises(Interrupted):
        launch(config, run_dir, StopAfter(1), io.StringIO())
    named = _as_of_before({"run_dir": str(run_dir.path)})
    assert main(["resume", str(named)]) == 0
    assert (named / "record.json").exists()
