"""Loading a file of weights into a backbone: plain tensors only, all or nothing."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hdx.errors import WeightsError

WRAPPERS = ("state_dict", "model_state_dict", "model", "backbone")
PREFIXES = ("module.", "model.", "backbone.", "backbone/")  # the last: what hdx export writes
HEAD = re.compile(r"^(fc|classifier|head|heads|linear|head_dist|last_linear)\.(?:.*\.)?(weight|bias)$")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors, .pth or .pt file on the CPU; a {"state_dict": …} or {"model": …} around them is taken off.

    Raises: WeightsError when the file is missing, truncated, not a mapping of tensors, or a pickle that would run code.
    """
    if not path.is_file():
        raise WeightsError(f"backbone.checkpoint: no file {path}")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"backbone.checkpoint: {path} is refused: it holds more than tensors, and loading it could run code"
            f"{_culprit(error)}.  (save the tensors alone, best as .safetensors)"
        ) from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(f"backbone.checkpoint: {path} is not a readable .safetensors, .pth or .pt file: {reason}") from None
    for _ in WRAPPERS:
        inner = [content[name] for name in WRAPPERS if isinstance(content, Mapping) and isinstance(content.get(name), Mapping)]
        content = inner[0] if inner else content
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"backbone.checkpoint: {path}: expected a mapping of names to tensors, got {type(content).__name__}")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _culprit(error: Exception) -> str:
    """` (posix.system)`: what torch says the pickle asked for, if it says so."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return f" ({found.group(1)})" if found else ""


def match(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names of `wanted`: wrapper prefixes stripped, a classifier that `wanted` does not have left out."""
    matched = dict(tensors)
    while not any(name in wanted for name in matched):
        prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in matched)), None)
        if prefix is None:
            break
        matched = {name[len(prefix) :]: value for name, value in matched.items() if name.startswith(prefix)}
    matched = {name: value for name, value in matched.items() if name in wanted or not HEAD.match(name)}
    for name, value in wanted.items():  # files older than torch 0.4.1 do not count batches, and nothing reads the count
        if name.endswith("num_batches_tracked"):
            matched.setdefault(name, value)
    return matched


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load tensors whose names are matched already.

    Raises: WeightsError with counts and the first names when one is missing, left over or of another shape; then the
        module is untouched.
    """
    wanted = module.state_dict()
    problems = [
        _few("missing", [name for name in wanted if name not in tensors]),
        _few("unknown", [name for name in tensors if name not in wanted]),
        _few(
            "of another shape",
            [
                f"{name} {list(tensors[name].shape)} for {list(value.shape)}"
                for name, value in wanted.items()
                if name in tensors and tensors[name].shape != value.shape
            ],
        ),
    ]
    found = "; ".join(problem for problem in problems if problem)
    if found:
        raise WeightsError(
            f"backbone.checkpoint: {source} does not fit {type(module).__name__} ({len(wanted)} tensors): {found}.  "
            "(is it the same architecture and size?)"
        )
    module.load_state_dict(dict(tensors))


def _few(what: str, names: list[str]) -> str:
    """`3 missing (a, b, …)`, or nothing."""
    return f"{len(names)} {what} ({', '.join(names[:2])}{', …' if len(names) > 2 else ''})" if names else ""


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a file into a module; a trained classifier in the file is left out.

    Raises: WeightsError as `read_tensors` and `load_into` do; nothing is loaded partially.
    """
    load_into(module, match(read_tensors(path), module.state_dict()), str(path))
