"""CutMix: images and targets are mixed alike, batches come back after a stop, and soft targets reach the loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.methods.digit_runs import interrupted, last_state, predictions, run
from tests.unit.methods.incremental import LABELS, SESSIONS, images_of, small_body

from hdx.datasets._base import ImageSet
from hdx.engine.loader import PhaseLoader
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch
from hdx.methods._parts import Parts
from hdx.methods.cutmix import CutMix, smoothed
from hdx.trainers.recipe import Recipe

WORDS = ("method=cutmix", "adapter=full", "protocol=offline", "protocol.shots=10", "trainer.epochs=4")


def made(**options: object) -> CutMix:
    body = small_body()
    method = CutMix(Parts(body, Linear(body.n_features), CrossEntropy(), Recipe()), **options)  # type: ignore[arg-type]
    method.head.expand(2)
    return method


class Flat(ImageSet):
    """Images of one brightness each, which their labels name."""

    labels = np.arange(6)
    image_shape = (1, 16, 16)
    digest = "flat"

    def fetch(self, indices: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(indices)[:, None, None, None].expand(-1, 1, 16, 16).to(torch.uint8) * 10


def test_targets_say_how_much_of_each_image_is_there() -> None:
    method = made(share=1.0, smoothing=0.0)
    loader = PhaseLoader(
        Flat(), np.arange(6), np.arange(6), epochs=8, batch_size=6, seed=0, parts=(0, 0), device=torch.device("cpu"),
        transform=method.body.transform, raw=True, targets=smoothed(torch.arange(6), 6, 0.0), mix=method.mixing,
    )  # fmt: skip
    mixed = 0
    for batch in loader:
        assert batch.images is not None and batch.targets is not None
        for image, target, own in zip(batch.images, batch.targets, batch.labels.tolist()):
            shares = torch.stack([(image == 10 * label).float().mean() for label in range(6)])
            torch.testing.assert_close(target, shares)
            mixed += 0 < float(shares[own]) < 1
    assert mixed > 20
    again = [batch.targets for batch in loader]
    loader.start = 5
    assert all(torch.equal(one, batch.targets) for one, batch in zip(again[5:], loader, strict=True))


def test_smoothing_spreads_a_share_over_all_classes() -> None:
    assert smoothed(torch.tensor([2, 0]), 4, 0.2).tolist() == [
        pytest.approx([0.05, 0.05, 0.85, 0.05]),
        pytest.approx([0.85, 0.05, 0.05, 0.05]),
    ]


def test_the_loss_of_a_batch_is_the_cross_entropy_of_its_targets() -> None:
    method = made().eval()
    (phase,) = method.phases(SESSIONS[0], SESSIONS)
    method.begin(phase)
    targets = torch.tensor([[0.7, 0.3], [0.1, 0.9], [1.0, 0.0]])
    batch = Batch(images_of(np.arange(3)), torch.tensor([0, 1, 0]), 1 / 3, torch.arange(3), targets=targets)
    loss = method.training_step(batch, 0)
    with torch.no_grad():
        log_p = method.head(method.body(batch.inputs)).double().log_softmax(1)
    assert loss.item() == pytest.approx(float(-(targets * log_p).sum(1).mean()), abs=1e-6)
    assert callable(phase.targets) and phase.targets(torch.from_numpy(LABELS[:2] // 4)).shape == (2, 2)


@pytest.mark.parametrize("head", ["linear", "lda"])
def test_a_run_stopped_in_the_middle_ends_bit_equal(head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "a", *WORDS, f"head={head}")
    interrupted(tmp_path / "b", monkeypatch, *WORDS, f"head={head}", after=7)
    resumed = run(tmp_path / "b", *WORDS, f"head={head}")
    assert predictions(whole) == predictions(resumed)
    one, other = last_state(whole), last_state(resumed)
    assert all(torch.equal(one[key], other[key]) for key in one)
