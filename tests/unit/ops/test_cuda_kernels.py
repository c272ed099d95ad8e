"""Every CUDA op against torch: on a GPU, or thread by thread on a CPU (`emulated/`, started by test_cuda_build.py)."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hdx.ops import act_quant8, class_moments, dispatch, episode_ncm, kd_rows, rkd_triplet

pytestmark = pytest.mark.gpu
EMULATED = os.environ.get("HDX_EMULATED_CUDA", "")


@pytest.fixture(scope="module")
def device() -> torch.device:
    """The GPU with the CUDA library loaded; or the CPU, with the same kernels under an emulator."""
    if EMULATED:
        torch.ops.load_library(EMULATED)
        return torch.device("cpu")
    if reason := dispatch.load("cuda"):
        pytest.skip(f"CUDA ops: {reason}")
    return torch.device("cuda")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- act_quant8: the same bits as on a CPU


@pytest.mark.parametrize("dtype", act_quant8.DTYPES, ids=str)
@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 6000])
@pytest.mark.parametrize("shift", [0, 1], ids=["aligned", "off by one"])
def test_act_quant8(device: torch.device, dtype: torch.dtype, n: int, shift: int) -> None:
    kinds: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda x: x,
        torch.relu,
        lambda x: x * 0,
        lambda x: x * 0 + 3,
        lambda x: (x > 0) * 2.0,
        lambda x: x * 1e-42,
        lambda x: x * 1e30,
    )
    for kind in kinds:
        values = kind(drawn(n + shift, seed=n))
        values[n // 2 + shift :: 2000] = torch.inf
        x = values.to(dtype)[shift:]
        codes, ranges = act_quant8.reference_quant(x, 7 - n)
        found_codes, found_ranges = torch.ops.hdx.act_quant8(values.to(device, dtype)[shift:], 7 - n)
        assert torch.equal(found_codes.cpu(), codes)
        assert torch.equal(found_ranges.cpu().nan_to_num(9.5), ranges.nan_to_num(9.5))
        assert torch.equal(found_ranges[:, 1].cpu().signbit(), ranges[:, 1].signbit())
        back = torch.ops.hdx.act_dequant8(found_codes, found_ranges, dtype)
        assert torch.equal(back.cpu().nan_to_num(9.5), act_quant8.reference_dequant(codes, ranges, dtype).nan_to_num(9.5))


# --- episode_ncm


@pytest.mark.parametrize("cosine", [False, True], ids=["euclidean", "cosine"])
@pytest.mark.parametrize(
    ("ways", "n_support", "n_query", "d"),
    [(5, 25, 20, 64), (3, 4, 7, 33), (1, 1, 1, 1), (7, 30, 9, 640), (20, 40, 11, 1300)],  # the last one needs global memory
)
def test_episode_ncm(device: torch.device, ways: int, n_support: int, n_query: int, d: int, cosine: bool) -> None:
    generator = torch.Generator().manual_seed(d)
    bank = drawn(150, 2 * d, seed=d)[:, :d] + 3  # rows further apart than they are long
    support, query = (torch.randint(150, (6, n), generator=generator) for n in (n_support, n_query))
    labels = torch.randint(ways, (6, n_support), generator=generator)
    expected = episode_ncm.reference(bank.double(), support, labels, query, ways, cosine)
    found = episode_ncm.native(bank.to(device)[:, :d], *(x.to(device) for x in (support, labels, query)), ways, cosine)
    assert torch.equal(found.cpu(), expected)


def test_equal_prototypes_tie_to_the_first_and_absent_classes_are_never_chosen(device: torch.device) -> None:
    bank = drawn(4, 100)
    support, labels = torch.tensor([[0, 0, 1, 0]]), torch.tensor([[3, 1, 4, 6]])
    query = torch.tensor([[0, 1]])
    found = episode_ncm.native(*(x.to(device) for x in (bank, support, labels, query)), 8, False)
    assert found.tolist() == [[1, 4]]


# --- class_moments


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize(("n", "n_classes", "d"), [(0, 3, 5), (1, 1, 1), (300, 4, 130), (500, 90, 7)])
def test_class_moments(device: torch.device, dtype: torch.dtype, n: int, n_classes: int, d: int) -> None:
    features = (drawn(n, 2 * d, seed=n) + 5).to(dtype)[:, :d]
    pivot = drawn(d, seed=1).double() + 5
    labels = torch.randint(max(1, n_classes - 1), (n,), generator=torch.Generator().manual_seed(n))  # the last class is empty
    counts = torch.bincount(labels, minlength=n_classes)
    starts, firsts = (class_moments._starts(lengths) for lengths in (counts, -(-counts // class_moments.SEGMENT)))
    order = labels.argsort(stable=True)
    arguments = [x.to(device) for x in (features, order, starts, firsts, pivot)]
    arguments[0] = features.to(device)[:, :d] if n else arguments[0]
    centred, sums = (x.cpu() for x in torch.ops.hdx.class_moments(*arguments))
    assert torch.equal(centred, features.double() - pivot)
    expected = torch.zeros(n_classes, d, dtype=torch.float64).index_add_(0, labels, centred.double())
    torch.testing.assert_close(sums, expected, rtol=1e-13, atol=1e-12)
    again = torch.ops.hdx.class_moments(*arguments)[1].cpu()
    assert torch.equal(again.view(torch.int64), sums.view(torch.int64))


# --- kd_rows

SHAPES = [(1, 1), (7, 33), (3, 2048), (2, 5000)]  # rows that registers hold, and one that they do not
WEIGHTS = (1.0, 0.5, 2.0, 0.3, 0.7, 0.2)


def gradients(form: Callable[..., Tensor], student: Tensor, teacher: Tensor, labels: Tensor, terms: Any) -> tuple[Tensor, Tensor]:
    student = student.detach().clone().requires_grad_()
    loss = form(student, teacher, labels, terms)
    (loss * torch.arange(1, len(loss) + 1).to(loss)).sum().backward()
    assert student.grad is not None
    return loss.detach().cpu().double(), student.grad.cpu().double()


def check_kd(device: torch.device, student: Tensor, teacher: Tensor, labels: Tensor, terms: kd_rows.Terms) -> None:
    """Not worse than a straightforward float32 computation by more than a tolerance; float64 to rounding."""
    exact = gradients(kd_rows.reference, student.double(), teacher.double(), labels, terms)
    eager = gradients(kd_rows.reference, student.float(), teacher.float(), labels, terms)
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.float64, 1e-13)):
        found = gradients(kd_rows.native, student.to(device, dtype), teacher.to(device, dtype), labels.to(device), terms)
        for value, wanted, plain in zip(found, exact, eager):
            assert torch.equal(value.isfinite(), wanted.isfinite())
            value, wanted, plain = (x.nan_to_num(0, 0, 0) for x in (value, wanted, plain))
            allowed = (plain - wanted).abs().max() * (dtype == torch.float32) + tolerance * (1 + wanted.abs().max())
            assert (value - wanted).abs().max() <= allowed


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(("n", "n_classes"), SHAPES)
def test_kd_rows(device: torch.device, n: int, n_classes: int, temperature: float) -> None:
    labels = torch.randint(n_classes, (n,), generator=torch.Generator().manual_seed(n))
    labels[0] = -1
    student, teacher = 5 * drawn(n, n_classes, seed=1), 5 * drawn(n, n_classes, seed=2)
    check_kd(device, student, teacher, labels, kd_rows.Terms(temperature, *WEIGHTS))


@pytest.mark.parametrize("term", range(6))
def test_each_term_of_kd_rows(device: torch.device, term: int) -> None:
    weights = [float(i == term) for i in range(6)]
    labels = torch.tensor([3, 0, 39])
    check_kd(device, 3 * drawn(3, 40, seed=1), 3 * drawn(3, 40, seed=2), labels, kd_rows.Terms(2.0, *weights))


def test_kd_rows_of_masked_and_of_large_logits(device: torch.device) -> None:
    labels = torch.tensor([1, 2, 0])
    student, teacher = drawn(3, 50, seed=1), drawn(3, 50, seed=2)
    student[:, 20:], teacher[:, 20:] = -torch.inf, -torch.inf
    check_kd(device, student, teacher, labels, kd_rows.Terms(2.0, *WEIGHTS))
    student, teacher = 1e4 * drawn(3, 50, seed=1), 1e4 * drawn(3, 50, seed=2)
    check_kd(device, student, teacher, labels, kd_rows.Terms(2.0, *WEIGHTS))


def test_kd_rows_of_strided_logits(device: torch.device) -> None:
    student, teacher, labels = drawn(4, 80, seed=1), drawn(40, 4, seed=2), torch.tensor([1, 2, 0, 39])
    terms = kd_rows.Terms(2.0, *WEIGHTS)
    found = torch.ops.hdx.kd_rows(student.to(device)[:, ::2], teacher.to(device).T, labels.to(device), *terms)
    expected = torch.ops.hdx.kd_rows(*(x.contiguous().to(device) for x in (student[:, ::2], teacher.T, labels)), *terms)
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


# --- rkd_triplet


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("n", "d", "e"), [(0, 3, 4), (1, 3, 4), (7, 5, 3), (40, 33, 20), (270, 20, 300)])
def test_rkd_triplet(device: torch.device, n: int, d: int, e: int, dtype: torch.dtype) -> None:
    student, teacher = drawn(n, d, seed=1), drawn(n, e, seed=2)
    if n > 5:
        student[1] = student[2]  # a pair without a direction
    exact = student.double().requires_grad_()
    weight = torch.arange(n, dtype=torch.float64) + 1
    form = rkd_triplet.reference if n < 100 else rkd_triplet.composite  # the former takes B^2 D numbers
    wanted = form(exact, teacher.double())
    (wanted * weight).sum().backward()
    own = student.to(device, dtype).requires_grad_()
    found = rkd_triplet.native(own, teacher.to(device, dtype))
    (found * weight.to(found)).sum().backward()
    assert own.grad is not None and exact.grad is not None
    tolerance = 2e-6 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(found.cpu().double(), wanted.detach(), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(own.grad.cpu().double(), exact.grad, rtol=tolerance, atol=tolerance * (1 + n / 10))


# --- what is the same for all


def test_a_second_run_gives_the_same_bits(device: torch.device) -> None:
    student, teacher = drawn(33, 2100, seed=1).to(device), drawn(33, 2100, seed=2).to(device)
    labels = torch.arange(33, device=device)
    terms = kd_rows.Terms(2.0, *WEIGHTS)
    few = student[:, :90], teacher[:, 90:150]
    for run in (lambda: torch.ops.hdx.kd_rows(student, teacher, labels, *terms), lambda: torch.ops.hdx.rkd_triplet(*few)):
        assert all(torch.equal(a, b) for a, b in zip(run(), run()))


@pytest.mark.skipif(not EMULATED, reason="a trap ends a GPU's process")
def test_rows_and_labels_out_of_range_end_the_kernel(device: torch.device) -> None:
    bank, good = drawn(4, 8), torch.zeros(1, 2, dtype=torch.int64)
    for support, labels, query in ((good + 4, good, good), (good, good + 3, good), (good, good, good - 1)):
        with pytest.raises(RuntimeError, match="trapped"):
            episode_ncm.native(bank, support, labels, query, 3, False)
    with pytest.raises(RuntimeError, match="trapped"):
        torch.ops.hdx.kd_rows(bank, bank, torch.full((4,), 8), *kd_rows.Terms(1.0, *WEIGHTS))


@pytest.mark.skipif(bool(EMULATED), reason="of memory and of autograd on a GPU")
def test_activations_take_a_quarter_of_the_memory(device: torch.device) -> None:
    torch.manual_seed(0)
    layers = [layer for _ in range(8) for layer in (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())]
    net, images = nn.Sequential(*layers).to(device), drawn(32, 16, 64, 64).to(device)

    def step(context: Any) -> tuple[int, Tensor]:
        net.zero_grad()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        with context:
            out = net(images).square().mean()
        held = torch.cuda.memory_allocated() - before
        out.backward()
        return held, torch.cat([parameter.grad.flatten() for parameter in net.parameters() if parameter.grad is not None])

    step(nullcontext())  # what cuDNN allocates once
    plain, exact = step(nullcontext())
    packed, found = step(act_quant8.saved8(1, net.parameters()))
    assert packed < 0.4 * plain  # the images are packed too, and stay
    assert (found - exact).norm() < 0.05 * exact.norm()
