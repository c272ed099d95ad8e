"""One extraction for many runs: the features of every image that some of them use, before the first of them begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hdx import registry
from hdx.datasets._base import Dataset, ImageSet
from hdx.engine.bank import Bank
from hdx.engine.build import assemble, build_dataset
from hdx.protocols._base import Protocol


def extract(data: dict[str, Any], others: Sequence[dict[str, Any]]) -> int:
    """Put into the bank what a run, and others on the same frozen body, use.

    Args:
        data: config of the run.
        others: `{protocol, seed}` of the others.

    Returns: images that went through the body. Raises: Interrupted when asked to stop; what was extracted stays.
    """
    assembly = assemble(data)
    assembly.attach(data["adapter"])
    body, dataset = assembly.method.body, build_dataset(data)
    wanted: dict[str, tuple[ImageSet, list[np.ndarray]]] = {}
    for each in ({"protocol": data["protocol"], "seed": data["seed"]}, *others):
        for images, rows in _uses(registry.build("protocol", each["protocol"]), dataset, each["seed"]):
            wanted.setdefault(images.digest, (images, []))[1].append(rows)
    bank = Bank(Path(data["output_dir"]) / "bank", assembly.method.recipe.eval_batch_size, data["feature_dtype"], assembly.device)
    digest = body.digest()
    for images, parts in wanted.values():
        bank.get(body, digest, images, np.unique(np.concatenate(parts)))
    return bank.forwarded


def _uses(protocol: Protocol, dataset: Dataset, seed: int) -> Iterator[tuple[ImageSet, np.ndarray]]:
    """What a protocol always uses; images of base classes, which few heads of episodes ask for, are left to those."""
    view = protocol.view(dataset)
    for session in protocol.sessions(view, seed):
        yield view.test, session.test
        if not protocol.episodic:
            yield view.train, session.train
