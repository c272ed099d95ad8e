"""Magnitude pruning: the exact number of weights goes, the right ones, for good; runs stop and resume anywhere in it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.methods.digit_runs import interrupted, last_state, predictions, run
from tests.unit.methods.incremental import samples, small_body

from hdx.cli._summary import summary
from hdx.methods._masks import Masks, Pruning, prunable

SMALL = ("method=prune", "protocol=offline", "protocol.shots=10", "head=lda", "trainer.epochs=2")
SMALL += ("method.sparsity=0.75", "method.rounds=2", "method.epochs=1", "trainer.batch_size=50")


def weights_of(body: torch.nn.Module, names: list[str]) -> np.ndarray:
    return np.concatenate([body.get_parameter(name).detach().numpy().ravel() for name in names])


def test_the_smallest_weights_of_all_layers_go_and_stay_away() -> None:
    body = small_body()
    shapes = prunable(body)
    names = [name for name, _ in shapes]
    assert names == [f"backbone.blocks.{block}.0.weight" for block in range(4)]  # no biases, no norms
    masks = Masks(shapes)
    before = weights_of(body, names)
    work = Pruning(body, masks, 0.4)
    assert [work.step(number, samples()) for number in range(2)] == pytest.approx([round(0.4 * len(before)) / len(before)] * 2)
    kept = np.argsort(-np.abs(before), kind="stable")[: round(0.4 * len(before))]
    wanted = np.zeros_like(before)
    wanted[kept] = before[kept]
    assert np.array_equal(weights_of(body, names), wanted)
    first = {name: mask.clone() for name, mask in masks.named().items()}
    with torch.no_grad():
        body.get_parameter(names[0]).add_(7.0)  # what an optimiser's momentum may do
    masks.apply_to(body)
    assert not (weights_of(body, names)[wanted == 0]).any()
    masks.keep_largest(body, 0.1)
    assert masks.remaining == pytest.approx(round(0.1 * len(before)) / len(before))
    assert all(bool((first[name] | ~mask).all()) for name, mask in masks.named().items())  # nested


def test_zeros_that_are_left_do_not_take_the_place_of_pruned_ones() -> None:
    body = small_body()
    masks = Masks(prunable(body)[:1])
    (name,) = masks.named()
    with torch.no_grad():
        body.get_parameter(name).zero_()
        body.get_parameter(name)[0, 0, 0] = 1.0
    masks.keep_largest(body, 0.5)
    first = masks.named()[name].clone()
    masks.keep_largest(body, 0.25)
    assert bool((first | ~masks.named()[name]).all())
    assert bool(masks.named()[name][0, 0, 0].all())


@lru_cache(maxsize=2)
def undisturbed(folder: Path, adapter: str) -> dict[str, Any]:
    return run(folder, *SMALL, f"adapter={adapter}")


# in dense training, as it ends, in the second fine-tuning; and the last where the weights are frozen
@pytest.mark.parametrize(("adapter", "after"), [("full", 1), ("full", 4), ("full", 7), ("film", 7)])
def test_a_run_stopped_anywhere_ends_bit_equal(
    adapter: str, after: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*SMALL, f"adapter={adapter}")
    whole = undisturbed(tmp_path_factory.getbasetemp() / "prune", adapter)
    session = whole["sessions"][0]
    assert [work["name"] for work in session["works"]] == ["pruning", "pruning"]
    assert [work["value"] for work in session["works"]] == pytest.approx([0.5, 0.25], abs=1e-3)
    assert "run_dir" in whole and any("run " in line for line in summary(whole))
    interrupted(tmp_path / "b", monkeypatch, *words, after=after)
    resumed = run(tmp_path / "b", *words)
    assert predictions(whole) == predictions(resumed)
    one, other = last_state(whole), last_state(resumed)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    masked = {key.removeprefix("beside/masks.").replace("/", "."): mask for key, mask in one.items() if "masks" in key}
    weights = {name: one[f"body/{name}"] for name in masked}
    assert all(not weights[name][~mask].any() for name, mask in masked.items())
    share = sum(int((value != 0).sum()) for value in weights.values()) / sum(value.numel() for value in weights.values())
    assert share == pytest.approx(0.25, abs=1e-3)
