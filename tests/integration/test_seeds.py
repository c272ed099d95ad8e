"""Every option that is a seed takes any number below 2^63, and nothing else; so does what it seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hdx import registry
from hdx.config import types
from hdx.config.grid import expand
from hdx.config.schema import describe, run_options
from hdx.config.validate import load
from hdx.errors import ConfigError
from hdx.protocols._sampling import class_order
from hdx.store.index import Index
from tests.integration.harness import train

LARGEST = 2**63 - 1
SEEDS = [
    (f"{group}={name} {group}.{option.name}", option)
    for group in registry.groups()
    for name in registry.names(group)
    for option in describe(group, name).options
    if option.name.endswith("seed")
] + [(f"run {option.name}", option) for option in run_options().options if option.name.endswith("seed")]


@pytest.mark.parametrize(("name", "option"), SEEDS, ids=[name for name, _ in SEEDS])
def test_the_range_of_every_seed(name: str, option: object) -> None:
    annotation = option.annotation  # type: ignore[attr-defined]
    assert len(SEEDS) > 20
    assert [types.fit(seed, annotation) for seed in (0, 2**32, LARGEST)] == [0, 2**32, LARGEST]
    for seed in (-1, LARGEST + 1, 2**64, 1.5):
        with pytest.raises(types.Misfit):
            types.fit(seed, annotation)
    assert "int in [0, 2^63)" in types.words(annotation)


def test_the_bound_is_told_before_anything_is_done() -> None:
    line = f"seed: expected an int in [0, 2^63), got {2**63}  (set in: command line)"
    with pytest.raises(ConfigError) as caught:
        load([f"seed={2**63}"])
    assert caught.value.problems == [line]
    with pytest.raises(ConfigError) as swept:
        expand([f"seed=1,{2**63}"])
    assert swept.value.problems == [f"{line}  (1 of 2 runs)"]


def test_class_orders() -> None:
    assert class_order(6, 1993).tolist() == np.random.RandomState(1993).permutation(6).tolist()  # noqa: NPY002
    orders = {tuple(class_order(50, seed)) for seed in (0, 1, 2**32 - 1, 2**32, 2**32 + 1, LARGEST)}
    assert len(orders) == 6 and all(sorted(order) == list(range(50)) for order in orders)


@pytest.mark.parametrize(
    "words",
    [
        ("head=ranpac", f"head.projection_seed={LARGEST}", f"dataset.split_seed={LARGEST}", f"protocol.order_seed={2**32}"),
        ("protocol=offline", "protocol.shots=5", "method=finetune", "adapter=bn", "head=linear", "trainer.augment=[hflip]",
         "trainer.crops=2", f"trainer.crop_seed={LARGEST}"),
        ("protocol=episodic", "protocol.episodes=5", f"protocol.episode_seed={LARGEST}", "head=ncm"),
    ],
)  # fmt: skip
def test_runs(words: tuple[str, ...], tmp_path: Path) -> None:
    record = train(tmp_path, *words, f"seed={LARGEST}", "trainer.epochs=1")
    assert record["seed"] == LARGEST
    assert [row["seed"] for row in Index(tmp_path).refresh().runs()] == [LARGEST]
