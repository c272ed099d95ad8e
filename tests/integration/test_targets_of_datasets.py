"""Soft and several labels of a dataset reach the loss of a method that takes them, and no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hdx.datasets.mosaic import Mosaic
from hdx.losses.cross_entropy import CrossEntropy
from tests.integration.harness import train

DATA = ("dataset=mosaic", "dataset.of={name: digits}", "dataset.train_images=30", "dataset.test_images=10")
RUN = ("protocol=offline", "method=finetune", "adapter=film", "head=linear", "trainer.epochs=1", "trainer.batch_size=16")


def test_each_sample_is_trained_on_its_own_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[torch.Tensor] = []
    plain = CrossEntropy.forward

    def watched(self: CrossEntropy, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        given.append(labels.detach().cpu())
        return plain(self, logits, labels)

    monkeypatch.setattr(CrossEntropy, "forward", watched)
    train(tmp_path, *DATA, *RUN)
    rows = torch.cat([labels for labels in given if labels.ndim == 2]).numpy()
    data = Mosaic(None, tmp_path / "cache", of={"name": "digits"}, train_images=30, test_images=10)
    assert data.train.targets is not None and len(rows) == 30  # one epoch
    np.testing.assert_array_equal(sorted(rows.tolist()), sorted(data.train.targets.tolist()))
