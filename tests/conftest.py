"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("WANDB_MODE", "offline")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data ($HDX_DATA); the test is skipped where it is absent."""
    value = os.environ.get("HDX_DATA")
    if not value or not Path(value).is_dir():
        pytest.skip("real data needed: set HDX_DATA to the folder that holds omniglot.zip, caltech101.zip and the others")
    return Path(value).resolve()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests leave nothing in the user's cache, and print lines of the usual width wherever they run."""
    os.environ.pop("COLUMNS", None)
    os.environ["HDX_CACHE"] = str(tmp_path_factory.mktemp("cache"))
