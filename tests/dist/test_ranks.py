"""Two ranks on the CPU (gloo, started by torchrun): the numbers of one rank, one stop for all, one line for a failure."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdx.store.rundir import RunDir
from tests.integration.harness import arrays_of, command, config_of, environment, errors_of, small_train, start, train
from tests.integration.images import write_classes

pytestmark = [pytest.mark.dist, pytest.mark.slow]


def on_two(folder: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [*small_train(folder, *words, "devices=2"), "--json"], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("exp", ["fsa_na", "ncm_frozen"])
def test_a_frozen_run_is_the_same_on_two_ranks(exp: str, tmp_path: Path) -> None:
    """17 images of a class and batches of 7: neither the shares, nor the batches, nor the last batch come out even."""
    words = (f"+exp={exp}", "protocol.shots=17", "protocol.step=3", "trainer.eval_batch_size=7")
    one, two = train(tmp_path / "one", *words), on_two(tmp_path / "two", *words)
    assert (one["ranks"], two["ranks"]) == (1, 2)
    assert one["run_id"] == two["run_id"]
    assert one["images_forwarded"] == two["images_forwarded"] == 170 + 539
    for a, b in zip(arrays_of(one), arrays_of(two)):
        np.testing.assert_array_equal(a["index"], b["index"])
        np.testing.assert_array_equal(a["prediction"], b["prediction"])
        np.testing.assert_allclose(a["log_p_label"], b["log_p_label"], atol=1e-5)
    assert [s["acc"] for s in one["sessions"]] == [s["acc"] for s in two["sessions"]]


@pytest.mark.parametrize("adapter", ["film", "full"])
def test_a_trained_run_is_as_good_on_two_ranks(adapter: str, tmp_path: Path) -> None:
    """The same batches in two shares. Sums in another order, other dropout masks, and (full) batch statistics of each share alone
    make other weights, so accuracies agree as those of two seeds do: within 3 standard errors of a difference of two shares,
    3 sqrt(2 * 0.25 / 539) = 9 points for film. The trained norms of `full` see half as many images a step: 20 points."""
    words = ("method=first_session", f"adapter={adapter}", "protocol.shots=31", "trainer.epochs=6", "trainer.lr=0.002")
    one, two = train(tmp_path / "one", *words), on_two(tmp_path / "two", *words)
    assert one["images_forwarded"] == two["images_forwarded"] == 62 + 310 + 539
    assert one["images_trained"] == two["images_trained"] == 6 * 62
    assert one["trainable_parameters"] == two["trainable_parameters"] > 0
    assert two["metrics"]["acc_last"] == pytest.approx(one["metrics"]["acc_last"], abs=0.09 if adapter == "film" else 0.2)
    assert two["metrics"]["acc_last"] > 0.3


def test_ctrl_c_stops_both_ranks_and_the_run_goes_on(tmp_path: Path) -> None:
    words = ("+exp=fsa_film", "protocol.shots=31", "trainer.epochs=120", "trainer.checkpoint_seconds=3600")
    run_dir = RunDir(tmp_path / "runs" / config_of(tmp_path, *words).run_id)
    process = start(small_train(tmp_path, *words, "devices=2"))
    deadline = time.monotonic() + 90
    while run_dir.status()["state"] != "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert errors_of(err) == [f"hdx: stopped; nothing finished is lost. Go on with:  hdx resume {run_dir.path}"]
    assert run_dir.status()["state"] == "interrupted"
    assert list(run_dir.checkpoints.glob("phase-00-0.pt"))
    assert not (run_dir.path / "lease.json").exists()
    one = subprocess.run(
        command("resume", str(run_dir.path), "devices=1", "--json"), env=environment(), capture_output=True, text=True
    )
    assert one.returncode == 0, one.stderr  # a run that two ranks began may end on one
    assert json.loads(one.stdout)["images_trained"] == 120 * 62


def test_a_rank_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    write_classes(tmp_path / "images", {"a": 30, "b": 30})
    broken = tmp_path / "images" / "b" / "7.png"
    broken.write_bytes(broken.read_bytes()[:60])
    words = ("+exp=fsa_na", "dataset=folder", f"dataset.path={tmp_path / 'images'}", "dataset.storage=disk", "dataset.colour=rgb")
    words = (*words, "trainer.eval_batch_size=2")
    done = subprocess.run(small_train(tmp_path / "out", *words, "devices=2"), env=environment(), capture_output=True, text=True)
    lines = errors_of(done.stderr)
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert "b/7.png" in lines[0]
    run_dir = RunDir(tmp_path / "out" / "runs" / config_of(tmp_path / "out", *words).run_id)
    assert run_dir.status()["state"] == "failed" and "b/7.png" in run_dir.status()["reason"]
