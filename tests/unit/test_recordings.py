"""The comparison with what every preset's short run came to: what it finds, and how it shortens a preset."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("recordings")


def test_a_line_for_each_value_that_changed_and_none_for_what_is_new(script: ModuleType) -> None:
    was = {"metrics": {"acc": 0.5, "nll": 1.0}, "sessions": [{"loss": 0.1}, {"loss": None}], "digests": {"state/body": "aa"}}
    assert list(script.differences(was, {**was, "more": 1, "metrics": {"acc": 0.5, "nll": 1.0, "pd": 0.0}})) == []
    now = {"metrics": {"acc": 0.5000000000000001}, "sessions": [{"loss": 0.1}, {"loss": 0.2}], "digests": {"state/body": "ab"}}
    assert list(script.differences(was, now)) == [
        "metrics.acc: 0.5 was recorded, now 0.5000000000000001",
        "metrics.nll: 1.0 was recorded, now nothing",
        "sessions[1].loss: None was recorded, now 0.2",
        "digests.state/body: aa was recorded, now ab",
    ]


def test_a_preset_is_shortened_as_far_as_it_takes_it(script: ModuleType) -> None:
    assert script.presets()["cil_domain"] == "+exp=[finetune,cil_domain]"
    words = script.short("+exp=kd_dho")
    assert "trainer.epochs=2" in words and "protocol.shots=6" not in words  # protocol.labels says how many labels there are
    assert json.loads(words[-1].removeprefix("teacher.overrides="))[:2] == ["+exp=kd_teacher", "trainer.epochs=2"]
    assert script.short("+exp=[fsa_film,setting_cifar100_fscil]")[1:3] == ["dataset=caltech101", "protocol.lists=null"]


def test_the_recording_holds_every_preset_that_it_was_made_of(script: ModuleType) -> None:
    recorded = json.loads(script.FILE.read_text())["presets"]
    assert recorded["fsa_na"]["images_forwarded"] > 0 and recorded["kd_kd"]["digests"]["state/head"]
    assert all(each["words"][0] == script.presets()[name] for name, each in recorded.items() if name in script.presets())
