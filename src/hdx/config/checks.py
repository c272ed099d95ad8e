"""Combinations of options that make no sense together, one function each; none needs torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Check = Callable[[dict[str, Any]], "str | None"]
CHECKS: list[Check] = []

WITHOUT_CLS = ("tiny", "conv4", "resnet_cifar")  # bodies that give maps
GRADIENT_HEADS = ("linear", "cosine")


def check(function: Check) -> Check:
    """Add a function to the table; it gets the config and returns a line, or None when all is well."""
    CHECKS.append(function)
    return function


def problems(data: dict[str, Any]) -> list[str]:
    """What every check has to say about a config whose options are all well-formed."""
    return [line for function in CHECKS if (line := function(data))]


@check
def _folder_without_path(data: dict[str, Any]) -> str | None:
    if data["dataset"]["name"] == "folder" and data["dataset"].get("path") is None:
        return "dataset.path must be given with dataset=folder: dataset.path=DIR or dataset.path=FILE.zip, with a folder a class"
    return None


@check
def _frozen_with_adapter(data: dict[str, Any]) -> str | None:
    adapter = data["adapter"]["name"]
    if data["method"]["name"] == "frozen" and adapter != "none":
        return (
            f"adapter={adapter} has no effect with method=frozen, which trains no body: "
            "take method=first_session, or adapter=none"
        )
    return None


@check
def _nothing_to_train(data: dict[str, Any]) -> str | None:
    method = data["method"]["name"]
    head_trains = method in ("finetune", "joint") and data["head"]["name"] in GRADIENT_HEADS
    if data["adapter"]["name"] == "none" and method in ("first_session", "finetune", "joint") and not head_trains:
        return f"method={method} has nothing to train with adapter=none: take adapter=film or adapter=full, or method=frozen"
    return None


@check
def _cls_pool_without_token(data: dict[str, Any]) -> str | None:
    backbone = data["backbone"]["name"]
    if data["pool"]["name"] == "cls" and backbone in WITHOUT_CLS:
        return f"pool=cls needs a class token and backbone={backbone} has none: take pool=avg, or a vision transformer"
    return None
