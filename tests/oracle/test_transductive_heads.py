"""TIM, PT-MAP and the tuned prototypes against easyfsl where its code is right; K-means against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from tests.clusters import accuracy, clusters

from hdx.heads.pt_map import PTMAP
from hdx.heads.slk import SLK
from hdx.heads.tim import TIM
from hdx.heads.transductive_finetune import TransductiveFinetune
from hdx.heads.tuned_prototypes import TunedPrototypes

easyfsl = pytest.importorskip("easyfsl.methods", reason="easyfsl is the reference: pip install 'hdx[test]'")


@pytest.fixture(autouse=True)
def one_thread():
    """easyfsl's small operations take several times longer with two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def easy(make, s, y, q):
    """Scores [E, Q, W] of a new easyfsl classifier for each episode."""
    scores = []
    for support, labels, query in zip(s, y, q):
        classifier = make()
        classifier.process_support_set(support, labels)
        scores.append(classifier(query).detach())
    return torch.stack(scores)


TIM_BENCHMARK = {"lr": 1e-3, "conditional_entropy_weight": 0.5}, {"fine_tuning_lr": 1e-3, "conditional_entropy_weight": 0.5}


@pytest.mark.parametrize(("ours", "theirs", "n"), [({}, {}, 200), (*TIM_BENCHMARK, 40)], ids=["default", "benchmark"])
def test_tim(ours, theirs, n):
    s, y, q, truth = clusters(n, signal=0.6)
    found = TIM(64, **ours).classify(s, y, q, 5)
    expected = easy(lambda: easyfsl.TIM(feature_normalization=2, **theirs), s, y, q)
    assert 0.5 < accuracy(found, truth) < 0.99
    assert abs(accuracy(found, truth) - accuracy(expected, truth)) <= 1e-4
    torch.testing.assert_close(found / 10, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("steps", "lr"), [(200, 1e-4), (50, 3e-3)])
def test_tuned_prototypes(steps, lr):
    s, y, q, truth = clusters(20, signal=0.5, shots=3)
    found = TunedPrototypes(64, steps=steps, lr=lr).classify(s, y, q, 5)
    options = {"fine_tuning_steps": steps, "fine_tuning_lr": lr, "temperature": 10.0, "feature_normalization": 2}
    expected = easy(lambda: easyfsl.Finetune(**options), s, y, q)
    torch.testing.assert_close(found / 10, expected, rtol=0, atol=1e-4)
    assert abs(accuracy(found, truth) - accuracy(expected, truth)) <= 1e-4


@pytest.mark.parametrize(("steps", "lr", "temperature"), [(25, 5e-5, 1.0), (10, 1e-3, 10.0)])
@pytest.mark.parametrize("shots", [1, 5])
def test_transductive_finetune(steps, lr, temperature, shots):
    s, y, q, truth = clusters(20, signal=0.5, shots=shots)
    found = TransductiveFinetune(64, steps=steps, lr=lr, temperature=temperature).classify(s, y, q, 5)
    options = {"fine_tuning_steps": steps, "fine_tuning_lr": lr, "temperature": temperature, "feature_normalization": 2}
    expected = easy(lambda: easyfsl.TransductiveFinetuning(**options), s, y, q)
    torch.testing.assert_close(found / temperature, expected, rtol=0, atol=1e-3)
    assert abs(accuracy(found, truth) - accuracy(expected, truth)) <= 1e-3


def test_pt_map_on_the_same_transformed_features():
    """easyfsl's relu and 1e-6 change nothing but a common offset when it is given transformed features and power 1."""
    s, y, q, truth = clusters(30, signal=0.6)
    head = PTMAP(64, steps=4, centre=False)
    expected = easy(lambda: easyfsl.PTMAP(fine_tuning_steps=4, power_factor=1.0), head.transform(s), y, head.transform(q))
    found = head.classify(s, y, q, 5)
    torch.testing.assert_close(found.softmax(2), expected, rtol=0, atol=1e-3)
    assert 0.5 < accuracy(found, truth) < 0.99
    assert abs(accuracy(found, truth) - accuracy(expected, truth)) <= 1e-4


def test_pt_map_without_renormalising_where_nothing_underflows():
    s, y, q, truth = clusters(10, signal=0.6, n_features=16)
    found = PTMAP(16, steps=3, lam=2.0, renormalise=False, centre=False).classify(s, y, q, 5)
    options = {"fine_tuning_steps": 3, "lambda_regularization": 2.0, "feature_normalization": 2}
    expected = easy(lambda: easyfsl.PTMAP(**options), s, y, q)
    torch.testing.assert_close(found.softmax(2), expected, rtol=0, atol=1e-3)
    assert abs(accuracy(found, truth) - accuracy(expected, truth)) <= 1e-4


def test_pt_map_in_one_shot_where_easyfsl_answers_by_chance():
    s, y, q, truth = clusters(6, shots=1, n_features=640, signal=0.4)
    s, q = ((x - 1).relu() for x in (s, q))  # sparse, as behind a network's last relu: costs of 14 to 18
    expected = easy(lambda: easyfsl.PTMAP(feature_normalization=2, fine_tuning_steps=1), s, y, q)
    assert accuracy(expected, truth) == pytest.approx(0.2)
    for renormalise in (True, False):
        assert accuracy(PTMAP(640, renormalise=renormalise, centre=False).classify(s, y, q, 5), truth) > 0.8


def test_k_means_is_sklearns_from_the_same_centres():
    s, y, q, truth = clusters(20, shots=5, signal=0.7)
    head = SLK(64, unary="means", lam=0.0, clamp=False, centre="none", normalise=False, shift=False, tol=1e-12)
    found = head.classify(s, y, q, 5)
    assert 0.5 < accuracy(found, truth) < 0.999
    for e in range(20):
        x = torch.cat([s[e], q[e]]).double().numpy()
        centres = torch.stack([s[e][y[e] == c].mean(0) for c in range(5)]).double().numpy()
        oracle = KMeans(5, init=centres, n_init=1, tol=0).fit(x)
        assert (found[e].argmax(1).numpy() == oracle.labels_[25:]).mean() > 0.999
        distances = oracle.transform(x)[25:] ** 2
        np.testing.assert_allclose(-found[e].numpy(), distances, rtol=1e-4)


def test_a_cosine_of_1_is_no_trouble():
    s, y, _, _ = clusters(3)
    found = TIM(64).classify(s, y, s, 5)  # queries are the support
    expected = easy(lambda: easyfsl.TIM(feature_normalization=2), s, y, s)
    torch.testing.assert_close(found / 10, expected, rtol=0, atol=1e-4)
