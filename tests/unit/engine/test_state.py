"""Checkpoints: what is saved comes back, what is damaged or foreign is refused by name."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hdx.adapters.film import Film
from hdx.adapters.full import Full
from hdx.engine.state import forget, load_phase, load_session, save_phase, save_session, session_state
from hdx.errors import RunError
from hdx.heads.lda import LDA
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Method
from hdx.methods._parts import Parts
from hdx.methods.first_session import FirstSession
from hdx.trainers.recipe import Recipe
from tests.unit.engine.conftest import make_body


def method_with(adapter: type, n_classes: int, seed: int) -> Method:
    body = make_body((1, 8, 8))
    body.attach(adapter())
    head = LDA(body.n_features)
    head.expand(n_classes)
    generator = torch.Generator().manual_seed(seed)
    if n_classes:
        head.update(torch.randn(40, body.n_features, generator=generator), torch.arange(40) % n_classes)
    with torch.no_grad():
        for parameter in body.trainable:
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.01 if seed else 0)
    return FirstSession(Parts(body, head, CrossEntropy(), Recipe()))


@pytest.mark.parametrize("adapter", [Film, Full])
def test_a_session_comes_back_bit_by_bit(adapter: type, tmp_path: Path) -> None:
    saved, fresh = method_with(adapter, 4, seed=1), method_with(adapter, 0, seed=0)
    assert saved.body.digest() != fresh.body.digest()
    save_session(tmp_path, 3, saved)
    load_session(tmp_path, 3, fresh, 4)
    assert fresh.body.digest() == saved.body.digest()
    assert fresh.head.n_classes == 4
    features = torch.randn(9, saved.body.n_features)
    assert torch.equal(fresh.head(features), saved.head(features))
    assert all(torch.equal(value, session_state(fresh)[name]) for name, value in session_state(saved).items())


def test_only_what_trains_is_kept(tmp_path: Path) -> None:
    save_session(tmp_path, 0, method_with(Film, 2, seed=1))
    save_session(tmp_path, 1, method_with(Full, 2, seed=1))
    names = [set(load_file(tmp_path / f"session-0{i}.safetensors")) for i in (0, 1)]
    assert not any(name.endswith("conv1.weight") for name in names[0])
    assert any(name.endswith("conv1.weight") for name in names[1])


def damage(file: Path, kind: str) -> None:
    state = load_file(file)
    name = next(name for name in state if name.startswith("body/") and state[name].ndim == 1)
    if kind == "gone":
        file.unlink()
    elif kind == "cut":
        file.write_bytes(file.read_bytes()[:-7])
    elif kind == "a tensor missing":
        save_file({key: value for key, value in state.items() if key != name}, file)
    elif kind == "one too many":
        save_file({**state, "body/more": torch.zeros(1)}, file)
    elif kind == "another part":
        save_file({**state, "soul/more": torch.zeros(1)}, file)
    else:
        save_file({**state, name: torch.zeros(1)}, file)  # copying would broadcast it


@pytest.mark.parametrize("kind", ["gone", "cut", "a tensor missing", "one too many", "another part", "another shape"])
def test_a_damaged_session_is_refused_in_one_line_and_changes_no_body(kind: str, tmp_path: Path) -> None:
    save_session(tmp_path, 0, method_with(Film, 2, seed=1))
    damage(tmp_path / "session-00.safetensors", kind)
    fresh = method_with(Film, 0, seed=0)
    before = fresh.body.digest()
    with pytest.raises(RunError, match=r"session-00\.safetensors: expected the checkpoint of session 0, got .*--force") as error:
        load_session(tmp_path, 0, fresh, 2)
    assert "\n" not in str(error.value)
    assert fresh.body.digest() == before


def phase_state(method: Method, classifier: nn.Module, step: int = 5) -> dict:
    return {
        "step": step,
        "body": method.body.changed_state(),
        "classifier": classifier.state_dict(),
        "beside": {},
        "optimizers": [],
        "scaler": {},
        "losses": torch.ones(3),
    }


def test_a_phase_comes_back(tmp_path: Path) -> None:
    method, classifier = method_with(Film, 2, seed=1), nn.Linear(4, 2)
    assert load_phase(tmp_path / "phase.pt", method, classifier, 10) is None
    save_phase(tmp_path / "phase.pt", phase_state(method, classifier))
    state = load_phase(tmp_path / "phase.pt", method, classifier, 10)
    assert state is not None and state["step"] == 5
    assert torch.equal(state["classifier"]["weight"], classifier.weight)
    assert torch.equal(state["losses"], torch.ones(3))


@pytest.mark.parametrize(
    "kind", ["cut", "a step past the end", "another classifier", "no dict", "a key missing", "another adapter"]
)
def test_a_damaged_phase_counts_as_none_with_a_warning(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    method, classifier, file = method_with(Film, 2, seed=1), nn.Linear(4, 2), tmp_path / "phase.pt"
    state = phase_state(method, classifier, step=10 if kind == "a step past the end" else 5)
    if kind == "another classifier":
        state["classifier"] = nn.Linear(4, 3).state_dict()
    if kind == "another adapter":
        state["body"] = method_with(Full, 2, seed=1).body.changed_state()
    if kind == "a key missing":
        del state["optimizers"]
    save_phase(file, [1, 2] if kind == "no dict" else state)  # type: ignore[arg-type]
    if kind == "cut":
        file.write_bytes(file.read_bytes()[:200])
    with caplog.at_level(logging.WARNING, "hdx"):
        assert load_phase(file, method, classifier, 10) is None
    assert "phase.pt is damaged" in caplog.text and "starts over" in caplog.text


def test_forget_keeps_the_last_session(tmp_path: Path) -> None:
    for name in ("session-00.safetensors", "session-01.safetensors", "phase-01-0.pt", "phase-01-1.pt"):
        (tmp_path / name).write_bytes(b"x")
    forget(tmp_path, before=1)
    assert [path.name for path in tmp_path.iterdir()] == ["session-01.safetensors"]
