"""Weight files: what is accepted, what is refused, and that a refused file leaves the body untouched."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file

from hdx.backbones._weights import load_weights
from hdx.backbones.conv4 import Conv4
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
