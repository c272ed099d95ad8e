"""The session loop: adapt, extract, update, evaluate, commit; from the last committed session on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from hdx.body import Unpooled
from hdx.config import inputs
from hdx.config.config import Config
from hdx.datasets._base import Dataset, ImageSet
from hdx.engine import ranks, stop
from hdx.engine.bank import Bank
from hdx.engine.blame import check_width
from hdx.engine.build import Assembly
from hdx.engine.evaluation import predict
from hdx.engine.phases import Phases
from hdx.engine.report import Report
from hdx.engine.state import forget, load_session, save_session
from hdx.engine.trained import TrainedBodies
from hdx.errors import Interrupted, RunError
from hdx.memories._base import Samples
from hdx.methods._base import Work
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
        self.config, self.run_dir, self.bank, self.report = config, run_dir, bank, report
        self.dataset, self.sessions, self.method = assembly.dataset, assembly.sessions, assembly.method
        self.device, self.seed = assembly.device, assembly.train_seed
        self.assembly = assembly
        self.body, self.head = assembly.method.body, assembly.method.head
        self.labels = known_labels(self.dataset, self.sessions)
        self.phases = Phases(config, assembly, run_dir, trained, self.labels, self._features_of, self._tokens_of, report)
        self.digest = self.body.digest()
        self.position = np.full(len(self.dataset.classes), -1)
        self.position[list(self.sessions[-1].seen_classes)] = np.arange(len(self.sessions[-1].seen_classes))
        self.seconds: dict[str, float] = {}
        self._gifts = (0, 0, 0.0)  # `_shared` up to the last session

    def run(self) -> list[dict[str, Any]]:
        """All sessions that are not committed yet. Returns: the records of all sessions.

        Raises: Interrupted.
        """
        records = self.run_dir.session_records()
        extra = self._gain_predictor() if not records else {}
        self.assembly.attach(self.config.data["adapter"])
        self.digest = self.body.digest()
        if records:
            done = len(records) - 1
            load_session(self.run_dir.checkpoints, done, self.method, len(self.sessions[done].seen_classes))
            self.method.to(self.device)
            self.digest = self.body.digest()
            for session in self.sessions[: len(records)]:  # what an earlier attempt forwarded is no gift of another run
                self.bank.own(self.digest, self.dataset.train, session.train)
                self.bank.own(self.digest, self.dataset.test, session.test)
            self.bank.owed = records[-1].get("ahead", 0)
        for session in self.sessions[len(records) :]:
            inputs.check(self.config)  # a table of two datasets would be no table
            record = self._session(session) | extra
            extra = {}
            self._commit(session, record)
            records.append(record)
            self.report.session(record, self.sessions)
            if session is not self.sessions[-1] and ranks.any_rank(stop.requested()):
                raise Interrupted("stopped between sessions")
        return records

    def _session(self, session: Session) -> dict[str, Any]:
        started, forwarded, trained = time.monotonic(), self.bank.forwarded, self.phases.trained
        outputs = self.phases.outputs
        asked = 0 if outputs is None else outputs.forwarded
        self.report.begin(session, self.sessions)
        self.method.start_session(session)
        self._seed("session", session)  # new rows and temporary heads, after a resume as well
        self.head.expand(len(session.new_classes))
        self.head.to(self.device)
        self._seed("session", session)  # again: what a head drew does not change the body
        self.phases.taken, self.phases.works = [], []
        samples = self._samples(session)
        loss = self._carry_out(session, samples)
        self._end(session, samples)
        record = self._learn_and_score(session)
        counts = {"images_forwarded": self._all(self.bank.forwarded - forwarded), "images_trained": self.phases.trained - trained}
        if outputs is not None:
            counts["teacher_images"] = self._all(outputs.forwarded - asked)
        record |= counts | {"ahead": self.bank.ahead, "shared": self._shared(), "loss": loss, "bodies_from": self.phases.taken}
        record |= {"works": self.phases.works} if self.phases.works else {}
        record |= {"selection": self.method.selection} if self.method.selection else {}
        record["seconds"] = {name: round(value, 3) for name, value in self.seconds.items()}
        record["seconds"]["total"] = round(time.monotonic() - started, 3)
        self.seconds = {}
        return record

    def _shared(self) -> dict[str, float | None]:
        """What other runs had done for this one since the last session, and what it had cost them."""
        now = self.bank.found, self.phases.spared
        seconds = [each for each in (self.bank.found_seconds, self.phases.spared_seconds) if each is not None]
        total = round(sum(seconds) - self._gifts[2], 3) if len(seconds) == 2 else None
        found = {"images_forwarded": now[0] - self._gifts[0], "images_trained": now[1] - self._gifts[1], "seconds": total}
        self._gifts = (*now, sum(seconds))
        return found

    def _seed(self, purpose: str, session: Session, *more: int) -> None:
        torch.manual_seed(derive(self.seed, purpose, session.index, *more))

    def _learn_and_score(self, session: Session) -> dict[str, Any]:
        """Update the head in closed form, evaluate it over all seen classes. Returns: the session's record so far."""
        self._learn(session)
        with self._timed("extract"):
            features = self._features("test", session.test, session.index)
        with self._timed("evaluate"):
            labels = self.position[self.dataset.test.labels[session.test]]
            check = partial(check_width, self.head, self.config.data["head"]["name"], len(session.seen_classes))
            predictions = predict(self.head, features, labels, self.device, check)
        return self._record(session, labels, predictions)

    def _samples(self, session: Session) -> Samples:
        return Samples(
            self.labels,
            self._image_bytes(),
            features=lambda rows: self._features("train", rows, session.index),
            batches=lambda rows: self._batches(rows),
        )

    def _end(self, session: Session, samples: Samples) -> None:
        """What the method and the memory do between training and scoring."""
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

    def _carry_out(self, session: Session, samples: Samples) -> float | None:
        """The session's phases and works, in order. Returns: the mean loss of the last phase's last epoch."""
        loss = None
        for number, each in enumerate(self.method.phases(session, self.sessions)):
            if isinstance(each, Work):
                with self._timed("work"):
                    self.phases.work(session, number, each, samples if not each.changes_body else self._fresh(samples))
            else:
                with self._timed("adapt"):
                    loss = self.phases.fit(session, number, each, self.digest)
            if each.changes_body if isinstance(each, Work) else each.inputs != "features":
                self.digest = self.body.digest()
            self._seed("phase", session, number)  # what the next one draws while it is made
        return loss

    def _fresh(self, samples: Samples) -> Samples:
        """The same where the body may have changed since."""

        def features(rows: np.ndarray) -> np.ndarray:
            self.digest = self.body.digest()
            return samples.features(rows)

        return replace(samples, features=features)

    def _features(self, split: str, indices: np.ndarray, session: int) -> np.ndarray:
        """Features of the current body; rows that later sessions will ask of this same body fill the last batch."""
        later: list[Session] = []
        for each in self.sessions[session + 1 :]:
            if self.method.trains_body(each.index):
                break
            later.append(each)
        soon = np.unique(np.concatenate([np.zeros(0, np.int64), *(getattr(each, split) for each in later)]))
        return self._extracted(getattr(self.dataset, split), indices, soon)

    def _features_of(self, images: ImageSet, indices: np.ndarray, session: int) -> np.ndarray:
        """The same of an image set that is the train split or one of a phase's own."""
        if images is self.dataset.train:
            return self._features("train", indices, session)
        return self._extracted(images, indices, np.zeros(0, np.int64))

    def _tokens_of(self, images: ImageSet, indices: np.ndarray, session: int) -> np.ndarray:
        """What the pool sees of rows: maps [N, D, h, w] or tokens [N, T, D]."""
        before = Unpooled(self.body)
        rows = self.bank.get(before, before.digest(), images, indices)
        return _finite(rows).reshape(len(indices), *before.shape)

    def _extracted(self, images: ImageSet, indices: np.ndarray, soon: np.ndarray) -> np.ndarray:
        return _finite(self.bank.get(self.body, self.digest, images, indices, soon))

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


def known_labels(dataset: Dataset, sessions: list[Session]) -> np.ndarray:
    """[N] dataset labels of the train split, -1 for rows whose labels the protocol hides: all that training ever sees."""
    labels = dataset.train.labels.copy()
    for session in sessions:
        if session.unlabelled is not None:
            labels[session.unlabelled] = -1
    return labels


def _finite(features: np.ndarray) -> np.ndarray:
    """Features [N, W]. Raises: RunError where some are not finite."""
    if not np.isfinite(features).all():
        raise RunError(
            f"{int((~np.isfinite(features)).any(1).sum())} of {len(features)} feature vectors hold NaN or infinity: the body "
            "diverged or its precision overflowed; try a smaller trainer.lr, precision=32 or feature_dtype=float32"
        )
    return features
