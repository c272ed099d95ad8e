"""Whole runs with adapters: cut inside a phase they end the same, and what they leave is exported or refused with a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hdx.config.validate import load_saved
from hdx.engine import fit
from hdx.engine.export_model import export_model
from hdx.engine.predict import Model
from hdx.engine.restored import restored
from hdx.errors import Interrupted, RunError
from hdx.store.rundir import RunDir
from tests.integration.harness import config_of
from tests.integration.harness import train as run
from tests.unit.methods.incremental import state_of

DIGITS = ("protocol.shots=20", "protocol.step=4", "trainer.checkpoint_seconds=0")
VIT = ("backbone=timm", "backbone.model=test_vit", "backbone.image_size=32", "pool=cls", "adapter=vpt")
RUNS = {
    "lora": ("+exp=fsa_lora", "adapter.dropout=0.2", *DIGITS, "backbone=conv4_small"),
    "vpt": ("+exp=fsa_film", *VIT, "adapter.dropout=0.2", *DIGITS),
}


def cut_after(saves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop a run at its checkpoint of that number inside a phase."""
    done: list[int] = []
    save = fit.Control._save

    def saved(self: fit.Control, *given: Any) -> None:
        save(self, *given)
        done.append(1)
        if len(done) == saves:
            raise Interrupted("cut by the test")

    monkeypatch.setattr(fit.Control, "_save", saved)


@pytest.mark.parametrize("name", RUNS)
def test_cut_inside_a_phase_it_ends_bit_equal(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = state_of(run(tmp_path / "whole", *RUNS[name]))
    with monkeypatch.context() as patch:
        cut_after(3, patch)
        with pytest.raises(Interrupted):
            run(tmp_path / "cut", *RUNS[name])
    run_dir = RunDir(tmp_path / "cut" / "runs" / config_of(tmp_path / "cut", *RUNS[name]).run_id)
    assert torch.load(run_dir.checkpoints / "phase-00-0.pt", weights_only=True)["step"] == 3
    resumed = state_of(run(tmp_path / "cut", *RUNS[name]))
    assert whole.keys() == resumed.keys()
    assert all((whole[key] == resumed[key]).all() for key in whole)


def test_lora_is_exported_merged(tmp_path: Path) -> None:
    record = run(tmp_path, *RUNS["lora"])
    run_dir, path = RunDir(Path(record["run_dir"])), tmp_path / "model.safetensors"
    config = load_saved(run_dir.config_file)
    assert export_model(config, run_dir, path)["adapter"] == "lora"
    assert not any("parametrizations" in name for name in load_file(path))
    assembly = restored(config, run_dir)
    images = assembly.dataset.test.fetch(assembly.sessions[-1].test[:32])
    own = assembly.method.body.embed(images)
    torch.testing.assert_close(Model(path, torch.device("cpu")).body.embed(images), own, rtol=0, atol=0)


def test_prompts_are_not_exported(tmp_path: Path) -> None:
    run_dir = RunDir(Path(run(tmp_path, *RUNS["vpt"])["run_dir"]))
    with pytest.raises(RunError, match="adapter=vpt cannot be merged into plain weights: its prompts stays; export a run whose"):
        export_model(load_saved(run_dir.config_file), run_dir, tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()
