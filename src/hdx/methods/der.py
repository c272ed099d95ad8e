"""Dark experience replay: samples of the memory are replayed with the logits that the model gave them when they entered."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.memories._base import Samples
from hdx.methods._base import Method, Phase
from hdx.methods._parts import Parts
from hdx.options import NonNegativeFloat
from hdx.protocols._base import Session


class DerPP(Method):
    """DER++: replay with the labels of the memory's samples and with the logits they had when they entered it.

    A step minimises  CE(batch) + alpha MSE(logits of a draw from the memory, their stored logits) + beta CE(another draw), each
    term a mean over its own samples. A draw has as many samples as the batch, without replacement; of a memory that is smaller
    each sample comes as often as any other, or once more. So a step has up to three times trainer.batch_size images. beta=0 is
    DER, alpha=0 plain replay; with an empty memory, as in the first session, only the first term is left.

    What differs from the authors' code, which fills its buffer while it trains: logits are stored when a session ends, of the
    image as it is and under the body in eval mode, for the rows that the memory has taken in by then (theirs are of the augmented
    image, on the way); they stay as they are while the row stays. The replayed image is augmented in both. Their classifier has
    the outputs of all classes from the start, which learn that they are wrong before they are right; here a class that came later
    has no stored logit, and `later` says what stands for it. The squared error is averaged over classes, as in their code. All
    terms share one forward pass, and thus the statistics of a batch norm.

    Source: Buzzega et al. 2020, "Dark Experience for General Continual Learning: a Strong, Simple Baseline"; loss, alpha and beta
        (theirs for CIFAR-100 with 500 images) read in the authors' code.
    Trains: body and head, in every session.
    Keeps: rows of the train split, within the bound of `memory`, with the logits of each.
    Certainty: loss and weights read in the authors' code.

    Args:
        alpha: weight of the stored logits.
        beta: weight of the labels of the second draw.
        later: target for the logit of a class that came after a sample's logits were stored: lowest of those logits, as of a
            class that is surely wrong; zero; or free, no target, so that nothing but beta keeps new classes from old samples.
    """

    name = "der_pp"
    trains_in = "every"
    trains_head = True
    heads = ("gradient",)
    needs_memory = True
    uses_memory = True
    stored: Tensor

    def __init__(
        self,
        parts: Parts,
        *,
        alpha: NonNegativeFloat = 0.3,
        beta: NonNegativeFloat = 0.5,
        later: Literal["lowest", "zero", "free"] = "lowest",
    ) -> None:
        super().__init__(parts)
        self.alpha, self.beta, self.later = alpha, beta, later
        self.register_buffer("stored", torch.empty(0, 0), persistent=False)  # [M, C], NaN for classes that came later
        self.stored_rows = np.zeros(0, np.int64)  # [M] the rows that they are of
        self.n_own, self.terms = 0, [(1.0, 0.0)]

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body and head on the session's images, and on the memory's rows once for each term that replays them.

        The place in the phase's indices says which term a sample belongs to, so that ranks may cut a batch anywhere.
        """
        rows, self.n_own = self.memory.rows, len(session.train)
        replayed = [term for term in ((0.0, self.alpha), (self.beta, 0.0)) if any(term)] if len(rows) else []
        self.terms = [(1.0, 0.0), *replayed]
        phase = self.body_phase(np.concatenate([session.train, *[rows] * len(replayed)]), session.seen_classes, self.head)
        if replayed:
            phase.sampler = ReplaySampler(self.n_own, len(rows), len(replayed), self.recipe.batch_size)
        return [phase]

    def sample_losses(self, inputs: Tensor, features: Tensor, logits: Tensor, labels: Tensor, positions: Tensor) -> Tensor:
        """[B]; all terms have the same number of samples, so their mean over the batch times the number of terms is their sum."""
        losses = self.loss(logits, labels)
        if len(self.terms) == 1:
            return losses
        n_rows, place = len(self.stored), positions - self.n_own
        term = torch.where(place < 0, 0, 1 + place.div(n_rows, rounding_mode="floor"))  # [B]
        on_labels, on_logits = torch.tensor(self.terms, device=logits.device)[term].unbind(1)  # [B] each
        errors = squared_errors(logits, self.stored[place % n_rows], self.later)
        return len(self.terms) * (on_labels * losses + on_logits * errors)

    def memorised(self, session: Session, samples: Samples) -> None:
        """Store the logits of the rows that are new in the memory, under the model as it is."""
        rows, n_classes = self.memory.rows, self.head.n_classes
        before = {int(row): place for place, row in enumerate(self.stored_rows)}
        kept = np.array([before.get(int(row), -1) for row in rows], np.int64)
        stored = torch.full((len(rows), n_classes), torch.nan, device=self.stored.device)  # [M, C]
        stays, came = kept >= 0, kept < 0
        stored[torch.from_numpy(stays), : self.stored.shape[1]] = self.stored[torch.from_numpy(kept[stays])]
        if came.any():
            with torch.no_grad():
                features = torch.from_numpy(samples.features(rows[came])).to(stored.device)
                stored[torch.from_numpy(came)] = self.head(features).float()
        self.stored, self.stored_rows = stored, rows.copy()

    def extra_state(self) -> dict[str, Tensor]:
        """The memory's, and the stored logits in its order."""
        return super().extra_state() | ({"memory.logits": self.stored} if len(self.stored) else {})

    def load_extra(self, state: dict[str, Tensor]) -> None:
        """Take over what `extra_state` gave."""
        super().load_extra(state)
        if "memory.logits" in state:
            self.stored, self.stored_rows = state["memory.logits"], self.memory.rows.copy()


