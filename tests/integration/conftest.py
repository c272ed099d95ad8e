"""One folder of runs for all integration tests, so that a run that several of them look at is made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import train


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="session")
def record(shared: Path) -> Callable[..., dict[str, Any]]:
    """`record(*overrides)`: the record of that run in the shared folder."""
    return lambda *overrides: train(shared, *overrides)
