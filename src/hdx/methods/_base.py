"""The contract of a method: a module that says what trains in each session; while it trains, the engine makes it Lightning's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hdx.backbones._base import Tap
from hdx.body import Body
from hdx.heads._base import Head
from hdx.losses._base import Outputs
from hdx.memories._base import Samples
from hdx.methods._parts import Parts
from hdx.methods._phase import Batch, Phase, Sampler
from hdx.methods._work import Work
from hdx.protocols._base import Session
from hdx.rules import Rule
from hdx.trainers.recipe import Recipe

__all__ = ["Batch", "Method", "Phase", "Previous", "Sampler", "Work"]

#: Tensors of a checkpoint by part (body, head, extra, beside; work or classifier inside a phase) and name.
State = dict[str, dict[str, Tensor]]


class Previous:
    """A frozen copy of body and head.

    Attributes:
        body: images [B, 3, S, S], transformed, to features; head: features to logits [B, n_classes].
        n_classes: of the head.
    """

    def __init__(self, body: Body, head: Head) -> None:
        self.body, self.head, self.n_classes = body, head, head.n_classes

    @classmethod
    def of(cls, body: Body, head: Head) -> Previous:
        """Copies in eval mode that no optimiser sees."""
        copies = [copy.deepcopy(part).eval().requires_grad_(False) for part in (body, head)]
        return cls(*copies)  # type: ignore[arg-type]

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """[B, n_classes] float32 of transformed images."""
        return self.head(self.body(inputs)).float()


class Method(nn.Module):
    """When the body trains, and on what. Subclasses define `trains_in` and `phases`; the engine does the rest.

    Args:
        parts: the other components of the run.

    Attributes:
        parts: as given.
        body, head, loss, recipe, memory: of `parts`; device: where they are.
        beside: modules by name that are the method's own beside body and head: a momentum encoder, a queue, masks. They move with
            it, are kept in checkpoints inside and after phases, and count where trained bodies are shared. What serves one phase
            only is put in before it and taken out in `Phase.finish`.
        teaching: set by the engine before a phase that is `raw`, where the run has a teacher: its outputs for a batch, logits
            [B, C] float32 over `Phase.classes` in their order and features [B, D] (None unless the loss needs them), without
            gradient. They come from the teacher cache or from the teacher itself, which makes no difference to the method.
        selection: what was chosen or measured on a session's validation rows, for its record; a method that looks at them sets it
            in `end_session`.
        resets_head: whether a statistics head forgets everything before it learns `head_rows`; may be set in `memorised`.

    Facts, read from source (`hdx.config.facts`), by which a config that makes no sense is refused before any work:
        trains_in: the sessions in which the body trains: never, first, every, or each of the few-shot episodes on its own.
        trains_head: whether a gradient head trains together with the body; else it trains on cached features, if at all.
        heads: the kinds of heads that the method can do something with, or their names.
        gives: what its training hands the loss beside logits and labels (see `Loss.needs`); a loss must use a teacher that is
            handed to it.
        uses_memory, needs_memory: whether the method looks at it, and whether without one it would be another method.
        uses_teacher: whether it learns from one, which must then be there.
        sees_all: whether it trains on data of all sessions, as often as it likes: a bound.
        needs_unlabelled: whether it has no meaning without rows whose labels are hidden.
        needs_text: whether it needs vectors of the classes' names.
        sees: whether it looks at one view of an image, or at several.
        takes_targets: whether its losses take soft targets, so that samples may be mixed.
        keeps_previous: whether `previous` is kept.
        taps: blocks of the backbone whose outputs the method reads, by `Body.tapped`.
    """

    trains_in: ClassVar[Literal["never", "first", "every", "episodes"]] = "never"
    trains_head: ClassVar[bool] = False
    heads: ClassVar[tuple[str, ...]] = ("statistics", "gradient", "episode")
    gives: ClassVar[tuple[str, ...]] = ()
    uses_memory: ClassVar[bool] = False
    needs_memory: ClassVar[bool] = False
    uses_teacher: ClassVar[bool] = False
    sees_all: ClassVar[bool] = False
    needs_unlabelled: ClassVar[bool] = False
    needs_text: ClassVar[bool] = False
    keeps_previous: ClassVar[bool] = False
    sees: ClassVar[Literal["one", "several"]] = "one"
    takes_targets: ClassVar[bool] = False
    taps: ClassVar[tuple[Tap, ...]] = ()
    resets_head: bool = False
    rules: ClassVar[tuple[Rule, ...]] = ()

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts = parts
        self.body, self.head, self.loss, self.recipe, self.memory = parts.body, parts.head, parts.loss, parts.recipe, parts.memory
        self.current: Phase | None = None
        self.classifier: nn.Module | None = None
        self.beside = nn.ModuleDict()
        self.teaching: Callable[[Batch], Outputs] | None = None
        self.descends: Callable[[Tensor, int], None] | None = None  # set by the engine
        self.selection: dict[str, Any] = {}
        self._previous: list[Previous] = []  # in a list: no submodule, nothing of it trains or is saved

    @property
    def device(self) -> torch.device:
        """Where the body is."""
        return next(self.body.parameters()).device

    def trains_body(self, session: int) -> bool:
        """Whether the body changes in this session; where it does not, features of earlier sessions stay valid."""
        return self.trains_in == "every" or (self.trains_in == "first" and session == 0)

    def check(self, labels: np.ndarray, sessions: list[Session]) -> None:  # noqa: B027
        """Called before any work, with the labels [N] of the train split. Raises: ConfigError for sessions it cannot train on."""

    def phases(self, session: Session, sessions: list[Session]) -> Iterable[Phase | Work]:
        """What trains in this session and what is done between, in order; empty where the head is solved in closed form and the
        body stays. A generator makes each when the one before is over."""
        return self.head_phases(session.train, session.seen_classes)

    def head_phases(self, indices: np.ndarray, classes: tuple[int, ...]) -> list[Phase]:
        """One phase that trains only a gradient head, on cached features; none for another head."""
        if self.head.kind != "gradient":
            return []
        return [Phase("features", indices, classes, self.head, list(self.head.parameters()))]

    def body_phase(self, indices: np.ndarray, classes: tuple[int, ...], classifier: nn.Module) -> Phase:
        """A phase that trains the adapter's parameters and `classifier` on images."""
        return Phase("images", indices, classes, classifier, [*self.body.trainable, *classifier.parameters()])

    # --- between sessions -----------------------------------------------------------------------------------------

    @property
    def trained_head(self) -> Head:
        """The head that trains with the body and gives `previous` its logits: the run's own unless a method has another."""
        return self.head

    @property
    def teacher_features(self) -> int:
        """D of the teacher's features; 0 without a teacher."""
        return 0 if self.parts.teacher is None else self.parts.teacher.n_features

    @property
    def previous(self) -> Previous | None:
        """The model as it was before this session; None in the first session, or where the method does not keep it."""
        return self._previous[0] if self._previous else None

    def start_session(self, session: Session) -> None:
        """Called first in a session, with body and head in the state after the last one, before the head grows.

        The previous model needs no place in checkpoints: after a resume it is what `start_session` finds.
        """
        self._previous = [Previous.of(self.body, self.trained_head)] if self.keeps_previous and session.index else []

    def session_rows(self, session: Session) -> np.ndarray:
        """Rows of the train split that this session may train on: its own, and what the memory holds."""
        return np.concatenate([session.train, self.memory.rows]) if self.uses_memory else session.train

    def end_session(self, session: Session, samples: Samples) -> None:  # noqa: B027
        """Called when the session's phases are over, before the memory chooses and the head learns (aligning, importances).

        Torch's global generator is seeded before, the same on every rank and after a resume.
        """

    def memorised(self, session: Session, samples: Samples) -> None:  # noqa: B027
        """Called when the memory has chosen, before the head learns (what is kept beside the rows)."""

    def head_rows(self, session: Session) -> np.ndarray:
        """Rows that a statistics head learns from in this session, after the memory has chosen."""
        return session.train

    def extra_state(self) -> dict[str, Tensor]:
        """What a method keeps between sessions beyond body and head; saved in checkpoints. Subclasses add to it."""
        return self.memory.state() if len(self.memory.rows) else {}

    def load_extra(self, state: dict[str, Tensor]) -> None:
        """Take over what `extra_state` gave."""
        if "memory.rows" in state:
            self.memory.load(state)

    def rebuild(self, state: State) -> None:  # noqa: B027
        """Give body and `beside` the modules and shapes of a checkpoint, before it is checked and taken over.

        For a method that changes them: `Body.regrow` for a body that has grown or shrunk.
        """

    def artefact(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What a finished run leaves for others beside its model: tensors, and plain data that says what they are."""
        return None

    # --- the gradient phase, as the engine calls it --------------------------------------------------------------

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

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch of this rank."""
        assert self.current is not None and self.classifier is not None
        inputs = batch.inputs
        features = self._features_of(inputs)
        losses = self.linear_losses(features, batch.labels) if batch.targets is None else None
        if losses is None:
            labels = batch.labels if batch.targets is None else batch.targets
            losses = self.sample_losses(inputs, features, self.classifier(features), labels, batch.positions)
        return losses.sum() * batch.weight + self.penalty()

    def _features_of(self, inputs: Tensor) -> Tensor:
        assert self.current is not None
        if self.current.inputs == "images":
            return self.body(inputs)
        return self.body.pooled(inputs) if self.current.inputs == "tokens" else inputs

    def on_tokens(self, phase: Phase) -> bool:
        """Whether a phase on images comes to the same on what the pool sees of each: only the pool and what follows it train, and
        neither augmentation nor the method looks at an image."""
        looks = phase.raw or phase.views or phase.mix or self.recipe_of(phase).augment
        own = self.plain and type(self).training_step is Method.training_step
        return phase.inputs == "images" and own and not looks and self.body.only_pool_trains

    @property
    def plain(self) -> bool:
        """Whether `sample_losses` is the loss of the logits and nothing else."""
        return type(self).sample_losses is Method.sample_losses

    def linear_losses(self, features: Tensor, labels: Tensor) -> Tensor | None:
        """[B] losses without logits, where they are nothing but the cross-entropy of a linear classifier of many classes."""
        affine = _affine(self.classifier) if self.plain else None
        return None if affine is None else self.loss.of_linear(features, *affine, labels)

    def sample_losses(self, inputs: Tensor, features: Tensor, logits: Tensor, labels: Tensor, positions: Tensor) -> Tensor:
        """[B] losses, of which the mean over the whole batch is minimised.

        Args:
            inputs: [B, 3, S, S] transformed images (or [B, D] features); features: [B, D]; logits: [B, C].
            labels: [B] positions of the logits, or [B, C] the phase's targets.
            positions: [B] in `self.current.indices`: which samples these are.
        """
        return self.loss(logits, labels)

    def penalty(self) -> Tensor | float:
        """Added once to the loss of a batch (a regulariser of the weights): by default what the adapter asks for."""
        return self.body.penalty() if self.current is not None and self.current.inputs != "features" else 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer | list[torch.optim.Optimizer]:
        """The recipe's optimiser over the phase's parameters, or several; the engine sets the rates before each step."""
        assert self.current is not None
        return self.current.optimizer(self.recipe_of(self.current))

    def recipe_of(self, phase: Phase) -> Recipe:
        """The phase's own, or the run's."""
        return self.recipe if phase.recipe is None else phase.recipe

    def descend(self, loss: Tensor, which: int = 0) -> None:
        """Gradients of `loss` and a step of optimiser `which`, in a phase that `steps_itself`."""
        assert self.descends is not None
        self.descends(loss, which)


def _affine(classifier: nn.Module | None) -> tuple[Tensor, Tensor | None] | None:
    if isinstance(classifier, nn.Linear):
        return classifier.weight, classifier.bias
    return classifier.affine() if isinstance(classifier, Head) else None
