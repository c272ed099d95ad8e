"""TEEN against a numpy loop, the law of the statistics heads, several real ranks, and its effect on photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hdx.config.validate import defaults
from hdx.datasets.caltech101 import Caltech101
from hdx.engine.build import build_body
from hdx.heads._statistics import StatisticsHead
from hdx.heads.ncm import NCM
from hdx.heads.teen import Teen
from hdx.protocols.few_shot_class_incremental import FewShotClassIncremental

D, BASE, NEW, N = 8, 5, 4, 80
C = BASE + NEW


def samples(seed: int, offset: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.arange(C), torch.randint(C, (N - C,), generator=generator)])
    return torch.randn(N, D, generator=generator) + 2 * torch.randn(C, D, generator=generator)[y] + offset, y


def made(**options: float) -> Teen:
    head = Teen(D, **options)
    head.expand(BASE)
    head.expand(NEW)
    return head


def by_hand(x: np.ndarray, y: np.ndarray, queries: np.ndarray, tau: float, alpha: float) -> np.ndarray:
    def unit(v: np.ndarray) -> np.ndarray:
        return v / np.sqrt((v * v).sum())

    prototypes = [unit(sum(unit(row) for row in x[y == c]) / (y == c).sum()) for c in range(C)]
    for c in range(BASE, C):
        e = [np.exp(tau * prototypes[c] @ prototypes[b]) for b in range(BASE)]
        delta = unit(sum(e[b] / sum(e) * prototypes[b] for b in range(BASE)))
        prototypes[c] = (1 - alpha) * prototypes[c] + alpha * delta
    return np.array([[tau * unit(q) @ unit(p) for p in prototypes] for q in queries])


@pytest.mark.parametrize(("tau", "alpha"), [(16.0, 0.5), (32.0, 0.1), (1.0, 1.0), (4.0, 0.0)])
def test_the_logits_are_those_of_a_loop(tau: float, alpha: float) -> None:
    x, y = samples(3)
    head = made(tau=tau, alpha=alpha)
    head.update(x, y)
    x64, queries = x.numpy().astype(np.float64), torch.randn(7, D, generator=torch.Generator().manual_seed(9))
    expected = by_hand(x64, y.numpy(), queries.numpy().astype(np.float64), tau, alpha)
    np.testing.assert_allclose(head(queries).numpy(), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), offset=st.sampled_from([0.0, 100.0]), n_parts=st.integers(1, 9), n_ranks=st.integers(1, 4))
def test_any_split_order_and_sharding(seed: int, offset: float, n_parts: int, n_ranks: int) -> None:
    x, y = samples(seed, offset)
    whole = made()
    whole.update(x, y)
    rng = np.random.default_rng(seed)
    order = torch.from_numpy(rng.permutation(N))
    cuts = np.sort(rng.integers(0, N + 1, n_parts - 1)).tolist()
    ranks = [made() for _ in range(n_ranks)]
    for part in torch.tensor_split(order, cuts):
        ranks[rng.integers(n_ranks)].update(x[part], y[part])
    for other in ranks[1:]:
        ranks[0].merge(other)
    assert (whole(x) - ranks[0](x)).abs().max() < 1e-9


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(BASE, C)), step=st.integers(1, NEW))
def test_new_classes_may_come_in_any_order_and_in_any_sessions(seed: int, order: list[int], step: int) -> None:
    x, y = samples(seed)
    whole = made()
    whole.update(x, y)
    place = torch.tensor([*range(BASE), *order])  # position of a logit -> class
    position = torch.argsort(place)
    head = Teen(D)
    for first, last in [(0, BASE), *((first, min(first + step, C)) for first in range(BASE, C, step))]:
        head.expand(last - first)
        arrives = (position[y] >= first) & (position[y] < last)
        head.update(x[arrives], position[y[arrives]])
        assert torch.isfinite(head(x)).all()
    assert (head(x) - whole(x)[:, place]).abs().max() < 1e-9


def work(rank: int, world: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    x, y = samples(0)
    head = Teen(D)
    for classes, n_new in ((y < BASE, BASE), (y >= BASE, NEW)):
        head.expand(n_new)
        mine = torch.nonzero(classes).flatten()[rank::world]
        head.update(x[mine], y[mine])
        head.merge_ranks()
    save_file({"logits": head(x)}, f"{folder}/{rank}.safetensors")
    dist.destroy_process_group()


@pytest.mark.dist
def test_two_ranks_agree_with_one_process(tmp_path: Path) -> None:
    mp.spawn(work, (2, str(tmp_path)), nprocs=2)
    first, second = (load_file(tmp_path / f"{rank}.safetensors")["logits"] for rank in range(2))
    x, y = samples(0)
    whole = made()
    whole.update(x, y)
    assert torch.equal(first, second)
    assert (first - whole(x)).abs().max() < 1e-9


def test_new_photographs_are_recognised_more_often_than_by_the_class_means(data_dir: Path, tmp_path: Path) -> None:
    """Caltech-101 at 32 px, 40 + 3 x 10 with 5 shots, the shipped body as it is, three class orders: base pays, new gains."""
    dataset = Caltech101(data_dir, tmp_path, train_per_class=10, test_per_class=8, image_size=32, storage="disk")
    body = build_body(
        {"backbone": defaults("backbone", "tiny"), "pool": defaults("pool", "avg")}, dataset.train.image_shape, "32", 0
    ).eval()
    train, test = (body.embed(split.fetch(np.arange(len(split)))) for split in (dataset.train, dataset.test))
    gains = []
    for seed in range(3):
        sessions = FewShotClassIncremental(base=40, step=10, sessions=3).sessions(dataset, seed)
        labels = torch.full((100,), -1)
        labels[list(sessions[-1].seen_classes)] = torch.arange(70)
        accuracies = []
        heads: list[StatisticsHead] = [NCM(body.n_features, metric="cosine"), Teen(body.n_features, alpha=0.2)]
        for head in heads:
            for session in sessions:
                head.expand(len(session.new_classes))
                head.update(train[session.train], labels[dataset.train.labels[session.train]])
            expected = labels[dataset.test.labels[sessions[-1].test]]
            right = head(test[sessions[-1].test]).argmax(1) == expected
            accuracies.append([float(right[expected < 40].float().mean()), float(right[expected >= 40].float().mean())])
        gains.append(np.subtract(accuracies[1], accuracies[0]))
    base, new = np.mean(gains, axis=0)
    assert new > 0.005 > base
