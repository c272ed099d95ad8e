"""EWC against loops in float64: the diagonal of the Fisher information, the penalty's value and its gradient."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from tests.unit.methods.incremental import LABELS, SESSIONS, images_of, samples, small_body
from torch import Tensor
from torch.func import functional_call, jacrev

from hdx.adapters.film import Film
from hdx.adapters.full import Full
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._fisher import Quadratic, fisher_diagonal
from hdx.methods._parts import Parts
from hdx.methods.ewc import Ewc
from hdx.trainers.recipe import Recipe

FIRST = SESSIONS[0]
POSITIONS = torch.tensor([0, 1] * 4)  # of the labels 4, 1, 4, 1, … of the first session


def made(adapter: Any = None, **options: Any) -> Ewc:
    body = small_body(adapter or Full())
    return Ewc(Parts(body, Linear(body.n_features), CrossEntropy(), Recipe()), **options)


def after(method: Ewc, n_sessions: int) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Runs sessions with weights that move in each. Returns: float64 Fisher and weights at the end of each session, by loops."""
    fishers, weights = [], []
    for session in SESSIONS[:n_sessions]:
        method.start_session(session)
        method.head.expand(len(session.new_classes))
        (phase,) = method.phases(session, SESSIONS)
        method.begin(phase)
        with torch.no_grad():
            for number, parameter in enumerate(phase.parameters):
                generator = torch.Generator().manual_seed(100 * session.index + number)
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        method.end()
        fishers.append(loop_fisher(method, session.train, session.seen_classes))
        weights.append({name: p.detach().double() for name, p in method.consolidating().items()})
        method.end_session(session, samples())
    return fishers, weights


