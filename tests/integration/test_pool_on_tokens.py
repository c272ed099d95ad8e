"""A pool that alone trains of a body does so on what it sees of each image, which is extracted once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hdx.body import Unpooled
from hdx.config.validate import load_saved
from hdx.datasets.digits import Digits
from hdx.engine.bank import Bank
from hdx.engine.export_model import restored
from hdx.methods._base import Method
from hdx.pools.gem import GeM
from tests.integration.harness import run_dir_of, train
from tests.unit.engine.conftest import make_body

GEM = ("+exp=fsa_film", "adapter=none", "pool=gem", "pool.learn=true", "protocol.shots=10", "protocol.first=4", "protocol.step=6")


def exponent(record: dict[str, Any]) -> float:
    run_dir = run_dir_of(record)
    return float(restored(load_saved(run_dir.config_file), run_dir).method.body.pool.p)


def test_the_exponent_is_learnt_on_cached_maps_as_on_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*GEM, "feature_dtype=float32", "trainer.epochs=3", "trainer.lr=0.05", "trainer.batch_size=8")
    record = train(tmp_path / "tokens", *words)
    with monkeypatch.context() as patch:
        patch.setattr(Method, "on_tokens", lambda method, phase: False)
        on_images = train(tmp_path / "images", *words)
    assert record["trainable_parameters"] == 1
    assert abs(exponent(record) - 3.0) > 1e-3
    assert exponent(record) == pytest.approx(exponent(on_images), abs=1e-4)
    assert [session["images_trained"] for session in record["sessions"]] == [0, 0]
    assert [session["images_trained"] for session in on_images["sessions"]] == [3 * 40, 0]


def test_augmentation_looks_at_images(tmp_path: Path) -> None:
    record = train(tmp_path, *GEM, "trainer.augment=[crop]", "trainer.epochs=1")
    assert record["sessions"][0]["images_trained"] == 40


def test_what_pools_see_is_kept_once_for_all_of_them(tmp_path: Path) -> None:
    body, other = make_body((1, 8, 8)), make_body((1, 8, 8))
    other.pool, other.spec = GeM(other.backbone, p=2.0), {**other.spec, "pool": {"name": "gem"}}
    images, rows = Digits(None, tmp_path / "cache").train, np.array([4, 0, 7])
    bank = Bank(tmp_path / "bank", 8, "float32", torch.device("cpu"))
    before = Unpooled(body)
    assert before.digest() == Unpooled(other).digest() != body.digest()
    found = bank.get(before, before.digest(), images, rows).reshape(3, *before.shape)
    assert before.shape == (192, 4, 4)
    for each in (body, other):
        expected = each.embed(images.fetch(rows))
        torch.testing.assert_close(each.pooled(torch.from_numpy(found)), expected, atol=1e-5, rtol=1e-5)
    bank.get(Unpooled(other), Unpooled(other).digest(), images, rows)
    assert bank.forwarded == 3
    with torch.no_grad():
        next(body.backbone.parameters()).add_(1.0)
    assert Unpooled(body).digest() != Unpooled(other).digest()
