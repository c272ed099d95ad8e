"""Weight files: what is accepted, what is refused, and that a refused file leaves the body untouched."""

from __future__ import annotations

import os

import pytest
import timm
import torch
from safetensors.torch import save_file

from hdx.backbones._weights import load_weights
from hdx.backbones.conv4 import Conv4
from hdx.backbones.timm import Timm
from hdx.errors import WeightsError


@pytest.fixture
def source() -> Conv4:
    torch.manual_seed(1)
    return Conv4(width=8)


def equal(a, b) -> bool:
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_safetensors_and_pth(source, tmp_path):
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        assert equal(Conv4(width=8, checkpoint=str(tmp_path / name)), source)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_wrappers_prefixes_and_classifiers_come_off(source, tmp_path, wrapper, prefix):
    tensors = {f"{prefix}{name}": value for name, value in source.state_dict().items() if "num_batches" not in name}
    outer = "module." if prefix.startswith("module.") else ""
    tensors |= {f"{outer}fc.weight": torch.zeros(5, 8), f"{outer}fc.bias": torch.zeros(5)}
    torch.save({wrapper: tensors, "epoch": 3, "name": "x"}, tmp_path / "w.pt")
    assert equal(Conv4(width=8, checkpoint=str(tmp_path / "w.pt")), source)


@pytest.mark.parametrize(
    "prefix",
    [
        "convnet.",
        "encoder.",
        "_orig_mod.",
        "model._orig_mod.",
        "encoder_q.",
        "module.encoder_q.",
        "teacher.backbone.",
        "net.0.",
        "a/b/",
    ],
)
def test_any_common_prefix_comes_off_and_is_said(source, tmp_path, prefix, caplog):
    tensors = {f"{prefix}{name}": value for name, value in source.state_dict().items()}
    torch.save(
        {"state_dict": tensors | {"fc.weight": torch.zeros(5, 8), "projector.0.weight": torch.zeros(3, 3)}}, tmp_path / "w.pt"
    )
    assert equal(Conv4(width=8, checkpoint=str(tmp_path / "w.pt")), source)
    shown = prefix.replace("_orig_mod.", "")
    behind = f" behind '{shown}'" if shown else ""
    assert caplog.messages == [
        f"backbone.checkpoint: {tmp_path / 'w.pt'}: 28 of 28 tensors of the body found{behind}; left out: 2 (fc, projector.0)"
    ]


@pytest.mark.parametrize(
    ("taken", "other"),
    [
        ("teacher", "student"),
        ("state_dict", "state_dict_ema"),
        ("model", "model_ema"),
        ("online", "target"),
        ("encoder_q", "encoder_k"),
    ],
)
def test_of_several_models_in_a_file_the_one_for_use(source, tmp_path, taken, other, caplog):
    state = source.state_dict()
    worse = {name: torch.zeros_like(value) for name, value in state.items()}
    optimiser = {"state": {0: {"exp_avg": torch.zeros(8, 3, 3, 3)}}}
    torch.save({other: worse, taken: state, "optimizer": optimiser, "epoch": 3}, tmp_path / "nested.pt")
    flat = {f"{key}.{name}": value for key, held in ((other, worse), (taken, state)) for name, value in held.items()}
    torch.save({"state_dict": flat}, tmp_path / "flat.pt")
    for name in ("nested.pt", "flat.pt"):
        assert equal(Conv4(width=8, checkpoint=str(tmp_path / name)), source)
    assert len(caplog.messages) == 2
    assert all(f"behind '{taken}.'; left out: 28 ({other}." in line for line in caplog.messages)


def test_a_compiled_part_inside(source, tmp_path):
    torch.save(
        {name.replace("blocks.", "blocks._orig_mod."): value for name, value in source.state_dict().items()}, tmp_path / "w.pt"
    )
    assert equal(Conv4(width=8, checkpoint=str(tmp_path / "w.pt")), source)


