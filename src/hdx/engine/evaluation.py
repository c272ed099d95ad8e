"""Exact evaluation: every test sample once, in fixed chunks dealt to the ranks, no padding, nothing averaged over batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from hdx.engine import ranks
from hdx.heads._base import Head

CHUNK = 1024


@torch.inference_mode()
def predict(
    head: Head,
    features: np.ndarray,
    labels: np.ndarray,
    device: torch.device,
    check: Callable[[torch.Tensor], None] = lambda logits: None,
) -> dict[str, np.ndarray]:
    """Per-sample results of `head` on features [N, D] with labels [N] (positions of logits); the same on any number of ranks.

    Args:
        check: given the logits of every chunk; raises what is wrong with them.

    Returns: `prediction` int64, `log_p_label`, `confidence` (probability of the prediction) float64, `rank` int64 (logits
    above the label's, so top-k accuracy is the share with rank < k). Ties go to the lowest position.
    """
    columns = np.zeros((4, len(labels)))
    for number, start in enumerate(range(0, len(labels), CHUNK)):
        if number % ranks.world() != ranks.rank():
            continue
        part = slice(start, start + CHUNK)
        logits = head(torch.from_numpy(features[part]).to(device)).double().cpu()
        check(logits)
        target = torch.from_numpy(labels[part])
        log_p = logits.log_softmax(1)
        own = logits.gather(1, target[:, None])
        prediction = logits.argmax(1)
        columns[0, part] = prediction
        columns[1, part] = log_p.gather(1, target[:, None])[:, 0]
        columns[2, part] = log_p.gather(1, prediction[:, None])[:, 0].exp()
        columns[3, part] = (logits > own).sum(1)
    total = ranks.all_sum(torch.from_numpy(columns)).numpy()
    return {
        "prediction": total[0].astype(np.int64),
        "log_p_label": total[1],
        "confidence": total[2],
        "rank": total[3].astype(np.int64),
    }
