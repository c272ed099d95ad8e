"""Combinations of components that make no sense together: the rules of each, and what follows from the facts of several.

A component says what it is by facts and which of its options go together by rules, both on its class (`hdx.config.facts`,
`hdx.rules`), so that a further component needs no line here. None of this needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hdx.config import types
from hdx.config.schema import describe
from hdx.errors import ConfigError
from hdx.registry import did_you_mean, names
from hdx.rules import View

ON_EPISODES = "protocol=episodic"
TEACHER = "teacher.overrides='[\"+exp=kd_teacher\"]'"


class Chosen:
    """A config in which every option is well-formed, with the facts of the components that it chooses."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def __call__(self, group: str, fact: str) -> Any:
        """A fact of the component chosen in a group; None where the group, or the fact, is not there."""
        node = self.data.get(group)
        return describe(group, node["name"]).facts.get(fact) if isinstance(node, dict) else None

    def name(self, group: str) -> str:
        """The component chosen in a group; `none` where the group is not there."""
        return str(self.data.get(group, {}).get("name", "none"))

    def option(self, group: str, name: str) -> Any:
        """An option; None where the component has none of that name."""
        return self.data.get(group, {}).get(name)

    def default(self, group: str, name: str) -> Any:
        """The default of an option, as a checked config has it."""
        option = describe(group, self.name(group)).option(name)
        return None if option is None or option.required else types.fit(option.default, option.annotation)

    @property
    def frees_body(self) -> bool:
        """Whether the body has anything that trains: by its adapter, or by an option of its pool."""
        option = self("pool", "trains_by")
        return bool(self("adapter", "trains") or (option and self.option("pool", option)))

    @property
    def trains_something(self) -> bool:
        """Whether a loss is ever computed: the body trains, or a gradient head on its features."""
        return self("method", "trains_in") != "never" or self("head", "kind") == "gradient"


Check = Callable[[Chosen], "str | None"]
CHECKS: list[Check] = []


def check(function: Check) -> Check:
    """Add a function to the table; it returns a line, or None when all is well."""
    CHECKS.append(function)
    return function


def problems(data: dict[str, Any]) -> list[str]:
    """What every rule and every check has to say about a config whose options are all well-formed."""
    chosen = Chosen(data)
    lines = [*_of_rules(chosen), *(line for function in CHECKS if (line := function(chosen)))]
    return list(dict.fromkeys(lines))


def _of_rules(chosen: Chosen) -> Iterator[str]:
    for group, node in chosen.data.items():
        if isinstance(node, dict):
            view = View(chosen.data, group, chosen, chosen.default, _of_part)
            for rule in describe(group, node["name"]).rules:
                if line := rule.broken(view):
                    yield line


def _of_part(key: str, group: str, node: Any) -> str | None:
    """What is wrong with a component's node inside another one's options."""
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
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


# --- what trains ----------------------------------------------------------------------------------------------------


@check
def _adapter_of_a_frozen_body(chosen: Chosen) -> str | None:
    if chosen("method", "trains_in") != "never" or not chosen("adapter", "trains"):
        return None
    return (
        f"adapter={chosen.name('adapter')} has no effect with method={chosen.name('method')}, which trains no body: "
        "take method=first_session, or adapter=none"
    )


@check
def _nothing_to_train(chosen: Chosen) -> str | None:
    """A method that sees all data trains a gradient head on more than its session has, so that a frozen body will do."""
    method, gradient = chosen.name("method"), chosen("head", "kind") == "gradient"
    head_trains = gradient and (chosen("method", "trains_head") or chosen("method", "sees_all"))
    if chosen("method", "trains_in") in ("never", None) or chosen.frees_body or head_trains:
        return None
    if chosen("method", "trains_in") == "episodes":
        head = chosen.name("head")
        return f"method={method} has nothing to train with adapter=none and head={head}: take adapter=film, or head=linear"
    return f"method={method} has nothing to train with adapter=none: take adapter=film or adapter=full, or method=frozen"


@check
def _activations_of_no_training(chosen: Chosen) -> str | None:
    why = {"never": "which trains no body", "episodes": "which trains many bodies at once"}.get(chosen("method", "trains_in"))
    kept = chosen.option("trainer", "activation_memory")
    if why is None or kept == chosen.default("trainer", "activation_memory"):
        return None
    method = chosen.name("method")
    return f"trainer.activation_memory={kept} has no effect with method={method}, {why}: take activation_memory=none"


