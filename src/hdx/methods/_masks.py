"""Masks of pruned weights, and the work that chooses them by magnitude."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hdx.body import Body
from hdx.memories._base import Samples
from hdx.methods._work import Work


class Masks(nn.Module):
    """Which weights of a body are left; kept in `Method.beside`, so that checkpoints have them.

    Args:
        shapes: of each weight, by its name in the body.
    """

    def __init__(self, shapes: Iterable[tuple[str, torch.Size]]) -> None:
        super().__init__()
        for name, shape in shapes:
            self.register_buffer(name.replace(".", "/"), torch.ones(shape, dtype=torch.bool))

    def named(self) -> dict[str, Tensor]:
        """The masks by the weights' names."""
        return {name.replace("/", "."): mask for name, mask in self.named_buffers()}

    @property
    def remaining(self) -> float:
        """Share of the weights that are left."""
        counts = [(int(mask.sum()), mask.numel()) for mask in self.buffers()]
        return sum(left for left, _ in counts) / sum(n for _, n in counts)

    @torch.no_grad()
    def apply_to(self, body: Body) -> None:
        """Set what is masked to zero: after every step, since momentum and decay would bring it back."""
        for name, mask in self.named().items():
            body.get_parameter(name).mul_(mask)

    @torch.no_grad()
    def keep_largest(self, body: Body, share: float) -> None:
        """Leave the `share` of largest magnitude over all weights together; what is masked stays so."""
        masks = self.named()
        sizes = [torch.where(mask, body.get_parameter(name).abs().float(), -1.0).flatten() for name, mask in masks.items()]
        scores = torch.cat(sizes)
        kept = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
        kept[scores.argsort(stable=True, descending=True)[: round(share * len(scores))]] = True
        for mask, part in zip(masks.values(), (kept & (scores >= 0)).split([len(size) for size in sizes])):
            mask.copy_(part.view_as(mask))


def prunable(body: Body) -> list[tuple[str, torch.Size]]:
    """Names and shapes of the weights of convolutions and linear layers of a body's backbone; no biases, no norms."""
    layers = {f"{name}.weight": layer for name, layer in body.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    own = dict(body.named_parameters())
    return [(name, own[name].shape) for name in sorted(layers) if name in own and name.startswith("backbone.")]


class Pruning(Work):
    """Chooses which weights are left, then sets the others to zero.

    Args:
        body: whose weights; masks: which are left so far.
        share: of all weights, left afterwards.
    """

    changes_body = True

    def __init__(self, body: Body, masks: Masks, share: float) -> None:
        super().__init__("pruning", 2)
        self.body, self.masks, self.share = body, masks, share

    def step(self, number: int, samples: Samples) -> float:
        """Choose, then apply. Returns: the share that is left."""
        if number == 0:
            self.masks.keep_largest(self.body, self.share)
        else:
            self.masks.apply_to(self.body)
        return self.masks.remaining
