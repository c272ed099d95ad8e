"""DHKD on digits, and its step on a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.methods.digit_runs import run
from tests.unit.methods.incremental import small_body
from tests.unit.methods.taught import FEW, student

from hdx.heads.linear import Linear
from hdx.losses._base import Outputs
from hdx.losses._bkl import binary_kl
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch
from hdx.methods._beside import Beside
from hdx.methods._parts import Parts
from hdx.methods.dhkd import Dhkd
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe

SESSION = Session(0, (0, 1, 2), (0, 1, 2), np.arange(8), np.arange(1))


@pytest.mark.parametrize("kind", ["linear", "nonlinear"])
def test_a_step_is_the_labels_gradient_and_the_teachers_without_what_goes_against_it(kind: str) -> None:
    torch.manual_seed(0)
    body = small_body()
    method = Dhkd(Parts(body, Linear(body.n_features), CrossEntropy(), Recipe()), gamma=0.7, alpha=0.3, auxiliary=kind)  # type: ignore[arg-type]
    method.head.expand(3)
    (phase,) = method.phases(SESSION, [SESSION])
    assert phase.raw and isinstance(phase.classifier, Beside)
    method.begin(phase)
    method.eval()  # the same features, and no dropout, in every pass
    inputs, labels, logits = torch.randn(8, 3, 16, 16), torch.arange(8) % 3, 5 * torch.randn(8, 3)
    method.teaching = lambda batch: Outputs(logits)
    batch = Batch(inputs, labels, 1 / 8, torch.arange(8))
    loss = method.training_step(batch, 0)
    loss.backward()
    features = body(inputs)
    main = 0.7 * torch.nn.functional.cross_entropy(method.head(features), labels)
    other = 0.3 * binary_kl(phase.classifier.parts["auxiliary"](features), logits, 2.0).mean()
    torch.testing.assert_close(loss.detach(), (main + other).detach())
    g1, g2 = (
        torch.cat([torch.zeros(p.numel()) if g is None else g.flatten() for p, g in zip(phase.parameters, grads)])
        for grads in (torch.autograd.grad(each, phase.parameters, retain_graph=True, allow_unused=True) for each in (main, other))
    )
    dot = g1 @ g2
    expected = g1 + g2 - min(dot, torch.tensor(0.0)) / (g1 @ g1) * g1
    found = torch.cat([p.grad.flatten() for p in phase.parameters])  # type: ignore[union-attr]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_it_learns_from_unlabelled_images_and_drops_the_auxiliary_head(taught: Path) -> None:
    alone = run(taught, "+exp=kd_student", *FEW, "trainer.epochs=60")
    record = student(taught, "+exp=kd_dhkd", *FEW, "trainer.epochs=3")
    assert record["metrics"]["acc_last"] > alone["metrics"]["acc_last"] + 0.1
    assert record["head_parameters"] == 10 * (12 + 1)  # nothing of it is left
