"""The loop of an episodic protocol: train on base classes if the method does, then classify episodes in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hdx.engine import ranks, stop
from hdx.engine.blame import check_width
from hdx.engine.build import Assembly
from hdx.engine.kept_episodes import KeptEpisodes
from hdx.engine.loop import Loop
from hdx.errors import ConfigError, Interrupted
from hdx.heads._base import Head
from hdx.heads._episode import EpisodeHead
from hdx.methods._episodes import EpisodeMethod
from hdx.metrics.episodes import IGNORED, episode_accuracy
from hdx.metrics.intervals import mean_ci
from hdx.ops.episode_ncm import episode_ncm
from hdx.protocols._base import Episodes, Session
from hdx.seeds import derive

CACHED = 24 * 2**20  # bytes: on a CPU a batch of episodes that stays in its caches is faster than a larger one

AT_ONCE = 1000  # episodes judged by one call of an op that bounds its own memory; a stop is looked for between calls

Judge = Callable[[Episodes], list[Tensor]]
"""Episodes to the classes [E, Q] that their queries are given: within the episode, then, if joint, among all classes."""


class EpisodeLoop(Loop):
    """One session: the body's training, then every episode of the protocol; the ranks share the episodes."""

    def _gain_predictor(self) -> dict[str, Any]:
        return {}  # a statistic of what the first of several sessions brings

    def _learn_and_score(self, session: Session) -> dict[str, Any]:
        """Base classes into the head where it wants them, then the episodes. Returns: the session's record so far."""
        self._learn_base(session)
        buckets = self.assembly.protocol.episodes(self.dataset, self.config.data["seed"])
        if self.adapts and self.body.trainable:
            found = self._judged(buckets, self._adapted, self._adapted_at_once)
        else:
            with self._timed("extract"):
                self._gather(buckets, session)
            if self.adapts:  # the classifier alone trains, on features that stay as they are
                found = self._judged(buckets, self._tuned, self._adapted_at_once)
            else:
                found = self._found(buckets)
        if ranks.rank() == 0:
            self.run_dir.write_predictions(session.index, found)
        accuracies = episode_accuracy(found["prediction"], found["label"])
        about = mean_ci(accuracies)
        return {
            "index": session.index,
            "classes_seen": len(session.seen_classes),
            "n_train": len(session.train) if self.method.trains_body(0) else 0,
            "n_test": int((found["label"] != IGNORED).sum()),
            "n_episodes": len(accuracies),
            "acc": about.mean,
            "acc_ci95": about.half,
            "matched": bool(getattr(self.head, "matched", False)),
        }

    @property
    def adapts(self) -> bool:
        """Whether something trains on every episode's support: the body too, where it has parameters that may."""
        return isinstance(self.method, EpisodeMethod)

    @property
    def adapting(self) -> EpisodeMethod:
        """The method, where it judges the episodes."""
        assert isinstance(self.method, EpisodeMethod)
        return self.method

    def _commit(self, session: Session, record: dict[str, Any]) -> None:
        super()._commit(session, record)
        if ranks.rank() == 0:
            self.kept.forget()

    @property
    def joint(self) -> bool:
        """Whether queries are also judged against all base classes."""
        return bool(self.config.data["protocol"].get("joint", False))

    def _learn_base(self, session: Session) -> None:
        """What a head wants of the base classes: their mean feature, or, to score against them, their statistics."""
        if isinstance(self.head, EpisodeHead) and self.head.centres_on_base:
            with self._timed("extract"):
                features = self._features("train", session.train, session.index)
            self.head.base_mean.copy_(torch.from_numpy(features.mean(0, dtype=np.float64)))
        elif self.joint:
            self._learn(session)

    # --- features, and where an episode's are ----------------------------------------------------------------------

    def _gather(self, buckets: list[Episodes], session: Session) -> None:
        rows = np.unique(np.concatenate([part.ravel() for each in buckets for part in (each.support, each.query)]))
        self.place = np.zeros(len(self.dataset.test), np.int64)
        self.place[rows] = np.arange(len(rows))
        self.table = torch.from_numpy(self._features("test", rows, session.index)).to(self.device)

    def _picked(self, rows: np.ndarray) -> Tensor:
        """[E, n, D] features of rows [E, n]."""
        index = torch.from_numpy(self.place[rows].ravel()).to(self.device)
        return self.table.index_select(0, index).view(*rows.shape, -1)

    def _found(self, buckets: list[Episodes]) -> dict[str, np.ndarray]:
        means = None if self.joint else self.head.for_nearest_means(self.table)
        if means is None:
            return self._judged(buckets, self._classified, self._classified_at_once)
        self.table, cosine = means
        return self._judged(buckets, partial(self._nearest, cosine), lambda part: min(AT_ONCE, -(-len(part) // ranks.world())))

    def _nearest(self, cosine: bool, part: Episodes) -> list[Tensor]:
        support, query = (torch.from_numpy(self.place[rows]).to(self.device) for rows in (part.support, part.query))
        labels = torch.from_numpy(part.support_labels).to(self.device)
        return [episode_ncm(self.table, support, labels, query, part.ways, cosine)]

    def _classified(self, part: Episodes) -> list[Tensor]:
        labels = torch.from_numpy(part.support_labels).to(self.device)
        query = self._picked(part.query)
        logits = self.head.classify(self._picked(part.support), labels, query, part.ways)
        check_width(self.head, self.config.data["head"]["name"], part.ways, logits)
        if not self.joint:
            return [logits.argmax(2)]
        base = self.head(query.flatten(0, 1)).view(*query.shape[:2], -1)  # [E, Q, base classes]
        return [logits.argmax(2), torch.cat([logits, base.to(logits)], 2).argmax(2)]

    def _classified_at_once(self, part: Episodes) -> int:
        n_support, n_query = part.support.shape[1], part.query.shape[1]
        floats = self.head.episode_floats(n_support, n_query, part.ways)
        floats += 4 * n_query * self.head.n_classes if self.joint else 0
        limit = self.memory if self.device.type == "cuda" else min(self.memory, CACHED)
        return max(1, limit // (4 * floats))

    def _tuned(self, part: Episodes) -> list[Tensor]:
        labels, numbers = torch.from_numpy(part.support_labels).to(self.device), torch.from_numpy(part.number)
        support, query, seed = self._picked(part.support), self._picked(part.query), derive(self.seed, "episode")
        logits = self.adapting.classify_features(support, labels, query, part.ways, seed, numbers)
        return [logits.argmax(2)]

    def _adapted(self, part: Episodes) -> list[Tensor]:
        support, query = (
            torch.stack([self.dataset.test.fetch(rows) for rows in each]).to(self.device) for each in (part.support, part.query)
        )
        labels = torch.from_numpy(part.support_labels).to(self.device)
        seed = derive(self.seed, "episode")
        numbers = torch.from_numpy(part.number)
        self.phases.trained += support.shape[0] * support.shape[1] * self.adapting.steps
        logits = self.adapting.classify_episodes(support, labels, query, part.ways, seed, numbers)
        return [logits.argmax(2)]

    def _adapted_at_once(self, part: Episodes) -> int:
        return max(1, self.adapting.episodes_at_once(part.support.shape[1], part.query.shape[1], self.memory))

    @property
    def memory(self) -> int:
        """Bytes that the evaluation of episodes may hold besides the features."""
        return int(self.config.data["protocol"]["memory_mb"]) * 2**20

    # --- the episodes, cut and dealt -------------------------------------------------------------------------------

    def _judged(self, buckets: list[Episodes], judge: Judge, at_once: Callable[[Episodes], int]) -> dict[str, np.ndarray]:
        """Predictions and labels of all episodes in the protocol's order, shorter ones padded with -1."""
        n_episodes = sum(len(each) for each in buckets)
        n_query, ways = (max(getattr(each, name).shape[1] for each in buckets) for name in ("query", "classes"))
        judged = ("prediction", "prediction_joint") if self.joint else ("prediction",)
        found = {name: np.full((n_episodes, n_query), IGNORED, np.int64) for name in ("label", *judged)}
        found["classes"] = np.full((n_episodes, ways), IGNORED, np.int64)
        kept = self.kept = KeptEpisodes(
            self.run_dir.checkpoints,
            self.digest,
            n_episodes,
            self.method.recipe.checkpoint_seconds,
            self.report.progress,
        )
        with self._timed("evaluate"):
            for number, part in enumerate(_cut(buckets, at_once)):
                found["label"][part.number, : part.query.shape[1]] = part.query_labels
                found["classes"][part.number, : part.ways] = part.classes
                if number % ranks.world() != ranks.rank():
                    continue
                if stop.requested():
                    break
                classes, trained = kept.take(part.number, judged, part.query.shape[1]), self.phases.trained
                if classes is None:
                    with torch.no_grad():
                        classes = [given.cpu().numpy() for given in judge(part)]
                    kept.keep(part.number, dict(zip(judged, classes, strict=True)), self.phases.trained - trained)
                for name, given in zip(judged, classes, strict=True):
                    found[name][part.number, : part.query.shape[1]] = given
        self.phases.trained += kept.trained_before
        if stop.requested():
            kept.save()
        if ranks.any_rank(stop.requested()):
            raise Interrupted("stopped among the episodes")
        for name in judged:  # one rank has judged an episode, the others hold -1
            found[name] = ranks.all_sum(torch.from_numpy(found[name] + 1)).numpy() - 1
        return {name: value.astype(np.int32) for name, value in found.items()}


def check_parts(data: dict[str, Any], assembly: Assembly) -> None:
    """Raises: ConfigError where a part of an episodic run asks for base classes, or for logits, that are not there."""
    method, head, joint = assembly.method, assembly.method.head, bool(data["protocol"].get("joint", False))
    name = {group: f"{group}={data[group]['name']}" for group in ("method", "head")}
    needs = joint or (isinstance(head, EpisodeHead) and head.centres_on_base) or method.trains_body(0)
    if not len(assembly.sessions[0].train) and needs:
        option = name["method"] if method.trains_body(0) else "protocol.joint" if joint else name["head"]
        raise ConfigError(f"{option} needs base classes, and the dataset has none: take one that has, or leave it out")
    if joint and not head.joint:
        raise ConfigError(
            f"protocol.joint: {name['head']} has no logits that compare base with novel classes; "
            "take head=ncm, ncm_cosine or imprinted"
        )
    trained = head.kind == "gradient" and isinstance(method, EpisodeMethod)
    if not trained and type(head).classify is Head.classify:
        raise ConfigError(f"{name['head']} has no `classify`, by which episodes are judged: take head=ncm, or another protocol")


def _cut(buckets: list[Episodes], at_once: Callable[[Episodes], int]) -> Iterator[Episodes]:
    for bucket in buckets:
        size = at_once(bucket)
        for start in range(0, len(bucket), size):
            yield Episodes(*(value[start : start + size] for value in vars(bucket).values()))
