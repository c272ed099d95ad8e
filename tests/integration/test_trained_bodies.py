"""A body that one run trained serves the others that would train the same, bit for bit, and no others."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from tests.integration.harness import arrays_of, train

ADAPT = ("+exp=fsa_film", "trainer.epochs=1", "protocol.first=4", "protocol.step=6")


def trained(output_dir: Path) -> list[Path]:
    return sorted((output_dir / "bodies").glob("*.safetensors"))


def test_heads_share_a_training_bit_for_bit(tmp_path: Path) -> None:
    first = train(tmp_path / "a", *ADAPT, "head=lda")
    other = train(tmp_path / "a", *ADAPT, "head=ncm")
    alone = train(tmp_path / "b", *ADAPT, "head=ncm")
    assert first["images_trained"] == alone["images_trained"] > 0
    assert other["images_trained"] == 0
    assert other["sessions"][0]["bodies_from"] == [first["run_id"]]
    assert alone["sessions"][0]["bodies_from"] == []
    assert other["sessions"][0]["loss"] == alone["sessions"][0]["loss"]
    for left, right in zip(arrays_of(other), arrays_of(alone)):
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])
    assert len(trained(tmp_path / "a")) == 1


@pytest.mark.parametrize("change", ["trainer.lr=0.001", "seed=1", "method.dropout=0.1", "adapter=bn", "protocol.first=5"])
def test_what_decides_the_training_is_not_shared(change: str, tmp_path: Path) -> None:
    train(tmp_path, *ADAPT)
    other = [word for word in ADAPT if not word.startswith(change.partition("=")[0] + "=")]
    assert train(tmp_path, *other, change)["images_trained"] > 0
    assert len(trained(tmp_path)) == 2


def test_force_trains_again_and_damage_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = train(tmp_path, *ADAPT)
    assert train(tmp_path, *ADAPT, force=True)["images_trained"] == first["images_trained"]
    file = trained(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING, "hdx"):
        other = train(tmp_path, *ADAPT, "head=ncm")
    assert other["images_trained"] == first["images_trained"]
    assert "training again" in caplog.text


def test_a_head_that_trains_along_is_not_shared(tmp_path: Path) -> None:
    train(tmp_path, "+exp=finetune", "trainer.epochs=1")
    assert trained(tmp_path) == []
