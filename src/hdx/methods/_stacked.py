"""Many independent trainings of one network's few parameters at once, stacked on a leading dimension.

The sum of the trainings' losses has, for each training, exactly the gradient of its own loss, and sgd, adam and adamw work on
each number by itself: so one optimiser over the stack is the E optimisers, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from hdx.trainers.recipe import Recipe


class Stacked:
    """A network whose `parameters` are E stacks of tensors, one set a training; everything else is shared.

    Args:
        network: called as it is, in the mode that it is in; its own parameters do not change.
        parameters: of the network, those that train.
        n: E.

    Attributes:
        tensors: by the parameter's name, leaf tensors [E, ...] that start as E copies of the parameter.
    """

    def __init__(self, network: nn.Module, parameters: Iterable[nn.Parameter], n: int) -> None:
        chosen = {id(parameter) for parameter in parameters}
        self.network, self.n = network, n
        own = {name: parameter.detach() for name, parameter in network.named_parameters() if id(parameter) in chosen}
        self.tensors = {name: torch.stack([tensor] * n).requires_grad_() for name, tensor in own.items()}

    def __call__(self, inputs: Tensor) -> Tensor:
        """[E, B, ...] to [E, B, ...]: row e through the network with the e-th of each tensor."""
        if self.n == 1:  # nothing to stack, and weights of any shape stay those of a plain layer
            return self._one({name: stack[0] for name, stack in self.tensors.items()}, inputs[0])[None]
        with _FrozenNorms(), _attention(inputs.device):
            return vmap(self._one)(self.tensors, inputs)

    def _one(self, tensors: dict[str, Tensor], inputs: Tensor) -> Tensor:
        return functional_call(self.network, tensors, (inputs,))


def build_optimizer(recipe: Recipe, stacks: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The recipe's optimiser over stacks [E, ...], with weight decay where one training's own tensor would have it."""
    alone = [stack.detach()[0] for stack in stacks]
    own = {id(tensor): stack for tensor, stack in zip(alone, stacks)}
    optimizer = recipe.build_optimizer(alone)  # type: ignore[arg-type]
    for group in optimizer.param_groups:
        group["params"] = [own[id(tensor)] for tensor in group["params"]]
    return optimizer


def clip_each(stacks: Sequence[Tensor], bound: float) -> None:
    """Scale the gradients of each training to a global norm of at most `bound`, as `clip_grad_norm_` does for one."""
    gradients = [stack.grad for stack in stacks if stack.grad is not None]
    norm = torch.stack([g.reshape(len(g), -1).square().sum(1) for g in gradients]).sum(0).sqrt()  # [E]
    factor = (bound / (norm + 1e-6)).clamp(max=1)
    for g in gradients:
        g.mul_(factor.view(-1, *[1] * (g.ndim - 1)))


def _attention(device: torch.device) -> AbstractContextManager[Any]:
    """On a CPU the fused attention has no rule for `vmap`, which would go through it sample by sample; plain products have."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


class _FrozenNorms(TorchFunctionMode):
    """Batch norms with frozen statistics as one affine map a channel, which `vmap` alone takes three passes for."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace `F.batch_norm`, and nothing else."""
        if func is F.batch_norm:
            return _frozen_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _frozen_norm(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or mean is None or var is None or weight is None or bias is None:
        return F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    scale = weight * (var + eps).rsqrt()
    return ChannelAffine.apply(x, scale, bias - mean * scale)


class ChannelAffine(torch.autograd.Function):
    """scale * x + shift for x [E, B, C, ...] and scale, shift [E, C]; called inside `vmap`, where E is not seen."""

    @staticmethod
    def forward(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:  # type: ignore[override]
        """In the dtype of `x`, computed in that of `scale`."""
        out = torch.empty_like(x)
        for e in _parts(x):
            out[e] = torch.addcmul(_channels(shift[e], x), x[e], _channels(scale[e], x))
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        """Keep what backward needs."""
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Gradients of x, scale and shift."""
        x, scale = ctx.saved_tensors
        of_x, of_scale, of_shift = torch.empty_like(x), torch.empty_like(scale), torch.empty_like(scale)
        samples = (1, *range(3, x.ndim))
        for e in _parts(x):
            g = gradient[e]
            of_x[e] = g * _channels(scale[e], x)
            of_scale[e] = (g * x[e]).sum(samples, dtype=scale.dtype)
            of_shift[e] = g.sum(samples, dtype=scale.dtype)
        return of_x, of_scale, of_shift

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Tensor, int]:
        """The rule of `vmap`: E in front, also of what all episodes share."""
        stacked = [
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(tensors, in_dims)
        ]
        return ChannelAffine.apply(*stacked), 0


def _parts(x: Tensor) -> list[slice]:
    """All episodes at once, but on a CPU one after the other, so that a layer's activations stay in its caches."""
    return [slice(e, e + 1) for e in range(len(x))] if x.device.type == "cpu" else [slice(None)]


def _channels(values: Tensor, like: Tensor) -> Tensor:
    """[e, C] as [e, 1, C, 1, ...], to go with `like` [E, B, C, ...]."""
    return values.view(*values.shape[:1], 1, -1, *[1] * (like.ndim - 3))
