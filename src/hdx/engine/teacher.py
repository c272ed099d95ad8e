"""The teacher of a run: built, checked against what the student learns, and asked about batches."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from hdx import registry
from hdx.config import teacher as named
from hdx.config.named import find
from hdx.config.paths import located
from hdx.config.validate import load_saved
from hdx.datasets._base import Dataset
from hdx.engine.predict import built, read_model
from hdx.engine.restored import restored
from hdx.errors import ConfigError, WeightsError
from hdx.store.rundir import RunDir
from hdx.teachers._base import Source, Teacher, Trained
from hdx.teachers._classifier import Classifier


def build_teacher(data: dict[str, Any], dataset: Dataset, device: torch.device, precision: str) -> Teacher | None:
    """The teacher of a config, on `device`; None for teacher=none.

    Args:
        data: the student's config; dataset: what it learns; precision: its effective one.

    Raises: WeightsError when the run that it is is not finished, or its file does not fit; ConfigError when it does not fit the
        student's dataset.
    """
    node = data["teacher"]
    if node["name"] == "none":
        return None
    if node["name"] == "model":
        node = {**node, "checkpoint": located(node["checkpoint"], data["data_dir"])}
    source = Source(
        image_shape=dataset.train.image_shape,
        device=device,
        precision=precision,
        file=partial(_of_file, device=device),
        run=lambda run, _: _of_run(run, data),
    )
    teacher: Teacher = registry.build("teacher", node, source)
    _check(teacher, dataset)
    return teacher


def _of_file(path: Path, device: torch.device) -> Trained | None:
    """The model of a file of `hdx export`; None for a file of other tensors. Raises: WeightsError when there is no file."""
    if not path.is_file():
        raise WeightsError(f"teacher.checkpoint: no file {path}  (looked for as given, then in the folder of datasets)")
    try:
        about, tensors = read_model(path)
    except WeightsError:
        return None
    if about.get("head") is None:
        raise WeightsError(f"teacher.checkpoint: {path} holds the body of a run on episodes and no head, so it knows no classes")
    try:
        body, head, _ = built(about, tensors, path, device)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its description does not fit a model of hdx ({type(error).__name__}: {error})") from None
    classifier = Classifier(head.weight, head.bias, cosine=head.kind == "cosine", scale=head.scale)
    channels = 1 if about["image"]["colour"] == "grey" else 3
    return Trained(body, classifier, [str(name) for name in about["classes"]], channels, str(about.get("run_id", path.name)))


def _of_run(run: str | None, data: dict[str, Any]) -> Trained:
    """The model of a run, by name or by `teacher.overrides`. Raises: WeightsError when it is not finished."""
    if line := named.unfinished(data):
        raise WeightsError(line)
    run_dir = named.run_dir(data) or find(str(run), data)
    return _restored(run_dir, data, "/".join(run_dir.path.parts[-2:]))


def _restored(run_dir: RunDir, data: dict[str, Any], label: str) -> Trained:
    """Body and head after the last session, on the student's device and beside its data."""
    own = load_saved(run_dir.config_file)
    where = {key: data[key] for key in ("output_dir", "accelerator", "devices", "nodes")}
    own = own.replace(**where, data_dir=data["data_dir"] or own["data_dir"])
    assembly = restored(own, run_dir)
    if assembly.protocol.episodic:
        raise ConfigError(f"teacher {label} was scored on episodes and has no head of its own: take a run of another protocol")
    method, last, names = assembly.method, assembly.sessions[-1], assembly.dataset.classes
    channels = assembly.dataset.train.image_shape[0]
    return Trained(method.body, method.head, [names[label] for label in last.seen_classes], channels, label)


def _check(teacher: Teacher, dataset: Dataset) -> None:
    """Raises: ConfigError when the teacher cannot say something of every class, or has seen images of another kind."""
    channels, names = dataset.train.image_shape[0], dataset.classes
    if teacher.channels not in (None, channels):
        raise ConfigError(
            f"teacher {teacher.label} was trained on images of {teacher.channels} channel(s), the student's have {channels}: "
            "take a teacher of images of the same kind"
        )
    if teacher.classes is None:
        n_logits = teacher.n_classes
        if n_logits != len(names):
            raise ConfigError(
                f"teacher {teacher.label} has {n_logits} classes and no names for them, the dataset has {len(names)}: "
                "name them in the order of its logits with teacher.classes=[…]"
            )
        teacher.classes = list(names)
    elif len(teacher.classes) != teacher.n_classes:
        raise ConfigError(
            f"teacher.classes: expected {teacher.n_classes} names, one a logit of {teacher.label}, got {len(teacher.classes)}"
        )
    if lacking := [name for name in names if name not in teacher.classes]:
        few = ", ".join(lacking[:3]) + (", …" if len(lacking) > 3 else "")
        raise ConfigError(
            f"teacher {teacher.label} lacks {len(lacking)} of the dataset's {len(names)} classes ({few}): it must know all that "
            "the student learns"
        )
