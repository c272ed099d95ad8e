"""SLA on digits: a body that sees four turns, what its head predicts, and what is exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from tests.unit.methods.digit_runs import SMALL, run
from tests.unit.methods.incremental import small_body

from hdx.config.paths import absolute_in
from hdx.config.validate import load
from hdx.engine.export_model import export_model
from hdx.engine.restored import restored
from hdx.errors import RunError
from hdx.heads.rotations import Rotations
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch
from hdx.methods._parts import Parts
from hdx.methods.sla import Sla
from hdx.protocols._base import Session
from hdx.store.rundir import RunDir
from hdx.trainers.recipe import Recipe


@pytest.mark.parametrize("predict", ["aggregated", "distilled"])
@pytest.mark.parametrize("large", [False, True])
def test_the_loss_of_a_batch(predict: str, large: bool) -> None:
    torch.manual_seed(0)
    body = small_body()
    method = Sla(Parts(body, Rotations(body.n_features, predict=predict), CrossEntropy(), Recipe()), large=large, temperature=2.0)  # type: ignore[arg-type]
    method.head.expand(3)
    session = Session(0, (0, 1, 2), (0, 1, 2), np.arange(5), np.arange(1))
    (phase,) = method.phases(session, [session])
    method.begin(phase)
    inputs, labels = torch.randn(5, 3, 16, 16), torch.tensor([0, 1, 2, 2, 1])
    loss = float(method.training_step(Batch(inputs, labels, 1 / 5, torch.arange(5)), 0).detach())
    expected = 0.0
    for n in range(5):
        turned = torch.stack([torch.rot90(inputs[n], j, (1, 2)) for j in range(4)])
        with torch.no_grad():
            z = method.head.on_turns(body(turned)).double().numpy()
            own = None if method.head.plain is None else method.head.plain(body(inputs[n : n + 1]))[0].double().numpy()
        terms = [-log_softmax(z[j])[int(labels[n]) * 4 + j] for j in range(4)]
        expected += sum(terms) if large else sum(terms) / 4
        if own is not None:
            mean = np.array([np.mean([z[j, c * 4 + j] for j in range(4)]) for c in range(3)])
            p, q = softmax(mean / 2), softmax(own / 2)
            expected += -log_softmax(own)[int(labels[n])] + 4 * (p * np.log(p / q)).sum()
    assert loss == pytest.approx(expected / 5, rel=1e-5)


@pytest.mark.parametrize(("predict", "views"), [("aggregated", 4), ("single", 1), ("distilled", 1)])
def test_it_learns_digits_and_says_what_can_be_exported(predict: str, views: int, tmp_path: Path) -> None:
    words = ("+exp=kd_sla", f"head.predict={predict}", "trainer.epochs=3")
    record = run(tmp_path, *words)
    assert record["metrics"]["acc_last"] > 0.75
    config = absolute_in(load([*words, *SMALL, f"output_dir={tmp_path}"]))
    run_dir = RunDir(Path(record["run_dir"]))
    method = restored(config, run_dir).method
    images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    features = method.body.embed(images)
    assert features.shape == (3, views * 12)
    turned = method.body.transform(images).rot90(views - 1, (2, 3))
    with torch.no_grad():
        torch.testing.assert_close(features[:, -12:], method.body(turned), rtol=1e-4, atol=1e-5)
    if predict == "aggregated":
        with pytest.raises(RunError, match="predicts from four turns of an image and has no plain form"):
            export_model(config, run_dir, tmp_path / "model.safetensors")
        return
    about = export_model(config, run_dir, tmp_path / "model.safetensors")
    assert about["classes"] == [str(digit) for digit in range(10)]


def test_the_number_of_views_is_in_the_bodys_digest() -> None:
    body = small_body()
    before = body.digest()
    body.views = 4
    assert body.digest() != before and body.n_embedded == 4 * body.n_features
    body.views = 1
    assert body.digest() == before
