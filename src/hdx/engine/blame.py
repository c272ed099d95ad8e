"""Faults of components that are not hdx's own are told as theirs: before any work where that shows, else when they come."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from hdx import registry
from hdx.errors import HdxError, RunError
from hdx.heads._base import Head


@contextmanager
def blaming() -> Iterator[None]:
    """Raises: RunError naming the component of an installed package in whose code an error came up; any other error as it is."""
    try:
        yield
    except HdxError:
        raise
    except Exception as error:
        culprit = _culprit(error)
        if culprit is None:
            raise
        text = " ".join(str(error).split())
        raise RunError(f"{culprit} failed: {type(error).__name__}{f': {text}' if text else ''}") from error


def _culprit(error: Exception) -> str | None:
    """The component whose module is the innermost of the traceback's that is not hdx's; None where there is none."""
    modules: list[str] = []
    traceback = error.__traceback__
    while traceback is not None:
        modules.append(str(traceback.tb_frame.f_globals.get("__name__")))
        traceback = traceback.tb_next
    owners = {where.partition(":")[0]: f"{group} '{name}' ({where})" for (group, name), where in registry.brought().items()}
    return next((owners[module] for module in reversed(modules) if module in owners), None)


def check_width(head: Head, name: str, n_classes: int, logits: Tensor) -> None:
    """Raises: RunError when logits [..., C] are not one a class."""
    if logits.shape[-1] != n_classes:
        raise RunError(
            f"head={name} ({type(head).__name__}) gives {logits.shape[-1]} logits, expected {n_classes}, one for each class: "
            "that is a fault of the head"
        )


def probe(head: Head, options: dict[str, Any], episodic: bool) -> None:
    """Try the head of an installed package on numbers. Raises: RunError when its logits are not one a class.

    A head that fails on these few numbers may still do well on those of a run, and is left to it.
    """
    name = options["name"]
    if ("head", name) not in registry.brought() or getattr(head, "input", "features") != "features":
        return
    logits = None
    with torch.random.fork_rng(devices=[]), suppress(Exception):
        torch.manual_seed(0)
        tried = copy.deepcopy(head).cpu()
        logits = _of_episodes(tried) if episodic else _of_classes(tried)
    if logits is not None:
        check_width(head, name, 2, logits)


def _of_episodes(head: Head) -> Tensor:
    labels = torch.tensor([[0, 0, 1, 1]])
    return head.classify(torch.randn(1, 4, head.n_features), labels, torch.randn(1, 3, head.n_features), 2)


@torch.no_grad()
def _of_classes(head: Head) -> Tensor:
    head.expand(2)
    head.update(torch.randn(8, head.n_features), torch.arange(8) % 2)
    return head(torch.randn(3, head.n_features))
