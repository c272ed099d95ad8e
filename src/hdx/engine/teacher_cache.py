"""The teacher cache: what a teacher says of a crop, asked once, kept on disk and shared by epochs and runs.

A folder has the outputs for one image set under one key: the digests of teacher and image set, the augmentation with its size
and seed, the store, the kind of device; and in it a folder for the versions of what computes. A crop has an entry of checksummed
rows, one for each image, so that runs of any number of crops share them. Nothing is looked up by a name that could mean something
else later: a cache of another key is not found, and one of other versions is named in a warning and left alone.

With or without a cache the outputs pass through the store, and a teacher's rows do not depend on what stands beside them, so that
training ends bit-equal either way. (A cache filled on another model of CPU or GPU may differ in the last digit.)
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hdx import digest
from hdx.augments._base import View
from hdx.datasets._base import ImageSet
from hdx.datasets._draws import StoredCrops
from hdx.engine._rows import Rows
from hdx.engine._teacher_store import store_of
from hdx.errors import ConfigError, RunError
from hdx.losses._base import Outputs
from hdx.methods._base import Batch
from hdx.store.files import read_json, write_json
from hdx.store.meta import versions
from hdx.teachers._base import Teacher

log = logging.getLogger("hdx")
FORMAT = 1
PACKAGES = ("hdx", "torch", "torchvision", "timm", "numpy")
WORDS = np.dtype(np.uint16)


class TeacherCache:
    """A teacher's outputs for the images of one set.

    Args:
        root: folder of all caches; safe to delete.
        teacher: on the device of the images it is asked about.
        images: the set.
        augment, crops: how its images are augmented; without `crops` they are drawn afresh, and of such images nothing is kept.
        features: whether features are wanted besides logits.

    Attributes:
        keeps: whether outputs are kept.
        forwarded: images this process put through the teacher.

    Raises: ConfigError where teacher.cache=true asks to keep outputs for crops that do not come back.
    """

    def __init__(
        self,
        root: Path,
        teacher: Teacher,
        images: ImageSet,
        *,
        augment: View | None = None,
        crops: StoredCrops | None = None,
        features: bool = False,
    ) -> None:
        self.teacher, self.n_images = teacher, len(images)
        self.store = store_of(teacher.store, teacher.k, teacher.n_classes, teacher.n_features if features else 0)
        self.keeps = _keeps(teacher.cache, augment is not None and crops is None)
        self.forwarded = 0
        self._entries: dict[int, Rows] = {}
        self.about = _about(teacher, images, augment, crops, features)
        self.versions = versions(PACKAGES)
        self.folder = root / digest.of_json(self.about)[:32] / digest.of_json(self.versions)[:16]

    def __call__(self, rows: np.ndarray, images: Tensor, crops: Tensor | None) -> Outputs:
        """Logits [B, C] over all classes of the teacher, and features [B, D] or None, on the device of the images.

        Args:
            rows: [B] of the image set.
            images: [B, ch, h, w] uint8, augmented.
            crops: [B] which stored crop each image is; None without stored crops.

        Raises: RunError naming the teacher and a row whose logits are NaN or infinite; nothing is kept of the batch then.
        """
        words = np.empty((len(rows), self.store.width), WORDS)
        which = np.zeros(len(rows), np.int64) if crops is None else crops.cpu().numpy()
        for crop in np.unique(which):
            part = np.flatnonzero(which == crop)
            words[part] = self._kept(int(crop), rows[part], images, part) if self.keeps else self._asked(rows[part], images, part)
        logits, features = self.store.decode(words)
        device = images.device
        return Outputs(torch.from_numpy(logits).to(device), None if features is None else torch.from_numpy(features).to(device))

    def _kept(self, crop: int, rows: np.ndarray, images: Tensor, places: np.ndarray) -> np.ndarray:
        entry = self._entry(crop)
        missing = ~entry.valid(rows)
        if missing.any():
            entry.write(rows[missing], self._asked(rows[missing], images, places[missing]))
        return np.asarray(entry.rows[rows])

    def _asked(self, rows: np.ndarray, images: Tensor, places: np.ndarray) -> np.ndarray:
        """[b, width] words of what the teacher says of `images[places]`."""
        chosen = images if len(places) == len(images) else images[torch.from_numpy(places).to(images.device)]
        outputs = self.teacher(chosen)
        check_finite(self.teacher.label, outputs.logits, rows)
        self.forwarded += len(rows)
        return self.store.encode(outputs.logits.float().cpu().numpy(), outputs.features.float().cpu().numpy())

    def _entry(self, crop: int) -> Rows:
        if crop not in self._entries:
            if not (self.folder / "about.json").exists():
                self._tell_of_other_versions()
                write_json(self.folder / "about.json", {**self.about, "versions": self.versions})
            files = (self.folder / f"crop-{crop}", "outputs", (self.n_images, self.store.width), WORDS, "teacher cache")
            Rows.prepare(*files)
            self._entries[crop] = Rows(*files)
        return self._entries[crop]

    def _tell_of_other_versions(self) -> None:
        found = [_versions(path) for path in sorted(self.folder.parent.glob("*/about.json"))]
        if found:
            theirs, ours = "; ".join(map(_listed, found)), _listed(self.versions)
            log.warning("teacher cache of %s is not used by %s: asking the teacher again  (%s)", theirs, ours, self.folder.parent)


class Teaching:
    """A teacher's outputs for the batches of one phase, over the phase's classes.

    Args:
        outputs: of all classes.
        classes: names, in the order of the phase's logits.
        rows: [N] of the image set, the phase's indices.
    """

    def __init__(self, outputs: TeacherCache, classes: list[str], rows: np.ndarray) -> None:
        assert outputs.teacher.classes is not None
        self.outputs, self.rows = outputs, rows
        places = {name: place for place, name in enumerate(outputs.teacher.classes)}
        self.columns = torch.tensor([places[name] for name in classes])

    def __call__(self, batch: Batch) -> Outputs:
        """Logits [B, C] over the phase's classes and features [B, D]. Raises: RunError naming a sample whose logits are none."""
        assert batch.images is not None
        found = self.outputs(self.rows[batch.positions.cpu().numpy()], batch.images, batch.crops)
        return Outputs(found.logits[:, self.columns.to(found.logits.device)], found.features)


