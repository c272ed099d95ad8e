"""Any model of timm (pytorch-image-models) as a backbone: its features before pooling and classifier."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_data_config
from timm.models import VisionTransformer, get_pretrained_cfg, group_parameters
from torch import Tensor, nn

from hdx.backbones._base import Backbone, Block, InputSpec
from hdx.backbones._hub import pretrained_overlay, unreachable
from hdx.backbones._weights import load_into, match, read_tensors, stripped
from hdx.errors import ConfigError, WeightsError
from hdx.options import FilePath, PositiveInt
from hdx.registry import did_you_mean


class Timm(Backbone):
    """A timm model: maps of CNNs, tokens of transformers, normalised as timm's config of its weights says.

    Parameters that do not take part in the features (a norm or projection inside the removed classifier) become buffers, so
    that what an adapter trains and counts is what the features depend on.

    Source: Wightman 2019, "PyTorch Image Models"; each model's own paper.

    Args:
        model: timm's name of the model, with or without the tag of its weights.
        pretrained: load timm's weights, from the Hugging Face cache or the network; not used where a checkpoint is given.
        checkpoint: a file of weights to load; a classifier in it is left out.
        image_size: side in pixels of what the body sees; None: the size of timm's config.
    """

    layout = None
    has_cls = None

    def __init__(
        self,
        *,
        model: str = "resnet18",
        pretrained: bool = False,
        checkpoint: FilePath | None = None,
        image_size: PositiveInt | None = None,
    ) -> None:
        super().__init__()
        check_name(model)
        self.body = create(model, pretrained and not checkpoint, image_size)
        if checkpoint:
            _load(self.body, Path(checkpoint))
        config = resolve_data_config(model=self.body)
        size = image_size or max(config["input_size"][1:])
        self.input_spec = InputSpec(
            image_size=size,
            mean=_three(config["mean"]),
            std=_three(config["std"]),
            interpolation="bicubic" if config["interpolation"] == "bicubic" else "bilinear",
            crop=float(config["crop_pct"]),
        )
        self._channels_last = False
        self._read_layout(model, size)

    def _read_layout(self, model: str, size: int) -> None:
        """Set layout, width and prefix tokens from one image's features, and park parameters that these do not depend on."""
        self.body.eval()
        self.n_features = int(self.body.num_features)
        try:
            features = self.body.forward_features(torch.zeros(1, 3, size, size))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"backbone.model={model} does not take images of {size} px: {reason}") from None
        if not isinstance(features, Tensor) or features.ndim not in (3, 4):
            raise ConfigError(f"backbone.model={model}: its features are neither a map nor tokens; pick another model")
        features.sum().backward()
        _park_unused(self.body)
        self.body.zero_grad(set_to_none=True)
        self.body.train()
        self.layout = "tokens" if features.ndim == 3 else "map"
        self.has_cls = False
        if self.layout == "tokens":
            self.n_prefix_tokens = int(getattr(self.body, "num_prefix_tokens", 0))
            self.has_cls = self.n_prefix_tokens > 0 and getattr(self.body, "cls_token", None) is not None
        else:
            self._channels_last = features.shape[1] != self.n_features and features.shape[3] == self.n_features

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> a map [B, D, h, w] or tokens [B, T, D]."""
        features = self.body.forward_features(images)
        return features.permute(0, 3, 1, 2) if self._channels_last else features

    def named_blocks(self) -> list[Block]:
        """The modules that timm's `features_only` takes features from: stages, or a transformer's blocks; none where it lists
        none."""
        listed = list(getattr(self.body, "feature_info", []) or [])
        return [Block(f"body.{each['module']}", int(each["num_chs"])) for each in listed]

    def embed(self, images: Tensor) -> Tensor:
        """Tokens [B, T, D] before the first block. Raises: ConfigError unless the model is a VisionTransformer of timm's."""
        if getattr(type(self.body), "forward_features", None) is not VisionTransformer.forward_features:
            return super().embed(images)
        body = self.body
        return body.norm_pre(body.patch_drop(body._pos_embed(body.patch_embed(images))))

    def run(self, tokens: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """See `Backbone.run`; the last norm is what follows the blocks."""
        for block in self.body.blocks[start:stop]:
            tokens = block(tokens)
        return self.body.norm(tokens) if stop is None else tokens

    def last_block(self) -> list[nn.Module]:
        """The last group of timm's layer groups (as for layer-wise learning rates): the last block and what follows it.

        Raises: ConfigError when the model does not say how its layers are grouped.
        """
        if not hasattr(self.body, "group_matcher"):
            raise ConfigError(f"adapter=last_block: timm's {type(self.body).__name__} has no layer groups.  (try adapter=full)")
        groups = group_parameters(self.body, self.body.group_matcher(coarse=False))
        return _modules_of(self.body, set(groups[max(groups)]))


def check_name(model: str) -> None:
    """Raises: ConfigError with the nearest name when timm does not know a model or the tag of its weights."""
    name, _, tag = model.partition(".")
    if not timm.is_model(name):
        near = did_you_mean(name, timm.list_models())
        raise ConfigError(
            f"backbone.model={model}: timm has no such model.{near}  (python -c 'import timm; print(timm.list_models())')"
        )
    tags = [known.partition(".")[2] for known in timm.list_models(f"{name}.*", pretrained=True)]
    if tag and tag not in tags:
        known = f"Its weights: {', '.join(tags)}" if tags else "It has no weights"
        raise ConfigError(f"backbone.model={model}: timm's {name} has no weights '{tag}'.{did_you_mean(tag, tags)}  ({known})")


def create(model: str, pretrained: bool, image_size: int | None) -> Any:
    """The timm model without pooling and classifier. Raises: ConfigError, or WeightsError when weights cannot be had."""
    known = get_pretrained_cfg(model)
    options: dict[str, Any] = {"pretrained": pretrained}
    if image_size and known is not None and known.fixed_input_size:
        options["img_size"] = image_size
    if pretrained:
        options["pretrained_cfg_overlay"] = pretrained_overlay(model, known)
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        try:
            return timm.create_model(model, num_classes=0, global_pool="", **options)
        except (AssertionError, TypeError):  # a few families insist on their own pooling; their features come before it
            return timm.create_model(model, num_classes=0, **options)
    except OSError as error:
        raise unreachable(model, str(error).partition("\n")[0]) from None
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        kind, reason = (WeightsError, "could not be loaded") if pretrained else (ConfigError, "could not be built")
        raise kind(f"backbone.model={model} {reason} (image_size={image_size}): {str(error).partition(chr(10))[0]}") from None


def _load(body: nn.Module, path: Path) -> None:
    """Load a file; timm's own filter of the family renames keys of other releases and resizes position embeddings."""
    wanted = body.state_dict()
    prefix, tensors = stripped(read_tensors(path), wanted)
    convert = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        try:
            tensors = convert(dict(tensors), body)
        except (KeyError, RuntimeError, ValueError, AttributeError, IndexError) as error:
            raise WeightsError(f"backbone.checkpoint: {path} does not fit {type(body).__name__}: {error!r}") from None
    load_into(body, match(tensors, wanted, str(path), prefix), str(path))


def _park_unused(body: nn.Module) -> None:
    """Turn parameters without a gradient into buffers, under the same names."""
    for module in body.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and parameter.grad is None:
                del module._parameters[name]
                module.register_buffer(name, parameter.detach())


def _modules_of(body: nn.Module, names: set[str]) -> list[nn.Module]:
    """The largest modules whose parameters are all among `names`."""
    found: list[nn.Module] = []
    inside: list[str] = []
    for prefix, module in body.named_modules():
        own = {f"{prefix}.{name}" for name, _ in module.named_parameters()}
        if own and own <= names and not any(prefix.startswith(f"{done}.") for done in inside):
            found.append(module)
            inside.append(prefix)
    return found


def _three(values: Any) -> tuple[float, float, float]:
    a, b, c = (float(value) for value in values)
    return a, b, c
