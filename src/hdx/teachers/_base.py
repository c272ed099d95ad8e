"""The contract of a teacher: a frozen model whose outputs a student learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hdx.body import Body, full_batches
from hdx.digest import of_json
from hdx.losses._base import Outputs
from hdx.rules import ANY, Rule, only_when, refuse


@dataclass(frozen=True)
class Trained:
    """A model that was trained before.

    Attributes:
        body: images to features, with its own transform.
        head: features [B, D] to logits [B, C].
        classes: names, in the order of the logits; None where nothing says them.
        channels: of the images that it was trained on, 1 or 3; None where nothing says it.
        label: how messages and records name it.
    """

    body: Body
    head: Callable[[Tensor], Tensor]
    classes: list[str] | None
    channels: int | None
    label: str


@dataclass(frozen=True)
class Source:
    """What the engine hands a teacher to be made from.

    Attributes:
        image_shape: (C, H, W) of the student's images.
        device: where to compute; precision: the student's effective one, for a teacher that has none of its own.
        file: the model in a file of `hdx export`; None where the file is another one.
        run: the model of a finished run, by its id or directory and else by the command-line words of its config.
    """

    image_shape: tuple[int, int, int]
    device: torch.device
    precision: str
    file: Callable[[Path], Trained | None]
    run: Callable[[str | None, list[str]], Trained]


class Teacher(nn.Module):
    """A frozen model. It sees the student's augmented images through its own transform, so that both see the same crop.

    Images are forwarded in batches of one fixed size, the last one padded: a row is a pure function of its image and not of its
    neighbours, so that what is stored of one run serves another.

    Args:
        model: the trained model.
        batch_size: images a forward pass.
        cache, store, k: what the engine keeps of the outputs, and how.

    Attributes:
        classes: names, in the order of the logits; None where nothing says them.
        n_features: D.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        only_when("k", store="top_k", why="is of teacher.store=top_k, and fp16 keeps every logit"),
        refuse(
            {"cache": True, "trainer.augment": ANY, "trainer.crops": None},
            "teacher.cache=true keeps what the teacher says of a crop, and trainer.augment draws each crop afresh: "
            "give trainer.crops=K, or leave teacher.cache out",
        ),
    )

    def __init__(self, model: Trained, *, batch_size: int, cache: bool | None, store: str, k: int) -> None:
        super().__init__()
        self.body = model.body
        self.head = model.head
        self.classes, self.channels, self.label = model.classes, model.channels, model.label
        self.batch_size, self.cache, self.store, self.k = batch_size, cache, store, k
        self.eval().requires_grad_(False)

    @property
    def n_features(self) -> int:
        """D."""
        return self.body.n_embedded

    @property
    def n_classes(self) -> int:
        """C."""
        device = next(self.body.parameters()).device
        with torch.no_grad():
            return self.head(torch.zeros(1, self.n_features, device=device)).shape[1]

    @torch.no_grad()
    def forward(self, images: Tensor) -> Outputs:
        """Logits [B, C] and features [B, D] in float32 of uint8 images [B, C, h, w] on the teacher's device."""
        found = [self._some(batch, n) for batch, n in full_batches(images, self.batch_size)]
        logits, features = (torch.cat(parts) for parts in zip(*found))
        return Outputs(logits, features)

    def _some(self, images: Tensor, n: int) -> tuple[Tensor, Tensor]:
        with torch.autocast(images.device.type, enabled=False):  # whatever the student computes in
            features = self.body.features(images)
            logits = self.head(features).float()
        return logits[:n], features[:n]

    def about(self) -> dict[str, Any]:
        """What a student's record says of it."""
        return {"name": self.label, "digest": self.digest(), "classes": self.n_classes, "image_size": self.body.transform.size}

    def digest(self) -> str:
        """Hex sha256 of weights, transform, precision, class names and batch size: equal digests give equal outputs."""
        about = [self.body.digest(), type(self.head).__name__, self.classes, self.batch_size]
        digest = hashlib.sha256(of_json(about).encode())
        for name, value in _tensors(self.head):
            digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def _tensors(head: Callable[[Tensor], Tensor]) -> list[tuple[str, Tensor]]:
    return sorted(head.state_dict().items()) if isinstance(head, nn.Module) else []
