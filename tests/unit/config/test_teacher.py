"""The run that is a teacher: what it is by its words, and where its files are."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdx.config.paths import absolute_in, located
from hdx.config.teacher import command
from hdx.config.validate import load
from hdx.errors import ConfigError

WORDS = ["+exp=kd_kd", "teacher.overrides=['+exp=kd_teacher','trainer.epochs=2']"]


def test_the_teacher_is_the_run_that_its_words_make_where_the_student_is() -> None:
    config = load([*WORDS, "output_dir=there", "seed=3", "accelerator=cpu", "devices=2"])
    teacher = config.teacher
    assert teacher is not None
    assert teacher.run_id == load(["+exp=kd_teacher", "trainer.epochs=2"]).run_id  # its own seed, and not the student's
    assert [teacher[key] for key in ("output_dir", "accelerator", "devices", "seed")] == ["there", "cpu", 2, 0]
    assert command(config.data) == "hdx train +exp=kd_teacher trainer.epochs=2 output_dir=there"


def test_another_teacher_is_another_run_and_a_longer_way_to_say_it_is_not() -> None:
    student = load(WORDS)
    for words, same in (
        (["+exp=kd_teacher", "trainer.epochs=3"], False),
        (["+exp=kd_teacher", "trainer.epochs=2", "seed=1"], False),
        (["trainer.epochs=2", "+exp=kd_teacher", "trainer.gamma=0.7"], True),
    ):
        other = load(["+exp=kd_kd", f"teacher.overrides={words!r}"])
        assert (other.group_hash == student.group_hash) == same
    assert load([*WORDS, "teacher.store=top_k"]).group_hash != student.group_hash
    assert load([*WORDS, "teacher.cache=false"]).group_hash == student.group_hash


def test_a_file_is_found_in_the_folder_of_datasets_and_keeps_its_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "weights.pt").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HDX_DATA", raising=False)
    assert located("weights.pt", "data") == str(Path("data", "weights.pt"))
    assert located("weights.pt", None) == str(Path("data", "weights.pt"))  # ./data is the folder of datasets, unasked
    assert located("gone.pt", "data") == "gone.pt"
    (tmp_path / "weights.pt").write_bytes(b"others")
    assert located("weights.pt", "data") == "weights.pt"
    (tmp_path / "weights.pt").unlink()
    for words in (
        ["backbone=resnet20", "backbone.checkpoint=weights.pt"],
        ["+exp=kd_kd", "teacher=resnet56", "teacher.checkpoint=weights.pt"],
        ["+exp=kd_kd", "teacher.overrides=['+exp=kd_teacher','backbone=resnet20','backbone.checkpoint=weights.pt']"],
    ):
        config = load([*words, "data_dir=data"])
        absolute = absolute_in(config)
        assert absolute.run_id == config.run_id
        assert str(tmp_path / "data" / "weights.pt") in absolute.to_yaml()
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir("/")
        assert absolute.replace(seed=0).run_id == config.run_id
    Path("data/weights.pt").rename("weights.pt")
    assert load(words).group_hash == config.group_hash


def test_a_teacher_that_is_its_own_teacher_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    (folder / "exp").mkdir(parents=True)
    text = Path("conf/exp/kd_kd.yaml").read_text(encoding="utf-8")
    (folder / "exp" / "ring.yaml").write_text(text + "teacher:\n  overrides: [+exp=ring]\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # whose ./conf is searched
        with pytest.raises(ConfigError) as caught:
            load(["+exp=ring"])
    assert any("teacher.overrides=[+exp=ring] names a run whose teacher is itself" in line for line in caught.value.problems)