def check_finite(label: str, logits: Tensor, rows: np.ndarray) -> None:
    """Refuse logits [B, C] of `rows` [B] of the train split that are NaN or infinite; -inf alone rules a class out.

    Raises: RunError naming the teacher and the first such row.
    """
    bad = (logits.isnan() | (logits == torch.inf)).any(1) | (logits == -torch.inf).all(1)
    if bool(bad.any()):
        row = int(rows[int(bad.nonzero()[0])])
        raise RunError(
            f"teacher {label} gives NaN or infinite logits for row {row} of the train split ({int(bad.sum())} of {len(bad)} rows "
            "of the batch): it diverged, or its precision overflowed; take another teacher, or one with precision=32"
        )


def _keeps(asked: bool | None, afresh: bool) -> bool:
    """Whether to keep outputs: None keeps them where crops come back."""
    if not afresh:
        return asked is not False
    advice = "trainer.augment draws every crop afresh, so nothing the teacher says of one can be used again"
    if asked:
        raise ConfigError(f"teacher.cache=true: {advice}: give trainer.crops=K, or leave teacher.cache out")
    if asked is None:
        log.warning("the teacher is asked about every batch: %s; trainer.crops=K stores K crops of each image", advice)
    return False


def _about(teacher: Teacher, images: ImageSet, augment: View | None, crops: StoredCrops | None, features: bool) -> dict[str, Any]:
    """Everything but versions that decides a row, in clear."""
    device = next(teacher.body.parameters()).device
    drawn = {} if augment is None or crops is None else {"augment": augment.describe(), "crop_seed": crops.seed}
    store = {"store": teacher.store} | ({"k": teacher.k} if teacher.store == "top_k" else {})
    return {
        "format": FORMAT,
        "teacher": teacher.digest(),
        "transform": teacher.body.transform.describe(),
        "precision": teacher.body.precision,
        "classes": teacher.n_classes,
        "images": images.digest,
        **drawn,
        **store,
        "features": features,
        "device": device.type,
    }


def _listed(versions: dict[str, Any]) -> str:
    return ", ".join(f"{name} {versions.get(name)}" for name in PACKAGES)


def _versions(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)["versions"]
        return dict(found)
    except (RunError, KeyError, TypeError, ValueError):
        return {}
