"""Per-episode adaptation: purity, batches, bounds, refusals, and that it helps on real images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hdx import registry
from hdx.backbones._base import Backbone
from hdx.backbones.tiny import Tiny
from hdx.body import Body
from hdx.config.validate import load
from hdx.datasets.sign_digits import SignDigits
from hdx.datasets.transforms import EvalTransform
from hdx.errors import ConfigError, RunError
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._parts import Parts
from hdx.methods.per_episode import PerEpisode
from hdx.pools._base import Pool
from hdx.pools.avg import Avg
from hdx.pools.gem import GeM
from hdx.trainers.recipe import Recipe

SIZE, WAYS = 16, 3


def made(
    adapter: str, head: str = "cosine", precision: str = "32", pool: Callable[[Backbone], Pool] = Avg, **options: Any
) -> PerEpisode:
    """The method over the body that ships with hdx; options of the recipe and, where they are its own, of the method."""
    backbone = Tiny(image_size=SIZE)
    body = Body(backbone, pool(backbone), EvalTransform(backbone.input_spec, (3, SIZE, SIZE)), precision, {})
    body.attach(registry.build("adapter", {"name": adapter}))
    own = {name: options.pop(name) for name in ("steps", "head_start", "temperature") if name in options}
    built = registry.build("head", {"name": head}, body.n_features)
    return PerEpisode(Parts(body, built, CrossEntropy(), Recipe(**options)), **{"steps": 2, **own})


def noise(n: int = 4, n_support: int = 6, n_query: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(3)
    labels = torch.stack([torch.randperm(n_support, generator=draws) % WAYS for _ in range(n)])
    images = torch.randint(0, 256, (n, n_support + n_query, 3, SIZE, SIZE), generator=draws, dtype=torch.uint8)
    return images[:, :n_support], labels, images[:, n_support:]


def logits(method: PerEpisode, seed: int = 0, pick: list[int] | None = None) -> Tensor:
    rows = list(range(4)) if pick is None else pick
    support, labels, query = (each[rows] for each in noise())
    return method.classify_episodes(support, labels, query, WAYS, seed, torch.tensor(rows))


@pytest.mark.parametrize(
    ("adapter", "options"),
    [
        ("film", {"augment": ["hflip", "crop"]}),
        ("film", {"head_start": "random", "head": "linear"}),
        ("none", {"head_start": "random"}),
        ("last_block", {"augment": ["jitter"], "head": "ncm"}),
    ],
)
def test_an_episode_is_a_function_of_itself_the_seed_and_its_number(adapter: str, options: dict[str, Any]) -> None:
    method = made(adapter, **options)
    torch.manual_seed(11)
    together = logits(method)
    torch.manual_seed(99)
    close = {"atol": 2e-3, "rtol": 2e-3}
    torch.testing.assert_close(logits(method, pick=[2, 0]), together[[2, 0]], **close)
    assert (logits(method, seed=1) - together).abs().max() > 0.05


def test_nothing_of_the_body_or_the_head_changes_and_no_random_state_is_used() -> None:
    method = made("film", "linear", head_start="random")
    method.head.expand(7)  # classes of the base session, which an episode's classifier does not see
    before = {name: value.clone() for name, value in method.state_dict().items()}
    digest, state = method.body.digest(), torch.get_rng_state()
    with torch.inference_mode():
        assert logits(method).shape == (4, 4, WAYS)
    assert method.body.digest() == digest and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())
    assert method.phases(None, []) == []  # type: ignore[arg-type]
    assert not method.trains_body(0)


@pytest.mark.parametrize(("head", "reference"), [("linear", "ncm"), ("cosine", "ncm_cosine")])
def test_the_start_ranks_classes_as_the_prototypes_do(head: str, reference: str) -> None:
    """A vanishing rate leaves the start: nearest class mean, whatever the temperature."""
    support, labels, query = noise()
    metric = {"ncm": "euclidean", "ncm_cosine": "cosine"}[reference]
    for temperature in (0.1, 3.0):
        method = made("none", head, lr=1e-12, temperature=temperature)
        found = logits(method)
        for own, y, asked, scores in zip(support, labels, query, found):
            ncm = registry.build("head", {"name": "ncm", "metric": metric}, method.body.n_features)
            ncm.expand(WAYS)
            ncm.update(method.body.embed(own), y)
            expected = ncm(method.body.embed(asked))
            order = scores.double() - scores.double().mean(1, keepdim=True)
            wanted = expected - expected.mean(1, keepdim=True)
            scale = (order * wanted).sum() / (wanted * wanted).sum()
            torch.testing.assert_close(order, scale * wanted, atol=1e-4, rtol=1e-3)
            assert scale > 0


def test_a_linear_head_without_bias_starts_as_nearest_of_means_of_one_length() -> None:
    method = made("none", "linear", lr=1e-12)
    head = registry.build("head", {"name": "linear", "bias": False}, 192)
    method = PerEpisode(Parts(method.body, head, CrossEntropy(), method.recipe), steps=1)
    support, labels, query = noise()
    for own, y, asked, scores in zip(support, labels, query, logits(method)):
        x, q = method.body.embed(own), method.body.embed(asked)
        means = torch.stack([x[y == c].mean(0) for c in range(WAYS)])
        means = means / means.norm(dim=1, keepdim=True) * means.norm(dim=1).mean()
        assert torch.equal(scores.argmax(1), torch.cdist(q, means).argmin(1))


@pytest.mark.parametrize("adapter", ["film", "none", "full"])
def test_mixed_precision_stays_near_float32(adapter: str) -> None:
    exact, mixed = logits(made(adapter, lr=1e-3)), logits(made(adapter, lr=1e-3, precision="bf16-mixed"))
    assert mixed.dtype == torch.float32
    assert 0 < (exact - mixed).abs().max() < 0.1 * exact.abs().max()


def test_a_trained_pool_is_adapted_with_the_body() -> None:
    method = made("film", pool=partial(GeM, learn=True), clip_norm=0.1)
    assert method.batched and any(parameter is p for p in method.body.trainable for parameter in method.body.pool.parameters())
    torch.testing.assert_close(logits(method, pick=[1]), logits(method)[[1]], atol=2e-3, rtol=2e-3)


def test_episodes_at_once_follows_the_memory() -> None:
    film, full, none = made("film"), made("full"), made("none")
    sizes = [film.episodes_at_once(25, 75, mb * 2**20) for mb in (1, 256, 1024)]
    assert sizes[0] == 1 and sizes[1] > 1 and abs(sizes[2] - 4 * sizes[1]) <= 4
    assert full.episodes_at_once(25, 75, 2**30) == 1
    assert none.episodes_at_once(25, 75, 2**30) > 10 * sizes[2]
    # 3 maps at 16 x 16 of each of stem's and first stage's layers alone
    assert sizes[2] < 2**30 / (4 * 25 * 7 * 32 * 16 * 16)


def test_a_learnt_scale_trains_for_each_episode() -> None:
    method = made("none", lr=0.1, clip_norm=0.5)
    head = registry.build("head", {"name": "cosine", "learn_scale": True}, 192)
    method = PerEpisode(Parts(method.body, head, CrossEntropy(), method.recipe), steps=3)
    support, labels, query = noise()
    found = logits(method)
    alone = [
        method.classify_episodes(support[[e]], labels[[e]], query[[e]], WAYS, 0, torch.tensor([e])) for e in range(len(support))
    ]
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-4, rtol=1e-4)
    fixed = logits(made("none", lr=0.1, clip_norm=0.5, steps=3))
    assert (found - fixed).abs().max() > 0.1


def test_divergence_names_the_episode() -> None:
    method = made("film", "linear", optimizer="sgd", lr=1e30)
    support, labels, query = noise()
    with pytest.raises(RunError, match=r"episode 17 diverged; try a smaller trainer\.lr"):
        method.classify_episodes(support[:2], labels[:2], query[:2], WAYS, 0, torch.tensor([17, 3]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["adapter=film"], "protocol=class_incremental has none: take protocol=episodic"),
        (["protocol=episodic"], "has nothing to train with adapter=none and head=lda: take adapter=film, or head=linear"),
        (["protocol=episodic", "head=linear", "trainer.augment=[hflip]"], "trainer.augment has no effect"),
        (
            ["protocol=episodic", "adapter=film", "protocol.joint=true"],
            "protocol.joint=true needs one body",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(["method=per_episode", *overrides])


def sign_episodes(
    data: SignDigits, classes: list[int], n: int, shots: int, queries: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draws = np.random.default_rng(7)
    rows = [[draws.permutation(np.flatnonzero(data.train.labels == c))[: shots + queries] for c in classes] for _ in range(n)]
    support, query = (
        torch.stack([data.train.fetch(np.concatenate([own[part] for own in each])) for each in rows])
        for part in (slice(shots), slice(shots, None))
    )
    one = torch.arange(len(classes))
    return support, one.repeat_interleave(shots).expand(n, -1), query, one.repeat_interleave(queries)


def test_adapted_bodies_beat_the_unadapted_prototypes(data_dir: Path, tmp_path: Path) -> None:
    """Signs 5-9, 5-way 5-shot at 16 px, paired over 14 episodes; rates and steps were chosen on signs 0-4."""
    data = SignDigits(data_dir, tmp_path, image_size=SIZE)
    support, labels, query, truth = sign_episodes(data, [5, 6, 7, 8, 9], 14, 5, 8)

    def accuracies(scores: Tensor) -> np.ndarray:
        return (scores.argmax(2) == truth).double().mean(1).numpy()

    body = made("none").body
    x, q = (torch.stack([body.embed(images) for images in part]) for part in (support, query))
    baselines = [registry.build("head", {"name": "ncm", "metric": metric}, 192) for metric in ("euclidean", "cosine")]
    unadapted = [accuracies(head.classify(x, labels, q, 5)) for head in baselines]
    better = max(unadapted, key=lambda each: each.mean())
    for adapter, lr in (("film", 0.01), ("full", 0.0005)):
        method = made(adapter, lr=lr, steps=10)
        gain = accuracies(method.classify_episodes(support, labels, query, 5, 0, torch.arange(14))) - better
        assert gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(14) > 0
        assert gain.mean() > 0.03
