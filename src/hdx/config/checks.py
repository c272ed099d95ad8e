"""Combinations of options that make no sense together, one function each; none needs torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hdx.config import types
from hdx.config.schema import describe
from hdx.config.teacher import teacher_config
from hdx.errors import ConfigError
from hdx.registry import COMPONENTS, did_you_mean, names

Check = Callable[[dict[str, Any]], "str | None"]
CHECKS: list[Check] = []

WITHOUT_CLS = ("tiny", "conv4", "resnet_cifar")  # bodies that give maps
PAIRED = {"dual": "dho", "rotations": "sla"}  # heads that one method trains, which trains no other
GRADIENT_HEADS = ("linear", "cosine", *PAIRED)
EPISODE_HEADS = ("simpleshot", "bd_cspn", "laplacian_shot", "tim", "pt_map", "tuned_prototypes", "transductive_finetune", "slk")
BODY_METHODS = (  # they train the body
    *("first_session", "finetune", "joint", "prototypical", "normsoftmax", "cumulative", "replay"),
    *("icarl", "der_pp", "lwf", "wa", "ewc"),
    *("distill", "dho", "dhkd", "uskd", "sla"),
)
HEAD_METHODS = (  # of those, the ones that train a gradient head as well
    *("finetune", "joint", "cumulative", "replay"),
    *("icarl", "der_pp", "lwf", "wa", "ewc"),
    *("distill", "dho", "dhkd", "uskd", "sla"),
)
MEMORY_METHODS = (
    "replay",
    "icarl",
    "der_pp",
    "wa",
    "distill",
    "dho",
    "dhkd",
    "uskd",
    "sla",
)  # they see samples of earlier sessions again
NEED_GRADIENT_HEAD = (
    "der_pp",
    "lwf",
    "wa",
    "ewc",
    "distill",
    "dho",
    "dhkd",
    "uskd",
    "sla",
)  # they train the head and can do nothing with another one
HEAD_ON_FEATURES = ("frozen", "first_session")  # they train a gradient head on cached features
TEACHER_METHODS = ("distill", "dho", "dhkd")  # they learn from a teacher
TEACHER_LOSSES = ("kd", "dkd", "nkd", "rkd", "hint")  # they compare with one; only method=distill gives them what it says
EXAMPLE = "teacher.overrides='[\"+exp=kd_teacher\"]'"
BOUNDS = ("joint", "cumulative")  # they see all data, as often as they like


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
def _activations_of_no_training(data: dict[str, Any]) -> str | None:
    method = data["method"]["name"]
    if data["trainer"].get("activation_memory", "none") != "none" and method in ("frozen", "per_episode"):
        why = "which trains no body" if method == "frozen" else "which trains many bodies at once"
        return f"trainer.activation_memory=int8 has no effect with method={method}, {why}: take activation_memory=none"
    return None


@check
def _nothing_to_train(data: dict[str, Any]) -> str | None:
    method = data["method"]["name"]
    head_trains = method in HEAD_METHODS and data["head"]["name"] in GRADIENT_HEADS
    if data["adapter"]["name"] == "none" and method in BODY_METHODS and not head_trains:
        return f"method={method} has nothing to train with adapter=none: take adapter=film or adapter=full, or method=frozen"
    return None


@check
def _training_of_a_closed_form(data: dict[str, Any]) -> str | None:
    method, head = data["method"]["name"], data["head"]["name"]
    if method in NEED_GRADIENT_HEAD and head not in GRADIENT_HEADS:
        return f"method={method} trains the head by gradient descent, and head={head} is solved in closed form: take head=linear"
    return None


@check
def _aligning_of_directions(data: dict[str, Any]) -> str | None:
    if data["method"]["name"] == "wa" and data["head"]["name"] == "cosine":
        return "method=wa aligns the norms of the head's rows, which head=cosine does not look at: take head=linear"
    return None


@check
def _decay_of_separate_penalties(data: dict[str, Any]) -> str | None:
    method = data["method"]
    if method["name"] == "ewc" and not method["online"] and method["gamma"] != 1.0:
        return f"method.gamma={method['gamma']} is the decay of method.online=true: leave it out, or take method.online=true"
    return None


@check
def _smoothing_of_sigmoids(data: dict[str, Any]) -> str | None:
    method, loss = data["method"], data["loss"]
    if method["name"] == "icarl" and method["activation"] == "sigmoid" and loss.get("label_smoothing"):
        return "loss.label_smoothing has no effect with method.activation=sigmoid: leave it out, or take activation=softmax"
    return None


@check
def _mask_of_a_temporary_head(data: dict[str, Any]) -> str | None:
    method, head = data["method"], data["head"]["name"]
    if method["name"] == "finetune" and method["mask"] != "none" and head not in GRADIENT_HEADS:
        return f"method.mask={method['mask']} masks the logits of a trained head, and head={head} is solved: take head=linear"
    return None


@check
def _memory_that_nobody_uses(data: dict[str, Any]) -> str | None:
    memory, method = data["memory"]["name"], data["method"]["name"]
    if memory != "none" and method in COMPONENTS["method"] and method not in MEMORY_METHODS:
        return f"memory={memory} has no effect with method={method}, which uses none: take memory=none, or method=replay"
    return None


@check
def _one_bound_of_a_memory(data: dict[str, Any]) -> str | None:
    memory = data["memory"]
    if memory["name"] != "replay":
        return None
    given = [f"memory.{key}={memory[key]}" for key in ("size", "per_class", "bytes") if memory[key] is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        more = f", and make the others null, as in {given[0].partition('=')[0]}=null" if given else ""
        return f"memory is bounded by one of size, per_class and bytes, got {found}: give one{more}"
    return None


@check
def _one_reservoir(data: dict[str, Any]) -> str | None:
    memory = data["memory"]
    if memory["name"] != "replay" or memory["balanced"]:
        return None
    if memory["choice"] != "reservoir":
        return f"memory.balanced=false is for memory.choice=reservoir, not {memory['choice']}: take one of the two"
    if memory["per_class"] is not None:
        return "memory.balanced=false leaves shares to chance, and memory.per_class sets them: take memory.size or memory.bytes"
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
def _sizes_beside_steps(data: dict[str, Any]) -> str | None:
    protocol = data["protocol"]
    given = [f"protocol.{key}={protocol[key]}" for key in ("first", "step") if protocol.get(key)]
    if protocol.get("sizes") is not None and given:
        return f"protocol.sizes says how many classes each session has: leave out {' and '.join(given)}, or sizes"
    return None


@check
def _one_pass(data: dict[str, Any]) -> str | None:
    method, trainer = data["method"]["name"], data["trainer"]
    if data["protocol"]["name"] != "online" or method in BOUNDS:
        return None
    on_features = method in HEAD_ON_FEATURES and data["head"]["name"] in GRADIENT_HEADS
    passes = (["epochs"] if method != "frozen" else []) + (["feature_epochs"] if on_features else [])
    given = [f"trainer.{name}={trainer[name]}" for name in passes if trainer[name] != 1]
    if given:
        wanted = " ".join(f"{each.partition('=')[0]}=1" for each in given)
        return f"protocol=online trains on a sample once, not {' and '.join(given)} times: take {wanted}, as +exp=cil_online has"
    return None


@check
def _blur_of_no_blurry_stream(data: dict[str, Any]) -> str | None:
    protocol = data["protocol"]
    if protocol["name"] != "online" or protocol["order"] == "blurry":
        return None
    given = [f"protocol.{key}" for key, value in {"blur": 0.1, "disjoint": 0.0}.items() if protocol[key] != value]
    if given:
        return (
            f"{' and '.join(given)}: no effect with protocol.order={protocol['order']}: take protocol.order=blurry, or leave out"
        )
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


@check
def _crops_of_nothing(data: dict[str, Any]) -> str | None:
    trainer, method = data["trainer"], data["method"]["name"]
    crops = trainer.get("crops")
    if crops is None and trainer.get("crop_seed"):
        return "trainer.crop_seed is of stored crops, and trainer.crops=null stores none: give trainer.crops=K, or leave it out"
    if crops is not None and not trainer["augment"]:
        return f"trainer.crops={crops} stores crops that trainer.augment=[] does not make: name augmentations, or leave it out"
    if crops is not None and method == "per_episode":
        return f"trainer.crops={crops} has no effect with method=per_episode, which draws crops for each episode: leave it out"
    return None


@check
def _cache_of_fresh_crops(data: dict[str, Any]) -> str | None:
    trainer = data["trainer"]
    if data["teacher"].get("cache") and trainer["augment"] and trainer.get("crops") is None:
        return (
            "teacher.cache=true keeps what the teacher says of a crop, and trainer.augment draws each crop afresh: "
            "give trainer.crops=K, or leave teacher.cache out"
        )
    return None


@check
def _k_of_a_whole_store(data: dict[str, Any]) -> str | None:
    teacher = data["teacher"]
    if teacher.get("store") == "fp16" and teacher.get("k") != 32:
        k = teacher.get("k")
        return f"teacher.k={k} is of teacher.store=top_k, and fp16 keeps every logit: take teacher.store=top_k, or leave it out"
    return None


@check
def _teacher_that_nobody_listens_to(data: dict[str, Any]) -> str | None:
    teacher, method = data["teacher"]["name"], data["method"]["name"]
    if teacher != "none" and method in COMPONENTS["method"] and method not in TEACHER_METHODS:
        return (
            f"teacher={teacher} has no effect with method={method}, which learns from none: take teacher=none, or method=distill"
        )
    return None


@check
def _nobody_to_learn_from(data: dict[str, Any]) -> str | None:
    method = data["method"]["name"]
    if data["teacher"]["name"] == "none" and method in TEACHER_METHODS:
        return (
            f"method={method} learns from a teacher, and teacher=none: take teacher=run {EXAMPLE}, or teacher=model "
            "teacher.checkpoint=FILE"
        )
    return None


@check
def _loss_without_a_teachers_part(data: dict[str, Any]) -> str | None:
    method, loss = data["method"]["name"], data["loss"]["name"]
    if method == "distill" and loss in COMPONENTS["loss"] and loss not in TEACHER_LOSSES:
        return f"method=distill compares with a teacher, which loss={loss} does not: take loss=kd, or method=finetune"
    if loss in TEACHER_LOSSES and method in COMPONENTS["method"] and method != "distill":
        return f"loss={loss} compares with a teacher, which method={method} does not ask for it: take method=distill"
    return None


@check
def _one_name_of_a_teacher(data: dict[str, Any]) -> str | None:
    teacher = data["teacher"]
    if teacher["name"] != "run":
        return None
    if (teacher["run"] is None) == (teacher["overrides"] is None):
        got = "neither" if teacher["run"] is None else "both"
        return f"teacher=run is named by teacher.run=ID or by {EXAMPLE}, got {got}: give one"
    if not teacher["overrides"] and teacher["overrides"] is not None:
        return f"teacher.overrides is empty: expected the words of the teacher's run, as in {EXAMPLE}"
    try:
        teacher_config(data)
    except ConfigError as error:
        return error.problems[0]
    return None


@check
def _parts_of_a_model(data: dict[str, Any]) -> str | None:
    teacher = data["teacher"]
    if teacher["name"] != "model":
        return None
    for group in ("backbone", "pool"):
        if teacher[group] is not None and (problem := _part_problem(f"teacher.{group}", group, teacher[group])):
            return problem
    return None


def _part_problem(key: str, group: str, node: dict[str, Any]) -> str | None:
    """What is wrong with a component's node inside another one's options."""
    if not isinstance(node.get("name"), str):
        return f"{key}: expected a mapping with the key `name`, as in {{name: {names(group)[0]}}}"
    try:
        info = describe(group, node["name"])
    except ConfigError as error:
        return f"{key}: {error.problems[0]}"
    for name, value in node.items():
        option = info.option(name)
        if name != "name" and option is None:
            near = did_you_mean(name, [each.name for each in info.options])
            return f"{key}.{name} is unknown to {group}={info.name}.{near}  (hdx show {group}={info.name})"
        if option is not None:
            try:
                types.fit(value, option.annotation)
            except types.Misfit:
                return f"{key}.{name}: expected {types.expected(option.annotation)}, got {value!r}"
    return None


@check
def _few_labels_and_few_images(data: dict[str, Any]) -> str | None:
    protocol = data["protocol"]
    if protocol["name"] == "offline" and protocol["labels"] is not None and protocol["shots"] is not None:
        return (
            f"protocol.labels={protocol['labels']} and protocol.shots={protocol['shots']} both say how many labels there are: "
            "give one, and make the other null"
        )
    return None


@check
def _head_of_another_method(data: dict[str, Any]) -> str | None:
    method, head = data["method"]["name"], data["head"]["name"]
    for own, trains in PAIRED.items():
        if method == trains and head != own:
            return f"method={method} trains head={own}, not head={head}: take head={own}"
        if head == own and method in COMPONENTS["method"] and method != trains:
            return f"head={own} is trained by method={trains}, not by method={method}: take method={trains}, or head=linear"
    return None


@check
def _nothing_to_choose_by(data: dict[str, Any]) -> str | None:
    method, protocol = data["method"], data["protocol"]
    if method["name"] != "dho" or None not in (method["alpha"], method["beta"]) or protocol.get("validation"):
        return None
    return (
        "method=dho chooses alpha and beta on validation rows, and the protocol holds out none: take protocol=offline "
        "protocol.validation=0.1, or give method.alpha and method.beta"
    )
