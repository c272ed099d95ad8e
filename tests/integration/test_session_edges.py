"""Sessions as they come in streams and domains: of one class, of one sample, of classes seen before, of none that is new."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from hdx import registry
from hdx.protocols._base import Protocol, Session
from hdx.protocols.class_incremental import ClassIncremental
from hdx.protocols.domain_incremental import DomainIncremental
from hdx.protocols.online import Online
from tests.integration.harness import arrays_of, interrupted, run_dir_of, train
from tests.unit.protocols.streams import Counted

Record = Callable[..., dict[str, Any]]
SMALL = (
    "backbone.image_size=16",
    "dataset.test_fraction=0.05",
    "protocol.shots=4",
    "trainer.epochs=1",
    "trainer.feature_epochs=1",
    "trainer.batch_size=10",
)
CLASSES = ("protocol=online", "protocol.chunks=7", *SMALL)  # chunks of 6 and 5 samples: of two or three classes
MIXED = ("protocol=online", "protocol.order=shuffled", "protocol.chunks=4", *SMALL)
ONE_CLASS = ("protocol.sizes=[1,5,1,3]", *SMALL)
TURNED = ("protocol=domain_incremental", "protocol.sessions=3", "protocol.order_seed=0", *SMALL)
SINGLE = ("protocol=online", *SMALL, "protocol.shots=1", "protocol.chunks=10")
HEADS: list[dict[str, Any]] = [
    {"name": "ncm", "metric": "euclidean"},
    {"name": "ncm", "metric": "cosine"},
    {"name": "lda", "covariance": "total"},
    {"name": "lda", "covariance": "within", "prior": "empirical"},
    {"name": "ridge"},
    {"name": "imprinted"},
]

protocols = st.one_of(
    st.builds(
        Online, chunks=st.integers(1, 18), order=st.sampled_from(["classes", "blurry", "shuffled"]), blur=st.floats(0.2, 0.8)
    ),
    st.sampled_from([[1, 1, 3], [3, 1, 1], [5], [2, 3]]).map(lambda sizes: ClassIncremental(sizes=sizes)),
    st.builds(DomainIncremental, sessions=st.integers(1, 4), shots=st.one_of(st.none(), st.just(1))),
)


@pytest.mark.parametrize("options", HEADS, ids=lambda options: "-".join(map(str, options.values())))
@settings(max_examples=12, deadline=None)
@given(protocol=protocols, seed=st.integers(0, 999))
def test_after_every_session_a_statistics_head_is_fit_on_all_data_so_far(
    options: dict[str, Any], protocol: Protocol, seed: int
) -> None:
    dataset = protocol.view(Counted([4, 1, 6, 2, 5]))
    rng = np.random.default_rng(seed)
    labels = dataset.train.labels
    features = torch.from_numpy(rng.normal(size=(len(labels), 7)) + 2 * rng.normal(size=(5, 7))[labels] + 3)
    queries = torch.from_numpy(rng.normal(size=(20, 7)) * 2 + 3)
    head, so_far = registry.build("head", options, 7), np.zeros(0, np.int64)
    for session in protocol.sessions(dataset, seed):
        head.expand(len(session.new_classes))
        head.update(features[session.train], positions(session, labels[session.train]))
        so_far = np.concatenate([so_far, session.train])
        batch, mixed = registry.build("head", options, 7), rng.permutation(so_far)
        batch.expand(len(session.seen_classes))
        batch.update(features[mixed], positions(session, labels[mixed]))
        logits = head(queries)
        assert logits.shape == (20, len(session.seen_classes)) and bool(torch.isfinite(logits).all())
        torch.testing.assert_close(logits, batch(queries), atol=1e-8, rtol=1e-8)


def positions(session: Session, labels: np.ndarray) -> torch.Tensor:
    return torch.tensor([session.seen_classes.index(label) for label in labels])


def names_predicted(record: dict[str, Any]) -> list[str]:
    """After the last session, for each test image in the order of the dataset."""
    seen = [name for session in record["sessions"] for name in session["new_classes"]]
    last = arrays_of(record)[-1]
    assert last["index"].tolist() == list(range(len(last["index"])))
    return [seen[position] for position in last["prediction"]]


@pytest.mark.parametrize("head", ["head=lda", "head=ncm"])
def test_any_stream_ends_with_the_predictions_of_one_session(head: str, record: Record) -> None:
    expected = names_predicted(record(head, "protocol=offline", *SMALL))
    assert len(set(expected)) > 5
    for words in (CLASSES, MIXED, ONE_CLASS):
        assert names_predicted(record(head, *words)) == expected


def test_chunks_of_one_sample_end_with_the_predictions_of_one_session(record: Record) -> None:
    expected = names_predicted(record("head=lda", "protocol=offline", *SMALL, "protocol.shots=1"))
    found = record("head=lda", *SINGLE)
    assert [session["n_train"] for session in found["sessions"]] == [1] * 10 and found["metrics"]["gain_predictor"] is None
    assert names_predicted(found) == expected and len(set(expected)) > 3


METHODS = {
    "linear": ("head=linear",),
    "first_session": ("method=first_session", "adapter=film", "head=lda"),
    "first_session_linear": ("method=first_session", "adapter=full", "head=linear"),
    "finetune": ("method=finetune", "adapter=film", "head=lda"),
    "finetune_linear": ("method=finetune", "adapter=full", "head=linear"),
}
WORDS = {"classes": CLASSES, "mixed": MIXED, "one_class": ONE_CLASS, "turned": TURNED, "single": SINGLE}
PRESETS = ("cil_lwf", "cil_wa", "cil_icarl", "cil_der_pp", "cil_replay", "cil_ewc", "cil_cumulative", "cil_finetune_masked")
TRAINS = {"finetune": True, "finetune_linear": True}  # in every session; `first_session` in the first, `frozen` in none


@pytest.mark.slow
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_goes_through_every_kind_of_session(method: str, words: tuple[str, ...], record: Record) -> None:
    found = record(*METHODS[method], *words)
    n_train = [session["n_train"] for session in found["sessions"]]
    assert sum(n_train) == {TURNED: 3 * 40, SINGLE: 10}.get(words, 40)
    first = [n_train[0]] + [0] * (len(n_train) - 1) if method.startswith("first") else [0] * len(n_train)
    assert [session["images_trained"] for session in found["sessions"]] == (n_train if TRAINS.get(method) else first)
    seen = np.cumsum([len(session["new_classes"]) for session in found["sessions"]])
    assert [session["classes_seen"] for session in found["sessions"]] == seen.tolist() and seen[-1] == 10
    for index, (session, arrays) in enumerate(zip(found["sessions"], arrays_of(found))):
        assert 0 <= session["acc"] <= 1 and len(session["acc_by_session"]) == index + 1
        assert session["acc"] == pytest.approx((arrays["prediction"] == arrays["label"]).mean())
        assert arrays["prediction"].max() < session["classes_seen"]
        for group, accuracy in enumerate(session["acc_by_session"]):
            assert (accuracy is None) == (not (arrays["session_of_label"] == group).any())


@pytest.mark.slow
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("preset", PRESETS)
def test_methods_that_look_back_go_through_them_too(preset: str, words: tuple[str, ...], record: Record) -> None:
    found = record(f"+exp={preset}", *words)
    for index, (session, arrays) in enumerate(zip(found["sessions"], arrays_of(found), strict=True)):
        assert session["images_trained"] >= session["n_train"] and np.isfinite(session["loss"])
        assert len(session["acc_by_session"]) == index + 1 and np.isfinite(arrays["log_p_label"]).all()
        assert session["acc"] == pytest.approx((arrays["prediction"] == arrays["label"]).mean())


def test_a_session_without_new_classes_has_no_group_of_its_own(record: Record) -> None:
    found = record("head=lda", *MIXED)
    new = [len(session["new_classes"]) for session in found["sessions"]]
    assert new[0] >= 6 and new[-1] == 0
    assert found["sessions"][-1]["acc_by_session"][-1] is None
    assert found["metrics"]["acc_task_mean"] is not None and found["metrics"]["forgetting"] is not None


def test_without_novel_test_images_there_is_no_novel_accuracy(record: Record) -> None:
    found = record("head=lda", "protocol=online", "protocol.order=shuffled", "protocol.order_seed=1", "protocol.chunks=2", *SMALL)
    if len(found["sessions"][0]["new_classes"]) < 10:
        pytest.fail("choose an order_seed whose first chunk has all classes")
    assert found["metrics"]["acc_novel"] is None and found["metrics"]["acc_harmonic"] is None
    assert found["metrics"]["acc_base"] == found["metrics"]["acc_last"]


def test_test_images_of_domains_count_for_their_domain(record: Record) -> None:
    found = record("head=lda", *TURNED)
    n_test = found["sessions"][0]["n_test"]
    last = arrays_of(found)[-1]
    hits, came = last["prediction"] == last["label"], last["session_of_label"]
    assert came.tolist() == np.repeat([0, 1, 2], n_test).tolist()
    order = list(dict.fromkeys((last["index"] // n_test).tolist()))
    assert order[0] == 0 and sorted(set(order)) == sorted(order) and len(order) == 3
    by_domain = [float(hits[came == group].mean()) for group in range(3)]
    assert found["sessions"][-1]["acc_by_session"] == pytest.approx(by_domain)
    assert found["metrics"]["acc_task_mean"] == pytest.approx(np.mean(by_domain))
    assert found["metrics"]["acc_base"] == pytest.approx(by_domain[0])
    assert found["metrics"]["acc_novel"] == pytest.approx(np.mean(by_domain[1:]))
    diagonal = [session["acc_by_session"][-1] for session in found["sessions"]]
    assert found["metrics"]["bwt"] == pytest.approx(np.mean([by_domain[i] - diagonal[i] for i in range(2)]))


def test_one_class_alone_teaches_the_body_nothing(record: Record) -> None:
    """The softmax of one logit is 1 and its loss 0: FSA on such a first session is the frozen body, bit by bit."""
    adapted, frozen = record(*METHODS["first_session"], *ONE_CLASS), record("head=lda", *ONE_CLASS)
    assert adapted["sessions"][0]["loss"] == 0.0 and adapted["sessions"][0]["acc"] == 1.0
    assert adapted["sessions"][0]["images_trained"] == 4
    for a, b in zip(arrays_of(adapted), arrays_of(frozen)):
        np.testing.assert_array_equal(a["prediction"], b["prediction"])
        np.testing.assert_allclose(a["log_p_label"], b["log_p_label"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("words", [MIXED, TURNED], ids=["mixed", "turned"])
@pytest.mark.parametrize("method", ["finetune", "finetune_linear"])
def test_a_run_stopped_between_chunks_goes_on_as_if_it_had_not_been(
    method: str, words: tuple[str, ...], tmp_path: Path, record: Record
) -> None:
    every = (*METHODS[method], *words)
    undisturbed = record(*every)
    interrupted(tmp_path, *every, after=2)
    assert len(list(tmp_path.glob("runs/*/*/sessions/*.json"))) == 2
    resumed = train(tmp_path, *every)
    for a, b in zip(arrays_of(undisturbed), arrays_of(resumed), strict=True):
        assert a.keys() == b.keys()
        assert [name for name in a if a[name].tobytes() != b[name].tobytes()] == []
    state, same = (load_file(next(run_dir_of(each).checkpoints.glob("session-*.safetensors"))) for each in (undisturbed, resumed))
    assert state.keys() == same.keys() and len(state) > 20
    assert [name for name in state if not torch.equal(state[name], same[name])] == []
