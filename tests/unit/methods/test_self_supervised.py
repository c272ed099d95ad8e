"""SimCLR and BYOL: their losses on embeddings and on a batch, what is beside, and runs that stop in the middle."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.methods.digit_runs import interrupted, last_state, predictions, run
from tests.unit.methods.incremental import SESSIONS, images_of, small_body
from torch.nn import functional as F

from hdx.config.validate import load
from hdx.errors import ConfigError
from hdx.heads.lda import LDA
from hdx.losses._contrastive import cosine_distance, nt_xent
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch
from hdx.methods._parts import Parts
from hdx.methods._phase import Crop
from hdx.methods._self_supervised import SelfSupervised
from hdx.methods.byol import BYOL
from hdx.methods.simclr import SimCLR
from hdx.trainers.recipe import Recipe

METHODS = {"simclr": SimCLR, "byol": BYOL}
SMALL = ("protocol=offline", "protocol.shots=20", "adapter=full", "method.hidden=32", "method.out=16")
SMALL += ("trainer.epochs=4", "trainer.batch_size=50")
VIEWS = "trainer.augment=[resized_crop,rotate]"


def embedded(seed: int, n: int = 5) -> torch.Tensor:
    return torch.randn(n, 7, generator=torch.Generator().manual_seed(seed))


def test_nt_xent_is_the_formula() -> None:
    one, other, tau = embedded(0).double(), embedded(1).double(), 0.3
    z = torch.cat([one, other])
    for i, found in enumerate(nt_xent(one, other, tau)):
        directions = []
        for own, partner in ((i, i + 5), (i + 5, i)):
            cosines = [float(z[own] @ z[k] / z[own].norm() / z[k].norm()) / tau for k in range(10)]
            below = sum(math.exp(cosines[k]) for k in range(10) if k != own)
            directions.append(-math.log(math.exp(cosines[partner]) / below))
        assert float(found) == pytest.approx(sum(directions) / 2, abs=1e-5)


def test_nt_xent_at_its_ends() -> None:
    assert nt_xent(embedded(0, 1), embedded(1, 1), 0.5).tolist() == [0.0]
    same = torch.ones(4, 7)
    torch.testing.assert_close(nt_xent(same, same, 0.5), torch.full((4,), math.log(7)))
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(
        nt_xent(embedded(0)[order], embedded(1)[order], 0.5), nt_xent(embedded(0), embedded(1), 0.5)[order]
    )


def test_cosine_distance_lies_between_zero_and_four() -> None:
    x = embedded(0)
    torch.testing.assert_close(cosine_distance(x, 3 * x), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(cosine_distance(x, -x), torch.full((5,), 4.0))
    torch.testing.assert_close(cosine_distance(x, embedded(1)), (F.normalize(x) - F.normalize(embedded(1))).square().sum(1))


def begun(name: str) -> SelfSupervised:
    body = small_body()
    recipe = Recipe(augment=["crop", "hflip"])
    method = METHODS[name](Parts(body, LDA(body.n_features), CrossEntropy(), recipe), hidden=8, out=4)
    method.start_session(SESSIONS[0])
    (phase,) = method.phases(SESSIONS[0], SESSIONS)
    method.begin(phase)
    return method


def batch() -> Batch:
    one, other = images_of(np.arange(6)), images_of(np.arange(6, 12))
    nowhere = torch.zeros(6, 2, 3)
    return Batch(one, torch.full((6,), -1), 1 / 6, torch.arange(6), views=(Crop(one, nowhere), Crop(other, nowhere)))


def test_simclr_compares_the_views_of_a_batch_and_needs_no_label() -> None:
    method = begun("simclr").eval()
    loss = method.training_step(batch(), 0)
    with torch.no_grad():
        one, other = (method.classifier(method.body(crop.inputs)) for crop in batch().views)  # type: ignore[misc]
    assert loss.item() == pytest.approx(float(nt_xent(one, other, 0.5).mean()), abs=1e-6)
    loss.backward()
    assert all(parameter.grad is not None for parameter in method.body.trainable)


def test_byol_predicts_the_target_which_has_no_gradient_and_follows() -> None:
    method = begun("byol").eval()
    target = method.beside["target"]
    with torch.no_grad():
        for parameter in target.copy.parameters():
            parameter.mul_(1.1)
    loss = method.training_step(batch(), 0)
    with torch.no_grad():
        online = [method.classifier(method.body(crop.inputs)) for crop in batch().views]  # type: ignore[misc]
        wanted = [target.copy(crop.inputs) for crop in batch().views]
    distances = [(F.normalize(p) - F.normalize(t)).square().sum(1) for p, t in zip(online, reversed(wanted))]
    assert loss.item() == pytest.approx(float((distances[0] + distances[1]).mean()), abs=1e-5)
    loss.backward()
    assert all(parameter.grad is None for parameter in target.parameters())
    assert all(parameter.grad is not None for parameter in method.body.trainable)
    before = target.copy[0].backbone.blocks[0][0].weight.clone()
    own = method.body.backbone.blocks[0][0].weight.detach()  # type: ignore[union-attr, index]
    assert method.current is not None and method.current.after_step is not None and method.current.finish is not None
    method.current.after_step(0.5)  # momentum 0.995
    torch.testing.assert_close(target.copy[0].backbone.blocks[0][0].weight, 0.995 * before + 0.005 * own)
    method.current.finish()
    assert len(method.beside) == 0


@pytest.mark.parametrize("name", ["simclr", "byol"])
def test_a_run_stopped_in_the_middle_ends_bit_equal(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (f"method={name}", *SMALL, VIEWS, "head=ncm")
    whole = run(tmp_path / "a", *words)
    interrupted(tmp_path / "b", monkeypatch, *words, after=9)
    assert (tmp_path / "b").exists() and list((tmp_path / "b").rglob("phase-00-0.pt"))
    resumed = run(tmp_path / "b", *words)
    assert predictions(whole) == predictions(resumed)
    one, other = last_state(whole), last_state(resumed)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    assert not [key for key in one if key.startswith("beside/")]  # projector and target are gone
    assert any(key.startswith("body/backbone") for key in one)


def test_heads_share_a_body(tmp_path: Path) -> None:
    first = run(tmp_path, "method=byol", *SMALL, VIEWS, "head=ncm")
    second = run(tmp_path, "method=byol", *SMALL, VIEWS, "head=lda")
    assert second["sessions"][0]["bodies_from"] == [first["run_id"]] and second["images_trained"] == 0


def test_views_that_are_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"method=simclr compares two views .* take augment=simclr"):
        run(tmp_path, "method=simclr", *SMALL, "head=ncm", "trainer.augment=[]")
    with pytest.raises(ConfigError, match="nothing to train"):
        load(["method=simclr", "adapter=none"])
