"""Eight bits: unbiased, within a step, exact where they must be, the same in torch and in C++; gradients that stay right."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from hdx.adapters.full import Full
from hdx.config.identity import group_hash
from hdx.config.validate import load
from hdx.engine import stop
from hdx.engine.fit import fit
from hdx.engine.loader import PhaseLoader
from hdx.errors import ConfigError, Interrupted
from hdx.heads.ncm import NCM
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Method, Phase
from hdx.methods._parts import Parts
from hdx.ops import act_quant8 as ops
from hdx.ops import dispatch
from hdx.ops.act_quant8 import DTYPES, GROUP, Packed, saved8
from hdx.trainers.recipe import Recipe
from tests.unit.engine.conftest import make_body

SIZES = (0, 1, 255, 256, 257, 5000, ops.CHUNK + 300)
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda x: x,
    "relu": torch.relu,
    "far from 0": lambda x: x + 1000,
    "constant": lambda x: x * 0 + 3,
    "two values": lambda x: (x > 0) * 2.0,
    "large": lambda x: x * 1e30,
    "subnormal": lambda x: x * 1e-42,
}


def there_and_back(x: Tensor, seed: int) -> Tensor:
    codes, ranges = ops.reference_quant(x, seed)
    return ops.reference_dequant(codes, ranges, x.dtype)


def steps_of(x: Tensor) -> Tensor:
    """The step of each value's group."""
    return ops.reference_quant(x, 0)[1][:, 1].abs().repeat_interleave(GROUP)[: len(x)]


@pytest.mark.parametrize("kind", ["normal", "relu", "far from 0", "two values"])
def test_the_mean_over_seeds_is_the_value(kind: str) -> None:
    n, n_seeds = 600, 1500
    x = KINDS[kind](torch.randn(n, generator=torch.Generator().manual_seed(3)))
    step = steps_of(x).double()
    total, squares = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    for seed in range(n_seeds):
        error = there_and_back(x, seed).double() - x.double()
        total += error
        squares += error.square()
    spacing = 2.0**-24 * x.double().abs()  # a result is rounded to float32
    bound = 5 * step / 2 / math.sqrt(n_seeds)  # no value has a deviation above step / 2
    assert (total / n_seeds).abs().le(bound + spacing).all()
    if kind == "normal":  # the bound would not see a small common bias: the mean over values does
        deviation = squares.sum().sqrt() / (n * n_seeds)
        assert abs(total.mean() / n_seeds) < 4 * deviation
        assert squares.mean() / n_seeds == pytest.approx(float(step.square().mean()) / 6, rel=0.05)  # mean of f (1 - f) is 1/6


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.floats(-1e4, 1e4), st.floats(1e-6, 1e6), st.integers(-(2**62), 2**62))
def test_no_value_moves_by_more_than_a_step(n: int, offset: float, scale: float, seed: int) -> None:
    x = torch.randn(n, generator=torch.Generator().manual_seed(n)) * scale + offset
    step = steps_of(x)
    assert ((there_and_back(x, seed) - x).abs() <= step * (1 + 1e-4) + x.abs() * 2**-22).all()


def test_zeros_of_a_relu_stay_and_nothing_else_becomes_one() -> None:
    x = torch.randn(4096).relu()
    x[:64] *= 1e-9  # far below a step
    for seed in range(20):
        assert torch.equal(there_and_back(x, seed) == 0, x == 0)


def test_groups_of_one_value_are_exact() -> None:
    for value in (0.0, -0.0, 3.25, -1e-40, 1e38):
        x = torch.full((GROUP + 3,), value)
        assert torch.equal(there_and_back(x, 1), x)
    x = torch.tensor([0.0, 7.7] * 200)
    assert torch.equal(there_and_back(x, 1), x)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_group_that_diverged_comes_back_as_nan(value: float) -> None:
    x = torch.randn(3 * GROUP)
    x[GROUP + 5] = value
    found = there_and_back(x, 1)
    assert found[GROUP : 2 * GROUP].isnan().all()
    assert found[:GROUP].isfinite().all() and found[2 * GROUP :].isfinite().all()