@check
def _augmentation_of_cached_features(chosen: Chosen) -> str | None:
    if chosen("method", "trains_in") == "episodes" and not chosen.frees_body and chosen.option("trainer", "augment"):
        method = chosen.name("method")
        return f"trainer.augment has no effect with method={method} adapter=none, which computes features once: leave it out"
    return None


@check
def _augment(chosen: Chosen) -> str | None:
    augment, method = chosen.name("augment"), chosen.name("method")
    if augment == "none":
        return None
    if listed := chosen.option("trainer", "augment"):
        return f"augment={augment} beside trainer.augment=[{','.join(listed)}]: two augmentations of one image; leave one out"
    if chosen("method", "trains_in") == "never":
        return f"augment={augment} has no effect with method={method}, which trains on features as they are: take augment=none"
    if chosen("method", "trains_in") == "episodes":
        return f"augment={augment} has no effect with method={method}, which takes the list trainer.augment: take augment=none"
    if chosen("augment", "shows") == "several" and chosen("method", "sees") == "one":
        return f"augment={augment} shows an image several times, and method={method} looks once: take augment=flip_crop"
    if chosen("augment", "mixes") and not chosen("method", "takes_targets"):
        return f"augment={augment} mixes labels, which the losses of method={method} do not take: take augment=flip_crop"
    return None


@check
def _crops_of_nothing(chosen: Chosen) -> str | None:
    crops = chosen.option("trainer", "crops")
    if crops is None or chosen.option("trainer", "augment") or chosen.name("augment") != "none":
        return None
    return f"trainer.crops={crops} stores crops that trainer.augment=[] does not make: name augmentations, or leave it out"


@check
def _loss_of_no_training(chosen: Chosen) -> str | None:
    if chosen.trains_something:
        return None
    node = chosen.data["loss"]
    given = [f"loss.{key}={value}" for key, value in node.items() if key != "name" and value != chosen.default("loss", key)]
    if not given:
        return None
    method, head = chosen.name("method"), chosen.name("head")
    return (
        f"{' and '.join(given)}: no effect with method={method} and head={head}, which train nothing: leave it out, "
        "or take head=linear"
    )


@check
def _one_pass(chosen: Chosen) -> str | None:
    trainer, trains_in = chosen.data["trainer"], chosen("method", "trains_in")
    if not chosen("protocol", "one_pass") or chosen("method", "sees_all"):
        return None
    on_features = chosen("head", "kind") == "gradient" and not chosen("method", "trains_head")
    passes = (["epochs"] if trains_in != "never" else []) + (["feature_epochs"] if on_features else [])
    given = [f"trainer.{name}={trainer[name]}" for name in passes if trainer[name] != 1]
    if not given:
        return None
    protocol, wanted = chosen.name("protocol"), " ".join(f"{each.partition('=')[0]}=1" for each in given)
    return f"protocol={protocol} trains on a sample once, not {' and '.join(given)} times: take {wanted}, as +exp=cil_online has"


# --- heads ----------------------------------------------------------------------------------------------------------


@check
def _head_of_another_method(chosen: Chosen) -> str | None:
    method, head, own = chosen.name("method"), chosen.name("head"), chosen("head", "only_with")
    wanted, kind = chosen("method", "heads"), chosen("head", "kind")
    if head in wanted or (kind in wanted and not own):
        return None
    named = [each for each in wanted if each in names("head")]
    if named:
        return f"method={method} trains head={named[0]}, not head={head}: take head={named[0]}"
    if own:
        return f"head={head} is trained by method={own}, not by method={method}: take method={own}, or head=linear"
    if "gradient" in wanted:
        return f"method={method} trains the head by gradient descent, and head={head} is solved in closed form: take head=linear"
    return f"method={method} goes with a head that is {' or '.join(wanted)}, and head={head} is {kind}: take head=ncm"


@check
def _head_without_episodes(chosen: Chosen) -> str | None:
    head, protocol = chosen.name("head"), chosen.name("protocol")
    if chosen("head", "kind") != "episode" or chosen("protocol", "episodic"):
        return None
    return f"head={head} classifies few-shot episodes only, not protocol={protocol}: take {ON_EPISODES}, or head=ncm"


