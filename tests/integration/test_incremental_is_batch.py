"""Statistics heads: any split of the same data into sessions, in any order, predicts what one session on everything predicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hdx.config.validate import load_saved
from hdx.engine.bank import Bank
from hdx.engine.build import assemble
from hdx.engine.state import load_session
from tests.integration.harness import run_dir_of

Record = Callable[..., dict[str, Any]]
ORDERS = (
    ("protocol.step=2",),
    ("protocol.step=2", "protocol.order_seed=5"),
    ("protocol.step=3", "protocol.order_seed=9"),
    ("protocol.first=7", "protocol.step=1"),
)


def logits_by_class(record: dict[str, Any]) -> tuple[np.ndarray, list[str]]:
    """Logits [N, C] of the run's last head on all test images, columns in the order of class names."""
    run_dir = run_dir_of(record)
    data = load_saved(run_dir.config_file).data
    assembly = assemble(data)
    assembly.attach(data["adapter"])
    method, last = assembly.method, assembly.sessions[-1]
    load_session(run_dir.checkpoints, last.index, method, len(last.seen_classes))
    bank = Bank(run_dir.path.parents[2] / "bank", method.recipe.eval_batch_size, data["feature_dtype"], assembly.device)
    features = bank.get(method.body, method.body.digest(), assembly.dataset.test, np.arange(len(assembly.dataset.test)))
    assert bank.forwarded == 0
    names = [assembly.dataset.classes[label] for label in last.seen_classes]
    order = np.argsort(names)
    return method.head(torch.from_numpy(features)).numpy()[:, order], [names[i] for i in order]


@pytest.mark.parametrize("head", ["head=lda", "head=ncm", "head=ncm_cosine"])
def test_any_split_and_order_gives_the_logits_of_one_session(head: str, record: Record) -> None:
    batch, names = logits_by_class(record("method=frozen", head, "protocol=offline"))
    assert names == sorted(names) and batch.shape == (539, 10)
    for words in ORDERS:
        logits, same = logits_by_class(record("method=frozen", head, *words))
        assert same == names
        np.testing.assert_allclose(logits, batch, atol=1e-5)
        np.testing.assert_array_equal(logits.argmax(1), batch.argmax(1))
    assert np.abs(np.diff(np.sort(batch, 1)[:, -2:])).max() > 1e-3  # the classes are told apart by more than the tolerance


def test_the_recorded_accuracy_is_the_same_in_every_order(record: Record) -> None:
    accuracies = {
        record("method=frozen", "head=lda", *words)["metrics"]["acc_last"] for words in (("protocol=offline",), *ORDERS)
    }
    assert len(accuracies) == 1
