"""An exported model applied to image files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hdx import registry
from hdx.backbones._weights import load_into
from hdx.body import Body
from hdx.config import schema, types
from hdx.datasets._decode import Decoder, attempt, n_cores
from hdx.datasets._levels import Ranges
from hdx.datasets._listing import listed
from hdx.datasets._survey import ranged
from hdx.datasets._tree import Files
from hdx.datasets.transforms import EvalTransform
from hdx.engine.build import effective_precision
from hdx.engine.export_model import FORMAT, bare_options
from hdx.errors import WeightsError
from hdx.heads._plain import PlainHead
from hdx.regrow import regrow


class Model:
    """A model file, ready to predict.

    Args:
        path: a file that `export_model` wrote; it can run no code, and is checked before anything is built from it.
        device: where to compute.

    Attributes:
        about: its metadata.
        classes: names, in the order of the logits.

    Raises: WeightsError when the file is missing, no exported model, or does not fit what it says of itself.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.about, tensors = read_model(path)
        if self.about.get("head", {}) is None:
            raise WeightsError(f"{path} holds the body of a run on episodes and no head: load it with backbone.checkpoint={path}")
        self.device, self.classes = device, [str(name) for name in self.about["classes"]]
        try:
            self.body, self.head, self.decoder = built(self.about, tensors, path, device)
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path}: its description does not fit a model of hdx ({type(error).__name__}: {error})") from None
        if self.head.weight.shape != (len(self.classes), self.body.n_features):
            shape, wanted = list(self.head.weight.shape), [len(self.classes), self.body.n_features]
            raise WeightsError(f"{path}: expected head weights of shape {wanted}, got {shape}")

    def features(self, images: np.ndarray) -> Tensor:
        """[N, D] of [N, C, H, W] uint8, in batches of the size that the run had, so that they equal the run's own."""
        found = self.body.rows(torch.from_numpy(images).to(self.device), int(self.about["batch_size"]))
        return found.half().float() if self.about["feature_dtype"] == "float16" else found

    @torch.inference_mode()
    def probabilities(self, images: np.ndarray) -> Tensor:
        """[N, C] float64 on the CPU of [N, C, H, W] uint8 images of the decoder's shape."""
        return self.head.logits(self.features(images)).double().cpu().softmax(1)

    def predict(self, paths: Sequence[Path], top: int = 1) -> Iterator[dict[str, Any]]:
        """For each image file, in folders and zips as well: `{file, classes, probabilities}` of the `top` likeliest.

        An unreadable image gives `{file, error}`. Raises: DataError for a path that does not exist or holds no image.
        """
        top = min(top, len(self.classes))
        size = int(self.about["batch_size"])
        for files, names, label in listed(paths):
            decoder = ranged(self.decoder, files, names)
            for start in range(0, len(names), size):
                yield from self._some(files, names[start : start + size], label, top, decoder)

    def _some(self, files: Files, names: Sequence[str], label: str, top: int, decoder: Decoder) -> Iterator[dict[str, Any]]:
        images, errors = _decoded(files, names, decoder)
        best = self.probabilities(images).topk(top, dim=1) if len(images) else None
        row = 0
        for name in names:
            if name in errors:
                yield {"file": label + name, "error": errors[name]}
                continue
            assert best is not None
            chosen, values = best.indices[row].tolist(), best.values[row].tolist()
            yield {"file": label + name, "classes": [self.classes[i] for i in chosen], "probabilities": values}
            row += 1


def read_model(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors of a model file. Raises: WeightsError when it is missing, or no model that hdx exported."""
    if not path.is_file():
        raise WeightsError(f"model {path}: no such file  (hdx export RUN --out {path} writes one)")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("hdx", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"model {path}: expected a .safetensors file of hdx export, got {reason}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT or not isinstance(about.get("classes"), list):
        raise WeightsError(
            f"model {path}: expected a file of hdx export (format {FORMAT}), got other tensors; export the run again"
        )
    return about, tensors


def built(about: dict[str, Any], tensors: dict[str, Tensor], path: Path, device: torch.device) -> tuple[Body, PlainHead, Decoder]:
    """Body, head and decoder of a model file. Raises: KeyError, TypeError or ValueError where its description does not fit."""
    image = about["image"]
    ranges = Ranges(**{kind: (float(low), float(high)) for kind, (low, high) in image.get("ranges", {}).items()})
    decoder = Decoder(int(image["size"]), image["colour"], image["fit"], image.get("background", "white"), ranges)
    backbone = registry.build("backbone", _checked("backbone", bare_options(about["backbone"])))
    if about.get("regrown"):
        regrow(backbone, _part(tensors, "backbone/"))
    load_into(backbone, _part(tensors, "backbone/"), str(path))
    pool = registry.build("pool", _checked("pool", about["pool"]), backbone)
    load_into(pool, _part(tensors, "pool/"), str(path))
    transform = EvalTransform(backbone.input_spec, decoder.shape)
    if transform.describe() != about["transform"]:
        raise ValueError(f"its transform is {about['transform']}, this hdx makes {transform.describe()}")
    body = Body(backbone, pool, transform, effective_precision(about["precision"], device), {}).to(device).eval()
    head = about["head"]
    plain = PlainHead(head["kind"], tensors["head/weight"].to(device), tensors["head/bias"].to(device), float(head["scale"]))
    return body, plain, decoder


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _checked(group: str, options: dict[str, Any]) -> dict[str, Any]:
    """A component's node, every option in its type. Raises: ValueError; ConfigError for an unknown component."""
    info = schema.describe(group, options["name"])
    fitted = {"name": info.name}
    for key, value in options.items():
        option = info.option(key)
        if key != "name" and option is None:
            raise ValueError(f"{group} {info.name} has no option {key}")
        if option is not None:
            try:
                fitted[key] = types.fit(value, option.annotation)
            except types.Misfit:
                raise ValueError(f"{group}.{key}: expected {option.type}, got {value!r}") from None
    return fitted


def _decoded(files: Files, names: Sequence[str], decoder: Decoder) -> tuple[np.ndarray, dict[str, str]]:
    """[n, C, size, size] of the readable images, and why the others are not."""
    images, failures = attempt(files, names, decoder, n_cores())
    good = [i for i in range(len(names)) if i not in failures]
    return images[good], {names[i]: " ".join(str(error).split()) for i, error in failures.items()}
