"""What a session's phases come to: batches made, bodies of other runs taken over, the teacher put beside, works carried out."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import one_hot

from hdx.augments._base import View
from hdx.augments._named import Augment
from hdx.config.config import Config
from hdx.datasets._draws import StoredCrops
from hdx.engine import ranks
from hdx.engine.build import Assembly
from hdx.engine.loader import PhaseLoader
from hdx.engine.report import Report
from hdx.engine.teacher_cache import TeacherCache, Teaching
from hdx.engine.trained import TrainedBodies
from hdx.engine.works import carry_out
from hdx.memories._base import Samples
from hdx.methods._base import Phase, Work
from hdx.protocols._base import Session
from hdx.store.rundir import RunDir
from hdx.trainers.recipe import Recipe

Features = Callable[[Any, np.ndarray, int], np.ndarray]
"""An image set, rows of it and a session's index to features [N, D] of the body as it is, or to what its pool sees."""


class Phases:
    """Carries out the phases and works of a run's sessions on this rank.

    Args:
        config, assembly: of the run.
        run_dir: where checkpoints inside phases lie.
        bodies: that other runs trained.
        labels: [N] dataset labels of the train split, -1 where the protocol hides them.
        features: of rows under the body as it is; tokens: what its pool sees of them.
        report: told how far a phase is.

    Attributes:
        outputs: what the teacher says; None without one.
        trained: images put through training steps.
        spared: images that were not, because another run had trained the same; spared_seconds: what that took, None where it is
            not known.
        taken: runs whose bodies were taken over in this session; works: what was done in it without gradients.
    """

    def __init__(
        self,
        config: Config,
        assembly: Assembly,
        run_dir: RunDir,
        bodies: TrainedBodies,
        labels: np.ndarray,
        features: Features,
        tokens: Features,
        report: Report,
    ) -> None:
        self.config, self.run_dir, self.bodies, self.report = config, run_dir, bodies, report
        self.dataset, self.method, self.device = assembly.dataset, assembly.method, assembly.device
        self.seed, self.labels = assembly.train_seed, labels
        self.cached = {"features": features, "tokens": tokens}
        self.teacher = self.method.parts.teacher
        self.outputs = self._teacher_cache()
        self.trained = self.spared = 0
        self.spared_seconds: float | None = 0.0
        self.taken: list[str] = []
        self.works: list[dict[str, Any]] = []

    def _teacher_cache(self) -> TeacherCache | None:
        if self.teacher is None:
            return None
        recipe = self.method.recipe
        return TeacherCache(
            Path(self.config.data["output_dir"]) / "teacher",
            self.teacher,
            self.dataset.train,
            augment=self._augment(recipe, taught=True),
            crops=_crops(recipe),
            features="features" in self.method.loss.needs,
        )

    def _augment(self, recipe: Recipe, taught: bool) -> View | None:
        """Of a phase; `taught` where the teacher sees its images as well, which then suit the larger of the two."""
        names, sizes = recipe.augment, [self.method.body.transform.resize_to]
        if taught and self.teacher is not None:
            sizes.append(self.teacher.body.transform.resize_to)
        if names:
            return Augment(names, max(sizes))
        views = self.method.parts.augment.views(max(sizes))
        return views[0] if len(views) == 1 else None  # several are the method's to show

    def fit(self, session: Session, number: int, phase: Phase, digest: str) -> float | None:
        """Train a phase, or take over what another run trained. Returns: the last epoch's mean loss.

        Args:
            number: of the phase in its session; digest: the body's, before it.
        """
        if self.method.on_tokens(phase):
            phase.inputs = "tokens"
        source = self.dataset.train if phase.source is None else phase.source
        positions = np.full(len(self.dataset.classes), -1)
        positions[list(phase.classes)] = np.arange(len(phase.classes))
        labels = (self.labels if phase.source is None else source.labels)[phase.indices]
        labels = np.where(labels < 0, -1, positions[labels])
        if phase.start is not None:
            phase.start(torch.from_numpy(self.cached["features"](source, phase.indices, session.index)), torch.from_numpy(labels))
        if phase.raw and self.outputs is not None:
            names = [self.dataset.classes[label] for label in phase.classes]
            self.method.teaching = Teaching(self.outputs, names, phase.indices)
        if self.method.takes_targets and phase.targets is None and source.targets is not None:
            phase.targets = torch.from_numpy(source.targets[phase.indices][:, list(phase.classes)])
        if self.method.takes_targets and phase.inputs == "images" and (mix := self.method.parts.augment.mix()) is not None:
            phase.mix = mix
            if phase.targets is None:
                phase.targets = partial(one_hot, num_classes=len(phase.classes))
        if phase.targets is not None and not isinstance(phase.targets, torch.Tensor):
            phase.targets = phase.targets(torch.from_numpy(labels)).float()
        loader = self._loader(session, number, phase, source, labels)
        loss = self._outcome(session, number, phase, digest, labels, loader)
        if phase.finish is not None:
            phase.finish()
        return loss

    def _loader(self, session: Session, number: int, phase: Phase, source: Any, labels: np.ndarray) -> PhaseLoader:
        recipe, images = self.method.recipe_of(phase), phase.inputs == "images"
        if phase.raw and self.outputs is not None and (recipe.augment, recipe.crops) != self._taught():
            raise ValueError("Expected the run's augmentation in a phase that the teacher sees, but its recipe has another one")
        return PhaseLoader(
            source if images else torch.from_numpy(self.cached[phase.inputs](source, phase.indices, session.index)),
            phase.indices,
            labels,
            epochs=recipe.feature_epochs if phase.inputs == "features" else recipe.epochs,
            batch_size=recipe.batch_size,
            seed=self.seed,
            parts=(session.index, number),
            device=self.device,
            augment=self._augment(recipe, phase.raw) if images else None,
            transform=self.method.body.transform if images else None,
            crops=_crops(recipe) if images else None,
            sampler=phase.sampler,
            raw=phase.raw,
            steps=phase.steps,
            views=phase.views if images else (),
            targets=phase.targets if isinstance(phase.targets, torch.Tensor) else None,
            mix=phase.mix,
        )

    def _taught(self) -> tuple[list[str], int | None]:
        return list(self.method.recipe.augment), self.method.recipe.crops

    def _outcome(
        self, session: Session, number: int, phase: Phase, digest: str, labels: np.ndarray, loader: PhaseLoader
    ) -> float | None:
        parts = (session.index, number)
        source = self.dataset.train if phase.source is None else phase.source
        key = self.bodies.key(self.config.data, self.method, phase, digest, source, labels, parts)
        if key is not None:
            phase.classifier.to(self.device)
            self.method.beside.to(self.device)
            found = self.bodies.load(key, self.method, phase)
            if not ranks.any_rank(found is None) and found is not None:
                self.taken.append(found["run"])
                self.spared += loader.samples if phase.inputs == "images" else 0
                known = self.spared_seconds is not None and "seconds" in found
                self.spared_seconds = (self.spared_seconds or 0.0) + float(found["seconds"]) if known else None
                return float(found["loss"]) if "loss" in found else None
        from hdx.engine.fit import fit  # Lightning, of which a run that trains nothing has no need

        started = time.monotonic()
        loss = fit(
            self.method,
            phase,
            loader,
            file=self._file(session, number),
            seed=self.seed,
            parts=parts,
            device=self.device,
            nodes=self.config.data["nodes"],
            report=self.report.progress,
        )
        if phase.inputs == "images":
            self.trained += loader.samples
        if key is not None and ranks.rank() == 0:
            self.bodies.save(key, self.method, phase, loss, time.monotonic() - started)
        return loss

    def work(self, session: Session, number: int, work: Work, samples: Samples) -> None:
        """Carry out what is done without gradients, from its checkpoint where there is one."""
        started = time.monotonic()
        value = carry_out(
            work,
            self.method,
            samples,
            file=self._file(session, number),
            seed=self.seed,
            parts=(session.index, number),
            checkpoint_seconds=self.method.recipe.checkpoint_seconds,
            report=self.report.progress,
        )
        self.works.append(
            {"name": work.name, "steps": work.steps, "value": value, "seconds": round(time.monotonic() - started, 3)}
        )

    def _file(self, session: Session, number: int) -> Path:
        return self.run_dir.checkpoints / f"phase-{session.index:02d}-{number}.pt"


def _crops(recipe: Recipe) -> StoredCrops | None:
    return StoredCrops(recipe.crops, recipe.crop_seed) if recipe.crops else None
