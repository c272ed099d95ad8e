"""A stream on two ranks (gloo): chunks smaller than the ranks' shares, of one sample, without a new class, as on one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.dist.test_ranks import on_two
from tests.integration.harness import arrays_of, train

pytestmark = [pytest.mark.dist, pytest.mark.slow]


@pytest.mark.parametrize("chunks", [7, 40])
def test_lda_on_a_stream_is_the_same_on_two_ranks(chunks: int, tmp_path: Path) -> None:
    """40 samples: chunks of 6 and 5, or of one, of which a rank then gets none."""
    words = ("+exp=cil_online", "protocol.order=shuffled", "protocol.shots=4", f"protocol.chunks={chunks}")
    words = (*words, "dataset.test_fraction=0.1", "trainer.eval_batch_size=7")
    one, two = train(tmp_path / "one", *words), on_two(tmp_path / "two", *words)
    assert (one["ranks"], two["ranks"]) == (1, 2) and one["run_id"] == two["run_id"]
    assert len(one["sessions"]) == len(two["sessions"]) == chunks
    assert any(not session["new_classes"] for session in one["sessions"])
    for a, b in zip(arrays_of(one), arrays_of(two)):
        for name in ("index", "label", "session_of_label", "prediction"):
            np.testing.assert_array_equal(a[name], b[name])
        np.testing.assert_allclose(a["log_p_label"], b["log_p_label"], atol=1e-5)
