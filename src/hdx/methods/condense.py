"""Dataset condensation: a few images a class are learnt whose gradients are those of the whole dataset."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.datasets._memory import InMemory
from hdx.errors import ConfigError
from hdx.methods._base import Batch, Method, Phase, State
from hdx.methods._matching import gradient_distance, redraw, statistics_of
from hdx.methods._parts import Parts
from hdx.methods._samplers import BalancedSampler
from hdx.options import PositiveFloat, PositiveInt
from hdx.protocols._base import Session


class Condense(Method):
    """Dataset condensation by gradient matching: learn `per_class` images of each class, then train body and head on them alone.

    A step takes `batch` real images of each class of the first session and moves the learnt images so that the gradient of a
    network's loss on them points where that on the real ones points, class by class, layer by layer and output by output. Then
    the network takes `network_steps` steps on the learnt images, and it is drawn anew after every `restart` steps. The network
    is one of the body's kind, from random weights. The run's own body and head are then trained on the learnt images, in 8 bits,
    by the trainer's recipe. The run leaves them as its artefact: `dataset=distilled dataset.run=ID` is a dataset of them.

    Source: Zhao et al. 2021, "Dataset Condensation with Gradient Matching", algorithm 1 and eq. 8; the authors'
        settings: rate 0.1 and momentum 0.5 for images, 0.01 for the network (whose momentum is left out here).
    Trains: images, then body and head on them, in the first session.
    Keeps: the learnt images.
    Certainty: written from the paper, settings of the authors' code from memory.

    Args:
        per_class: learnt images of a class.
        steps: of the images.
        batch: real images of a class in a step.
        image_rate: learning rate of the images, in units of the pixels' range; few steps from real images want less than the
            authors' 0.1, which makes 8-pixel digits worse than those that it starts from.
        network_rate: of the network's steps.
        network_steps: of the network after each step of the images.
        restart: steps after which the network is drawn anew.
        start: images start as real ones of their class, or as noise, which takes many times more steps.
    """

    trains_in = "first"
    trains_head = True
    heads = ("gradient",)

    def __init__(
        self,
        parts: Parts,
        *,
        per_class: PositiveInt = 10,
        steps: PositiveInt = 100,
        batch: PositiveInt = 32,
        image_rate: PositiveFloat = 0.01,
        network_rate: PositiveFloat = 0.01,
        network_steps: PositiveInt = 5,
        restart: PositiveInt = 10,
        start: Literal["real", "noise"] = "real",
    ) -> None:
        super().__init__(parts)
        self.per_class, self.steps, self.batch = per_class, steps, batch
        self.image_rate, self.network_rate = image_rate, network_rate
        self.network_steps, self.restart, self.start = network_steps, restart, start
        self.classes: tuple[int, ...] = ()

    def check(self, labels: np.ndarray, sessions: list[Session]) -> None:
        """Raises: ConfigError for several sessions: images of later ones would not be learnt."""
        if len(sessions) > 1:
            raise ConfigError(f"method=condense learns the images of one session, got {len(sessions)}: take protocol=offline")

    def phases(self, session: Session, sessions: list[Session]) -> Iterator[Phase]:
        """The images, then body and head on them."""
        if session.index:
            return
        self.classes = session.new_classes
        yield self._matching(session)
        yield self._training(session)

    # --- the images -------------------------------------------------------------------------------------------------

    def _matching(self, session: Session) -> Phase:
        n_classes = len(session.new_classes)
        pixels = torch.rand(n_classes * self.per_class, *self.parts.image_shape)
        self.beside["images"] = nn.ParameterDict({"pixels": nn.Parameter(pixels)}).to(self.device)
        network = nn.Sequential(copy.deepcopy(self.body), nn.Linear(self.body.n_features, n_classes))
        self.beside["network"] = network.to(self.device)
        recipe = self.recipe.replace(batch_size=n_classes * self.batch, schedule="constant", lr=1.0, warmup=0.0, clip_norm=None)
        return Phase(
            "images",
            session.train,
            session.new_classes,
            nn.Identity(),
            [self.pixels, *network.parameters()],
            sampler=BalancedSampler(n_classes * self.batch, self.batch),
            recipe=recipe,
            steps=self.steps,
            steps_itself=True,
            raw=True,
            after_step=self._tidy,
            finish=lambda: self.beside.__delitem__("network"),
        )

    @property
    def pixels(self) -> nn.Parameter:
        """[classes * per_class, C, H, W] in [0, 1], class after class."""
        images = self.beside["images"]
        assert isinstance(images, nn.ParameterDict)
        found: nn.Parameter = images["pixels"]
        return found

    def configure_optimizers(self) -> torch.optim.Optimizer | list[torch.optim.Optimizer]:
        """Of the images, and of the network; of body and head when those are trained."""
        if "network" not in self.beside:
            return super().configure_optimizers()
        rates = {"lr": 1.0}
        images = [{"params": [self.pixels], "scale": self.image_rate, **rates}]
        network = [{"params": list(self.beside["network"].parameters()), "scale": self.network_rate, **rates}]
        return [torch.optim.SGD(images, momentum=0.5), torch.optim.SGD(network)]

    def training_step(self, batch: Batch, number: int) -> Tensor:
        """A step of the images, and the network's steps on them; or one of body and head."""
        if "network" not in self.beside:
            return super().training_step(batch, number)
        network = self.beside["network"]
        if batch.step == 0 and self.start == "real":
            self._take(batch)
        if batch.step % self.restart == 0:
            redraw(network)
        labels = torch.arange(len(self.classes), device=self.device).repeat_interleave(self.per_class)
        distance = torch.zeros((), device=self.device)
        with statistics_of(network, batch.inputs):
            for label in range(len(self.classes)):
                real, own = batch.labels == label, labels == label
                if bool(real.any()):
                    distance = distance + self._distance(network, batch.inputs[real], self.pixels[own], label)
        self.descend(distance, 0)
        seen = self.body.transform.of_floats(self.pixels.detach().clamp(0, 1))
        for _ in range(self.network_steps):
            self.descend(self.loss(network(seen), labels).mean(), 1)
        return distance.detach() / len(self.classes)

    @torch.no_grad()
    def _take(self, batch: Batch) -> None:
        """Real images of each class as the first learnt ones, again from the first where there are too few."""
        assert batch.images is not None
        # as they were stored, if the run's augmentation has made them larger
        images = F.interpolate(batch.images.float() / 255, size=self.parts.image_shape[1:])
        for label, own in enumerate(self.pixels.split(self.per_class)):
            found = images[batch.labels == label]
            own.copy_(found[torch.arange(self.per_class, device=self.device) % len(found)])

    def _distance(self, network: nn.Module, real: Tensor, learnt: Tensor, label: int) -> Tensor:
        parameters = list(network.parameters())
        gradients = []
        for images, graph in ((real, False), (self.body.transform.of_floats(learnt.clamp(0, 1)), True)):
            loss = self.loss(network(images), torch.full((len(images),), label, device=images.device)).mean()
            gradients.append(torch.autograd.grad(loss, parameters, create_graph=graph))
        return gradient_distance(*gradients)

    @torch.no_grad()
    def _tidy(self, progress: float) -> None:
        self.pixels.clamp_(0, 1)

    # --- body and head on them --------------------------------------------------------------------------------------

    def _training(self, session: Session) -> Phase:
        images = InMemory.of(self._bytes(), self._labels())
        phase = self.body_phase(np.arange(len(images)), session.new_classes, self.head)
        phase.source = images
        return phase

    def _bytes(self) -> np.ndarray:
        return (self.pixels.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()

    def _labels(self) -> np.ndarray:
        return np.repeat(np.array(self.classes, np.int64), self.per_class)

    def rebuild(self, state: State) -> None:
        """The images where the checkpoint has them."""
        if "images.pixels" in state["beside"] and "images" not in self.beside:
            pixels = nn.Parameter(torch.zeros_like(state["beside"]["images.pixels"]), requires_grad=False)
            self.beside["images"] = nn.ParameterDict({"pixels": pixels}).to(self.device)

    def artefact(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The learnt images in 8 bits, and their dataset labels."""
        tensors = {"images": torch.from_numpy(self._bytes()), "labels": torch.from_numpy(self._labels())}
        return tensors, {"kind": "images"}
