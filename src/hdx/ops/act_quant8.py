"""Activations kept in eight bits between the forward and the backward pass.

Source: Mesa (Pan et al. 2021, groups and stochastic rounding), ActNN (Chen et al. 2021, why an unbiased rounding gives an
unbiased gradient).

A tensor is cut into groups of 256 in the order of its memory. A group keeps its least value and a step, and a code of eight
bits a value, which rounds up or down at random so that its expectation is the value. In a group whose least value is 0, as a
ReLU leaves it, zeros stay zeros and nothing else becomes one. A group that holds NaN or infinity, or whose range is beyond
float32, comes back as NaN throughout: a forward pass that diverged is not hidden.

What this does to a gradient. Where the backward pass is linear in what was saved (convolutions, linear layers, norms whose
statistics are fixed) and of a ReLU, which needs only the zeros, the gradient has noise and no bias. A GELU, a softmax and a norm
that takes statistics of its input are not linear: they gain a bias of second order in the step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from hdx.ops import dispatch
from hdx.ops.bench import Case

GROUP = 256
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
CHUNK = 1 << 16  # values that torch packs at a time on a CPU, whose caches hold them
SMALLEST = 16 * GROUP  # values; what is smaller stays as it is, since there is nothing to gain

dispatch.declare("act_quant8", "(Tensor x, int seed) -> (Tensor, Tensor)", dtypes=DTYPES)
dispatch.declare("act_dequant8", "(Tensor codes, Tensor ranges, ScalarType dtype) -> Tensor", dtypes=DTYPES)


@torch.library.register_fake("hdx::act_quant8")
def _fake_quant(x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    return x.new_empty(len(x), dtype=torch.uint8), x.new_empty(-(-len(x) // GROUP), 2, dtype=torch.float32)


@torch.library.register_fake("hdx::act_dequant8")
def _fake_dequant(codes: Tensor, ranges: Tensor, dtype: torch.dtype) -> Tensor:
    return codes.new_empty(len(codes), dtype=dtype)


def act_quant8(x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Codes and ranges of a vector.

    Args:
        x: [n] float32, float16 or bfloat16, contiguous.
        seed: of the random rounding; element i of a seed draws the same number on every device.
    Returns: codes [n] uint8; ranges [ceil(n / 256), 2] float32, the least value of a group and its step, negative where the
        group keeps its zeros (the least value is then the least above 0).
    """
    native = dispatch.choose("act_quant8", x) == "native"
    return torch.ops.hdx.act_quant8(x, seed) if native else reference_quant(x, seed)


def act_dequant8(codes: Tensor, ranges: Tensor, dtype: torch.dtype) -> Tensor:
    """The vector [n] of `dtype` that codes and ranges stand for: each value within a step of what it was."""
    native = dispatch.choose("act_dequant8", codes, ranges) == "native"
    return torch.ops.hdx.act_dequant8(codes, ranges, dtype) if native else reference_dequant(codes, ranges, dtype)


