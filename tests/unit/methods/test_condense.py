"""Gradient matching: its distance, two optimisers that stop and resume, and a dataset that other runs train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.unit.methods.digit_runs import interrupted, last_state, predictions, run
from torch import nn

from hdx.errors import ConfigError, DataError
from hdx.methods._matching import gradient_distance, redraw, statistics_of

WORDS = ("method=condense", "adapter=full", "head=linear", "protocol=offline", "method.per_class=2", "method.batch=2")
WORDS += ("method.steps=4", "method.restart=2", "method.network_steps=2", "trainer.epochs=3", "method.image_rate=1.0")


def test_the_distance_of_gradients_is_the_formula() -> None:
    shapes = [(3, 2, 2, 2), (3,), (4, 5)]
    one, other = ([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for shape in shapes] for seed in (0, 1))
    wanted = 0.0
    for a, b in zip(one, other):
        if a.ndim == 1:
            continue
        for row, again in zip(a.numpy().astype(float).reshape(len(a), -1), b.numpy().astype(float).reshape(len(b), -1)):
            wanted += 1 - row @ again / np.linalg.norm(row) / np.linalg.norm(again)
    assert float(gradient_distance(one, other)) == pytest.approx(wanted, abs=1e-4)
    assert float(gradient_distance(one, [3 * a for a in one])) == pytest.approx(0.0, abs=1e-4)
    assert float(gradient_distance(one, [-a for a in one])) == pytest.approx(2 * 7, abs=1e-3)


def test_redrawing_is_a_function_of_the_generator() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    network[1].running_mean += 1
    states = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        redraw(network)
        states.append({name: value.clone() for name, value in network.state_dict().items()})
    assert all(torch.equal(states[0][name], states[2][name]) for name in states[0])
    assert not torch.equal(states[0]["0.weight"], states[1]["0.weight"]) and not states[0]["1.running_mean"].any()


def test_batch_norms_hold_the_statistics_of_all_classes() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten())
    images = torch.randn(8, 1, 2, 2, generator=torch.Generator().manual_seed(0)) * 3 + 1
    with statistics_of(network, images):
        found = network(images[:2])
        torch.testing.assert_close(network[0].running_mean, images.mean((0, 2, 3)))
    wanted = (images[:2] - images.mean()) / (images.var() + 1e-5).sqrt()
    torch.testing.assert_close(found, wanted.flatten(1), atol=1e-5, rtol=1e-5)
    assert network[0].training and network[0].momentum == 0.1


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(tmp_path_factory.mktemp("condense"), *WORDS)


def test_ten_images_become_a_dataset(whole: dict[str, Any]) -> None:
    folder = Path(whole["run_dir"])
    assert whole["artefact"] == "artefact/images.safetensors"
    learnt = load_file(folder / "artefact/images.safetensors")
    assert learnt["images"].shape == (20, 1, 8, 8) and learnt["images"].dtype == torch.uint8
    assert learnt["labels"].tolist() == [label for label in range(10) for _ in range(2)]
    state = last_state(whole)
    assert not [name for name in state if name.startswith("beside/network")]
    assert torch.equal((state["beside/images.pixels"] * 255).round().to(torch.uint8), learnt["images"])
    outputs = folder.parents[2]
    words = ("dataset=distilled", f"dataset.run={whole['run_id']}", "method=finetune", "adapter=full", "head=linear")
    other = run(outputs, *words, "protocol=offline", "trainer.epochs=2")
    assert other["sessions"][0]["n_train"] == 20 and other["sessions"][0]["n_test"] == whole["sessions"][0]["n_test"]
    assert other["classes"] == 10 and other["images_trained"] == 40


@pytest.mark.parametrize("after", [3, 5])  # while images are learnt, and while body and head train on them
def test_a_run_stopped_in_either_phase_ends_bit_equal(
    after: int, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path, monkeypatch, *WORDS, after=after)
    resumed = run(tmp_path, *WORDS)
    assert predictions(whole) == predictions(resumed)
    one, other = last_state(whole), last_state(resumed)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_several_sessions_are_refused(tmp_path: Path) -> None:
    words = [word for word in WORDS if word != "protocol=offline"]
    with pytest.raises(ConfigError, match="images of one session, got 5: take protocol=offline"):
        run(tmp_path, *words, "protocol.step=2")


def test_what_cannot_be_trained_on_is_refused(whole: dict[str, Any], tmp_path: Path) -> None:
    rest = ("method=finetune", "adapter=full", "head=linear", "protocol=offline")
    with pytest.raises(DataError, match=r"dataset\.run: run 'abc': no run matches"):
        run(tmp_path, "dataset=distilled", "dataset.run=abc", *rest)
    outputs = Path(whole["run_dir"]).parents[2]
    plain = run(outputs, *rest, "protocol.shots=2", "trainer.epochs=1")
    with pytest.raises(DataError, match="expected a run that learns images"):
        run(outputs, "dataset=distilled", f"dataset.run={plain['run_id']}", *rest)