def loop_fisher(method: Ewc, rows: np.ndarray, seen: tuple[int, ...], columns: list[int] | None = None) -> dict[str, Tensor]:
    """Another way to the same: Jacobians of all log-probabilities of one image in float64, squared and averaged over images."""
    columns = sorted({seen.index(label) for label in LABELS[rows]}) if columns is None else columns
    network = torch.nn.Module()
    network.body, network.head = copy.deepcopy(method.body).double(), copy.deepcopy(method.head).double()
    own = {name: dict(network.named_parameters())[name].detach() for name in method.consolidating()}
    total = {name: torch.zeros_like(value) for name, value in own.items()}

    def log_p(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        of = {part: {k[5:]: v for k, v in parameters.items() if k.startswith(part)} for part in ("body.", "head.")}
        body = torch.nn.Sequential(network.body.backbone, network.body.pool)  # Body itself casts to float32
        renamed = {k.replace("backbone.", "0.", 1).replace("pool.", "1.", 1): v for k, v in of["body."].items()}
        features = functional_call(body, renamed, (image[None],))
        return functional_call(network.head, of["head."], (features,))[0, columns].log_softmax(0)

    for row in rows:
        label = columns.index(seen.index(int(LABELS[row])))
        jacobian = jacrev(log_p)(own, images_of(np.array([row]))[0].double())
        for name, value in jacobian.items():
            total[name] += value[label].square() / len(rows)
    return total


@pytest.mark.parametrize("adapter", [Full, Film])
def test_the_fisher_diagonal_is_the_mean_of_squared_gradients_of_single_samples(adapter: type) -> None:
    method = made(adapter())
    (expected,), (weights,) = after(method, 1)
    found = method.consolidated
    assert found is not None and set(found.precision) == set(expected) == set(method.consolidating())
    assert len(found.precision) == len(method.body.trainable) + 2
    for name, value in expected.items():
        scale = float(value.max())
        torch.testing.assert_close(found.precision[name].double(), value, rtol=1e-3, atol=1e-5 * scale, msg=name)
        assert torch.equal(found.centre[name].double(), weights[name])
    assert all(float(value.max()) > 0 for value in expected.values())


def test_of_the_head_it_is_a_closed_form() -> None:
    """d log p_y / d W = (onehot(y) - p) x^T."""
    method = made()
    after(method, 1)
    with torch.no_grad():
        x = method.body(images_of(FIRST.train)).double().numpy()
    weight, bias = (method.head.get_parameter(name).detach().double().numpy() for name in ("weight", "bias"))
    residual = np.eye(2)[POSITIONS] - softmax(x @ weight.T + bias, axis=1)
    squares = np.einsum("nc,nd->cd", residual**2, x**2) / len(x)
    assert method.consolidated is not None
    np.testing.assert_allclose(method.consolidated.precision["head.weight"].numpy(), squares, rtol=1e-4)
    np.testing.assert_allclose(method.consolidated.precision["head.bias"].numpy(), (residual**2).mean(0), rtol=1e-4)


def test_it_is_not_the_square_of_the_batchs_gradient() -> None:
    weight = torch.zeros(3, requires_grad=True)
    inputs = torch.tensor([[1.0, 2.0, 0.0], [-1.0, 2.0, 0.0]])
    found = fisher_diagonal((x @ weight for x in inputs), {"w": weight, "unused": torch.ones(2, requires_grad=True)})
    assert found["w"].tolist() == [1.0, 4.0, 0.0] and found["unused"].tolist() == [0.0, 0.0]
    assert float((inputs.mean(0) ** 2)[0]) == 0.0  # where the samples disagree a batch's gradient sees nothing


def test_sampled_labels_give_the_true_fisher_on_average() -> None:
    """E over y of squared gradients, weighted by p(y|x): exact by enumeration, approached by many draws."""
    method = made(Film(), fisher="sampled")
    method.head.expand(2)
    method.phases(FIRST, SESSIONS)
    with torch.no_grad():
        method.head.get_parameter("weight").mul_(2.0)
        x = method.body(images_of(FIRST.train)).double().numpy()
    weight, bias = (method.head.get_parameter(name).detach().double().numpy() for name in ("weight", "bias"))
    p = softmax(x @ weight.T + bias, axis=1)
    expected = (p * (1 - p)).mean(0)  # of the bias: sum_y p_y (1[y = c] - p_c)^2
    torch.manual_seed(0)
    draws = []
    for _ in range(60):
        method.consolidated = None
        method.end_session(FIRST, samples())
        assert method.consolidated is not None
        draws.append(method.consolidated.precision["head.bias"].double().numpy())
    error = np.std(draws, axis=0) / np.sqrt(len(draws))
    assert (np.abs(np.mean(draws, axis=0) - expected) < 4 * error + 1e-6).all()
    assert np.std(draws, axis=0).max() > 0


def penalty_loop(
    method: Ewc, fishers: list[dict[str, Tensor]], weights: list[dict[str, Tensor]]
) -> tuple[float, dict[str, Tensor]]:
    """Value and gradient of lam/2 sum_k sum_i F_k,i (theta_i - theta*_k,i)^2, every session for itself."""
    value, gradient = 0.0, {name: torch.zeros_like(p).double() for name, p in method.consolidating().items()}
    for fisher, anchor in zip(fishers, weights):
        for name, parameter in method.consolidating().items():
            moved = parameter.detach().double()[: len(anchor[name])] - anchor[name]
            value += 0.5 * method.lam * float((fisher[name] * moved**2).sum())
            gradient[name][: len(moved)] += method.lam * fisher[name] * moved
    return value, gradient


@pytest.mark.parametrize(("online", "gamma"), [(False, 1.0), (True, 1.0), (True, 0.5)])
def test_the_penalty_and_its_gradient(online: bool, gamma: float) -> None:
    """After two sessions, in a third whose head has grown: separate penalties sum up; online F decays in every session."""
    method = made(lam=3.0, online=online, gamma=gamma)
    assert method.penalty() == 0.0
    fishers, weights = after(method, 2)
    if online:
        for name, value in fishers[1].items():
            value[: len(fishers[0][name])] += gamma * fishers[0][name]
            value *= gamma
        fishers, weights = fishers[1:], weights[1:]
    method.head.expand(2)
    with torch.no_grad():
        for parameter in method.consolidating().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)))
            parameter.requires_grad_(True)
    found = method.penalty()
    assert isinstance(found, Tensor)
    found.backward()
    value, gradient = penalty_loop(method, fishers, weights)
    assert value > 0.01 and found.item() == pytest.approx(value, rel=1e-3)
    for name, parameter in method.consolidating().items():
        assert parameter.grad is not None
        scale = float(gradient[name].abs().max())
        torch.testing.assert_close(parameter.grad.double(), gradient[name], rtol=1e-3, atol=1e-4 * scale, msg=name)
    assert not method.head.get_parameter("weight").grad[-2:].any()  # type: ignore[index]


def test_quadratics_add_up_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [
        Quadratic({"w": torch.rand(rows, 3, generator=generator)}, {"w": torch.randn(rows, 3, generator=generator)}, 0.25)
        for rows in (2, 2, 4)
    ]
    parts[1].precision["w"][0] = 0.0
    parts[2].precision["w"][:] = torch.where(torch.arange(4)[:, None] == 0, 0.0, parts[2].precision["w"])
    total = parts[0].plus(parts[1]).plus(parts[2])
    for seed in range(3):
        theta = {"w": 3 * torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))}
        assert float(total(theta)) == pytest.approx(sum(float(part(theta)) for part in parts), rel=1e-5)
