"""SLDA: the preset, its shrinkage, and what a user may not combine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hdx.config.validate import load
from hdx.errors import ConfigError
from hdx.heads.lda import LDA


def samples(n: int = 120, d: int = 8, c: int = 4):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % c
    return torch.randn(n, d, generator=generator) + 3 * torch.randn(c, d, generator=generator)[y], y


def slda(d: int = 8) -> LDA:
    options = {name: value for name, value in load(["head=slda"]).data["head"].items() if name != "name"}
    assert options == {"covariance": "within", "ridge": 0.0, "shrinkage": 1e-4, "prior": "uniform"}
    return LDA(d, **options)


def test_preset_is_the_formula_of_streaming_lda():
    x, y = samples()
    head = slda()
    head.expand(4)
    for part in torch.arange(len(y)).split(37):
        head.update(x[part], y[part])
    z = x.numpy().astype(np.float64)
    means = np.stack([z[y.numpy() == c].mean(0) for c in range(4)])
    sigma = sum(np.outer(row - means[c], row - means[c]) for row, c in zip(z, y)) / len(z)
    precision = np.linalg.inv((1 - 1e-4) * sigma + 1e-4 * np.eye(8))
    expected = z @ precision @ means.T - 0.5 * np.diag(means @ precision @ means.T)
    difference = head(x).numpy() - expected
    np.testing.assert_allclose(difference, np.repeat(difference[:, :1], 4, axis=1), atol=1e-9)  # one number a sample


def test_shrinkage_makes_a_singular_covariance_regular():
    x, y = samples(n=6)
    head = slda()
    head.expand(4)
    head.update(x, y)
    assert torch.linalg.eigvalsh(head.regularised_covariance()).min() == pytest.approx(1e-4, rel=1e-6)
    assert head(x).argmax(1).tolist() == y.tolist()


def test_episodes_are_classified_with_the_shrinkage():
    x, y = samples()
    head = slda()
    logits = head.classify(x[None, :20], y[None, :20], x[None, 20:], 4)
    alone = slda()
    alone.expand(4)
    alone.update(x[:20], y[:20])
    torch.testing.assert_close(logits[0], alone(x[20:]))


def test_ridge_and_shrinkage_together_are_refused():
    with pytest.raises(ConfigError, match=r"head.shrinkage=0.1 and head.ridge=1 .* set one of them to 0"):
        LDA(8, shrinkage=0.1)
