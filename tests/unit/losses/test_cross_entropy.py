"""Cross-entropy per sample against the formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

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