def test_a_range_beyond_float32_comes_back_as_nan() -> None:
    x = torch.zeros(GROUP)
    x[0], x[1] = 3e38, -3e38
    assert there_and_back(x, 1).isnan().all()


@pytest.mark.parametrize("n", SIZES)
def test_what_is_kept(n: int) -> None:
    codes, ranges = ops.reference_quant(torch.randn(n), 1)
    assert codes.dtype == torch.uint8 and codes.shape == (n,)
    assert ranges.dtype == torch.float32 and ranges.shape == (-(-n // GROUP), 2)


def test_a_tail_is_a_group_of_its_own() -> None:
    x = torch.randn(2 * GROUP + 7)
    codes, ranges = ops.reference_quant(x, 1)
    tail = x[2 * GROUP :]
    assert ranges[2, 0] == tail.min() and ranges[2, 1] == (tail.max() - tail.min()) / 255
    assert codes[2 * GROUP :].min() == 0 and codes[2 * GROUP :].max() >= 254


def hashed(seed: int, index: int) -> int:
    """The random number as `quant_math.h` has it, in Python's integers: upper 24 bits."""

    def mix(x: int) -> int:
        x = (x ^ x >> 16) * 0x7FEB352D % 2**32
        x = (x ^ x >> 15) * 0x846CA68B % 2**32
        return x ^ x >> 16

    seed %= 2**64
    first = mix(seed % 2**32)
    second = mix(first ^ seed >> 32 ^ 0x9E3779B9)
    return mix(mix(index % 2**32 ^ first) ^ index >> 32 ^ second) >> 8


@pytest.mark.parametrize("seed", [0, 1, -1, 2**40 + 17, -(2**63), 2**63 - 1])
def test_the_random_numbers(seed: int) -> None:
    for first in (0, 2**32 - 20):
        draws = ops._draws(seed, first, 40, torch.device("cpu"))
        assert draws.tolist() == [hashed(seed, first + i) / 2**24 for i in range(40)]


def test_the_random_numbers_are_uniform_and_seeds_are_independent() -> None:
    a, b = (ops._draws(seed, 0, 200_000, torch.device("cpu")).double() for seed in (5, 6))
    expected = (torch.arange(200_000) + 0.5) / 200_000
    assert (a.sort()[0] - expected).abs().max() < 1.95 / math.sqrt(200_000)  # Kolmogorov-Smirnov, p = 0.001
    for x, y in ((a, b), (a[1:], a[:-1])):
        assert abs(torch.corrcoef(torch.stack([x, y]))[0, 1]) < 4 / math.sqrt(200_000)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("native")
def test_native_code_gives_the_same_bits(kind: str, dtype: torch.dtype) -> None:
    for n in SIZES:
        x = KINDS[kind](torch.randn(n, generator=torch.Generator().manual_seed(n))).to(dtype)
        if n > GROUP:
            x[n // 2], x[-1] = math.nan, math.inf
        codes, ranges = ops.reference_quant(x, n - 7)
        found_codes, found_ranges = ops.act_quant8(x, n - 7)
        assert torch.equal(found_codes, codes)
        assert torch.equal(found_ranges.nan_to_num(9.5).view(torch.int32), ranges.nan_to_num(9.5).view(torch.int32))
        back = ops.act_dequant8(found_codes, found_ranges, dtype)
        assert torch.equal(back.nan_to_num(9.5), ops.reference_dequant(codes, ranges, dtype).nan_to_num(9.5))


@pytest.mark.usefixtures("native")
def test_native_code_as_torch_wants_it() -> None:
    codes, ranges = ops.act_quant8(torch.randn(1000), 3)
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(torch.ops.hdx.act_quant8, (torch.randn(1000), 3), test_utils=tests)
    torch.library.opcheck(torch.ops.hdx.act_dequant8, (codes, ranges, torch.bfloat16), test_utils=tests)


@pytest.mark.usefixtures("native")
def test_native_code_does_not_depend_on_threads() -> None:
    x, before = torch.randn(300_000), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(ops.act_quant8(x, 11))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other))


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(0, 3),
        lambda x: x[:, 1:4],
        lambda x: x.half()[:, :, ::2],
    ],
)
def test_a_tensor_comes_back_in_its_layout(view: Callable[[Tensor], Tensor]) -> None:
    x = view(torch.randn(16, 6, 16, 16))
    packed = saved8(1)._pack(x)
    assert isinstance(packed, Packed)
    found = packed.unpack()
    assert found.shape == x.shape and found.dtype == x.dtype
    dense = x.untyped_storage().nbytes() == x.numel() * x.element_size()
    assert not dense or found.stride() == x.stride()
    assert (found - x).abs().max() <= (x.max() - x.min()) / 255 * 1.01


