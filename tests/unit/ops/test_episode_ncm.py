"""episode_ncm against float64 distances: each form, every shape, the same bits for any number of threads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hdx.heads.ncm import NCM
from hdx.heads.simpleshot import SimpleShot
from hdx.ops import episode_ncm as op

D, N = 67, 400  # no multiple of a vector


def episodes(n_episodes: int, ways: int, shots: int, queries: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(n_episodes, N, generator=generator).argsort(1)[:, : ways * (shots + queries)]
    labels = torch.arange(ways).repeat_interleave(shots).expand(n_episodes, -1).contiguous()
    return rows[:, : ways * shots].contiguous(), labels, rows[:, ways * shots :].contiguous()


def bank(offset: float = 0.0, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, D, generator=generator) + offset


def scores(x: Tensor, support: Tensor, labels: Tensor, query: Tensor, ways: int, cosine: bool) -> Tensor:
    """[E, Q, W] by loops, in float64 about the mean of the prototypes."""
    found = torch.full((*query.shape, ways), -torch.inf, dtype=torch.float64)
    for e in range(len(query)):
        points = {w: x[support[e][labels[e] == w]].double().mean(0) for w in labels[e].unique().tolist()}
        for w, p in points.items():
            for k, q in enumerate(x[query[e]].double()):
                found[e, k, w] = q @ p / p.norm() if cosine else -(q - p).norm()
    return found


def check(given: Tensor, exact: Tensor, tolerance: float) -> None:
    """Each query's class scores as high as any, to `tolerance`."""
    assert given.dtype == torch.int64 and given.shape == exact.shape[:2]
    best, own = exact.amax(2), exact.gather(2, given[..., None])[..., 0]
    assert (own >= best - tolerance).all()


@pytest.mark.parametrize("form", ["composite", "reference", "native"])
@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize(
    "shape", [(0, 5, 1, 3), (1, 5, 5, 15), (7, 5, 1, 15), (7, 1, 3, 2), (3, 13, 2, 4), (2, 20, 5, 15), (3, 4, 3, 0)], ids=str
)
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_forms_are_right(form, cosine, shape, offset, request) -> None:
    if form == "native":
        request.getfixturevalue("native")
    x, parts, ways = bank(offset), episodes(*shape), shape[1]
    given = op.FORMS[form](x, *parts, ways, cosine)
    check(given, scores(x, *parts, ways, cosine), 1e-3 if cosine and offset else 2e-5 * (1 + offset / 100))


@pytest.mark.parametrize("form", ["composite", "native"])
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scale_and_ragged_support(form, scale, request) -> None:
    if form == "native":
        request.getfixturevalue("native")
    support, _, query = episodes(7, 6, 4, 5)
    labels = torch.randint(5, support.shape, generator=torch.Generator().manual_seed(3)).sort(1).values  # class 5 never comes
    x = scale * bank()
    given = op.FORMS[form](x, support, labels, query, 6, False)
    assert (given < 5).all()
    check(given, scores(x, support, labels, query, 6, False), 2e-5 * scale)


@pytest.mark.parametrize("form", ["reference", "native"])
def test_ties_go_to_the_first_class(form, request) -> None:
    if form == "native":
        request.getfixturevalue("native")
    x = bank()
    query = torch.arange(100, 150)[None]
    for ways in (2, 5, 7, 12):
        support = torch.arange(2).repeat(ways)[None]  # the same two samples for every class
        labels = torch.arange(ways).repeat_interleave(2)[None]
        assert (op.FORMS[form](x, support, labels, query, ways, False) == 0).all()


def test_the_same_bits_for_any_number_of_threads_and_batch(native) -> None:
    x, (support, labels, query) = bank(), episodes(40, 5, 5, 15)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(op.native(x, support, labels, query, 5, False))
    torch.set_num_threads(before)
    parts = [op.native(x, *(part[i : i + 1] for part in (support, labels, query)), 5, False) for i in range(40)]
    assert all(torch.equal(each, found[0]) for each in (*found, torch.cat(parts)))


def test_strided_rows(native) -> None:
    wide, parts = torch.randn(N, 2 * D), episodes(5, 5, 2, 6)
    for x in (wide[:, :D], wide[:, ::2], wide.T[:D].T.contiguous().T.contiguous().T):
        assert torch.equal(op.native(x, *parts, 5, False), op.native(x.clone(), *parts, 5, False))


def test_rows_and_labels_out_of_range(native) -> None:
    support, labels, query = episodes(2, 5, 1, 3)
    for wrong in ({"support": support + N}, {"query": query - N}, {"labels": labels + 1}):
        with pytest.raises(RuntimeError, match="Expected .* in \\[0, "):
            op.native(
                **{"bank": bank(), "support": support, "labels": labels, "query": query, "ways": 5, "cosine": False} | wrong
            )


def test_opcheck_and_compile(native) -> None:
    x, parts = bank(), episodes(3, 5, 1, 4)
    torch.library.opcheck(torch.ops.hdx.episode_ncm.default, (x, *parts, 5, False))
    compiled = torch.compile(op.episode_ncm, fullgraph=True, dynamic=True)
    for n in (3, 5):
        parts = episodes(n, 5, 1, 4)
        assert torch.equal(compiled(x, *parts, 5), op.native(x, *parts, 5, False))


HEADS = {
    "ncm": lambda: NCM(D),
    "ncm_cosine": lambda: NCM(D, metric="cosine"),
    "simpleshot": lambda: SimpleShot(D),
    "simpleshot_cl2n": lambda: SimpleShot(D, centre="base"),
    "simpleshot_euclidean": lambda: SimpleShot(D, metric="euclidean", normalise=False),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("form", ["composite", "native"])
def test_heads_decide_as_by_their_logits(name, form, request) -> None:
    if form == "native":
        request.getfixturevalue("native")
    head, x = HEADS[name](), bank(0.5)
    if name == "simpleshot_cl2n":
        head.base_mean.copy_(x.mean(0))
    support, labels, query = episodes(20, 5, 3, 8)
    logits = head.classify(x[support], labels, x[query], 5)
    features, cosine = head.for_nearest_means(x)
    assert torch.equal(op.FORMS[form](features, support, labels, query, 5, cosine), logits.argmax(2))
