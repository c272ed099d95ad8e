"""The contract of a method: a LightningModule that says what trains in each session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from hdx.heads._base import Head
from hdx.heads.lda import LDA
from hdx.losses._base import Loss
from hdx.methods._body import Body
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe


class Sampler(Protocol):
    """Chooses the batches of an epoch; the same labels and generator give the same batches."""

    def steps(self, labels: np.ndarray) -> int:
        """Batches of an epoch over samples with `labels` [N] (positions of logits)."""

    def epoch(self, labels: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Positions in `labels`, an array for each of the `steps` batches; under several ranks each takes a part of each."""


@dataclass
class Phase:
    """A gradient phase: what a fresh Trainer fits.

    Attributes:
        inputs: "images" (the body trains too) or "features" (only `classifier` trains, on cached features).
        indices: into the train split.
        classes: dataset labels in the order of the classifier's logits.
        classifier: features [B, D] to logits [B, len(classes)]; the method's head or a temporary one.
        parameters: exactly what trains.
        start: called once before the first step with the features [N, D] of `indices` under the body as it is, and the
            positions of their labels [N]; a method that starts `classifier` from them sets it.
        sampler: which samples make up the batches of an epoch; None: a permutation cut into batches of the recipe's size.
        finish: called when the phase is over, whether it was trained here or taken over from another run.
    """

    inputs: Literal["images", "features"]
    indices: np.ndarray
    classes: tuple[int, ...]
    classifier: nn.Module
    parameters: list[nn.Parameter]
    start: Callable[[Tensor, Tensor], None] | None = None
    sampler: Sampler | None = None
    finish: Callable[[], None] | None = None


class Method(pl.LightningModule):
    """When the body trains, and on what. Subclasses define `phases` and `trains_body`; the engine does the rest.

    Args:
        body, head, loss, recipe: see their contracts.
    """

    def __init__(self, body: Body, head: Head, loss: Loss, recipe: Recipe) -> None:
        super().__init__()
        self.body, self.head, self.loss, self.recipe = body, head, loss, recipe
        self.current: Phase | None = None
        self.classifier: nn.Module | None = None

    def trains_body(self, session: int) -> bool:
        """Whether the body changes in this session; where it does not, features of earlier sessions stay valid."""
        return False

    def check(self, labels: np.ndarray, sessions: list[Session]) -> None:  # noqa: B027
        """Called before any work, with the labels [N] of the train split. Raises: ConfigError for sessions it cannot train on."""

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """What trains in this session, in order; empty where the head is solved in closed form and the body stays."""
        return self.head_phases(session.train, session.seen_classes)

    def head_phases(self, indices: np.ndarray, classes: tuple[int, ...]) -> list[Phase]:
        """One phase that trains only a gradient head, on cached features; none for another head."""
        if self.head.kind != "gradient":
            return []
        return [Phase("features", indices, classes, self.head, list(self.head.parameters()))]

    def body_phase(self, indices: np.ndarray, classes: tuple[int, ...], classifier: nn.Module) -> Phase:
        """A phase that trains the adapter's parameters and `classifier` on images."""
        return Phase("images", indices, classes, classifier, [*self.body.trainable, *classifier.parameters()])

    def extra_state(self) -> dict[str, Tensor]:
        """What a method keeps between sessions beyond body and head (buffers, a previous model); saved in checkpoints."""
        return {}

    def load_extra(self, state: dict[str, Tensor]) -> None:
        """Take over what `extra_state` gave."""

    # --- the gradient phase, as Lightning calls it ---------------------------------------------------------------

    def begin(self, phase: Phase) -> None:
        """Make exactly the phase's parameters trainable."""
        self.requires_grad_(False)
        for parameter in phase.parameters:
            parameter.requires_grad_(True)
        self.current, self.classifier = phase, phase.classifier

    def end(self) -> None:
        """Freeze everything and forget a temporary classifier."""
        self.requires_grad_(False)
        self.current, self.classifier = None, None
        self.zero_grad(set_to_none=True)
        self.eval()

    def training_step(self, batch: tuple[Tensor, Tensor, float], _: int) -> Tensor:
        """Loss of one batch: (images or features of this rank, positions of the labels, weight of a sample)."""
        inputs, labels, weight = batch
        assert self.current is not None and self.classifier is not None
        features = self.body(inputs) if self.current.inputs == "images" else inputs
        return self.loss(self.classifier(features), labels).sum() * weight

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The recipe's optimiser over the phase's parameters; the engine sets the rate before each step."""
        assert self.current is not None
        return self.recipe.build_optimizer(self.current.parameters)


def temporary_classifier(n_features: int, n_classes: int, dropout: float) -> nn.Sequential:
    """Dropout and a linear layer, thrown away after the phase (FSA's session-1 head)."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(n_features, n_classes))


@torch.no_grad()
def start_from_lda(classifier: nn.Sequential, features: Tensor, labels: Tensor) -> None:
    """Set a temporary classifier to the LDA solution (total covariance + I) on features [N, D] with labels [N].

    Training then starts from a head that fits the body, and does not first distort the body to fit a random head (Kumar et
    al. 2022, linear probing then fine-tuning).
    """
    linear = classifier[-1]
    assert isinstance(linear, nn.Linear)
    lda = LDA(linear.in_features)
    lda.expand(linear.out_features)
    lda.update(features, labels)
    centre, weight, bias = lda.solve()
    linear.weight.copy_(weight)
    linear.bias.copy_(bias - weight @ centre)