def small_net() -> nn.Sequential:
    """Convolutions, ReLUs, a norm with fixed statistics and a linear layer: nothing that bends what is saved."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6).eval()
    norm.running_mean.normal_()  # type: ignore[union-attr]
    layers = (nn.Conv2d(3, 6, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 5))
    return nn.Sequential(*layers)


def gradient(net: nn.Module, images: Tensor, context: Any) -> Tensor:
    net.zero_grad()
    with context:
        logits = net(images)
    torch.nn.functional.cross_entropy(logits, torch.arange(len(images)) % 5).backward()
    return torch.cat([parameter.grad.flatten() for parameter in net.parameters()]).double()  # type: ignore[union-attr]


def test_the_mean_gradient_over_seeds_is_the_exact_one() -> None:
    net, images = small_net(), torch.randn(8, 3, 10, 10)
    exact = gradient(net, images, nullcontext())
    found = torch.stack([gradient(net, images, saved8(1000 * seed, net.parameters(), 256)) for seed in range(300)])
    moved = found.std(0) > 1e-4 * exact.abs().max()
    assert moved.sum() > 200
    z = ((found.mean(0) - exact) / (found.std(0) / math.sqrt(len(found))))[moved]
    assert z.abs().max() < 5  # of some 300 gradients
    assert 0.7 < z.square().mean() < 1.4
    assert (found[0] - exact).norm() < 0.05 * exact.norm()


def test_activations_do_not_outlive_the_forward_pass() -> None:
    def alive_after(context: Any) -> list[bool]:
        net, seen = small_net(), []
        for layer in net:
            layer.register_forward_hook(lambda _, __, out: seen.append(StorageWeakRef(out.untyped_storage())))
        with context:
            out = net(torch.randn(64, 3, 10, 10))
        alive = [not ref.expired() for ref in seen[:5]]
        assert out.requires_grad
        return alive

    assert alive_after(nullcontext()) == [True, False, True, False, True]  # a ReLU saves its output, not its input
    assert alive_after(saved8(1)) == [False] * 5


def test_a_tensor_that_two_layers_save_is_packed_once() -> None:
    net = small_net()
    context = saved8(1, net.parameters(), smallest=256)
    with context:
        out = net(torch.randn(64, 3, 10, 10))
        packed = list(context._codes.values())
    # images; the norm's input; what the first ReLU and the second convolution save; what the second ReLU and the linear layer do
    assert [len(codes) for codes, _ in packed] == [64 * n for n in (300, 600, 600, 256)]
    assert sum(codes.nbytes + ranges.nbytes for codes, ranges in packed) < 0.27 * sum(4 * len(codes) for codes, _ in packed)
    assert not context._codes
    out.sum().backward()


def test_what_is_left_as_it_is() -> None:
    net, x = nn.Linear(70, 70), torch.randn(70, 1, requires_grad=True)
    context = saved8(1, net.parameters(), smallest=16)
    weight = net.weight.bfloat16()
    mask = torch.rand(64, 64) < 0.5
    with context:
        saved = {
            "cast of a parameter": context._pack(weight),
            "transposed": context._pack(weight.T),
            "integers": context._pack(torch.arange(4096)),
            "mask": context._pack(mask),
            "float64": context._pack(torch.randn(4096).double()),
            "repeats": context._pack(x.expand(70, 90)),
            "small": context._pack(torch.randn(15)),
        }
        assert isinstance(context._pack(torch.randn(16)), Packed)
    assert {name: isinstance(each, Tensor) for name, each in saved.items()} == dict.fromkeys(saved, True)
    assert torch.equal(saved["cast of a parameter"], weight)


def test_a_body_trains_in_eight_bits_and_predicts_in_full() -> None:
    body = make_body((1, 8, 8))
    images = torch.randn(8, 3, *[body.transform.size] * 2)
    body.requires_grad_(True)
    body.train()

    def trained(memory: Any, seed: int) -> Tensor:
        body.activation_memory = memory
        body.zero_grad()
        torch.manual_seed(seed)
        body(images).square().sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in body.parameters() if parameter.grad is not None])

    exact, first, again, other = trained("none", 1), trained("int8", 1), trained("int8", 1), trained("int8", 2)
    assert torch.equal(first, again)  # a step that is repeated after a resume
    assert not torch.equal(first, exact) and not torch.equal(first, other)
    assert (first - exact).norm() < 0.05 * exact.norm()
    with torch.no_grad():
        body.activation_memory = "none"
        expected = body.eval()(images)
        body.activation_memory = "int8"
        assert torch.equal(body(images), expected)


def trained_body(memory: str, file: Path) -> tuple[float | None, Tensor]:
    """Loss and weights after six steps of a whole body on noise, from the checkpoint `file` where there is one."""
    body = make_body((1, 8, 8))
    body.attach(Full())
    images = torch.randn(24, 3, *[body.transform.size] * 2, generator=torch.Generator().manual_seed(1))
    classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(body.n_features, 3))
    kept: Any = {"activation_memory": memory}
    recipe = Recipe(epochs=2, batch_size=8, optimizer="sgd", checkpoint_seconds=3600, **kept)
    method = Method(Parts(body, NCM(body.n_features), CrossEntropy(), recipe))
    rows, cpu = np.arange(24), torch.device("cpu")
    phase = Phase("images", rows, (0, 1, 2), classifier, [*body.trainable, *classifier.parameters()])
    loader = PhaseLoader(images, rows, rows % 3, epochs=2, batch_size=8, seed=0, parts=(0, 0), device=cpu)
    loss = fit(method, phase, loader, file=file, seed=0, parts=(0, 0), device=cpu, nodes=1, report=lambda state: None)
    return loss, torch.cat([parameter.detach().flatten() for parameter in body.parameters()])


def test_a_phase_in_eight_bits_is_near_the_exact_one_and_resumes_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, weights = trained_body("none", tmp_path / "a.pt")
    loss, found = trained_body("int8", tmp_path / "b.pt")
    assert exact is not None and loss == pytest.approx(exact, rel=0.05) and loss != exact
    assert not torch.equal(found, weights)
    steps: list[int] = []
    monkeypatch.setattr(stop, "requested", lambda: (steps.append(1), len(steps) >= 3)[1])
    with pytest.raises(Interrupted):
        trained_body("int8", tmp_path / "c.pt")
    monkeypatch.setattr(stop, "requested", lambda: False)
    again, resumed = trained_body("int8", tmp_path / "c.pt")
    assert again == loss and torch.equal(resumed, found)


def test_backends_agree_on_a_cpu_without_native_code() -> None:
    x = torch.randn(1000)
    with dispatch.using("reference"):
        codes, ranges = ops.act_quant8(x, 5)
        back = ops.act_dequant8(codes, ranges, torch.float32)
    assert torch.equal(back, there_and_back(x, 5))


def test_the_option() -> None:
    film = ["method=first_session", "adapter=film"]
    plain, eight = load(film), load([*film, "trainer.activation_memory=int8"])
    data = plain.data
    older = {**data, "trainer": {key: value for key, value in data["trainer"].items() if key != "activation_memory"}}
    assert plain.group_hash == group_hash(older) != eight.group_hash
    with pytest.raises(ConfigError, match="no effect with method=frozen, which trains no body"):
        load(["trainer.activation_memory=int8"])
