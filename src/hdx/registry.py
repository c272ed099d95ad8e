"""Names of components: `names`, `find`, `build`. Strings only, so that looking a name up imports nothing heavy.

A third-party component registers through the entry-point group `hdx.components` under the name `<group>.<name>`
with the value `module:Class`, and ships `<group>/<name>.yaml` in a folder given with `-cd` or in `./conf`.
"""

from __future__ import annotations

import difflib
import importlib
from functools import lru_cache
from typing import Any

from hdx.errors import ConfigError

COMPONENTS: dict[str, dict[str, str]] = {
    "dataset": {
        "digits": "hdx.datasets.digits:Digits",
        "omniglot": "hdx.datasets.omniglot:Omniglot",
        "caltech101": "hdx.datasets.caltech101:Caltech101",
        "sign_digits": "hdx.datasets.sign_digits:SignDigits",
        "folder": "hdx.datasets.folder:Folder",
        "cifar10": "hdx.datasets.cifar:Cifar10",
        "cifar100": "hdx.datasets.cifar:Cifar100",
        "formulas": "hdx.datasets.formulas:Formulas",
        "omniglot_runs": "hdx.datasets.omniglot_runs:OmniglotRuns",
        "cross_domain": "hdx.datasets.cross_domain:CrossDomain",
        "distilled": "hdx.datasets.distilled:Distilled",
    },
    "backbone": {
        "tiny": "hdx.backbones.tiny:Tiny",
        "conv4": "hdx.backbones.conv4:Conv4",
        "resnet_cifar": "hdx.backbones.resnet_cifar:ResNetCifar",
        "timm": "hdx.backbones.timm:Timm",
        "efficientnet_lite": "hdx.backbones.efficientnet_lite:EfficientNetLite",
    },
    "pool": {
        "avg": "hdx.pools.avg:Avg",
        "cls": "hdx.pools.cls:Cls",
        "gem": "hdx.pools.gem:GeM",
    },
    "adapter": {
        "none": "hdx.adapters.none:NoAdapter",
        "full": "hdx.adapters.full:Full",
        "bn": "hdx.adapters.bn:NormAffine",
        "film": "hdx.adapters.film:Film",
        "last_block": "hdx.adapters.last_block:LastBlock",
        "lora": "hdx.adapters.lora:Lora",
        "vpt": "hdx.adapters.vpt:Vpt",
    },
    "head": {
        "ncm": "hdx.heads.ncm:NCM",
        "lda": "hdx.heads.lda:LDA",
        "ridge": "hdx.heads.ridge:Ridge",
        "ranpac": "hdx.heads.ranpac:RanPAC",
        "fecam": "hdx.heads.fecam:FeCAM",
        "linear": "hdx.heads.linear:Linear",
        "cosine": "hdx.heads.cosine:Cosine",
        "imprinted": "hdx.heads.imprinted:Imprinted",
        "teen": "hdx.heads.teen:Teen",
        "simpleshot": "hdx.heads.simpleshot:SimpleShot",
        "bd_cspn": "hdx.heads.bd_cspn:BDCSPN",
        "laplacian_shot": "hdx.heads.laplacian_shot:LaplacianShot",
        "tim": "hdx.heads.tim:TIM",
        "pt_map": "hdx.heads.pt_map:PTMAP",
        "tuned_prototypes": "hdx.heads.tuned_prototypes:TunedPrototypes",
        "transductive_finetune": "hdx.heads.transductive_finetune:TransductiveFinetune",
        "slk": "hdx.heads.slk:SLK",
        "dual": "hdx.heads.dual:Dual",
        "rotations": "hdx.heads.rotations:Rotations",
    },
    "method": {
        "frozen": "hdx.methods.frozen:Frozen",
        "first_session": "hdx.methods.first_session:FirstSession",
        "finetune": "hdx.methods.finetune:Finetune",
        "joint": "hdx.methods.joint:Joint",
        "cumulative": "hdx.methods.cumulative:Cumulative",
        "replay": "hdx.methods.replay:ReplayMethod",
        "cutmix": "hdx.methods.cutmix:CutMix",
        "lp_ft": "hdx.methods.lp_ft:LpFt",
        "simclr": "hdx.methods.simclr:SimCLR",
        "byol": "hdx.methods.byol:BYOL",
        "condense": "hdx.methods.condense:Condense",
        "prune": "hdx.methods.prune:Prune",
        "per_episode": "hdx.methods.per_episode:PerEpisode",
        "prototypical": "hdx.methods.prototypical:Prototypical",
        "normsoftmax": "hdx.methods.normsoftmax:NormSoftmax",
        "icarl": "hdx.methods.icarl:ICaRL",
        "der_pp": "hdx.methods.der:DerPP",
        "lwf": "hdx.methods.lwf:Lwf",
        "wa": "hdx.methods.wa:Wa",
        "ewc": "hdx.methods.ewc:Ewc",
        "distill": "hdx.methods.distill:Distill",
        "dho": "hdx.methods.dho:Dho",
        "dhkd": "hdx.methods.dhkd:Dhkd",
        "uskd": "hdx.methods.uskd:Uskd",
        "sla": "hdx.methods.sla:Sla",
    },
    "memory": {
        "none": "hdx.memories.none:NoMemory",
        "replay": "hdx.memories.replay:Replay",
    },
    "protocol": {
        "offline": "hdx.protocols.offline:Offline",
        "episodic": "hdx.protocols.episodic:Episodic",
        "class_incremental": "hdx.protocols.class_incremental:ClassIncremental",
        "few_shot_class_incremental": "hdx.protocols.few_shot_class_incremental:FewShotClassIncremental",
        "online": "hdx.protocols.online:Online",
        "domain_incremental": "hdx.protocols.domain_incremental:DomainIncremental",
    },
    "teacher": {
        "none": "hdx.teachers.none:NoTeacher",
        "model": "hdx.teachers.model:ModelTeacher",
        "run": "hdx.teachers.run:RunTeacher",
    },
    "loss": {
        "cross_entropy": "hdx.losses.cross_entropy:CrossEntropy",
        "kd": "hdx.losses.kd:KD",
        "dkd": "hdx.losses.dkd:DKD",
        "nkd": "hdx.losses.nkd:NKD",
        "rkd": "hdx.losses.rkd:RKD",
        "hint": "hdx.losses.hint:Hint",
    },
    "trainer": {"default": "hdx.trainers.recipe:Recipe"},
    "ops": {"default": "hdx.ops.options:Ops"},
    "tracker": {
        "csv": "hdx.trackers.csv:CsvTracker",
        "wandb": "hdx.trackers.wandb:WandbTracker",
        "tensorboard": "hdx.trackers.tensorboard:TensorBoardTracker",
    },
    "launcher": {
        "local": "hdx.launchers.local:Local",
        "slurm": "hdx.launchers.slurm:Slurm",
        "ray": "hdx.launchers.ray:Ray",
    },
}


