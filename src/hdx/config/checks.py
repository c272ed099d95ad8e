"""Combinations of options that make no sense together, one function each; none needs torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Check = Callable[[dict[str, Any]], "str | None"]
CHECKS: list[Check] = []

WITHOUT_CLS = ("tiny", "conv4", "resnet_cifar")  # bodies that give maps
GRADIENT_HEADS = ("linear", "cosine")
EPISODE_HEADS = ("simpleshot", "bd_cspn", "laplacian_shot", "tim", "pt_map", "tuned_prototypes", "transductive_finetune", "slk")
BODY_METHODS = ("first_session", "finetune", "joint", "prototypical", "normsoftmax")  # they train the body


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
    if data["adapter"]["name"] == "none" and method in BODY_METHODS and not head_trains:
        return f"method={method} has nothing to train with adapter=none: take adapter=film or adapter=full, or method=frozen"
    return None


@check
def _cls_pool_without_token(data: dict[str, Any]) -> str | None:
    backbone = data["backbone"]["name"]
    if data["pool"]["name"] == "cls" and backbone in WITHOUT_CLS:
        return f"pool=cls needs a class token and backbone={backbone} has none: take pool=avg, or a vision transformer"
    return None


@check
def _lda_start_of_a_cosine_classifier(data: dict[str, Any]) -> str | None:
    method = data["method"]
    if method.get("classifier") == "cosine" and method.get("head_start") == "lda":
        return "method.head_start=lda sets a linear classifier, not method.classifier=cosine: take method.head_start=random"
    return None


@check
def _lists_beside_sizes(data: dict[str, Any]) -> str | None:
    protocol = data["protocol"]
    lists = protocol.get("lists")
    defaults = {"base": None, "step": None, "shots": 5, "base_shots": None, "order_seed": None, "shot_seed": None}
    given = [f"protocol.{key}" for key, value in defaults.items() if protocol.get(key) != value]
    if lists is not None and given:
        return f"protocol.lists={lists} says which classes and images come when: leave out {', '.join(given)}, or lists"
    return None


@check
def _two_spheres(data: dict[str, Any]) -> str | None:
    method, head = data["method"], data["head"]
    if method["name"] != "normsoftmax" or head["name"] != "imprinted" or method["layer_norm"] == head["layer_norm"]:
        return None
    trained, scored = (str(node["layer_norm"]).lower() for node in (method, head))
    return (
        f"method.layer_norm={trained} trains another embedding than head.layer_norm={scored} scores: "
        f"take head.layer_norm={trained} as well"
    )


@check
def _episode_head_without_episodes(data: dict[str, Any]) -> str | None:
    head, protocol = data["head"]["name"], data["protocol"]["name"]
    if head in EPISODE_HEADS and protocol != "episodic":
        return f"head={head} classifies few-shot episodes only, not protocol={protocol}: take protocol=episodic, or head=ncm"
    return None


@check
def _gradient_head_without_training(data: dict[str, Any]) -> str | None:
    head, method = data["head"]["name"], data["method"]["name"]
    if data["protocol"]["name"] == "episodic" and head in GRADIENT_HEADS and method != "per_episode":
        return (
            f"head={head} is trained by gradient descent, and method={method} trains nothing on an episode's support: "
            "take head=ncm, or method=per_episode"
        )
    return None


@check
def _per_episode(data: dict[str, Any]) -> str | None:
    adapter, head, protocol = (data[group]["name"] for group in ("adapter", "head", "protocol"))
    if data["method"]["name"] != "per_episode":
        return None
    if protocol != "episodic":
        return f"method=per_episode adapts to few-shot episodes, and protocol={protocol} has none: take protocol=episodic"
    if data["protocol"]["joint"]:
        return "protocol.joint=true needs one body for all classes, and method=per_episode has one for each episode: leave it out"
    if adapter == "none" and head not in GRADIENT_HEADS:
        return f"method=per_episode has nothing to train with adapter=none and head={head}: take adapter=film, or head=linear"
    if adapter == "none" and data["trainer"]["augment"]:
        return "trainer.augment has no effect with method=per_episode adapter=none, which computes features once: leave it out"
    return None
