"""The session loop: adapt, extract, update, evaluate, commit; from the last committed session on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hdx.config.config import Config
from hdx.datasets._draws import StoredCrops
from hdx.datasets.transforms import Augment
from hdx.engine import ranks, stop
from hdx.engine.bank import Bank
from hdx.engine.build import Assembly
from hdx.engine.evaluation import predict
from hdx.engine.loader import PhaseLoader
from hdx.engine.report import Report
from hdx.engine.state import forget, load_session, save_session
from hdx.engine.teacher_cache import TeacherCache, Teaching
from hdx.engine.trained import TrainedBodies
from hdx.errors import Interrupted, RunError
from hdx.memories._base import Samples
from hdx.methods._base import Phase
from hdx.metrics.classification import accuracy, ece, mean_cosine_distance, nll, per_class_accuracy, share
from hdx.protocols._base import Session
from hdx.seeds import derive
from hdx.store.rundir import RunDir

HEAD_CHUNK = 8192
PREDICTOR_IMAGES = 2000


class Loop:
    """Runs the sessions of one run on this rank.

    Args:
        config, assembly: what to run.
        run_dir: where it is recorded (rank 0 writes).
        bank: the features bank.
        trained: bodies that other runs trained.
        report: told what happens.
    """

    def __init__(
        self, config: Config, assembly: Assembly, run_dir: RunDir, bank: Bank, trained: TrainedBodies, report: Report
    ) -> None:
        self.config, self.run_dir, self.bank, self.bodies, self.report = config, run_dir, bank, trained, report
        self.dataset, self.sessions, self.method = assembly.dataset, assembly.sessions, assembly.method
        self.device, self.seed = assembly.device, assembly.train_seed
        self.assembly = assembly
        self.body, self.head, self.teacher = assembly.method.body, assembly.method.head, assembly.method.parts.teacher
        recipe = assembly.method.recipe
        self.crops = StoredCrops(recipe.crops, recipe.crop_seed) if recipe.crops else None
        self.outputs = self._teacher_cache()
        self.labels = self._known_labels()
        self.digest = self.body.digest()
        self.position = np.full(len(self.dataset.classes), -1)
        self.position[list(self.sessions[-1].seen_classes)] = np.arange(len(self.sessions[-1].seen_classes))
        self.seconds: dict[str, float] = {}
        self.trained = 0
        self.taken: list[str] = []

    def _known_labels(self) -> np.ndarray:
        """[N] dataset labels of the train split, -1 for rows whose labels the protocol hides: all that training ever sees."""
        labels = self.dataset.train.labels.copy()
        for session in self.sessions:
            if session.unlabelled is not None:
                labels[session.unlabelled] = -1
        return labels

    def _teacher_cache(self) -> TeacherCache | None:
        if self.teacher is None:
            return None
        return TeacherCache(
            Path(self.config.data["output_dir"]) / "teacher",
            self.teacher,
            self.dataset.train,
            augment=self._augment(taught=True),
            crops=self.crops,
            features=getattr(self.method.loss, "needs_features", False),
        )

    def _augment(self, taught: bool) -> Augment | None:
        """Of a phase; `taught` where the teacher sees its images as well, which then suit the larger of the two."""
        names, sizes = self.method.recipe.augment, [self.body.transform.resize_to]
        if taught and self.teacher is not None:
            sizes.append(self.teacher.body.transform.resize_to)
        return Augment(names, max(sizes)) if names else None

    def run(self) -> list[dict[str, Any]]:
        """All sessions that are not committed yet. Returns: the records of all sessions.

        Raises: Interrupted; ConfigError, before any work, where the method cannot train on these sessions.
        """
        self.method.check(self.labels, self.sessions)
        records = self.run_dir.session_records()
        extra = self._gain_predictor() if not records else {}
        self.assembly.attach(self.config.data["adapter"])
        self.digest = self.body.digest()
        if records:
            done = len(records) - 1
            load_session(self.run_dir.checkpoints, done, self.method, len(self.sessions[done].seen_classes))
            self.method.to(self.device)
            self.digest = self.body.digest()
        for session in self.sessions[len(records) :]:
            record = self._session(session) | extra
            extra = {}
            self._commit(session, record)
            records.append(record)
            self.report.session(record, self.sessions)
            if session is not self.sessions[-1] and ranks.any_rank(stop.requested()):
                raise Interrupted("stopped between sessions")
        return records

    def _session(self, session: Session) -> dict[str, Any]:
        started, forwarded, trained = time.monotonic(), self.bank.forwarded, self.trained
        asked = 0 if self.outputs is None else self.outputs.forwarded
        self.report.begin(session, self.sessions)
        self.method.start_session(session)
        self._seed("session", session)  # new rows and temporary heads, after a resume as well
        self.head.expand(len(session.new_classes))
        self.head.to(self.device)
        self._seed("session", session)  # again: what a head drew does not change the body
        loss, self.taken = None, []
        for number, phase in enumerate(self.method.phases(session, self.sessions)):
            with self._timed("adapt"):
                loss = self._fit(session, number, phase)
        self._end(session)
        record = self._learn_and_score(session)
        counts = {"images_forwarded": self._all(self.bank.forwarded - forwarded), "images_trained": self.trained - trained}
        if self.outputs is not None:
            counts["teacher_images"] = self._all(self.outputs.forwarded - asked)
        record |= counts | {"loss": loss, "bodies_from": self.taken}
        record |= {"selection": self.method.selection} if self.method.selection else {}
        record["seconds"] = {name: round(value, 3) for name, value in self.seconds.items()}
        record["seconds"]["total"] = round(time.monotonic() - started, 3)
        self.seconds = {}
        return record

    def _seed(self, purpose: str, session: Session) -> None:
        torch.manual_seed(derive(self.seed, purpose, session.index))

    def _learn_and_score(self, session: Session) -> dict[str, Any]:
        """Update the head in closed form, evaluate it over all seen classes. Returns: the session's record so far."""
        self._learn(session)
        with self._timed("extract"):
            features = self._features("test", session.test, session.index)
        with self._timed("evaluate"):
            labels = self.position[self.dataset.test.labels[session.test]]
            predictions = predict(self.head, features, labels, self.device)
        return self._record(session, labels, predictions)

    def _end(self, session: Session) -> None:
        """What the method and the memory do between training and scoring."""
        samples = Samples(
            self.labels,
            self._image_bytes(),
            features=lambda rows: self._features("train", rows, session.index),
            batches=lambda rows: self._batches(rows),
        )
        with self._timed("memory"):
            self._seed("end", session)
            self.method.end_session(session, samples)
            self.digest = self.body.digest() if self.method.trains_body(session.index) else self.digest
            if self.method.uses_memory:
                self.method.memory.keep(session, samples, derive(self.seed, "memory", session.index))
            self.method.memorised(session, samples)

    def _image_bytes(self) -> int:
        return math.prod(self.dataset.train.image_shape)

    def _batches(self, rows: np.ndarray) -> Iterator[torch.Tensor]:
        size = self.method.recipe.eval_batch_size
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        for images in self.dataset.train.batches(parts, self.device):
            yield self.body.transform(images)

    def _learn(self, session: Session) -> None:
        if self.head.kind != "statistics":
            return
        rows = self.method.head_rows(session)
        with self._timed("extract"):
            features = self._features("train", rows, session.index)
        with self._timed("solve"):
            if self.method.resets_head:
                self.head.reset()  # type: ignore[operator]
            self._update(features, self.position[self.labels[rows]])

    def _fit(self, session: Session, number: int, phase: Phase) -> float | None:
        recipe = self.method.recipe
        images = phase.inputs == "images"
        positions = np.full(len(self.dataset.classes), -1)
        positions[list(phase.classes)] = np.arange(len(phase.classes))
        source: Any = self.dataset.train
        if not images:
            source = torch.from_numpy(self._features("train", phase.indices, session.index))
        labels = self.labels[phase.indices]
        labels = np.where(labels < 0, -1, positions[labels])
        if phase.start is not None:
            features = self._features("train", phase.indices, session.index)
            phase.start(torch.from_numpy(features), torch.from_numpy(labels))
        if phase.raw and self.outputs is not None:
            names = [self.dataset.classes[label] for label in phase.classes]
            self.method.teaching = Teaching(self.outputs, names, phase.indices)
        loader = PhaseLoader(
            source,
            phase.indices,
            labels,
            epochs=recipe.epochs if images else recipe.feature_epochs,
            batch_size=recipe.batch_size,
            seed=self.seed,
            parts=(session.index, number),
            device=self.device,
            augment=self._augment(phase.raw) if images else None,
            transform=self.body.transform if images else None,
            crops=self.crops if images else None,
            sampler=phase.sampler,
            raw=phase.raw,
        )
        loss = self._trained(session, number, phase, labels, loader)
        if images:
            self.digest = self.body.digest()
        if phase.finish is not None:
            phase.finish()
        return loss

    def _trained(self, session: Session, number: int, phase: Phase, labels: np.ndarray, loader: PhaseLoader) -> float | None:
        """The phase's outcome: of another run that did the same, else trained here. Returns: the last epoch's mean loss."""
        recipe = self.method.recipe
        parts = (session.index, number)
        key = self.bodies.key(self.config.data, self.method, phase, self.digest, self.dataset.train, labels, parts)
        if key is not None:
            phase.classifier.to(self.device)
            found = self.bodies.load(key, self.method, phase)
            if not ranks.any_rank(found is None) and found is not None:
                self.taken.append(found["run"])
                return float(found["loss"]) if "loss" in found else None
        from hdx.engine.fit import fit  # Lightning, of which a run that trains nothing has no need

        loss = fit(
            self.method,
            phase,
            loader,
            file=self.run_dir.checkpoints / f"phase-{session.index:02d}-{number}.pt",
            seed=self.seed,
            parts=parts,
            device=self.device,
            nodes=self.config.data["nodes"],
            report=self.report.progress,
        )
        if phase.inputs == "images":
            self.trained += recipe.epochs * _samples(phase, labels)
        if key is not None and ranks.rank() == 0:
            self.bodies.save(key, self.method, phase, loss)
        return loss

    def _features(self, split: str, indices: np.ndarray, session: int) -> np.ndarray:
        """Features of the current body; rows that later sessions will ask of this same body fill the last batch."""
        later: list[Session] = []
        for each in self.sessions[session + 1 :]:
            if self.method.trains_body(each.index):
                break
            later.append(each)
        soon = np.unique(np.concatenate([np.zeros(0, np.int64), *(getattr(each, split) for each in later)]))
        features = self.bank.get(self.body, self.digest, getattr(self.dataset, split), indices, soon)
        if not np.isfinite(features).all():
            raise RunError(
                f"{int((~np.isfinite(features)).any(1).sum())} of {len(features)} feature vectors hold NaN or infinity: the body "
                "diverged or its precision overflowed; try a smaller trainer.lr, precision=32 or feature_dtype=float32"
            )
        return features

    def _update(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Each rank takes in its chunks, then the ranks merge."""
        for start in range(ranks.rank() * HEAD_CHUNK, len(features), HEAD_CHUNK * ranks.world()):
            part = slice(start, start + HEAD_CHUNK)
            self.head.update(torch.from_numpy(features[part]).to(self.device), torch.from_numpy(labels[part]).to(self.device))
        self.head.merge_ranks()

    def _gain_predictor(self) -> dict[str, Any]:
        """FSA's gain predictor, on at most 2,000 of the first session's images under the body as it is before it adapts."""
        before, started = self.bank.forwarded, time.monotonic()
        indices = self.sessions[0].train
        indices = indices[:: -(-len(indices) // PREDICTOR_IMAGES)]
        features = self.bank.get(self.body, self.digest, self.dataset.train, indices, self._soon_unadapted())
        return {
            "gain_predictor": mean_cosine_distance(features),
            "gain_predictor_images": self._all(self.bank.forwarded - before),
            "gain_predictor_seconds": round(time.monotonic() - started, 3),
        }

    def _soon_unadapted(self) -> np.ndarray:
        if any(self.method.trains_body(session.index) for session in self.sessions):
            return np.zeros(0, np.int64)
        return np.unique(np.concatenate([session.train for session in self.sessions]))

    def _record(self, session: Session, labels: np.ndarray, predictions: dict[str, np.ndarray]) -> dict[str, Any]:
        names, found = self.dataset.classes, predictions["prediction"]
        came = session.test_group
        if came is None:
            arrived = np.repeat(np.arange(session.index + 1), [len(s.new_classes) for s in self.sessions[: session.index + 1]])
            came = arrived[labels]
        if ranks.rank() == 0:
            arrays = {"index": session.test, "label": labels, "session_of_label": came, **predictions}
            self.run_dir.write_predictions(session.index, arrays)
        per_class = per_class_accuracy(found, labels, len(session.seen_classes))
        return {
            "index": session.index,
            "new_classes": [names[label] for label in session.new_classes],
            "classes_seen": len(session.seen_classes),
            "n_train": len(session.train),
            **({} if session.unlabelled is None else {"n_unlabelled": len(session.unlabelled)}),
            **({} if session.validation is None else {"n_validation": len(session.validation)}),
            "n_test": len(session.test),
            "memory_images": len(self.method.memory.rows),
            "memory_bytes": len(self.method.memory.rows) * self._image_bytes(),
            "acc": accuracy(found, labels),
            "acc_by_session": [share((found == labels)[came == i]) for i in range(session.index + 1)],
            "acc_per_class": {names[label]: float(per_class[i]) for i, label in enumerate(session.seen_classes)},
            "nll": nll(predictions["log_p_label"]),
            "ece": ece(predictions["confidence"], found == labels),
        }

    def _commit(self, session: Session, record: dict[str, Any]) -> None:
        if ranks.rank() == 0:
            save_session(self.run_dir.checkpoints, session.index, self.method)
            self.run_dir.write_session(record)
            forget(self.run_dir.checkpoints, before=session.index)
        ranks.barrier()

    def _all(self, count: int) -> int:
        return int(ranks.all_sum(torch.tensor(count)).item())

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


def _samples(phase: Phase, labels: np.ndarray) -> int:
    """Samples of an epoch."""
    if phase.sampler is None:
        return len(labels)
    return sum(len(batch) for batch in phase.sampler.epoch(labels, np.random.default_rng(0)))
