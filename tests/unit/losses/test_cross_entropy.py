"""Cross-entropy per sample against the formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch.nn import functional as F

from hdx.losses.cross_entropy import CrossEntropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_formula(smoothing):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(9, 5)) * 4, rng.integers(0, 5, 9)
    target = np.eye(5)[labels] * (1 - smoothing) + smoothing / 5
    expected = -(target * log_softmax(logits, axis=1)).sum(1)
    ours = CrossEntropy(label_smoothing=smoothing)(torch.from_numpy(logits), torch.from_numpy(labels))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bit_logits_are_computed_in_float32(dtype):
    logits = (torch.randn(7, 4, generator=torch.Generator().manual_seed(0)) * 20).to(dtype)
    labels = torch.arange(7) % 4
    ours = CrossEntropy()(logits, labels)
    assert ours.dtype == torch.float32
    assert ours.shape == (7,)
    torch.testing.assert_close(ours, CrossEntropy()(logits.float(), labels))


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="torch before 2.13 has no linear_cross_entropy")
@pytest.mark.parametrize("bias", [True, False])
def test_some_samples_at_a_time_the_loss_of_a_linear_classifier_is_the_same(bias, monkeypatch):
    """On a CPU, where it is not taken by itself."""
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(33, 8, generator=generator), torch.arange(33) * 150
    weight, offset = torch.randn(5000, 8, generator=generator), torch.randn(5000, generator=generator)
    loss, found = CrossEntropy(), []
    assert loss.of_linear(features, weight, offset, labels) is None
    monkeypatch.setattr(CrossEntropy, "chunked", lambda self, features: True)
    assert loss.of_linear(features, weight[:4000], None, labels % 4000) is None
    assert CrossEntropy(label_smoothing=0.1).of_linear(features, weight, offset, labels) is None
    for plain in (False, True):
        leaves = [value.clone().requires_grad_() for value in (features, weight, *([offset] if bias else []))]
        x, w, *b = leaves
        values = loss(F.linear(x, w, *b), labels) if plain else loss.of_linear(x, w, b[0] if b else None, labels)
        (values * torch.linspace(0.5, 2, 33)).sum().backward()
        found.append([values.detach(), *(leaf.grad for leaf in leaves)])
    for ours, expected in zip(*found):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)
