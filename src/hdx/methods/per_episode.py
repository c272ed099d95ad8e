"""Per-episode adaptation: body and classifier are fitted to the support of each episode, many episodes at once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.augments._named import Augment
from hdx.errors import RunError
from hdx.heads._base import Head
from hdx.heads._episode import class_means
from hdx.heads.cosine import Cosine
from hdx.heads.linear import Linear
from hdx.methods._base import Phase
from hdx.methods._episodes import EpisodeMethod
from hdx.methods._parts import Parts
from hdx.methods._stacked import Stacked, build_optimizer, clip_each
from hdx.options import PositiveFloat, PositiveInt
from hdx.protocols._base import Session
from hdx.rules import only_when
from hdx.seeds import derive


class PerEpisode(EpisodeMethod):
    """Per-episode adaptation: each episode fits the adapter and a classifier to its own support, from the same start.

    A gradient head (linear, cosine) is the classifier and judges the queries; with adapter=none it alone trains, on features
    computed once. Any other head judges on the adapted features, and the body is adapted through a temporary linear classifier.
    Every step sees the whole support: of the trainer's options `epochs`, `batch_size` and `feature_epochs` have no meaning here,
    and `clip_norm` bounds the gradient of each episode. The body stays in eval mode whatever the adapter: five images have no
    statistics worth normalising by. With precision=16-mixed it trains in float32, as no gradient is scaled.

    Adapters that train vectors only (film, bn, none) take many episodes a step, with shared convolutions and one parameter set an
    episode. With full and last_block every episode has its own convolutions, which share no work: one episode at a time.

    Source: Triantafillou et al. 2020, "Meta-Dataset" (fine-tuning per episode; prototypes as a linear layer, section 3).
    Chen et al. 2019, "A Closer Look at Few-shot Classification" (Baseline: a random linear layer; Baseline++: cosine).

    Args:
        steps: gradient steps on the support of an episode.
        head_start: where the classifier starts: prototypes (the class means of the support under the unadapted body, as a linear
            layer of the same ranking), or random.
        temperature: of a linear layer's start at prototypes, in units of the mean squared distance between support and class
            means: logits are squared distances over both. At their own scale long features have no loss and no gradient.
    """

    trains_head = True
    rules = (only_when("temperature", head_start="prototypes"),)

    def __init__(
        self,
        parts: Parts,
        *,
        steps: PositiveInt = 50,
        head_start: Literal["prototypes", "random"] = "prototypes",
        temperature: PositiveFloat = 0.3,
    ) -> None:
        super().__init__(parts)
        self.steps, self.head_start, self.temperature = steps, head_start, temperature
        # the head's options and no rows; in a tuple, so that it is no part of the method's state
        self._blank = (copy.deepcopy(self.head) if self.head.kind == "gradient" else Linear(self.body.n_features),)
        self._activations: int | None = None

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """None: nothing trains before the episodes."""
        return []

    @property
    def batched(self) -> bool:
        """Whether episodes share all that is costly, so that they are adapted together."""
        return all(parameter.ndim <= 1 for parameter in self.body.trainable)

    def episodes_at_once(self, n_support: int, n_query: int, memory_bytes: int) -> int:
        """Episodes that `classify_episodes` takes within about `memory_bytes`; at least 1, and 1 where they are not batched."""
        if not self.batched:
            return 1
        pixels, n_features = 3 * self.body.transform.size**2, self.body.n_features
        floats = (n_support + n_query) * (pixels / 4 + 2 * n_features)  # a raw pixel is a byte
        floats += (
            5 * n_support * n_features
        )  # a classifier of no more ways than samples: its gradient, adam's moments, a temporary
        if self.body.trainable:
            floats += 2 * n_support * (pixels + self._activations_of_an_image())  # and the gradients on the way back
        return max(1, int(memory_bytes / (4 * floats)))

    def classify_episodes(self, support: Tensor, labels: Tensor, query: Tensor, ways: int, seed: int, numbers: Tensor) -> Tensor:
        """Logits [E, Q, ways] of the queries of E episodes, each a function of its own images, `seed` and its number.

        Args:
            support: [E, S, C, h, w] uint8 on the body's device; labels: [E, S] int64 in [0, ways), every class at least once.
            query: [E, Q, C, h, w] uint8.
            ways: classes of each episode.
            seed: of the random start and of the augmentations.
            numbers: [E] int64, the episodes' places in the protocol's list.
        Raises: RunError naming the first episode whose training diverged.
        """
        self.body.eval()
        if not self.body.trainable:
            return self.classify_features(self._features(support), labels, self._features(query), ways, seed, numbers)
        size = len(support) if self.batched else 1
        pieces = zip(support.split(size), labels.split(size), query.split(size), numbers.split(size))
        with torch.inference_mode(False), torch.no_grad():
            return torch.cat([self._adapted(own, y, asked, ways, seed, number.tolist()) for own, y, asked, number in pieces])

    def classify_features(self, support: Tensor, labels: Tensor, query: Tensor, ways: int, seed: int, numbers: Tensor) -> Tensor:
        """As `classify_episodes` where only the classifier trains: on features support [E, S, D] and query [E, Q, D] float32."""
        with torch.inference_mode(False), torch.no_grad():
            support, labels = support.clone(), labels.clone()  # what inference mode made cannot be trained on
            classifier = self._classifier(support, labels, ways, seed, numbers.tolist())
            self._train(lambda step: support, [], classifier, labels, numbers.tolist())
            return classifier(query.clone())

    def _adapted(self, support: Tensor, labels: Tensor, query: Tensor, ways: int, seed: int, numbers: list[int]) -> Tensor:
        """As `classify_episodes`, all episodes together."""
        labels = labels.clone()
        classifier = self._classifier(self._features(support), labels, ways, seed, numbers)
        body = Stacked(self.body.network(), self.body.trainable, len(support))
        scaled = self.body.precision == "16-mixed"  # small gradients would be lost without a scale
        plain = self._images(support)

        def features(step: int) -> Tensor:
            images = self._images(self._augmented(support, seed, numbers, step)) if self.recipe.augment else plain
            with nullcontext() if scaled else self.body.autocast(images.device):
                return body(images).float()

        self._train(features, list(body.tensors.values()), classifier, labels, numbers)
        adapted = self._embed(body, query)
        if self.head.kind == "gradient":
            return classifier(adapted)
        return self.head.classify(self._embed(body, support), labels, adapted, ways)

    def _train(
        self, features: Callable[[int], Tensor], stacks: list[Tensor], classifier: Stacked, labels: Tensor, numbers: list[int]
    ) -> None:
        """E independent trainings of `stacks` and the classifier on features(step) [E, S, D]."""
        stacks = [*stacks, *classifier.tensors.values()]
        optimizer = build_optimizer(self.recipe, stacks)
        for step in range(self.steps):
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.rate(step / self.steps)
            with torch.enable_grad():
                logits = classifier(features(step))  # [E, S, ways]
                losses = self.loss(logits.flatten(0, 1), labels.flatten()).view(labels.shape)
                total = losses.mean(1).sum()
            for stack, gradient in zip(stacks, torch.autograd.grad(total, stacks, allow_unused=True)):
                stack.grad = gradient
            if self.recipe.clip_norm is not None:
                clip_each(stacks, self.recipe.clip_norm)
            optimizer.step()
        finite = torch.stack([stack.isfinite().reshape(len(stack), -1).all(1) for stack in stacks]).all(0).tolist()  # [E]
        if not all(finite):
            raise RunError(
                f"training on the support of episode {numbers[finite.index(False)]} diverged; "
                "try a smaller trainer.lr, or trainer.clip_norm=1"
            )

    # --- where the classifier starts -------------------------------------------------------------------------------

    def _classifier(self, features: Tensor, labels: Tensor, ways: int, seed: int, numbers: list[int]) -> Stacked:
        """Classifiers of E episodes, started from features [E, S, D] of the unadapted body."""
        drawn = [self._drawn(ways, derive(seed, "classifier", number)).to(features.device) for number in numbers]
        found = Stacked(drawn[0], drawn[0].parameters(), len(numbers))
        for name, stack in found.tensors.items():
            stack.copy_(torch.stack([head.get_parameter(name) for head in drawn]))
        if self.head_start == "prototypes":
            for name, value in _prototypes(drawn[0], features, labels, ways, self.temperature).items():
                found.tensors[name].copy_(value)
        return found

    def _drawn(self, ways: int, seed: int) -> Head:
        head = copy.deepcopy(self._blank[0])
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            head.expand(ways)
        return head

    # --- images ----------------------------------------------------------------------------------------------------

    def _images(self, raw: Tensor) -> Tensor:
        """[E, n, C, h, w] uint8 to what the backbone sees, [E, n, 3, S, S]."""
        images = self.body.transform(raw.flatten(0, 1))
        return images.contiguous(memory_format=self.body.memory_format).unflatten(0, raw.shape[:2])  # type: ignore[call-overload]

    def _augmented(self, raw: Tensor, seed: int, numbers: list[int], step: int) -> Tensor:
        augment = Augment(self.recipe.augment, self.body.transform.resize_to)
        generators = [torch.Generator().manual_seed(derive(seed, "augment", number, step)) for number in numbers]
        return torch.stack([augment(images, augment.draws(len(images), each)) for images, each in zip(raw, generators)])

    def _features(self, raw: Tensor) -> Tensor:
        """[E, n, D] of raw images [E, n, C, h, w] under the body as it is."""
        parts = [self.body.embed(part) for part in raw.flatten(0, 1).split(self.recipe.eval_batch_size)]
        with torch.inference_mode(False):
            return torch.cat([part.clone() for part in parts]).unflatten(0, raw.shape[:2])

    def _embed(self, body: Stacked, raw: Tensor) -> Tensor:
        """[E, n, D] of raw images [E, n, C, h, w], each under its episode's body."""
        size = max(1, self.recipe.eval_batch_size // len(raw))
        with self.body.autocast(raw.device):
            return torch.cat([body(self._images(part)).float() for part in raw.split(size, 1)], 1)

    def _activations_of_an_image(self) -> int:
        """Numbers that the layers of backbone and pool give for one image, which is about what a backward pass keeps."""
        if self._activations is None:
            counts: list[int] = []

            def count(module: nn.Module, inputs: Any, output: Any) -> None:
                counts.append(output.numel() if isinstance(output, Tensor) else 0)

            layers = [module for module in self.body.modules() if not list(module.children())]
            hooks = [layer.register_forward_hook(count) for layer in layers]
            size = self.body.transform.size
            with torch.inference_mode():
                self.body(torch.zeros(1, 3, size, size, device=next(self.body.parameters()).device))
            for hook in hooks:
                hook.remove()
            self._activations = sum(counts)
        return self._activations


def _prototypes(head: Head, features: Tensor, labels: Tensor, ways: int, temperature: float) -> dict[str, Tensor]:
    """Parameters of a classifier that ranks classes as the distance to the class means of features [E, S, D] does.

    -||x - mu||^2 is, up to what all classes share, 2 mu x - ||mu||^2. Without a bias the means are brought to their average
    length, which makes the bias the same for all; a cosine classifier takes the direction of the mean of unit-length features.
    """
    if isinstance(head, Cosine):
        return {"weight": F.normalize(class_means(F.normalize(features, dim=2), labels, ways), dim=2)}
    means = class_means(features, labels, ways)  # [E, ways, D]
    mean_distance = torch.cdist(features, means).square().mean((1, 2))  # [E]
    factor = torch.where(mean_distance > 0, 1 / (temperature * mean_distance), 1.0)[:, None]  # equal images: any will do
    if getattr(head, "bias", None) is not None:
        return {"weight": 2 * factor[..., None] * means, "bias": -factor * means.square().sum(2)}
    lengths = means.norm(dim=2, keepdim=True)  # [E, ways, 1]
    return {"weight": 2 * factor[..., None] * F.normalize(means, dim=2) * lengths.mean(1, keepdim=True)}
