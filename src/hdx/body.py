"""The body: backbone, adapter and pool as one function from images to features, with a digest that names its state."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hdx.adapters._base import Adapter, foreign_hooks
from hdx.backbones._base import Backbone, Tap
from hdx.datasets.transforms import EvalTransform
from hdx.digest import of_json
from hdx.pools._base import Pool
from hdx.regrow import regrow

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Body(nn.Module):
    """Images to features [B, D] float32.

    Args:
        backbone, pool: see their contracts.
        transform: uint8 images to what the backbone sees.
        precision: the effective precision, "32", "bf16-mixed" or "16-mixed".
        spec: plain data that names backbone and pool (part of the digest).

    Attributes:
        activation_memory: how a training step keeps what its backward pass needs of the body (`Recipe`).
        changed: names of parameters beside `trainable` that a method has changed, so that checkpoints keep them.
        regrown: whether layers have other widths than the backbone's options say.
        views: quarter turns of an image that `features` and `embed` describe, one after the other; a method may set it.
    """

    activation_memory: Literal["none", "int8"] = "none"

    def __init__(self, backbone: Backbone, pool: Pool, transform: EvalTransform, precision: str, spec: dict[str, Any]) -> None:
        super().__init__()
        self.backbone, self.pool, self.transform, self.precision = backbone, pool, transform, precision
        self.spec = {**spec, "transform": transform.describe(), "precision": precision}
        self.views = 1
        self.adapter: Adapter | None = None
        self.trainable: list[nn.Parameter] = []
        self.changed: set[str] = set()
        self.regrown = False
        self.memory_format = torch.channels_last if backbone.layout == "map" else torch.contiguous_format
        self.backbone.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.requires_grad_(False)
        self.eval()

    @property
    def n_features(self) -> int:
        """D."""
        return self.pool.n_features

    @property
    def n_embedded(self) -> int:
        """Length of what `features` and `embed` give: D for each view."""
        return self.views * self.n_features

    def attach(self, adapter: Adapter) -> None:
        """Attach an adapter; `trainable` then lists what trains: the adapter's parameters and the pool's own.

        Raises: TypeError for an adapter with hooks that a copy of the body would share.
        """
        before = {id(hook) for _, hook in foreign_hooks(self)}
        self.trainable = [*adapter.attach(self.backbone), *self.pool.parameters()]
        self.adapter = adapter
        self.pool.n_prefix_tokens = self.backbone.n_prefix_tokens + adapter.n_extra_tokens
        self.train(self.training)  # what was added is made in training mode
        for name, hook in foreign_hooks(self):
            if id(hook) not in before:
                raise TypeError(
                    f"{type(adapter).__name__} put {hook} on {name}: expected a method of one of the body's modules, since a "
                    "copy of the body would go on calling this one  (hdx.adapters._layers)"
                )

    def train(self, mode: bool = True) -> Body:
        """Training mode is the adapter's word: most keep the frozen body's statistics."""
        super().train(mode)
        if mode and self.adapter is not None:
            self.adapter.training_mode(self.backbone)
        elif mode:
            self.backbone.eval()
        return self

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The autocast context of the effective precision."""
        dtype = AUTOCAST.get(self.precision)
        return nullcontext() if dtype is None else torch.autocast(device.type, dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, D] float32 of transformed images [B, 3, S, S]."""
        with self._saved():
            return self.pooled(self.tokens(images))

    def pooled(self, tokens: Tensor) -> Tensor:
        """Features [B, D] float32 of what `tokens` gives."""
        return self.pool(tokens).float()

    def tokens(self, images: Tensor) -> Tensor:
        """What the pool sees of transformed images [B, 3, S, S]: a map [B, D, h, w] or tokens [B, T, D]."""
        images = images.contiguous(memory_format=self.memory_format)  # type: ignore[call-overload]
        return self.backbone(images) if self.adapter is None else self.adapter(self.backbone, images)

    @property
    def only_pool_trains(self) -> bool:
        """Whether what trains of the body is its pool's, so that what the pool sees never changes."""
        own = {id(parameter) for parameter in self.pool.parameters()}
        return bool(self.trainable) and all(id(parameter) in own for parameter in self.trainable)

    def tapped(self, images: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, dict[Tap, Tensor]]:
        """`forward`, and by tap what that block of the backbone gives on the way: a map [B, D', h, w] or tokens [B, T, D'].

        Raises: ConfigError for a block that the backbone does not have.
        """
        found: dict[Tap, Tensor] = {}
        handles = []
        for tap in taps:
            name, channels = self.backbone.block(tap)
            hear = partial(_hear, found, tap, channels)  # only while it is called: no copy of the body has it
            handles.append(self.backbone.get_submodule(name).register_forward_hook(hear))
        try:
            return self(images), found
        finally:
            for handle in handles:
                handle.remove()

    def averaged(self, tapped: Tensor) -> Tensor:
        """[B, D'] the mean over the positions of what a block gives, without prefix tokens."""
        return tapped.mean((2, 3)) if tapped.ndim == 4 else tapped[:, self.pool.n_prefix_tokens :].mean(1)

    def penalty(self) -> Tensor | float:
        """The adapter's own term of the loss of a batch; 0 where it trains nothing."""
        return 0.0 if self.adapter is None or not self.trainable else self.adapter.penalty()

    def network(self) -> nn.Module:
        """Backbone, adapter and pool alone, as one module from transformed images [B, 3, S, S] to features [B, D]."""
        return _Network(self)

    def _saved(self) -> AbstractContextManager[Any]:
        if self.activation_memory == "none" or not self.training or not torch.is_grad_enabled():
            return nullcontext()
        from hdx.ops.act_quant8 import saved8

        return saved8(torch.initial_seed(), [*self.parameters(), *self.buffers()])  # the engine seeds every step

    def features(self, images: Tensor) -> Tensor:
        """[B, views * D] float32 of raw uint8 images [B, C, h, w] on the body's device; call in eval mode."""
        with self.autocast(images.device):
            seen = self.transform(images)
            if self.views == 1:
                return self(seen)
            return torch.cat([self(seen.rot90(turns, (2, 3))) for turns in range(self.views)], dim=1)

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """As `features`, where no gradient is wanted of what comes out."""
        return self.features(images)

    def rows(self, images: Tensor, size: int) -> Tensor:
        """[N, views * D] float32 of raw uint8 images [N, C, h, w], forwarded `size` at a time (see `full_batches`)."""
        return torch.cat([self.embed(batch)[:n] for batch, n in full_batches(images, size)])

    def digest(self) -> str:
        """Hex sha256 of every weight and statistic, the transform and the precision: equal digests give equal features."""
        views = {"views": self.views} if self.views > 1 else {}
        return _digest(self.spec | views, self.state_dict())

    def changed_state(self) -> dict[str, Tensor]:
        """What a method may have changed: trainable parameters, those in `changed` and all buffers, by name."""
        ids = {id(parameter) for parameter in self.trainable}
        named = self.named_parameters(remove_duplicate=False)
        state = {name: p.detach() for name, p in named if id(p) in ids or name in self.changed}
        return state | {name: b.detach() for name, b in self.named_buffers()}

    def load_changed(self, state: dict[str, Tensor]) -> None:
        """Take over what `changed_state` gave."""
        own = dict(self.named_parameters(remove_duplicate=False)) | dict(self.named_buffers())
        with torch.no_grad():
            for name, value in state.items():
                own[name].copy_(value)

    def regrow(self, state: dict[str, Tensor]) -> None:
        """Take the shapes of `state`, which `changed_state` gave, and count its parameters as changed: before it is loaded."""
        replaced = regrow(self, state)
        self.regrown = self.regrown or bool(replaced)
        self.trainable = [replaced.get(parameter, parameter) for parameter in self.trainable]  # type: ignore[call-overload]
        ids = {id(parameter) for parameter in self.trainable}
        self.changed |= {name for name, p in self.named_parameters(remove_duplicate=False) if name in state and id(p) not in ids}


