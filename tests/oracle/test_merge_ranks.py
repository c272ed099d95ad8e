"""merge_ranks in two and three real processes (gloo), with shards of unequal size and ranks without samples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file

from hdx.heads.lda import LDA
from hdx.heads.ncm import NCM

D, C, N = 10, 5, 61
HEADS = {"lda": lambda: LDA(D, ridge=0.1), "ncm": lambda: NCM(D), "ncm_cosine": lambda: NCM(D, metric="cosine")}


def samples():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(C, (N,), generator=generator)
    return torch.randn(N, D, generator=generator) + y[:, None] + 100, y


def shards(world: int) -> list[list[torch.Tensor]]:
    """For each of two sessions the indices of every rank: rank 0 has none at first, rank 1 none later."""
    first, second = torch.arange(23), torch.arange(23, N)
    empty = first[:0]
    if world == 2:
        return [[empty, first], [second, empty]]
    return [[empty, first[:4], first[4:]], [second[:30], empty, second[30:]]]


def work(rank: int, world: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    x, y = samples()
    logits = {}
    for name, make in HEADS.items():
        head = make()
        head.merge_ranks()  # nobody has anything yet
        head.expand(C)
        for session in shards(world):
            head.update(x[session[rank]], y[session[rank]])
            head.merge_ranks()
            head.merge_ranks()  # a second merge adds nothing
        logits[name] = head(x)
        assert int(head.moments.counts.sum()) == N
    save_file(logits, f"{folder}/{rank}.safetensors")
    dist.destroy_process_group()


@pytest.mark.dist
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_agree_with_one_process(world: int, tmp_path: Path):
    mp.spawn(work, (world, str(tmp_path)), nprocs=world)
    x, y = samples()
    results = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(world)]
    for name, make in HEADS.items():
        head = make()
        head.expand(C)
        head.update(x, y)
        expected = head(x)
        for result in results:
            assert (result[name] - expected).abs().max() < 1e-9
            assert torch.equal(result[name].argmax(1), expected.argmax(1))
            assert torch.equal(result[name], results[0][name])  # ranks agree to the bit
