"""Export the body of a finished run as a file of weights that `backbone.checkpoint` reads."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from hdx.backbones.tiny import Tiny
from hdx.config.config import Config
from hdx.engine.bank import Bank
from hdx.engine.export_model import merge
from hdx.engine.restored import restored
from hdx.errors import RunError
from hdx.store.files import write_bytes
from hdx.store.rundir import RunDir

FEATURE_VARIANCE = 10.0


def export_tiny(config: Config, run_dir: RunDir, path: Path) -> int:
    """Write the `tiny` body of a finished run to `path`: weights in float16, norm statistics in float32. Returns: bytes written.

    The features are scaled (exactly, through the last norm layers) to a mean variance of 10 on the run's test images, so
    that LDA's ridge of 1 shrinks them by a tenth, not by as much as they vary.

    Raises: RunError when the run is not finished or its backbone is not `tiny`.
    """
    if run_dir.record() is None:
        raise RunError(f"run {config.run_id}: expected a finished run to export, got one that is {run_dir.status()['state']}")
    assembly = restored(config, run_dir)
    method, last = assembly.method, assembly.sessions[-1]
    backbone = method.body.backbone
    if not isinstance(backbone, Tiny):
        raise RunError(f"run {config.run_id}: expected backbone tiny, got {config['backbone.name']}")
    bank = Bank(Path(config["output_dir"]) / "bank", method.recipe.eval_batch_size, config["feature_dtype"], assembly.device)
    features = bank.get(method.body, method.body.digest(), assembly.dataset.test, last.test)
    merge(method.body, config)
    backbone.scale_features(math.sqrt(FEATURE_VARIANCE / float(features.var(0).mean())))
    content = save({name: _stored(value) for name, value in backbone.state_dict().items()})
    write_bytes(path, content)
    return len(content)


def _stored(value: Tensor) -> Tensor:
    return (value.half() if value.ndim > 1 else value).detach().cpu().contiguous().clone(memory_format=torch.contiguous_format)
