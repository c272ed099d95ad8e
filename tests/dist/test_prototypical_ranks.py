"""Episodes over two and three real processes (gloo): the loss and the weights of one process, with uneven shares."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hdx.adapters.full import Full
from hdx.backbones._base import Backbone, InputSpec
from hdx.datasets.transforms import EvalTransform
from hdx.heads.ncm import NCM
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch
from hdx.body import Body
from hdx.methods._gather import gather
from hdx.methods.prototypical import Prototypical
from hdx.methods._parts import Parts
from hdx.pools.avg import Avg
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe

WAYS, SHOTS, QUERIES = 5, 2, 3  # 25 images: shares of 13 and 12, or of 9, 8 and 8
N_IMAGES = WAYS * (SHOTS + QUERIES)


class TwoConvolutions(Backbone):
    """A body without batch statistics, so that ranks can be compared with one process."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 8, 3))
        self.n_features, self.input_spec = 8, InputSpec(8, (0.5,) * 3, (0.5,) * 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def made(distance: str) -> Prototypical:
    torch.manual_seed(0)
    backbone = TwoConvolutions()
    body = Body(backbone, Avg(backbone), EvalTransform(backbone.input_spec, (3, 8, 8)), "32", {"backbone": "two"})
    body.attach(Full())
    options = {"ways": WAYS, "shots": SHOTS, "queries": QUERIES, "distance": distance}
    method = Prototypical(Parts(body, NCM(8), CrossEntropy(), Recipe()), **options)  # type: ignore[arg-type]
    session = Session(0, tuple(range(WAYS)), tuple(range(WAYS)), np.arange(30), np.arange(1))
    method.begin(method.phases(session, [session])[0])
    return method


class Step(nn.Module):
    """What Lightning hands to DDP: a forward that is the training step."""

    def __init__(self, method: Prototypical) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor) -> Tensor:
        labels, positions = torch.zeros(len(images), dtype=torch.int64), torch.arange(len(images))
        return self.method.training_step(Batch(images, labels, 1.0, positions), 0)


def trained(step: nn.Module, method: Prototypical, rank: int, world: int) -> dict[str, Tensor]:
    """Losses, weights and the first step's gradient of three steps of SGD."""
    generator, found = torch.Generator().manual_seed(1), {}
    optimizer = torch.optim.SGD(method.body.trainable, lr=0.5)
    for number in range(3):
        images = torch.randn(N_IMAGES, 3, 8, 8, generator=generator)
        share = torch.from_numpy(np.array_split(np.arange(N_IMAGES), world)[rank])
        optimizer.zero_grad()
        loss = step(images[share])
        loss.backward()
        found[f"loss{number}"] = loss.detach()
        if number == 0:
            found |= {
                f"gradient{i}": p.grad.contiguous().clone() for i, p in enumerate(method.body.trainable) if p.grad is not None
            }
        optimizer.step()
    return found | {f"weight{i}": p.detach().contiguous().clone() for i, p in enumerate(method.body.trainable)}


def work(rank: int, world: int, folder: str) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    for distance in ("euclidean", "cosine"):
        method = made(distance)
        found = trained(DistributedDataParallel(Step(method)), method, rank, world)
        save_file(found, f"{folder}/{distance}-{rank}.safetensors")
    with pytest.raises(ValueError, match="rows on this one of"):
        gather(torch.zeros(N_IMAGES, 2), N_IMAGES)
    dist.destroy_process_group()


@pytest.mark.dist
@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_ranks_train_as_one_process(world: int, tmp_path: Path) -> None:
    mp.spawn(work, (world, str(tmp_path)), nprocs=world)
    for distance in ("euclidean", "cosine"):
        method = made(distance)
        alone = trained(Step(method), method, 0, 1)
        assert alone["gradient0"].abs().max() > 1e-4
        for rank in range(world):
            found = load_file(tmp_path / f"{distance}-{rank}.safetensors")
            assert found.keys() == alone.keys()
            for name, value in alone.items():
                torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5, msg=f"{distance} {name} rank {rank}")


def test_alone_nothing_is_gathered() -> None:
    share = torch.randn(4, 2, requires_grad=True)
    assert gather(share, 4) is share
    with pytest.raises(ValueError, match="Expected 5 of 5 rows on this one of 1 ranks, got 4"):
        gather(share, 5)
