"""EWC: fine-tuning that is held back where the Fisher information says that weights matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.memories._base import Samples
from hdx.methods._fisher import Quadratic, fisher_diagonal, grown
from hdx.methods._parts import Parts
from hdx.methods.finetune import Finetune
from hdx.options import Fraction, NonNegativeFloat, PositiveInt
from hdx.protocols._base import Session
from hdx.rules import only_when

STATE = "ewc."


class Ewc(Finetune):
    """Elastic weight consolidation: a quadratic penalty holds weights where they matter to earlier sessions; no memory.

    loss = CE + lam/2 sum_i F_i (theta_i - theta*_i)^2 over what trains: the adapter's parameters and the old rows of the head.
    theta* are the weights at the end of a session and F the diagonal of the Fisher information of p(y|x) there: the mean of the
    squared gradients of single samples in eval mode and float32, and not the squared gradient of a batch as in PyCIL and FACIL.
    Batch norms still take on the statistics of new images with adapter=full; with adapter=film or last_block they stay.

    Source: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks"; Schwarz et al. 2018, "Progress &
        Compress" (online EWC, whose penalty is weighted by gamma F); formulas read in van de Ven's code, not in the authors'.
        mask=old as in PyCIL and FACIL.
    Trains: body and head, in every session.
    Keeps: no sample; two numbers for each trained parameter.
    Certainty: read in a re-implementation.

    Args:
        lam: strength of the penalty, against the mean (not the sum) of the samples' losses.
        online: one running F <- gamma F + F_session about the latest weights; false: a penalty for each session about the weights
            at its end, which are summed exactly into one quadratic, so that memory does not grow with the sessions.
        gamma: decay of the running F.
        fisher: squared gradients of log p of the sample's own label (empirical), or of a label drawn from the model (sampled).
        fisher_samples: how many of a session's images, drawn by the seed, F is a mean over, at most.
        mask: old takes the softmax, of the loss and of F, over the classes of the session alone; none over all classes seen.
    """

    heads = ("gradient",)
    rules = (only_when("gamma", online=True, why="is the decay of method.online=true"),)

    def __init__(
        self,
        parts: Parts,
        *,
        lam: NonNegativeFloat = 1000.0,
        online: bool = True,
        gamma: Fraction = 1.0,
        fisher: Literal["empirical", "sampled"] = "empirical",
        fisher_samples: PositiveInt = 256,
        mask: Literal["none", "old"] = "old",
    ) -> None:
        super().__init__(parts, mask=mask)
        self.lam, self.online, self.gamma = lam, online, gamma
        self.fisher, self.fisher_samples = fisher, fisher_samples
        self.consolidated: Quadratic | None = None

    def penalty(self) -> Tensor | float:
        """lam/2 sum F (theta - theta*)^2; with `online` F is decayed once more, as Schwarz et al. have it."""
        if self.consolidated is None:
            return super().penalty()
        return super().penalty() + self.lam * (self.gamma if self.online else 1.0) * self.consolidated(self.consolidating())

    def consolidating(self) -> dict[str, Tensor]:
        """What trains, by name: the adapter's parameters and the head's."""
        ids = {id(parameter) for parameter in self.body.trainable}
        body: dict[str, Tensor] = {f"body.{name}": p for name, p in self.body.named_parameters() if id(p) in ids}
        return body | {f"head.{name}": p for name, p in self.head.named_parameters()}

    def end_session(self, session: Session, samples: Samples) -> None:
        """Add what matters to this session."""
        parameters = self.consolidating()
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        fisher = fisher_diagonal(self._losses(session, samples), parameters)
        for parameter in parameters.values():
            parameter.requires_grad_(False)
        latest = Quadratic(fisher, {name: p.detach().clone() for name, p in parameters.items()})
        if self.consolidated is None:
            self.consolidated = latest
        elif self.online:
            old = self.consolidated.precision
            running = {name: self.gamma * grown(old[name], new) + new for name, new in fisher.items()}
            self.consolidated = Quadratic(running, latest.centre)
        else:
            self.consolidated = self.consolidated.plus(latest)

    def extra_state(self) -> dict[str, Tensor]:
        """F and theta* by name."""
        own = self.consolidated.state() if self.consolidated is not None else {}
        return super().extra_state() | {f"{STATE}{name}": value for name, value in own.items()}

    def load_extra(self, state: dict[str, Tensor]) -> None:
        """Take over F and theta*."""
        super().load_extra(state)
        own = {name.removeprefix(STATE): value for name, value in state.items() if name.startswith(STATE)}
        self.consolidated = Quadratic.of(own, next(self.body.parameters()).device) if own else None

    def _losses(self, session: Session, samples: Samples) -> Iterator[Tensor]:
        """-log p(y|x), [], of each drawn sample; the draws are those of torch's global generator on the CPU."""
        drawn = torch.randperm(len(session.train))[: self.fisher_samples].numpy()
        rows = session.train[np.sort(drawn)]
        position = {label: number for number, label in enumerate(session.seen_classes)}
        labels = torch.tensor([position[label] for label in samples.labels[rows].tolist()], device=self.device)  # [n]
        images = (image[None] for batch in samples.batches(rows) for image in batch)
        for image, label in zip(images, labels.split(1)):
            logits = self.head(self.body(image))  # [1, C]
            if self.columns is not None:
                logits, label = logits[:, self.columns], torch.searchsorted(self.columns, label)
            if self.fisher == "sampled":
                p = F.softmax(logits.detach().double().cpu(), 1)
                label = torch.multinomial(p, 1)[0].to(label.device)
            yield F.cross_entropy(logits, label)
