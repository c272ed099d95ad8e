"""Batches of a phase: complete, a pure function of the seed, resumable at any step, exact over ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hdx.augments._named import Augment
from hdx.datasets._base import Dataset
from hdx.datasets._draws import StoredCrops
from hdx.datasets.transforms import EvalTransform
from hdx.engine import ranks
from hdx.engine.loader import PhaseLoader

CPU = torch.device("cpu")


def loader(source: object, n: int = 50, *, epochs: int = 3, batch_size: int = 16, seed: int = 0, **more: object) -> PhaseLoader:
    indices = np.arange(100, 100 + n)
    return PhaseLoader(
        source,
        indices,
        indices % 7,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        parts=(0, 0),
        device=CPU,
        **more,  # type: ignore[arg-type]
    )


FEATURES = torch.arange(50, dtype=torch.float32)[:, None]


def test_each_epoch_sees_each_sample_once_in_a_new_order() -> None:
    batches = [x[:, 0].long().tolist() for x, *_ in loader(FEATURES)]
    assert [len(b) for b in batches] == [13, 13, 12, 12] * 3
    epochs = [sum(batches[4 * e : 4 * e + 4], []) for e in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_labels_and_weights_belong_to_the_inputs() -> None:
    for x, y, weight, *_ in loader(FEATURES):
        assert y.tolist() == [int((100 + v) % 7) for v in x[:, 0]]
        assert weight == 1 / len(y)


@pytest.mark.parametrize("start", [1, 4, 7, 12])
def test_resuming_at_a_step_continues_the_same_stream(start: int, digits: Dataset) -> None:
    transform = EvalTransform(_spec(), digits.train.image_shape)
    parts = {"augment": Augment(["rotate", "crop"], transform.resize_to), "transform": transform}
    whole = list(loader(digits.train, **parts))
    later = loader(digits.train, **parts)
    later.start = start
    rest = list(later)
    assert len(rest) == len(later) == 12 - start
    for (x, y, *_), (again, label, *_) in zip(whole[start:], rest):
        assert torch.equal(x, again) and torch.equal(y, label)


def test_stored_crops_come_back_every_k_epochs_and_are_the_same_for_every_seed_and_rank(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    transform = EvalTransform(_spec(), digits.train.image_shape)
    augment = Augment(["rotate", "crop"], transform.resize_to)
    parts = {"augment": augment, "transform": transform, "crops": StoredCrops(2, 7), "raw": True}

    def images(**more: object) -> dict[tuple[int, int], torch.Tensor]:
        """By (epoch, row)."""
        found = {}
        for step, batch in enumerate(loader(digits.train, epochs=4, **parts, **more)):
            assert torch.equal(batch.inputs, transform(batch.images))
            assert batch.crops.tolist() == [step // 4 % 2] * len(batch.labels)
            for row, image in zip(100 + batch.positions.numpy(), batch.images):
                found[step // 4, row] = image
        return found

    one, other = images(), images(seed=1)
    monkeypatch.setattr(ranks, "rank", lambda: 1)
    monkeypatch.setattr(ranks, "world", lambda: 3)
    for (epoch, row), image in one.items():
        assert torch.equal(image, one[epoch % 2, row]) and torch.equal(image, other[epoch, row])
    share = images()
    assert 0 < len(share) < len(one) and all(torch.equal(image, one[place]) for place, image in share.items())
    changed = [not torch.equal(one[0, row], one[1, row]) for epoch, row in one if epoch == 0]
    assert len(changed) == 50 and all(changed)
    draws = StoredCrops(2, 7).draws(np.array([100]), 1, augment.n_draws)
    assert torch.equal(one[1, 100][None], augment(digits.train.fetch(np.array([100])), draws))


def test_ranks_share_a_batch_without_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = list(loader(FEATURES))
    shares = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(ranks, "world", lambda: 3)
        shares.append(list(loader(FEATURES)))
    for step, (x, _, weight, *_) in enumerate(alone):
        together = torch.cat([shares[rank][step][0] for rank in range(3)])
        assert torch.equal(together, x)
        mean = sum((shares[rank][step][0] * shares[rank][step][2]).sum() for rank in range(3)) / 3
        assert mean.item() == pytest.approx((x * weight).sum().item(), rel=1e-6)


def test_the_seed_changes_the_order() -> None:
    one, other = (next(iter(loader(FEATURES, seed=seed)))[0] for seed in (0, 1))
    assert not torch.equal(one, other)


def _spec():  # type: ignore[no-untyped-def]
    from hdx.backbones._base import InputSpec

    return InputSpec(32, (0.5,) * 3, (0.25,) * 3)
