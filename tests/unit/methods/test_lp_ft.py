"""LP-FT: a probe, then both at a rate of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.methods.digit_runs import interrupted, last_state, predictions, run
from tests.unit.methods.incremental import SESSIONS, small_body

from hdx.adapters.none import NoAdapter
from hdx.config.validate import load
from hdx.errors import ConfigError
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._parts import Parts
from hdx.methods.lp_ft import LpFt
from hdx.trainers.recipe import Recipe

WORDS = ("method=lp_ft", "adapter=full", "head=linear", "protocol=offline", "protocol.shots=10", "trainer.feature_epochs=3")
WORDS += ("method.epochs=2", "method.head_scale=0.5")


def made(**options: object) -> LpFt:
    body = small_body(options.pop("adapter", None))  # type: ignore[arg-type]
    method = LpFt(Parts(body, Linear(body.n_features), CrossEntropy(), Recipe(lr=0.1, epochs=7)), **options)  # type: ignore[arg-type]
    method.head.expand(2)
    return method


def test_the_second_stage_has_its_own_recipe_and_groups() -> None:
    method = made(rate=0.2, epochs=3, head_scale=0.5)
    probe, tune = method.phases(SESSIONS[0], SESSIONS)
    assert (probe.inputs, probe.recipe, {id(p) for p in probe.parameters}) == (
        "features",
        None,
        {id(p) for p in method.head.parameters()},
    )
    assert tune.recipe is not None and (tune.recipe.lr, tune.recipe.epochs) == (pytest.approx(0.02), 3)
    assert np.array_equal(probe.indices, tune.indices)
    groups = tune.optimizer(tune.recipe).param_groups
    scales = {id(p): group.get("scale", 1.0) for group in groups for p in group["params"]}
    assert {scales[id(p)] for p in method.head.parameters()} == {0.5}
    assert {scales[id(p)] for p in method.body.trainable} == {1.0}
    assert (method.recipe.lr, method.recipe.epochs) == (0.1, 7)


def test_without_an_adapter_it_is_a_probe() -> None:
    assert len(made(adapter=NoAdapter()).phases(SESSIONS[0], SESSIONS)) == 1


@pytest.mark.parametrize("after", [4, 9])  # in the probe, in the tuning
def test_a_run_stopped_in_either_stage_ends_bit_equal(after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "a", *WORDS)
    assert whole["images_trained"] == 2 * 100
    interrupted(tmp_path / "b", monkeypatch, *WORDS, after=after)
    resumed = run(tmp_path / "b", *WORDS)
    assert predictions(whole) == predictions(resumed)
    one, other = last_state(whole), last_state(resumed)
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_head_that_is_solved_is_refused() -> None:
    with pytest.raises(ConfigError, match="head=lda is solved"):
        load(["method=lp_ft", "adapter=full", "head=lda"])