@check
def _head_that_nothing_trains(chosen: Chosen) -> str | None:
    episodic = chosen("protocol", "episodic")
    if not episodic or chosen("head", "kind") != "gradient" or chosen("method", "trains_in") == "episodes":
        return None
    return (
        f"head={chosen.name('head')} is trained by gradient descent, and method={chosen.name('method')} trains nothing on an "
        "episode's support: take head=ncm, or method=per_episode"
    )


@check
def _adaptation_without_episodes(chosen: Chosen) -> str | None:
    method, protocol = chosen.name("method"), chosen.name("protocol")
    if chosen("method", "trains_in") != "episodes":
        return None
    if not chosen("protocol", "episodic"):
        return f"method={method} adapts to few-shot episodes, and protocol={protocol} has none: take {ON_EPISODES}"
    if chosen.option("protocol", "joint"):
        return f"protocol.joint=true needs one body for all classes, and method={method} has one for each episode: leave it out"
    return None


# --- bodies ---------------------------------------------------------------------------------------------------------


@check
def _pool_without_token(chosen: Chosen) -> str | None:
    if not chosen("pool", "needs_cls") or chosen("backbone", "has_cls") is not False:
        return None
    pool, backbone = chosen.name("pool"), chosen.name("backbone")
    return f"pool={pool} needs a class token and backbone={backbone} has none: take pool=avg, or a vision transformer"


@check
def _adapter_of_another_layout(chosen: Chosen) -> str | None:
    wanted, layout = chosen("adapter", "layout"), chosen("backbone", "layout")
    if wanted in ("any", None) or layout in (wanted, None):
        return None
    adapter, backbone = chosen.name("adapter"), chosen.name("backbone")
    return f"adapter={adapter} needs a backbone that gives {wanted}, and backbone={backbone} gives {layout}: take adapter=film"


# --- what a method sees beside its session ----------------------------------------------------------------------------


@check
def _memory(chosen: Chosen) -> str | None:
    memory, method = chosen.name("memory"), chosen.name("method")
    if memory != "none" and not chosen("method", "uses_memory"):
        return f"memory={memory} has no effect with method={method}, which uses none: take memory=none, or method=replay"
    if memory == "none" and chosen("method", "needs_memory"):
        return f"method={method} trains on what a memory keeps, and memory=none: take memory=replay, or method=finetune"
    return None


@check
def _teacher(chosen: Chosen) -> str | None:
    teacher, method = chosen.name("teacher"), chosen.name("method")
    if teacher != "none" and not chosen("method", "uses_teacher"):
        return (
            f"teacher={teacher} has no effect with method={method}, which learns from none: take teacher=none, or method=distill"
        )
    if teacher == "none" and chosen("method", "uses_teacher"):
        return (
            f"method={method} learns from a teacher, and teacher=none: take teacher=run {TEACHER}, or teacher=model "
            "teacher.checkpoint=FILE"
        )
    return None


@check
def _loss_and_what_it_compares(chosen: Chosen) -> str | None:
    method, loss = chosen.name("method"), chosen.name("loss")
    needs, gives = chosen("loss", "needs"), chosen("method", "gives")
    if "teacher" in gives and "teacher" not in needs:
        return f"method={method} compares with a teacher, which loss={loss} does not: take loss=kd, or method=finetune"
    if "teacher" in needs and "teacher" not in gives:
        return f"loss={loss} compares with a teacher, which method={method} does not ask for it: take method=distill"
    missing = [each for each in needs if each not in gives]
    if missing:
        return f"loss={loss} compares {missing[0]}, which method={method} does not give it: take loss=cross_entropy"
    return None


@check
def _rows_without_labels(chosen: Chosen) -> str | None:
    if not chosen("method", "needs_unlabelled") or chosen.option("protocol", "labels") is not None:
        return None
    method = chosen.name("method")
    return (
        f"method={method} learns from rows without labels, and the protocol hides none: take protocol=offline protocol.labels=0.1"
    )


@check
def _words_of_classes(chosen: Chosen) -> str | None:
    if not chosen("method", "needs_text") or chosen.name("text") != "none":
        return None
    return (
        f"method={chosen.name('method')} needs vectors of the classes' names, and text=none has none: choose one  (hdx list text)"
    )
