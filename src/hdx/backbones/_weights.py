"""Loading a file of weights into a backbone: plain tensors only, all or nothing."""

from __future__ import annotations

import logging
import pickle
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hdx.errors import WeightsError

log = logging.getLogger("hdx")

WRAPPERS = ("state_dict", "model_state_dict", "model", "backbone")  # of several nested mappings that fit equally, these first
AVERAGED = re.compile(r"(teacher|ema|online|encoder_q)")  # then what is meant for use: not a student, nor the key encoder
NO_WEIGHTS = re.compile(r"(optim|sched|scaler|rng|random|amp|loss|hyper|args|config|meter)", re.IGNORECASE)
INSERTED = re.compile(r"(?:^|(?<=[./]))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.")
PREFIXES = ("module.", "model.", "backbone.", "backbone/")  # where no name fits yet, because a family's own filter renames them
HEAD = re.compile(r"^(fc|classifier|head|heads|linear|head_dist|last_linear)\.(?:.*\.)?(weight|bias)$")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors, .pth or .pt file on the CPU, without what compilers and wrappers put into their names.

    A mapping around them ({"state_dict": …}, {"model": …}) is taken off; of several ({"student": …, "teacher": …}) the names
    begin with theirs. What belongs to optimisers and the like is left out.

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
    found = dict(_mappings(content))
    if not found:
        raise WeightsError(f"backbone.checkpoint: {path}: expected a mapping of names to tensors, got {type(content).__name__}")
    if len(found) == 1:
        return _tensors(*found.values())
    return {f"{where}{name}": value for where, held in found.items() for name, value in _tensors(held).items()}


def _mappings(content: Any, where: str = "") -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Every mapping with tensors in it, by the keys that lead to it: `""`, `"teacher."`."""
    if not isinstance(content, Mapping) or where and NO_WEIGHTS.search(where):
        return
    if any(isinstance(value, Tensor) for value in content.values()):
        yield where, content
    for key, value in content.items():
        yield from _mappings(value, f"{where}{key}.")


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {INSERTED.sub("", str(name)): value for name, value in content.items() if isinstance(value, Tensor)}


def _culprit(error: Exception) -> str:
    """` (posix.system)`: what torch says the pickle asked for, if it says so."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return f" ({found.group(1)})" if found else ""


def match(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str = "", before: str = "") -> dict[str, Tensor]:
    """Tensors under the names of `wanted`: those behind the prefix with which most of them fit by name and shape.

    Parts that `wanted` has nothing of (a classifier, a projector, a decoder, another encoder) are left out; what looks like more
    of the same (`layer4` beside `layer3`) stays, and `load_into` refuses it. One line says what was stripped and left out.

    Args:
        tensors: as `read_tensors` gives them.
        wanted: the state of the body.
        source: the file, for that line; no line without.
        before: what was stripped already, for that line.
    """
    prefix = _prefix(tensors, wanted)
    behind = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    families = {_family(name) for name in wanted}
    matched = {
        name: value for name, value in behind.items() if name in wanted or not HEAD.match(name) and _family(name) in families
    }
    if source:
        left = [name for name in tensors if not name.startswith(prefix) or name[len(prefix) :] not in matched]
        _say(before + prefix, sum(name in matched for name in wanted), len(wanted), left, source)
    for name, value in wanted.items():  # files older than torch 0.4.1 do not count batches, and nothing reads the count
        if name.endswith("num_batches_tracked"):
            matched.setdefault(name, value)
    return matched


def stripped(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """The prefix that `match` would take and all behind it, for a filter that renames names; a usual one where none fits."""
    prefix = _prefix(tensors, wanted)
    found = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    while not any(name in wanted for name in found):
        usual = next((p for p in PREFIXES if any(name.startswith(p) for name in found)), None)
        if usual is None:
            break
        prefix += usual
        found = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    return prefix, found


def _prefix(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """What stands before the names of `wanted` in most cases; of equals the one that is meant for use, then the first."""
    names: Counter[str] = Counter()
    shapes: Counter[str] = Counter()
    for name, value in tensors.items():
        for end in (0, *(found.end() for found in re.finditer(r"[./]", name))):
            if (target := wanted.get(name[end:])) is not None:
                names[name[:end]] += 1
                shapes[name[:end]] += target.shape == value.shape
    order = {prefix: -place for place, prefix in enumerate(names)}

    def rank(prefix: str) -> tuple[int, int, bool, bool, int]:
        usual = prefix.partition(".")[0] in ("", *WRAPPERS) and not AVERAGED.search(prefix)
        return shapes[prefix], names[prefix], usual, bool(AVERAGED.search(prefix)), order[prefix]

    return max(names, key=rank, default="")


def _family(name: str) -> str:
    """The first part of a name without its number: `layer` of `layer4.0.conv1.weight`."""
    return re.split(r"[./]", name)[0].rstrip("0123456789")


def _say(prefix: str, n: int, n_wanted: int, left: list[str], source: str) -> None:
    """The one line about a file that does not simply hold what is wanted."""
    if not prefix and not left:
        return
    behind = f" behind '{prefix}'" if prefix else ""
    groups = Counter(name.rpartition(".")[0] or name for name in left)
    rest = f"; left out: {len(left)} ({', '.join(list(groups)[:3])}{', …' if len(groups) > 3 else ''})" if left else ""
    log.warning("backbone.checkpoint: %s: %d of %d tensors of the body found%s%s", source, n, n_wanted, behind, rest)


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
            f"({_share(wanted, tensors)} match, and all must: is it the same architecture and size?)"
        )
    module.load_state_dict(dict(tensors))


def _share(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    fit = sum(name in tensors and tensors[name].shape == value.shape for name, value in wanted.items())
    return f"{100 * fit // max(1, len(wanted))} %"


def _few(what: str, names: list[str]) -> str:
    """`3 missing (a, b, …)`, or nothing."""
    return f"{len(names)} {what} ({', '.join(names[:2])}{', …' if len(names) > 2 else ''})" if names else ""


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a file into a module; a trained classifier in the file is left out.

    Raises: WeightsError as `read_tensors` and `load_into` do; nothing is loaded partially.
    """
    load_into(module, match(read_tensors(path), module.state_dict(), str(path)), str(path))
