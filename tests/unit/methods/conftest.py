"""Omniglot characters for the methods that train bodies for few-shot."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.methods.digit_runs import QUICK, run
from tests.unit.methods.few_shot import characters

from hdx.datasets._base import Dataset


@pytest.fixture(scope="session")
def omniglot(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return characters(data_dir, tmp_path_factory.mktemp("omniglot"))


@pytest.fixture(scope="session")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Metrics of naive fine-tuning on `QUICK` digits."""
    return run(tmp_path_factory.mktemp("fine_tuned"), "+exp=finetune", *QUICK)["metrics"]


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs in which the teacher of `tests.unit.methods.taught` is finished."""
    folder = tmp_path_factory.mktemp("taught")
    run(folder, "+exp=kd_teacher", "trainer.epochs=4")
    return folder
