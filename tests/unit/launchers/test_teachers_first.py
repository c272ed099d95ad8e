"""Teachers that runs name by their config are planned, and done before their students."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hdx.config.grid import expand
from hdx.config.validate import load
from hdx.launchers._base import Launcher, Rules, Task, Told
from hdx.launchers.plan import Plan, launch, plan
from hdx.store.files import write_json

TAUGHT = ("+exp=kd_kd", "teacher.overrides=['+exp=kd_teacher']")


class Heard(Launcher):
    """Makes runs by writing their records, except those it is told to fail at."""

    def __init__(self, failing: Sequence[str] = ()) -> None:
        self.failing = failing
        self.stages: list[list[str]] = []

    def launch(self, tasks: Sequence[Task], rules: Rules, told: Told) -> None:
        self.stages.append([task.run_id for task in tasks])
        for task in tasks:
            if task.run_id.partition("/")[0] not in self.failing:
                write_json(Path(task.run_dir) / "record.json", {})


def planned(folder: Path, *words: str) -> Plan:
    return plan(expand([*words, f"output_dir={folder}"]))


def done(found: Plan, launcher: Heard) -> list[tuple[str, Any]]:
    events: list[tuple[str, Any]] = []
    launch(found, found.to_do(), launcher, Rules(), lambda task, event: events.append((task.run_id, event)))
    return events


def test_the_teacher_of_several_students_is_made_once_and_first(tmp_path: Path) -> None:
    launcher = Heard()
    found = planned(tmp_path, *TAUGHT, "seed=0,1")
    assert done(found, launcher) == []
    teacher = load(["+exp=kd_teacher"]).run_id
    assert launcher.stages[0] == [teacher]
    assert sorted(run_id.rpartition("-")[2] for run_id in launcher.stages[1]) == ["s0", "s1"]
    assert found.added == {teacher}
    again = planned(tmp_path, *TAUGHT, "seed=0,1")
    assert again.sweep == found.sweep and again.to_do() == []


def test_a_teacher_of_a_teacher_comes_before_it(tmp_path: Path) -> None:
    launcher = Heard()
    done(planned(tmp_path, "+exp=kd_kd", "teacher.overrides=['+exp=kd_kd']", "trainer.epochs=3"), launcher)
    assert [[run_id.partition("/")[0] for run_id in stage] for stage in launcher.stages] == [["kd_teacher"], ["kd_kd"], ["kd_kd"]]


def test_students_of_a_teacher_that_failed_are_not_begun(tmp_path: Path) -> None:
    launcher = Heard(failing=["kd_teacher"])
    found = planned(tmp_path, *TAUGHT)
    (event,) = done(found, launcher)
    assert event[1] == {"event": "interrupted", "reason": f"its teacher {load(['+exp=kd_teacher']).run_id} is not finished"}
    assert len(launcher.stages) == 1


def test_a_teacher_that_is_gone_is_not_made_for_students_that_are_finished(tmp_path: Path) -> None:
    launcher = Heard()
    done(planned(tmp_path, *TAUGHT), launcher)
    for record in tmp_path.glob("runs/kd_teacher/*/record.json"):
        record.unlink()
    assert planned(tmp_path, *TAUGHT).to_do() == []


@pytest.mark.parametrize("words", [("+exp=kd_kd", "teacher=run", "teacher.run=somewhere"), ("+exp=kd_teacher",)])
def test_what_names_no_config_has_no_teacher_to_make(words: tuple[str, ...], tmp_path: Path) -> None:
    assert planned(tmp_path, *words).added == frozenset()