def test_a_file_that_simply_fits_says_nothing(source, tmp_path, caplog):
    torch.save(source.state_dict(), tmp_path / "w.pt")
    Conv4(width=8, checkpoint=str(tmp_path / "w.pt"))
    assert caplog.messages == []


@pytest.mark.parametrize("prefix", ["", "convnet."])
def test_part_of_a_body_is_refused_with_its_share(source, tmp_path, prefix):
    state = {f"{prefix}{name}": value for name, value in source.state_dict().items() if not name.startswith("blocks.3")}
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"6 missing \(blocks.3.0.weight.*\(78 % match, and all must"):
        Conv4(width=8, checkpoint=str(tmp_path / "w.pt"))


def test_a_deeper_body_is_refused(source, tmp_path):
    state = source.state_dict() | {"blocks.4.0.weight": torch.zeros(8, 8, 3, 3)}
    torch.save({f"encoder.{name}": value for name, value in state.items()}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"1 unknown \(blocks.4.0.weight\)"):
        Conv4(width=8, checkpoint=str(tmp_path / "w.pt"))


@pytest.mark.parametrize("prefix", ["", "module.", "convnet.", "encoder.model."])
def test_timm_behind_a_prefix(tmp_path, prefix, caplog):
    torch.manual_seed(1)
    model = timm.create_model("resnet18", num_classes=5)
    torch.save({"model": {f"{prefix}{name}": value for name, value in model.state_dict().items()}}, tmp_path / "w.pt")
    body = Timm(model="resnet18", checkpoint=str(tmp_path / "w.pt"), image_size=32).body
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in body.state_dict().items())
    (line,) = caplog.messages
    assert line.endswith("; left out: 2 (fc)")
    assert (" behind '" in line) == bool(prefix)


class Bomb:
    """Unpickles by running a command that writes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"echo ran > {self.path}",)


@pytest.mark.parametrize("key", ["state_dict", "extra"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(source, tmp_path, key):
    victim = tmp_path / "ran"
    content = {"state_dict": source.state_dict()}
    content[key] = Bomb(str(victim))
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match=r"bad\.pth is refused.*could run code") as caught:
        load_weights(Conv4(width=8), tmp_path / "bad.pth")
    assert "\n" not in str(caught.value)
    assert not victim.exists()
    with pytest.raises(WeightsError, match="not a readable"):  # the same bytes under the other name
        (tmp_path / "bad.pth").rename(tmp_path / "bad.safetensors")
        load_weights(Conv4(width=8), tmp_path / "bad.safetensors")
    assert not victim.exists()


def test_missing_truncated_and_foreign_files(source, tmp_path):
    with pytest.raises(WeightsError, match="no file"):
        load_weights(source, tmp_path / "nowhere.pth")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:2000])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("cut.pth", "empty.pth", "text.safetensors"):
        with pytest.raises(WeightsError, match=name) as caught:
            load_weights(source, tmp_path / name)
        assert "\n" not in str(caught.value)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="expected a mapping of names to tensors, got list"):
        load_weights(source, tmp_path / "list.pth")


def test_a_file_that_does_not_fit_changes_nothing(source, tmp_path):
    state = source.state_dict()
    wide = Conv4(width=16)
    save_file(wide.state_dict(), tmp_path / "wide.safetensors")
    missing = {name: value for name, value in state.items() if not name.startswith("blocks.3.1.running")}
    save_file({**missing, "blocks.9.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    before = {name: value.clone() for name, value in state.items()}
    with pytest.raises(WeightsError, match=r"does not fit Conv4 \(28 tensors\): 24 of another shape \(blocks.0.0.weight \[16, 3"):
        load_weights(source, tmp_path / "wide.safetensors")
    with pytest.raises(WeightsError, match=r"2 missing \(blocks.3.1.running_mean, .*\); 1 unknown \(blocks.9.weight\)"):
        load_weights(source, tmp_path / "other.safetensors")
    assert all(torch.equal(source.state_dict()[name], value) for name, value in before.items())
