"""iCaRL against loops over its paper's formulas in float64: both forms of the loss, and the nearest mean of exemplars."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.engine.conftest import make_body
from tests.unit.methods.digit_runs import last_state, run

from hdx.adapters.film import Film
from hdx.heads.ncm import NCM
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch
from hdx.methods._parts import Parts
from hdx.methods.icarl import ICaRL
from hdx.protocols._base import Session
from hdx.store.rundir import RunDir
from hdx.trainers.recipe import Recipe

N_OWN, N_OLD = 4, 3
FIRST = Session(0, (0, 1, 2), (0, 1, 2), np.arange(9), np.arange(1))
SECOND = Session(1, (3, 4), (0, 1, 2, 3, 4), np.arange(10, 10 + N_OWN), np.arange(1))
LABELS = [3, 4, 1, 3, 0, 2]  # the session's own (the third one of a class that is seen again), then two exemplars


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum()


def binary(z: np.ndarray, label: int, old: np.ndarray, own: bool) -> float:
    """-sum_{new y} [delta log g + (1 - delta) log(1 - g)] - sum_{old y} [q log g + (1 - q) log(1 - g)]."""
    total = 0.0
    for y in range(len(z)):
        target = float(y == label)
        if y < len(old) and not (own and y == label):
            target = sigmoid(old[y])
        total -= target * math.log(sigmoid(z[y])) + (1 - target) * math.log(1 - sigmoid(z[y]))
    return total


def softened(z: np.ndarray, label: int, old: np.ndarray, own: bool) -> float:
    """Cross-entropy, and with T = 2 the old model's soft targets minus their entropy."""
    total = -math.log(softmax(z)[label])
    if len(old):
        q, p = softmax(old / 2), softmax(z[: len(old)] / 2)
        total += sum(q[y] * (math.log(q[y]) - math.log(p[y])) for y in range(len(old)))
    return total


def step(activation: str, second: bool) -> tuple[float, np.ndarray, np.ndarray]:
    """The loss of one training step, and the logits of the model and of the one before."""
    body = make_body((1, 8, 8))
    body.attach(Film())
    method = ICaRL(Parts(body, NCM(body.n_features), CrossEntropy(), Recipe()), activation=activation)  # type: ignore[arg-type]
    sessions = [FIRST, SECOND] if second else [SECOND]
    for session in sessions:
        method.start_session(session)
        (phase,) = method.phases(session, sessions)
        method.memory.rows = np.array([0, 8])
        with torch.no_grad():
            method.linear.weight.normal_(std=0.3)  # type: ignore[union-attr]
            for parameter in body.trainable:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    if second:
        (phase,) = method.phases(SECOND, sessions)
    else:
        method.start_session(FIRST)  # forgets the previous model
    method.begin(phase)
    images = torch.randn(len(LABELS), 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loss = method.training_step(Batch(images, torch.tensor(LABELS), 1 / len(LABELS), torch.arange(len(LABELS))), 0)
    logits = method.linear(body(images)).detach().double().numpy()  # type: ignore[misc]
    old = np.zeros((len(LABELS), 0)) if method.previous is None else method.previous.logits(images).double().numpy()
    return loss.item(), logits, old


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize(("activation", "reference"), [("sigmoid", binary), ("softmax", softened)])
def test_the_loss(activation: str, reference: object, second: bool) -> None:
    torch.manual_seed(0)
    loss, logits, old = step(activation, second)
    assert old.shape == (len(LABELS), N_OLD if second else 0)
    rows = zip(logits, LABELS, old, np.arange(len(LABELS)) < N_OWN)
    expected = np.mean([reference(z, label, before, own) for z, label, before, own in rows])  # type: ignore[operator]
    assert loss == pytest.approx(expected, rel=1e-5)
    if second:
        assert np.abs(logits[:, :N_OLD] - old).max() > 0.1


def test_every_image_goes_to_the_nearest_mean_of_exemplars(tmp_path: Path) -> None:
    """From the run's own bank of features: mu_y = normalised mean of normalised exemplars, argmin_y ||x - mu_y||."""
    words = ("memory.size=25", "protocol.step=5", "protocol.shots=10", "trainer.epochs=2", "feature_dtype=float32")
    record = run(tmp_path, "+exp=cil_icarl", *words)
    state, arrays = last_state(record), RunDir(Path(record["run_dir"])).predictions(1)
    exemplars, labels = state["extra/memory.rows"].numpy(), state["extra/memory.labels"].numpy()
    assert len(exemplars) == 25
    train, test = features_of(record, state)
    order = list(dict.fromkeys(labels.tolist()))  # classes in the order of arrival
    means = []
    for label in order:
        own = [train[row] / np.linalg.norm(train[row]) for row, its in zip(exemplars, labels) if its == label]
        mean = sum(own) / len(own)
        means.append(mean / np.linalg.norm(mean))
    distances = [[np.linalg.norm(test[row] / np.linalg.norm(test[row]) - mean) for mean in means] for row in arrays["index"]]
    margin = np.diff(np.sort(distances, axis=1)[:, :2], axis=1)[:, 0]
    clear = margin > 1e-5
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(np.argmin(distances, axis=1)[clear], arrays["prediction"][clear])


def features_of(record: dict, state: dict[str, torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Features of both splits in float64, image after image, under the body that the last session left behind."""
    from hdx.config.validate import load_saved
    from hdx.engine.build import assemble

    config = load_saved(RunDir(Path(record["run_dir"])).config_file)
    assembly = assemble(config.data)
    assembly.attach(config.data["adapter"])
    body = assembly.method.body
    body.load_changed({name.removeprefix("body/"): value for name, value in state.items() if name.startswith("body/")})
    body.eval()
    splits = (assembly.dataset.train, assembly.dataset.test)
    return tuple(body.embed(split.fetch(np.arange(len(split)))).double().numpy() for split in splits)  # type: ignore[return-value]
