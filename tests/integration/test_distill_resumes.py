"""A student of class-incremental sessions, killed in the middle of one, ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.bench.kill import differences, only_run, results

from hdx.store.rundir import RunDir
from tests.integration.harness import config_of, run_dir_of, small_train, start, train
from tests.integration.test_kill_and_stop import wait_for

TEACHER = ("+exp=kd_teacher", "backbone=conv4", "backbone.width=16", "trainer.lr=0.01", "trainer.epochs=2")
SESSIONS = ("backbone=conv4_small", "protocol=class_incremental", "protocol.shots=20", "memory=replay", "memory.size=40")
LONG = (*SESSIONS, "trainer.epochs=10", "trainer.batch_size=16", "trainer.checkpoint_seconds=0")


@pytest.mark.slow
@pytest.mark.parametrize("exp", ["kd_kd", "kd_dhkd"])
def test_kill_9_in_the_middle_of_a_session_changes_nothing(exp: str, tmp_path: Path) -> None:
    teacher = run_dir_of(train(tmp_path / "teacher", *TEACHER))
    words = (f"+exp={exp}", *LONG, "teacher=run", f"teacher.run={teacher.path}")
    run_dir = RunDir(tmp_path / "b" / "runs" / config_of(tmp_path / "b", *words).run_id)
    process = start(small_train(tmp_path / "b", *words))
    wait_for(lambda: any(run_dir.checkpoints.glob("phase-02-0.pt")), process)
    process.kill()
    process.communicate()
    assert len(run_dir.session_records()) == 2 and any(run_dir.checkpoints.glob("phase-02-0.pt"))
    undisturbed = train(tmp_path / "a", *words)
    train(tmp_path / "b", *words)
    finished = only_run(tmp_path / "b")
    assert finished is not None
    assert differences(results(Path(undisturbed["run_dir"])), results(finished)) == []
    assert undisturbed["teacher"]["name"] == "/".join(teacher.path.parts[-2:])
