"""A finished run as one file: body with the adapter merged, head as plain tensors, class names and transform; no pickle.

The file is safetensors with `backbone/…`, `pool/…` and `head/weight`, `head/bias`; its metadata holds one JSON document
under the key `hdx` (see `describe`). Of a run on episodes it holds no head: their classes come with their support.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

import hdx
from hdx import registry
from hdx.body import Body
from hdx.config.config import Config
from hdx.datasets._base import Dataset
from hdx.engine.build import Assembly
from hdx.engine.plain_head import plain_head
from hdx.engine.restored import restored
from hdx.errors import RunError
from hdx.heads._plain import PlainHead
from hdx.store.files import write_bytes
from hdx.store.rundir import RunDir

FORMAT = 1
POOLED = {  # how a snippet pools what timm's forward_features gives
    ("map", "avg"): ".mean((2, 3))",
    ("map_channels_last", "avg"): ".mean((1, 2))",
    ("tokens", "avg"): "[:, {prefix}:].mean(1)",
    ("tokens", "cls"): "[:, 0]",
}
MERGE_PROBES = 4
MERGE_TOLERANCE = 1e-3  # of the largest feature: what rounding may do in a deep body


def export_model(config: Config, run_dir: RunDir, path: Path) -> dict[str, Any]:
    """Write the model of a finished run. Returns: what the file says of itself, and its size in `bytes`.

    Raises: RunError when the run is not finished, its adapter cannot be merged or its head has no plain form.
    """
    record = run_dir.record()
    if record is None:
        raise RunError(f"run {config.run_id}: expected a finished run to export, got one that is {run_dir.status()['state']}")
    assembly = restored(config, run_dir)
    method = assembly.method
    head = None if assembly.protocol.episodic else plain_head(method.head)  # novel classes come with their episodes
    merge(method.body, config)
    about = describe(config, assembly, head, record)
    tensors = _tensors(method.body, head)
    content = save(tensors, metadata={"hdx": json.dumps(about, ensure_ascii=False)})
    write_bytes(path, content)
    return {**about, "bytes": len(content)}


def merge(body: Body, config: Config) -> None:
    """Fold the adapter into the backbone's own weights, and check that nothing else changed.

    Raises: RunError when outputs change beyond rounding, or tensors stay that a bare backbone does not have.
    """
    adapter, device = config["adapter.name"], next(body.parameters()).device
    size = body.transform.size
    probe = torch.randn(MERGE_PROBES, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        before = body(probe)
        if body.adapter is not None:
            body.adapter.merge(body.backbone)
        body.eval()
        worst = float((body(probe) - before).abs().max() / before.abs().max().clamp(min=1e-12))
    if not worst <= MERGE_TOLERANCE:
        raise RunError(f"adapter={adapter}: merging it changed the features by {worst:.1e} of their size; please report this")
    bare = registry.build("backbone", bare_options(config.data["backbone"])).state_dict()
    own = [] if body.adapter is None else [f"its {name}" for name in body.adapter.state_dict()]
    if odd := sorted(set(bare) ^ set(body.backbone.state_dict())) + own:
        raise RunError(
            f"adapter={adapter} cannot be merged into plain weights: {odd[0]} stays; export a run whose adapter folds into the "
            "weights of its backbone"
        )


def bare_options(options: dict[str, Any]) -> dict[str, Any]:
    """A backbone's options without where its weights come from: those are in the file."""
    return {key: None if key == "checkpoint" else False if key == "pretrained" else value for key, value in options.items()}


def describe(config: Config, assembly: Assembly, head: PlainHead | None, record: dict[str, Any]) -> dict[str, Any]:
    """The document in the file's metadata: plain data, everything that `predict` needs beside the tensors."""
    body, names = assembly.method.body, assembly.dataset.classes
    return {
        "format": FORMAT,
        "hdx": hdx.__version__,
        "run_id": config.run_id,
        "metrics": record["metrics"],
        "classes": [] if head is None else [names[label] for label in assembly.sessions[-1].seen_classes],
        "backbone": bare_options(config.data["backbone"]),
        **({"regrown": True} if body.regrown else {}),
        "pool": config.data["pool"],
        "layout": "map_channels_last" if getattr(body.backbone, "_channels_last", False) else body.backbone.layout,
        "n_prefix_tokens": body.backbone.n_prefix_tokens,
        "n_features": body.n_features,
        "adapter": config["adapter.name"],
        "head": None if head is None else {"kind": head.kind, "scale": head.scale, "from": config["head.name"]},
        "image": decoding(config.data["dataset"], assembly.dataset),
        "transform": body.transform.describe(),
        "precision": body.precision,
        "feature_dtype": config["feature_dtype"],
        "batch_size": assembly.method.recipe.eval_batch_size,
    }


def decoding(options: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
    """How the run's dataset makes an image file an array of one shape: side, colour, fit, background, ranges of deep levels."""
    channels, height, _ = dataset.train.image_shape
    about = {"size": height, "colour": "rgb" if channels == 3 else "grey", "fit": options.get("fit", "crop")}
    return about | {"background": options.get("background", "white"), "ranges": dict(dataset.notes.get("ranges", {}))}


def _tensors(body: Body, head: PlainHead | None) -> dict[str, Tensor]:
    parts: dict[str, nn.Module] = {"backbone": body.backbone, "pool": body.pool}
    found = {f"{part}/{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}
    found |= {} if head is None else {"head/weight": head.weight, "head/bias": head.bias}
    plain = torch.contiguous_format
    return {
        name: value.detach().cpu().contiguous(memory_format=plain).clone(memory_format=plain) for name, value in found.items()
    }


def snippet(about: dict[str, Any], path: str) -> str | None:
    """Plain torch and timm that load the file of a timm backbone; None for other backbones, and for a body without a head."""
    pool = POOLED.get((about["layout"], about["pool"]["name"]))
    if about["backbone"]["name"] != "timm" or pool is None or about["head"] is None:
        return None
    side = about["backbone"].get("image_size")
    size = f", img_size={side}" if side and about["layout"] == "tokens" else ""
    pool = pool.format(prefix=about["n_prefix_tokens"])
    features = "torch.nn.functional.normalize(f, dim=1)" if about["head"]["kind"] == "cosine" else "f"
    return f"""\
import json, safetensors, timm, torch
with safetensors.safe_open({path!r}, "pt") as file:
    about, tensors = json.loads(file.metadata()["hdx"]), {{name: file.get_tensor(name) for name in file.keys()}}
body = timm.create_model(about["backbone"]["model"], num_classes=0, global_pool=""{size}).eval()
body.load_state_dict({{name[14:]: value for name, value in tensors.items() if name.startswith("backbone/body.")}})
def logits(images):  # [B, 3, S, S] in [0, 1], S = about["transform"]["size"]
    mean, std = (torch.tensor(about["transform"][key])[:, None, None] for key in ("mean", "std"))
    f = body.forward_features((images - mean) / std){pool}.to(tensors["head/weight"].dtype)
    return about["head"]["scale"] * torch.nn.functional.linear({features}, tensors["head/weight"]) + tensors["head/bias"]
"""
