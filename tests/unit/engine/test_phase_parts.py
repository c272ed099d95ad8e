"""What a phase may bring along: its own recipe, steps, groups, targets, modules beside, several optimisers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hdx.engine import stop
from hdx.engine.fit import fit
from hdx.engine.loader import PhaseLoader
from hdx.errors import Interrupted
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch, Method, Phase
from hdx.methods._ema import Ema
from hdx.methods._parts import Parts
from hdx.methods._phase import Group
from hdx.trainers.recipe import Recipe
from tests.unit.engine.conftest import make_body

CPU = torch.device("cpu")
N = 30
FEATURES = torch.randn(N, 8, generator=torch.Generator().manual_seed(1))
LABELS = np.arange(N) % 3


def parts(**options: Any) -> Parts:
    torch.manual_seed(0)
    head = Linear(8)
    head.expand(3)
    return Parts(
        make_body((1, 8, 8)), head, CrossEntropy(), Recipe(**{"lr": 0.1, "optimizer": "sgd", "momentum": 0.0, **options})
    )


def phase_of(method: Method, **options: Any) -> Phase:
    return Phase("features", np.arange(N), (0, 1, 2), method.head, list(method.head.parameters()), **options)


def loader_of(method: Method, phase: Phase) -> PhaseLoader:
    recipe = method.recipe_of(phase)
    return PhaseLoader(
        FEATURES,
        phase.indices,
        LABELS,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=0,
        parts=(0, 0),
        device=CPU,
        steps=phase.steps,
        targets=phase.targets,
    )


def train(method: Method, phase: Phase, file: Path) -> float | None:
    loader = loader_of(method, phase)
    return fit(method, phase, loader, file=file, seed=0, parts=(0, 0), device=CPU, nodes=1, report=lambda state: None)


def test_a_phase_has_its_own_recipe_and_counts_steps(tmp_path: Path) -> None:
    method = Method(parts(batch_size=30, epochs=50))
    own = method.recipe.replace(lr=0.25, schedule="constant")
    weight, bias = method.head.weight.detach().clone(), method.head.bias.detach().clone()  # type: ignore[operator]
    for _ in range(2):  # two steps of 0.25 in place of 50 epochs
        p = (FEATURES @ weight.T + bias).softmax(1)
        gradient = (p - torch.eye(3)[torch.from_numpy(LABELS)]) / N
        weight, bias = weight - 0.25 * gradient.T @ FEATURES, bias - 0.25 * gradient.sum(0)
    train(method, phase_of(method, recipe=own, steps=2), tmp_path / "p.pt")
    torch.testing.assert_close(method.head.weight.detach(), weight, atol=1e-6, rtol=0)
    torch.testing.assert_close(method.head.bias.detach(), bias, atol=1e-6, rtol=0)  # type: ignore[operator]


def test_a_recipe_refuses_an_option_that_it_does_not_have() -> None:
    with pytest.raises(TypeError, match="no option rate"):
        Recipe().replace(rate=1)


def test_steps_end_inside_an_epoch() -> None:
    method = Method(parts(batch_size=10))
    whole = [batch.positions.tolist() for batch in loader_of(method, phase_of(method, steps=6))]
    loader = loader_of(method, phase_of(method, steps=5))
    assert [batch.positions.tolist() for batch in loader] == whole[:5] and loader.samples == 50
    loader.start = 4
    assert [batch.positions.tolist() for batch in loader] == whole[4:5]


def test_a_group_has_its_own_rate_and_decay(tmp_path: Path) -> None:
    method = Method(parts(batch_size=30, schedule="constant", weight_decay=0.5))
    weight, bias = method.head.weight.detach().clone(), method.head.bias.detach().clone()  # type: ignore[operator]
    p = (FEATURES @ weight.T + bias).softmax(1)
    gradient = (p - torch.eye(3)[torch.from_numpy(LABELS)]) / N
    group = Group([method.head.bias], scale=0.5, weight_decay=0.2)  # type: ignore[list-item]
    train(method, phase_of(method, groups=(group,), steps=1), tmp_path / "p.pt")
    wanted = weight - 0.1 * (gradient.T @ FEATURES + 0.5 * weight)
    torch.testing.assert_close(method.head.weight.detach(), wanted, atol=1e-6, rtol=0)
    wanted = bias - 0.05 * (gradient.sum(0) + 0.2 * bias)
    torch.testing.assert_close(method.head.bias.detach(), wanted, atol=1e-6, rtol=0)  # type: ignore[operator]


def test_targets_stand_for_labels(tmp_path: Path) -> None:
    hard, soft = Method(parts()), Method(parts())
    train(hard, phase_of(hard), tmp_path / "a.pt")
    train(soft, phase_of(soft, targets=torch.eye(3)[torch.from_numpy(LABELS)]), tmp_path / "b.pt")
    torch.testing.assert_close(soft.head.weight, hard.head.weight, atol=1e-6, rtol=0)
    other = Method(parts())
    train(other, phase_of(other, targets=torch.full((N, 3), 1 / 3)), tmp_path / "c.pt")
    assert float((other.head(FEATURES).softmax(1) - 1 / 3).abs().max()) < float(
        (hard.head(FEATURES).softmax(1) - 1 / 3).abs().max()
    )


class Following(Method):
    """The head, an average of it beside, and a second optimiser on a scale of the logits that has steps of its own."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.beside["ema"] = Ema(self.head, 0.9, rises=True)
        self.beside["scale"] = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.beside["scale"].weight, 1.0)
        self.seen: list[float] = []

    def followed(self) -> Phase:
        phase = phase_of(self, steps=9, steps_itself=True, after_step=self._after)
        phase.parameters = [*phase.parameters, *self.beside["scale"].parameters()]
        return phase

    def _after(self, progress: float) -> None:
        self.seen.append(progress)
        self.beside["ema"].follow(self.head, progress)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [
            torch.optim.Adam(self.head.parameters(), lr=1.0),
            torch.optim.SGD(self.beside["scale"].parameters(), lr=1.0, momentum=0.9),
        ]

    def training_step(self, batch: Batch, _: int) -> Tensor:
        loss = self.loss(self.head(batch.inputs), batch.labels).mean()
        self.descend(loss, 0)
        scaled = self.loss(self.beside["scale"].weight * self.head(batch.inputs).detach(), batch.labels).mean()
        self.descend(scaled, 1)
        return scaled.detach()