def reference_quant(x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """`act_quant8` in torch, bit for bit what the native form gives."""
    if len(x) == 0:
        return x.new_empty(0, dtype=torch.uint8), x.new_empty(0, 2, dtype=torch.float32)
    size = CHUNK if x.device.type == "cpu" else len(x)
    parts = [_quant(part, seed, number * size) for number, part in enumerate(x.split(size))]
    codes, ranges = zip(*parts)
    return torch.cat(codes), torch.cat(ranges)


def _quant(x: Tensor, seed: int, first: int) -> tuple[Tensor, Tensor]:
    """Codes and ranges of a part, of which the first value has the index `first`."""
    n, groups = len(x), -(-len(x) // GROUP)
    values = torch.cat([x.float(), x[-1:].float().expand(groups * GROUP - n)]).view(groups, GROUP)
    low, high = values.aminmax(dim=1, keepdim=True)  # [groups, 1]
    positive = values.where(values > 0, torch.inf).amin(1, keepdim=True)
    broken = ~(high - low).isfinite()  # amin and amax hand on NaN
    zeros = (low == 0) & (high > 0) & ~broken
    step = torch.where(zeros, (high - positive) / 254, (high - low).abs() / 255)
    low = torch.where(zeros, positive, low)
    low, step = low.masked_fill(broken, torch.nan), step.masked_fill(broken, torch.nan)
    steps = (values - low) / step
    whole = steps.floor()
    up = _draws(seed, first, groups * GROUP, x.device).view(groups, GROUP) < steps - whole
    codes = (zeros + whole + up).clamp(max=255).where(step > 0, zeros)  # one value, and maybe 0
    codes = codes.masked_fill(zeros & (values == 0), 0)
    return codes.to(torch.uint8).view(-1)[:n], torch.cat([low, torch.where(zeros, -step, step)], dim=1)


def reference_dequant(codes: Tensor, ranges: Tensor, dtype: torch.dtype) -> Tensor:
    """`act_dequant8` in torch, bit for bit what the native form gives."""
    n = len(codes)
    numbers = F.pad(codes, (0, GROUP * len(ranges) - n)).view(len(ranges), GROUP)
    low, step = ranges[:, :1], ranges[:, 1:]
    zeros = step.signbit()
    values = low + (numbers.float() - zeros.float()) * step.abs()
    return values.masked_fill(zeros & (numbers == 0), 0).to(dtype).view(-1)[:n]


def _draws(seed: int, first: int, n: int, device: torch.device) -> Tensor:
    """[n] uniform multiples of 2^-24 in [0, 1): a hash of the seed and of `first` … `first` + n - 1 (`csrc/quant_math.h`)."""
    low = _mix(torch.tensor(seed & _WORD))
    high = int(_mix(low ^ (seed >> 32 & _WORD) ^ 0x9E3779B9))
    index = torch.arange(first, first + n, device=device)
    return (_mix(_mix(index & _WORD ^ int(low)) ^ (index >> 32) ^ high) >> 8).float() * 2**-24


_WORD = 0xFFFFFFFF


def _mix(x: Tensor) -> Tensor:
    """A hash of 32-bit numbers in int64, whose products wrap around and keep their lower half."""
    x = (x ^ x >> 16) * 0x7FEB352D & _WORD
    x = (x ^ x >> 15) * 0x846CA68B & _WORD
    return x ^ x >> 16


@dataclass(frozen=True)
class Packed:
    """A tensor in eight bits: codes and ranges in the order of its memory, and what it takes to give it back."""

    codes: Tensor
    ranges: Tensor
    dtype: torch.dtype
    order: tuple[int, ...]  # dimensions from the one with the largest stride down
    sizes: tuple[int, ...]  # in that order

    @torch.no_grad()
    def unpack(self) -> Tensor:
        """A tensor of the shape of the one that was packed, and of its strides where its memory had no gaps."""
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return act_dequant8(self.codes, self.ranges, self.dtype).view(self.sizes).permute(inverse)


class saved8(torch.autograd.graph.saved_tensors_hooks):
    """A context in which autograd keeps large activations in eight bits.

    Left as they are: tensors of less than `smallest` values, integers and masks, views that repeat their memory, and
    parameters, of which autograd saves casts and transposes as well; they are told by their sizes.

    Args:
        seed: of the rounding.
        spared: parameters and buffers.
        smallest: see above.
    """

    def __init__(self, seed: int, spared: Iterable[Tensor] = (), smallest: int = SMALLEST) -> None:
        self._smallest, self._seeds = smallest, itertools.count(seed % 2**62)
        self._spared: Collection[tuple[int, ...]] = {tuple(sorted(each.shape)) for each in spared}
        self._codes: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}
        self._storages: list[StorageWeakRef] = []  # as long as these live, no other storage has the same address
        super().__init__(self._pack, _unpack)

    def _pack(self, x: Tensor) -> Tensor | Packed:
        if not self._takes(x):
            return x if x.grad_fn is None else x.detach()  # an output that its own graph held would never be freed
        order = tuple(sorted(range(x.ndim), key=x.stride, reverse=True))
        ordered, storage = x.detach().permute(order), x.untyped_storage()
        extent = x.numel() if ordered.is_contiguous() else (x.shape, x.stride())
        key = (storage._cdata, x._version, x.storage_offset(), x.dtype, extent)
        if key not in self._codes:  # a layer saves its input, which the one before may have saved as its output
            with torch.no_grad():
                self._codes[key] = act_quant8(ordered.contiguous().view(-1), next(self._seeds))
            self._storages.append(StorageWeakRef(storage))
        return Packed(*self._codes[key], x.dtype, order, tuple(ordered.shape))

    def _takes(self, x: Tensor) -> bool:
        large = x.numel() >= self._smallest and x.dtype in DTYPES and x.layout == torch.strided
        if not large or tuple(sorted(x.shape)) in self._spared:
            return False
        return x.untyped_storage().nbytes() >= x.numel() * x.element_size()

    def __exit__(self, *args: Any) -> None:
        self._codes.clear()  # the graph holds this object until the first layer's backward pass
        self._storages.clear()
        super().__exit__(*args)


def _unpack(saved: Tensor | Packed) -> Tensor:
    return saved.unpack() if isinstance(saved, Packed) else saved


def cases(device: str) -> Iterator[Case]:
    """There and back of what a ReLU leaves: 2^20 values, or 2^26 on a GPU (see `hdx.ops.bench`)."""
    n = 1 << (26 if device == "cuda" else 20)
    x = torch.randn(n, generator=torch.Generator().manual_seed(0)).relu_().to(device)
    codes, ranges = reference_quant(x, 0)
    native = not dispatch.why_not("act_quant8", x)
    there: dict[str, Callable[[], object]] = {"reference": partial(reference_quant, x, 0)}
    back: dict[str, Callable[[], object]] = {"reference": partial(reference_dequant, codes, ranges, x.dtype)}
    if native:
        there["native"] = partial(torch.ops.hdx.act_quant8, x, 0)
        back["native"] = partial(torch.ops.hdx.act_dequant8, codes, ranges, x.dtype)
    moved = (4 + 1 + 8 / GROUP) * n
    note = "" if device == "cuda" else "on a CPU arithmetic bounds it: about 25 operations a value for the random number alone"
    yield Case(f"act_quant8 {n:,} values", bytes=moved, flops=4.0 * n, forms=there, note=note)
    yield Case(f"act_dequant8 {n:,} values", bytes=moved, flops=2.0 * n, forms=back)