#: The class that every component of a group is derived from; it says which facts there are (`hdx.config.facts`).
CONTRACTS: dict[str, str] = {
    "dataset": "hdx.datasets._base:Dataset",
    "backbone": "hdx.backbones._base:Backbone",
    "pool": "hdx.pools._base:Pool",
    "adapter": "hdx.adapters._base:Adapter",
    "head": "hdx.heads._base:Head",
    "method": "hdx.methods._base:Method",
    "memory": "hdx.memories._base:Memory",
    "protocol": "hdx.protocols._base:Protocol",
    "teacher": "hdx.teachers._base:Teacher",
    "loss": "hdx.losses._base:Loss",
    "trainer": "hdx.trainers.recipe:Recipe",
    "ops": "hdx.ops.options:Ops",
    "tracker": "hdx.trackers._base:Tracker",
    "launcher": "hdx.launchers._base:Launcher",
}


@lru_cache(maxsize=1)
def components() -> dict[str, dict[str, str]]:
    """All groups with their `{name: "module:Class"}`, hdx's own and third-party ones.

    Raises: ConfigError when an entry point is malformed, names an unknown group or an existing name.
    """
    from importlib.metadata import entry_points

    table = {group: dict(entries) for group, entries in COMPONENTS.items()}
    problems = []
    for point in entry_points(group="hdx.components"):
        group, _, name = point.name.partition(".")
        if group not in table or not name:
            problems.append(f"entry point '{point.name}': expected '<group>.<name>' with a group of {', '.join(table)}")
        elif name in table[group]:
            problems.append(f"entry point '{point.name}' ({point.value}): {group} '{name}' is already {table[group][name]}")
        else:
            table[group][name] = point.value
    if problems:
        raise ConfigError(problems)
    return table


def did_you_mean(word: str, known: list[str]) -> str:
    """` Did you mean 'x'?` for the nearest known word, else an empty string."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def names(group: str) -> list[str]:
    """Names registered in a group. Raises: ConfigError for an unknown group."""
    table = components()
    if group not in table:
        raise ConfigError(f"group '{group}' is unknown.{did_you_mean(group, list(table))}  (hdx list)")
    return sorted(table[group])


def find(group: str, name: str) -> str:
    """`module:Class` of a component, as a string; nothing is imported. Raises: ConfigError with advice."""
    known = names(group)
    if name not in known:
        raise ConfigError(f"{group} '{name}' is unknown.{did_you_mean(name, known)}  (hdx list {group})")
    return components()[group][name]


def load(group: str, name: str) -> type:
    """Import the class of a component. Raises: ConfigError for an unknown name."""
    module, _, cls = find(group, name).partition(":")
    return getattr(importlib.import_module(module), cls)


def build(group: str, options: dict[str, Any], *context: Any) -> Any:
    """Construct a component: `options` is its config node (`name` plus keyword options), `context` its positionals."""
    keywords = {key: value for key, value in options.items() if key != "name"}
    return load(group, options["name"])(*context, **keywords)