def state_of(method: Method) -> list[Tensor]:
    return [*method.head.state_dict().values(), *method.beside.state_dict().values()]


@pytest.mark.parametrize("cut", [1, 5, 8])
def test_two_optimisers_and_what_is_beside_end_bit_equal(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Following(parts(batch_size=10, lr=0.05))
    start = [value.clone() for value in state_of(whole)]
    loss = train(whole, whole.followed(), tmp_path / "whole.pt")
    assert whole.seen == pytest.approx([(step + 1) / 9 for step in range(9)])
    assert not any(torch.equal(a, b) for a, b in zip(start, state_of(whole)))  # the head, the average and the scale have moved
    first, asked = Following(parts(batch_size=10, lr=0.05)), []
    monkeypatch.setattr(stop, "requested", lambda: (asked.append(1), len(asked) >= cut)[1])
    with pytest.raises(Interrupted):
        train(first, first.followed(), tmp_path / "cut.pt")
    monkeypatch.setattr(stop, "requested", lambda: False)
    second = Following(parts(batch_size=10, lr=0.05))
    assert train(second, second.followed(), tmp_path / "cut.pt") == loss
    assert len(second.seen) == 9 - cut
    assert all(torch.equal(a, b) for a, b in zip(state_of(second), state_of(whole)))


def test_an_average_follows_with_a_rising_momentum() -> None:
    online = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(online.weight)
    ema = Ema(online, 0.8, rises=True)
    nn.init.ones_(online.weight)
    assert (ema.at(0.0), ema.at(0.5), ema.at(1.0)) == pytest.approx((0.8, 0.9, 1.0))
    ema.follow(online, 0.5)
    torch.testing.assert_close(ema.copy.weight, torch.full((1, 2), 0.1))
    ema.follow(online, 1.0)
    torch.testing.assert_close(ema.copy.weight, torch.full((1, 2), 0.1))
    assert not ema(torch.ones(1, 2)).requires_grad
