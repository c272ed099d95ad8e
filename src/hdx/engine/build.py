"""From a config to components: dataset, sessions, body, method."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from hdx import registry
from hdx.body import Body
from hdx.config.paths import data_folder
from hdx.datasets._base import Dataset
from hdx.datasets.transforms import EvalTransform
from hdx.errors import ConfigError
from hdx.methods._base import Method
from hdx.methods._parts import Parts
from hdx.protocols._base import Protocol, Session
from hdx.seeds import derive, train_seed
from hdx.teachers._base import Teacher

log = logging.getLogger("hdx")
TeacherOf = Callable[[dict[str, Any], Dataset, torch.device, str], "Teacher | None"]


@dataclass
class Assembly:
    """What a run works on; `method.body` has no adapter yet (see `attach`)."""

    dataset: Dataset
    protocol: Protocol
    sessions: list[Session]
    method: Method
    device: torch.device
    train_seed: int
    seconds: float = 0.0  # that building it took

    def attach(self, options: dict[str, Any]) -> None:
        """Build the adapter and attach it to the body."""
        torch.manual_seed(derive(self.train_seed, "adapter"))
        self.method.body.attach(registry.build("adapter", options))
        self.method.to(self.device)


def data_dir(config: dict[str, Any]) -> Path | None:
    """`data_dir`, else $HDX_DATA, else ./data where it exists."""
    return data_folder(config["data_dir"])


def choose_device(config: dict[str, Any]) -> torch.device:
    """The device of this rank. Raises: ConfigError when a GPU is asked for and there are not enough."""
    if check_devices(config) == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def check_devices(config: dict[str, Any]) -> str:
    """The type of device of a config's ranks. Raises: ConfigError when GPUs are asked for and there are not enough."""
    available = torch.cuda.device_count()
    if config["accelerator"] == "cpu" or (config["accelerator"] == "auto" and available == 0):
        return "cpu"
    if available < config["devices"]:
        raise ConfigError(
            f"devices: expected at most {available} GPUs (what torch sees here), got {config['devices']}; or accelerator=cpu"
        )
    return "cuda"


def effective_precision(asked: str, device: torch.device) -> str:
    """What `precision` becomes on a device: the CPU has no 16-mixed, a GPU before Ampere no bf16-mixed."""
    if asked == "16-mixed" and device.type == "cpu":
        log.warning("precision=16-mixed is not available on a CPU; using bf16-mixed")
        return "bf16-mixed"
    if asked == "bf16-mixed" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        log.warning("precision=bf16-mixed is not available on this GPU; using 16-mixed")
        return "16-mixed"
    return asked


def _note_activations(config: dict[str, Any], device: torch.device) -> None:
    if config["trainer"].get("activation_memory") == "int8" and device.type == "cpu":
        log.warning("trainer.activation_memory=int8 is made for GPUs; on a CPU it saves memory and takes time")


def build_dataset(config: dict[str, Any]) -> Dataset:
    """The dataset of a config; a process that takes many runs keeps the last two, which no run changes."""
    return _kept_dataset(json.dumps(config["dataset"]), data_dir(config), Path(config["output_dir"]) / "cache")


@lru_cache(maxsize=2)
def _kept_dataset(options: str, folder: Path | None, cache: Path) -> Dataset:
    return registry.build("dataset", json.loads(options), folder, cache)


def forget_datasets() -> None:
    """Give back the memory of the datasets that were kept."""
    _kept_dataset.cache_clear()


def build_body(config: dict[str, Any], image_shape: tuple[int, int, int], precision: str, seed: int) -> Body:
    """The body without adapter; weights that are not loaded are drawn from `seed`."""
    torch.manual_seed(derive(seed, "backbone"))
    backbone = registry.build("backbone", config["backbone"])
    pool = registry.build("pool", config["pool"], backbone)
    spec = {"backbone": type(backbone).__name__, "pool": config["pool"]}
    return Body(backbone, pool, EvalTransform(backbone.input_spec, image_shape), precision, spec)


def assemble(config: dict[str, Any], teacher: TeacherOf | None = None) -> Assembly:
    """Build everything but the adapter; a teacher only by `teacher`. Raises: the HdxError of whatever does not fit."""
    device = choose_device(config)
    _note_activations(config, device)
    dataset = build_dataset(config)
    protocol: Protocol = registry.build("protocol", config["protocol"])
    dataset = protocol.view(dataset)
    sessions = protocol.sessions(dataset, config["seed"])
    drawn = train_seed(config)
    precision = effective_precision(config["precision"], device)
    taught = None if teacher is None else teacher(config, dataset, device, precision)
    body = build_body(config, dataset.train.image_shape, precision, drawn)
    torch.manual_seed(derive(drawn, "head"))
    parts = Parts(
        body,
        registry.build("head", config["head"], body.n_features),
        registry.build("loss", config["loss"]),
        registry.build("trainer", config["trainer"]),
        registry.build("memory", config["memory"]),
        taught,
        registry.build("augment", config["augment"]),
        tuple(dataset.classes),
        dataset.train.image_shape,
    )
    method = registry.build("method", config["method"], parts)
    return Assembly(dataset, protocol, sessions, method.to(device).eval(), device, drawn)
