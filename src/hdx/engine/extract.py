"""One extraction for many runs: the features of every image that some of them use, before the first of them begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hdx import registry
from hdx.engine.bank import Bank
from hdx.engine.build import assemble
from hdx.protocols._base import Session


def extract(data: dict[str, Any], others: Sequence[dict[str, Any]]) -> int:
    """Put into the bank what a run, and others on the same frozen body, use.

    Args:
        data: config of the run.
        others: `{protocol, seed}` of the others.

    Returns: images that went through the body. Raises: Interrupted when asked to stop; what was extracted stays.
    """
    assembly = assemble(data)
    assembly.attach(data["adapter"])
    body, dataset = assembly.method.body, assembly.dataset
    sessions = list(assembly.sessions)
    for other in others:
        sessions += registry.build("protocol", other["protocol"]).sessions(dataset, other["seed"])
    bank = Bank(Path(data["output_dir"]) / "bank", assembly.method.recipe.eval_batch_size, data["feature_dtype"], assembly.device)
    digest = body.digest()
    bank.get(body, digest, dataset.train, _union(sessions, "train"))
    bank.get(body, digest, dataset.test, _union(sessions, "test"))
    return bank.forwarded


def _union(sessions: list[Session], split: str) -> np.ndarray:
    return np.unique(np.concatenate([getattr(session, split) for session in sessions]))