def _hear(found: dict[Tap, Tensor], tap: Tap, channels: int, module: nn.Module, inputs: Any, output: Tensor) -> None:
    last = output.ndim == 4 and output.shape[1] != channels
    found[tap] = output.permute(0, 3, 1, 2) if last else output


class Unpooled:
    """A body before its pool, as the features bank extracts from it: an image's map or tokens, as a row of numbers.

    Args:
        body: in eval mode.

    Attributes:
        shape: [D, h, w] of an image's map, or [T, D] of its tokens; n_embedded: numbers in it.
        spec: the body's, without the pool.
    """

    def __init__(self, body: Body) -> None:
        self.body = body
        size = body.transform.size
        with torch.inference_mode():
            blank = torch.zeros(1, 3, size, size, device=next(body.parameters()).device)
            self.shape = tuple(body.tokens(blank).shape[1:])
        self.n_embedded = math.prod(self.shape)
        self.spec = {key: value for key, value in body.spec.items() if key != "pool"} | {"unpooled": list(self.shape)}

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """[B, n_embedded] float32 of raw uint8 images [B, C, h, w] on the body's device."""
        with self.body.autocast(images.device):
            return self.body.tokens(self.body.transform(images)).float().flatten(1)

    def rows(self, images: Tensor, size: int) -> Tensor:
        """As `embed`, of any number of images, forwarded `size` at a time (see `full_batches`)."""
        return torch.cat([self.embed(batch)[:n] for batch, n in full_batches(images, size)])

    def digest(self) -> str:
        """As the body's, without its pool: bodies that differ in their pools share what these see."""
        state = self.body.state_dict()
        return _digest(self.spec, {name: value for name, value in state.items() if not name.startswith("pool.")})


def _digest(spec: dict[str, Any], state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(of_json(spec).encode())
    for name, value in sorted(state.items()):
        if name.endswith("num_batches_tracked"):
            continue  # counts steps, changes no output
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class _Network(nn.Module):
    def __init__(self, body: Body) -> None:
        super().__init__()
        self.backbone, self.adapter, self.pool = body.backbone, body.adapter, body.pool

    def forward(self, images: Tensor) -> Tensor:
        return self.pool(self.backbone(images) if self.adapter is None else self.adapter(self.backbone, images))


def full_batches(images: Tensor, size: int) -> Iterator[tuple[Tensor, int]]:
    """Batches of exactly `size` images, the last one filled up with its last image, and how many of each are meant.

    A model's row is then a pure function of its image, whatever else is asked for beside it.
    """
    for batch in images.split(size):
        n = len(batch)
        yield (batch if n == size else torch.cat([batch, batch[-1:].expand(size - n, *batch.shape[1:])])), n
