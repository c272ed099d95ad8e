"""Nearest class mean in few-shot episodes, straight from a table of features: which class each query is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.ops import dispatch
from hdx.ops.bench import Case

FLOATS = {"cpu": 6 * 2**20, "cuda": 2**28}  # that the composite form gathers at a time; on a CPU its caches hold them

dispatch.declare("episode_ncm", "(Tensor bank, Tensor support, Tensor labels, Tensor query, int ways, bool cosine) -> Tensor")


@torch.library.register_fake("hdx::episode_ncm")
def _fake(bank: Tensor, support: Tensor, labels: Tensor, query: Tensor, ways: int, cosine: bool) -> Tensor:
    return torch.empty_like(query)


def episode_ncm(bank: Tensor, support: Tensor, labels: Tensor, query: Tensor, ways: int, cosine: bool = False) -> Tensor:
    """The class of each query of E episodes whose mean is nearest; of equally near ones the first (composite: to rounding).

    argmax over w of q . p_w - 1/2 |p_w|^2, which is the least Euclidean distance, or of q . p_w / |p_w|, where p_w is the mean
    of the class's support (Snell et al. 2017, eq. 1 and 2). Distances are taken about the mean of an episode's prototypes,
    so that an offset that all features share costs no digits. A class without support is never chosen.

    Where the two best scores differ by more than rounding, the forms agree with each other and with float64: of scores in
    float32, 1e-6 of |q - m| |p_w - m|, where m is that mean (cosine: of |q|). Each episode is judged alone, so that the
    result does not depend on the number of threads.

    Args:
        bank: [N, D] float32 features; native code takes no other dtype.
        support: [E, S] int64 rows of `bank`.
        labels: [E, S] int64 in [0, ways).
        query: [E, Q] int64 rows of `bank`.
        ways: W, at least 1.
        cosine: the largest cosine in place of the least distance; whether samples are normalised before is the caller's choice.
    Returns: [E, Q] int64 in [0, ways).
    Raises: RuntimeError (native) or IndexError for a row or label out of range.
    """
    return FORMS[dispatch.choose("episode_ncm", bank)](bank, support, labels, query, ways, cosine)


def reference(bank: Tensor, support: Tensor, labels: Tensor, query: Tensor, ways: int, cosine: bool) -> Tensor:
    """By distances to means, in the dtype of `bank`."""
    one_hot = F.one_hot(labels, ways).to(bank)  # [E, S, W]
    counts = one_hot.sum(1)[..., None]  # [E, W, 1]
    means = (one_hot.mT @ bank[support]) / counts.clamp(min=1)  # [E, W, D]
    if cosine:
        scores = bank[query] @ F.normalize(means, dim=2).mT  # [E, Q, W]
    else:
        scores = -torch.linalg.vector_norm(bank[query][:, :, None] - means[:, None], dim=3)
    return scores.masked_fill(counts.mT == 0, -torch.inf).argmax(2)


def composite(bank: Tensor, support: Tensor, labels: Tensor, query: Tensor, ways: int, cosine: bool) -> Tensor:
    """By sums of rows (`embedding_bag`) and products, in batches of episodes that caches hold."""
    floats = max(1, (2 * ways + query.shape[1]) * bank.shape[1])
    size = max(1, FLOATS.get(bank.device.type, FLOATS["cuda"]) // floats)
    parts = [
        _batch(bank, *part, ways, cosine) for part in zip(support.split(size), labels.split(size), query.split(size), strict=True)
    ]
    return torch.cat(parts)


def _batch(bank: Tensor, support: Tensor, labels: Tensor, query: Tensor, ways: int, cosine: bool) -> Tensor:
    n_episodes, n_query = query.shape
    means, counts = _means(bank, support, labels, ways)  # [E, W, D], [E, W]
    samples = bank.index_select(0, query.reshape(-1)).view(n_episodes, n_query, bank.shape[1])
    if cosine:
        scores = samples @ F.normalize(means, dim=2).mT
    else:
        centre = means.mean(1, keepdim=True)
        means = means - centre
        scores = torch.baddbmm(means.square().sum(2)[:, None], samples.sub_(centre), means.mT, beta=-0.5)
    return scores.masked_fill((counts == 0)[:, None], -torch.inf).argmax(2)


def _means(bank: Tensor, support: Tensor, labels: Tensor, ways: int) -> tuple[Tensor, Tensor]:
    n_episodes = len(support)
    bags = labels + ways * torch.arange(n_episodes, device=labels.device)[:, None]  # [E, S]
    order = bags.reshape(-1).argsort(stable=True)
    counts = torch.bincount(bags.reshape(-1), minlength=n_episodes * ways)
    means = F.embedding_bag(support.reshape(-1)[order], bank, counts.cumsum(0) - counts, mode="mean")
    return means.view(n_episodes, ways, bank.shape[1]), counts.view(n_episodes, ways)


def native(bank: Tensor, support: Tensor, labels: Tensor, query: Tensor, ways: int, cosine: bool) -> Tensor:
    """By the C++ or CUDA kernel."""
    if bank.stride(1) != 1:
        bank = bank.contiguous()
    return torch.ops.hdx.episode_ncm(bank, support.contiguous(), labels.contiguous(), query.contiguous(), ways, cosine)


FORMS = {"native": native, "composite": composite, "reference": reference}


def cases(device: str) -> Iterator[Case]:
    """10,000 5-way 5-shot episodes with 15 queries a class, 640 features of 12,000 images (see `hdx.ops.bench`)."""
    n_episodes, ways, shots, queries, n, d = 10_000, 5, 5, 15, 12_000, 640
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(n, d, generator=generator).relu().to(device)
    rows = torch.randint(n, (n_episodes, ways * (shots + queries)), generator=generator).to(device)
    support, query = (part.contiguous() for part in rows.split([ways * shots, ways * queries], 1))
    labels = torch.arange(ways, device=device).repeat_interleave(shots).expand(n_episodes, -1).contiguous()

    def loop() -> list[Tensor]:
        found = []
        for own, asked in zip(support, query):
            means = bank[own].view(ways, shots, d).mean(1)
            found.append((bank[asked] @ means.T - 0.5 * means.square().sum(1)).argmax(1))
        return found

    def gathered() -> list[Tensor]:
        found = []
        for own, asked in zip(support.split(40), query.split(40)):
            means = bank[own].view(-1, ways, shots, d).mean(2)
            found.append(torch.baddbmm(means.square().sum(2)[:, None], bank[asked], means.mT, beta=-0.5).argmax(2))
        return found

    forms: dict[str, Callable[[], object]] = {"loop": loop, "gather + bmm": gathered}
    forms["composite"] = partial(composite, bank, support, labels, query, ways, False)
    if not dispatch.why_not("episode_ncm", bank):
        forms["native"] = partial(native, bank, support, labels, query, ways, False)
    yield Case(
        name="episode_ncm 10,000 x 5-way 5-shot, 15 queries, D = 640",
        bytes=4.0 * n_episodes * ways * (shots + queries) * d,
        flops=2.0 * n_episodes * ways * queries * ways * d,
        forms=forms,
        note="rows are read from anywhere in 31 MB, which a copy is not",
    )
