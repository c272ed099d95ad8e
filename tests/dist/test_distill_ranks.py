"""DHKD's alignment and USKD's batch mean over two real processes (gloo), with uneven shares: the weights of one process."""

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
from hdx.datasets.transforms import EvalTransform
from hdx.heads.linear import Linear
from hdx.losses._base import Outputs
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch, Method
from hdx.backbones._base import Block
from hdx.body import Body
from hdx.methods.dhkd import Dhkd
from hdx.methods._parts import Parts
from hdx.methods.uskd import Uskd
from hdx.pools.avg import Avg
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe
from tests.dist.test_prototypical_ranks import TwoConvolutions

N, CLASSES = 9, 3  # shares of 5 and 4


class WithMiddle(TwoConvolutions):
    """The first of the two convolutions is the middle."""

    def named_blocks(self) -> list[Block]:
        return [Block("layers.0", 6), Block("layers", 8)]


def made(name: str) -> Method:
    torch.manual_seed(0)
    backbone = WithMiddle()
    body = Body(backbone, Avg(backbone), EvalTransform(backbone.input_spec, (3, 8, 8)), "32", {"backbone": "two"})
    body.attach(Full())
    parts = Parts(body, Linear(8), CrossEntropy(), Recipe())
    method: Method = Dhkd(parts, auxiliary="linear", alpha=3.0) if name == "dhkd" else Uskd(parts, alpha=2.0, beta=2.0)
    method.head.expand(CLASSES)
    session = Session(0, tuple(range(CLASSES)), tuple(range(CLASSES)), np.arange(N), np.arange(1))
    method.begin(method.phases(session, [session])[0])
    return method


class Step(nn.Module):
    """What Lightning hands to DDP: a forward that is the training step."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        assert method.classifier is not None
        self.classifier = method.classifier

    def forward(self, batch: Batch) -> Tensor:
        return self.method.training_step(batch, 0)


def trained(step: nn.Module, method: Method, rank: int, world: int) -> dict[str, Tensor]:
    """Weights after three steps of SGD."""
    generator = torch.Generator().manual_seed(1)
    assert method.current is not None
    parameters = method.current.parameters
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for _ in range(3):
        images, logits = torch.randn(N, 3, 8, 8, generator=generator), 4 * torch.randn(N, CLASSES, generator=generator)
        labels = torch.randint(CLASSES, (N,), generator=generator)
        share = torch.from_numpy(np.array_split(np.arange(N), world)[rank])
        method.teaching = lambda batch: Outputs(logits[batch.positions])  # noqa: B023 - called in this step
        optimizer.zero_grad()
        step(Batch(images[share], labels[share], world / N, share)).backward()
        optimizer.step()
    return {f"weight{i}": p.detach().contiguous().clone() for i, p in enumerate(parameters)}


def work(rank: int, world: int, folder: str) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    for name in ("dhkd", "uskd"):
        method = made(name)
        save_file(trained(DistributedDataParallel(Step(method)), method, rank, world), f"{folder}/{name}-{rank}.safetensors")
    dist.destroy_process_group()


@pytest.mark.dist
def test_ranks_train_as_one_process(tmp_path: Path) -> None:
    mp.spawn(work, (2, str(tmp_path)), nprocs=2)
    for name in ("dhkd", "uskd"):
        method = made(name)
        alone = trained(Step(method), method, 0, 1)
        if name == "dhkd":  # gradients do pull apart here, else there were nothing to test
            free = made(name)
            free.align = False  # type: ignore[assignment]
            assert (trained(Step(free), free, 0, 1)["weight0"] - alone["weight0"]).abs().max() > 1e-4
        for rank in range(2):
            found = load_file(tmp_path / f"{name}-{rank}.safetensors")
            for key, value in alone.items():
                torch.testing.assert_close(found[key], value, atol=1e-6, rtol=1e-5, msg=f"{name} {key} rank {rank}")
