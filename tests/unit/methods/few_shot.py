"""What the tests of methods for few-shot share: omniglot characters, a small body, one-shot accuracy on unseen characters."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hdx.adapters.full import Full
from hdx.backbones.conv4 import Conv4
from hdx.body import Body
from hdx.datasets._base import Dataset
from hdx.datasets._join import Joined
from hdx.datasets.omniglot import Omniglot
from hdx.datasets.transforms import EvalTransform
from hdx.engine.fit import fit
from hdx.engine.loader import PhaseLoader
from hdx.heads._base import Head
from hdx.methods._base import Method, Phase
from hdx.pools.avg import Avg
from hdx.protocols._base import Session

CPU = torch.device("cpu")
SEEN, UNSEEN = ("Bengali", "Hebrew", "Korean", "Latin"), "Greek"


def characters(data_dir: Path, folder: Path) -> Dataset:
    """All 20 drawings of some alphabets' characters as the train split, those of `UNSEEN` last."""
    with zipfile.ZipFile(data_dir / "omniglot.zip") as whole, zipfile.ZipFile(folder / "omniglot.zip", "w") as some:
        for number, alphabet in enumerate((*SEEN, UNSEEN)):
            for name in whole.namelist():
                if name.startswith(f"images_background/{alphabet}/") and name.endswith(".png"):
                    some.writestr(name.replace(f"/{alphabet}/", f"/{number}_{alphabet}/"), whole.read(name))
    dataset = Omniglot(folder, folder / "cache", subset="background")
    dataset.train = Joined([dataset.train, dataset.test])
    return dataset


def unseen(dataset: Dataset) -> np.ndarray:
    """Classes of the alphabet that is not trained on."""
    return np.array([label for label, name in enumerate(dataset.classes) if UNSEEN in name])


def session_of(labels: np.ndarray, n_classes: int) -> Session:
    """The first `n_classes` classes, with all their rows."""
    classes = tuple(range(n_classes))
    rows = np.flatnonzero(labels < n_classes)
    return Session(0, classes, classes, rows, rows)


def small_body(width: int = 32, seed: int = 0) -> Body:
    """An untrained Conv-4 for images of 28 pixels, all of it trainable."""
    torch.manual_seed(seed)
    backbone = Conv4(width=width)
    body = Body(backbone, Avg(backbone), EvalTransform(backbone.input_spec, (1, 28, 28)), "32", {"backbone": "conv4"})
    body.attach(Full())
    return body


def loader_of(method: Method, phase: Phase, dataset: Dataset, epochs: int) -> PhaseLoader:
    """Batches of a phase on images; classes are their positions."""
    return PhaseLoader(
        dataset.train,
        phase.indices,
        dataset.train.labels[phase.indices],
        epochs=epochs,
        batch_size=method.recipe.batch_size,
        seed=0,
        parts=(0, 0),
        device=CPU,
        transform=method.body.transform,
        sampler=phase.sampler,
    )


def train(method: Method, phase: Phase, dataset: Dataset, epochs: int, file: Path) -> float | None:
    """A whole phase, as the engine runs it. Returns: the mean loss of the last epoch."""
    loader = loader_of(method, phase, dataset, epochs)
    loss = fit(method, phase, loader, file=file, seed=0, parts=(0, 0), device=CPU, nodes=1, report=lambda state: None)
    if phase.finish is not None:
        phase.finish()
    return loss


def features_of(body: Body, dataset: Dataset, classes: np.ndarray, drawings: int = 6) -> Tensor:
    """[C, drawings, D] features of the first drawings of each class."""
    rows = np.stack([np.flatnonzero(dataset.train.labels == label)[:drawings] for label in classes])
    body.eval()
    return body.embed(dataset.train.fetch(rows.ravel())).view(*rows.shape, -1)


def one_shot_accuracy(head: Head, features: Tensor, n_episodes: int = 200, ways: int = 5) -> float:
    """Mean accuracy of `head.classify` over 5-way 1-shot episodes with the other drawings as queries."""
    generator = torch.Generator().manual_seed(1)
    chosen = torch.stack([torch.randperm(len(features), generator=generator)[:ways] for _ in range(n_episodes)])
    drawn = features[chosen].clone()  # [E, W, drawings, D]
    support, query = drawn[:, :, 0], drawn[:, :, 1:].flatten(1, 2)
    labels = torch.arange(ways).expand(n_episodes, ways)
    targets = torch.arange(ways).repeat_interleave(drawn.shape[2] - 1)
    return float((head.classify(support, labels, query, ways).argmax(2) == targets).double().mean())
