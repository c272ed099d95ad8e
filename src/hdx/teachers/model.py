"""A teacher from a file of weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from hdx import registry
from hdx.backbones._weights import load_into, match, read_tensors
from hdx.body import Body
from hdx.datasets.transforms import EvalTransform
from hdx.errors import ConfigError, WeightsError
from hdx.options import FilePath, PositiveFloat, PositiveInt, Unhashed
from hdx.rules import part
from hdx.teachers._base import Source, Teacher, Trained
from hdx.teachers._classifier import Classifier

CLASSIFIER = re.compile(r"^(?:module\.|model\.|backbone\.)*(?:fc|classifier|head|heads|linear|last_linear)[./](weight|bias)$")


class ModelTeacher(Teacher):
    """A backbone, a pool and a linear head from one file of weights.

    A file of `hdx export` says itself what it is: backbone, pool, classes and transform are its own. Of another file (what
    backbones read, with the classifier left in) the backbone is given here, and its classes are `classes`, else those of the
    student's dataset in the order of its labels.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network".

    Args:
        checkpoint: the file, .safetensors, .pth or .pt; looked for as given, then in the folder of datasets.
        backbone: name and options of the backbone, as `{name: resnet_cifar, depth: 56}`; null for a file of `hdx export`.
        pool: name and options of the pool.
        classes: names of the classes, in the order of the logits.
        head: how the classifier's weights are used: linear, or the cosine of features and rows.
        scale: factor of the logits; CLIP's cosines have 100.
        batch_size: images a forward pass of the teacher.
        cache: keep the teacher's outputs on disk, for all epochs and runs that see the same crops; null: where crops come back,
            that is without augmentation or with `trainer.crops`.
        store: fp16 keeps every logit, top_k the largest ones and the mass of the rest.
        k: logits that top_k keeps.
    """

    rules = (part("backbone", "backbone"), part("pool", "pool"))

    def __init__(
        self,
        source: Source,
        *,
        checkpoint: FilePath,
        backbone: dict[str, Any] | None = None,
        pool: dict[str, Any] = {"name": "avg"},  # noqa: B006 - options are read as literals and never changed
        classes: list[str] | None = None,
        head: Literal["linear", "cosine"] = "linear",
        scale: PositiveFloat = 1.0,
        batch_size: PositiveInt = 32,
        cache: Unhashed[bool | None] = None,
        store: Literal["fp16", "top_k"] = "fp16",
        k: PositiveInt = 32,
    ) -> None:
        path = Path(checkpoint)
        model = source.file(path) if backbone is None else _from_weights(source, path, backbone, pool, head, scale)
        if model is None:
            raise ConfigError(
                f"teacher.checkpoint={checkpoint} is no file of hdx export and says not what it is of: give teacher.backbone, "
                "as in teacher.backbone='{name: resnet_cifar, depth: 56}', or teacher=resnet56"
            )
        if classes is not None:
            model = Trained(model.body, model.head, classes, model.channels, model.label)
        super().__init__(model, batch_size=batch_size, cache=cache, store=store, k=k)


def _from_weights(source: Source, path: Path, backbone: dict[str, Any], pool: dict[str, Any], head: str, scale: float) -> Trained:
    """Backbone and classifier of one file. Raises: WeightsError when either is missing or does not fit."""
    if not path.is_file():
        raise WeightsError(f"teacher.checkpoint: no file {path}  (looked for as given, then in the folder of datasets)")
    tensors = read_tensors(path)
    found = {part: value for name, value in tensors.items() if (part := _part_of_classifier(name))}
    bare = {key: None if key == "checkpoint" else False if key == "pretrained" else value for key, value in backbone.items()}
    body_of = registry.build("backbone", bare)
    load_into(body_of, match(tensors, body_of.state_dict(), str(path)), str(path))
    pooling = registry.build("pool", pool, body_of)
    weight, width = found.get("weight"), pooling.n_features
    if weight is None or weight.ndim != 2 or weight.shape[1] != width:
        got = "none" if weight is None else f"weights of shape {list(weight.shape)}"
        raise WeightsError(
            f"teacher.checkpoint: {path}: expected a classifier on {width} features (fc.weight, fc.bias), got {got}"
        )
    spec = {"backbone": type(body_of).__name__, "pool": pool}
    body = Body(body_of, pooling, EvalTransform(body_of.input_spec, source.image_shape), source.precision, spec)
    bias = found.get("bias")
    classifier = Classifier(weight.float(), None if bias is None else bias.float(), cosine=head == "cosine", scale=scale)
    return Trained(body.to(source.device).eval(), classifier.to(source.device), None, None, path.name)


def _part_of_classifier(name: str) -> str | None:
    """`weight` or `bias` for a tensor of a classifier, else None."""
    found = CLASSIFIER.match(name)
    return found[1] if found else None
