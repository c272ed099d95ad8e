"""TEEN: what is calibrated and what is not, masks, state."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from hdx.heads.ncm import NCM
from hdx.heads.teen import Teen

D = 6


def samples(n: int = 40, c: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % c
    return torch.randn(n, D, generator=generator) + y[:, None], y


def fitted(base: int = 3, new: int = 2, **options: float) -> Teen:
    x, y = samples()
    head = Teen(D, **options)
    head.expand(base)
    if new:
        head.expand(new)
    known = y < base + new
    head.update(x[known], y[known])
    return head


def cosine(n_classes: int = 5) -> NCM:
    x, y = samples()
    head = NCM(D, metric="cosine")
    head.expand(n_classes)
    head.update(x, y)
    return head


def test_without_calibration_it_is_the_cosine_ncm_at_its_temperature() -> None:
    x, _ = samples()
    torch.testing.assert_close(fitted(alpha=0.0, tau=10.0)(x), 10 * cosine()(x), atol=1e-12, rtol=1e-12)


def test_with_one_session_nothing_is_calibrated() -> None:
    x, _ = samples()
    torch.testing.assert_close(fitted(5, 0)(x), 16 * cosine()(x), atol=1e-12, rtol=1e-12)


def test_base_prototypes_stay_and_new_prototypes_come_nearer_to_the_nearest_base() -> None:
    old, new = fitted(alpha=0.0).solve()[0], fitted(alpha=0.5, tau=1e6).solve()[0]
    assert torch.equal(old[:3], new[:3])
    nearest = (old[3:] @ old[:3].T).argmax(1)
    expected = F.normalize((old[3:] + old[nearest]) / 2, dim=1)  # so cold a softmax takes the nearest base class alone
    torch.testing.assert_close(new[3:], expected, atol=1e-6, rtol=0)


def test_classes_without_samples_are_never_predicted_and_calibrate_nothing() -> None:
    x, y = samples()
    head, without = Teen(D), Teen(D)
    head.expand(4)  # of which 1 has no samples
    without.expand(3)
    head.expand(2)  # of which 5 has none
    without.expand(1)
    kept = (y == 0) | (y == 2) | (y == 3) | (y == 4)
    head.update(x[kept], y[kept])
    without.update(x[kept], torch.tensor([0, -1, 1, 2, 3])[y[kept]])
    logits = head(x)
    assert (logits[:, [1, 5]] == -torch.inf).all()
    torch.testing.assert_close(logits[:, [0, 2, 3, 4]], without(x), atol=1e-12, rtol=1e-12)


def test_without_any_base_sample_new_classes_keep_their_means() -> None:
    x, y = samples()
    head = Teen(D)
    head.expand(3)
    head.expand(2)
    head.update(x[y >= 3], y[y >= 3])
    torch.testing.assert_close(head(x)[:, 3:], 16 * cosine()(x)[:, 3:], atol=1e-12, rtol=1e-12)
    assert (head(x)[:, :3] == -torch.inf).all()


@pytest.mark.parametrize("before", [0, 2, 5])
def test_the_number_of_base_classes_survives_a_restore(before: int) -> None:
    x, _ = samples()
    head = fitted()
    again = Teen(D)
    with torch.inference_mode():
        again.expand(before)
        again(x)
    again.restore({name: value.clone() for name, value in head.state_dict().items()}, 5)
    assert (again.n_classes, int(again.n_base)) == (5, 3)
    assert torch.equal(again(x), head(x))
    for each in (head, again):
        each.expand(1)
        each.update(x[:5] - 4, torch.full((5,), 5))
    assert torch.equal(again(x), head(x))


def test_its_state_is_small() -> None:
    assert fitted().state_dict().keys() == {"n_base", "moments.pivot", "moments.counts", "moments.sums"}


def test_episodes_have_no_base_classes() -> None:
    generator = torch.Generator().manual_seed(1)
    support, query = torch.randn(4, 6, D, generator=generator), torch.randn(4, 9, D, generator=generator)
    labels = torch.tensor([0, 0, 1, 1, 2, 2]).repeat(4, 1)
    head = fitted()
    before = head(query[0])
    logits = head.classify(support, labels, query, 3)
    for e in range(4):
        alone = NCM(D, metric="cosine")
        alone.expand(3)
        alone.update(support[e], labels[e])
        torch.testing.assert_close(logits[e].double(), 16 * alone(query[e]), atol=1e-4, rtol=1e-5)
    assert torch.equal(head(query[0]), before)
    fresh = head.fresh()
    assert (fresh.n_classes, int(fresh.n_base), int(head.n_base)) == (0, 0, 3)