def squared_errors(logits: Tensor, stored: Tensor, later: str) -> Tensor:
    """Mean squared differences [B] of logits [B, C] and targets: the stored logits, and for classes that have none what `later`
    says.

    Args:
        logits: [B, C]; stored: [B, C_then], C_then <= C, NaN for classes that the model did not have then.
        later: lowest, zero or free; see `DerPP`.
    """
    targets = F.pad(stored, (0, logits.shape[1] - stored.shape[1]), value=torch.nan)  # [B, C]
    known = ~targets.isnan()
    if later == "lowest":
        targets = torch.where(known, targets, targets.nan_to_num(torch.inf).amin(1, keepdim=True))
    elif later == "zero":
        targets = targets.nan_to_num(0.0)
    counted = known if later == "free" else torch.ones_like(known)
    difference = logits.float() - torch.where(counted, targets, logits.detach().float())  # 0, and no NaN, where not counted
    return difference.square().sum(1) / counted.sum(1)


class ReplaySampler:
    """A batch of the session's own samples, and for each replayed term as many samples of the memory.

    Positions are those of the session's samples, then the memory's once for each term. The samples of a batch are in random
    order, so that under several ranks each has some of every term.

    Args:
        n_own, n_memory: samples of the session and of the memory.
        n_terms: how often a batch draws from the memory.
        batch_size: the most samples of the session in a batch.
    """

    def __init__(self, n_own: int, n_memory: int, n_terms: int, batch_size: int) -> None:
        self.n_own, self.n_memory, self.n_terms, self.batch_size = n_own, n_memory, n_terms, batch_size

    def steps(self, labels: np.ndarray) -> int:
        """Batches of one pass over the session's samples."""
        return -(-self.n_own // self.batch_size)

    def epoch(self, labels: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Positions [(1 + n_terms) * b] of each batch; all batches of nearly equal size."""
        parts = np.array_split(rng.permutation(self.n_own), self.steps(labels))
        return [rng.permutation(np.concatenate([part, *self._replayed(rng, len(part))])) for part in parts]

    def _replayed(self, rng: np.random.Generator, n: int) -> list[np.ndarray]:
        """`n` positions for each term."""
        times, rest = divmod(n, self.n_memory)
        starts = self.n_own + self.n_memory * np.arange(self.n_terms)
        everything = np.tile(np.arange(self.n_memory), times)
        return [start + np.concatenate([everything, rng.choice(self.n_memory, rest, replace=False)]) for start in starts]
