"""The shipped body: its shape and size, its weights, and that they are worth shipping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hdx.backbones.tiny import WEIGHTS, Tiny
from hdx.body import Body
from hdx.datasets.digits import Digits
from hdx.datasets.transforms import EvalTransform
from hdx.engine.bank import Bank
from hdx.errors import WeightsError
from hdx.heads.lda import LDA
from hdx.pools.avg import Avg
from hdx.protocols.offline import Offline


def random_body(seed: int = 0) -> Tiny:
    torch.manual_seed(seed)
    return Tiny(pretrained=False).eval()


@pytest.mark.parametrize(("side", "positions"), [(32, 4), (48, 6), (33, 5), (224, 28)])
def test_a_map_of_192_features_at_an_eighth_of_the_side(side: int, positions: int) -> None:
    tiny = random_body()
    with torch.no_grad():
        assert tiny(torch.zeros(2, 3, side, side)).shape == (2, 192, positions, positions)
    assert (tiny.n_features, tiny.layout, tiny.has_cls, tiny.n_prefix_tokens) == (192, "map", False, 0)


def test_parameters() -> None:
    """Counted by hand: 3x3 and 1x1 kernels, and two numbers a channel for each norm."""

    def block(n_in: int, n_out: int, projection: bool) -> int:
        return 9 * n_in * n_out + 9 * n_out * n_out + 4 * n_out + projection * (n_in * n_out + 2 * n_out)

    expected = 27 * 32 + 64 + block(32, 32, False) + block(32, 64, True) + block(64, 128, True) + block(128, 192, True)
    assert sum(p.numel() for p in random_body().parameters()) == expected == 886_048


def test_the_input_is_the_datasets_own_size_but_at_least_32() -> None:
    spec = random_body().input_spec
    assert EvalTransform(spec, (1, 8, 8)).size == 32
    assert EvalTransform(spec, (3, 64, 64)).size == 64
    assert EvalTransform(Tiny(pretrained=False, image_size=48).input_spec, (3, 64, 64)).size == 48


def test_last_block_is_the_fourth_stage() -> None:
    (block,) = random_body().last_block()
    assert block.conv2.weight.shape == (192, 192, 3, 3)
    assert sum(p.numel() for p in block.parameters()) == 9 * 128 * 192 + 9 * 192 * 192 + 4 * 192 + 128 * 192 + 2 * 192


@pytest.mark.parametrize("factor", [4.0, 0.125, 0.37, 25.0])
def test_scale_features_multiplies_them(factor: float) -> None:
    tiny, images = random_body(), torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name, value in tiny.state_dict().items():  # norms with statistics and affine as after training
        if "bn" in name or "shortcut.1" in name:
            value.copy_(torch.rand(value.shape, generator=torch.Generator().manual_seed(len(name))) + 0.5)
    with torch.no_grad():
        before = tiny(images)
        tiny.scale_features(factor)
        after = tiny(images)
    assert before.max() > 0.1
    if np.log2(factor) == round(np.log2(factor)):
        assert torch.equal(after, before * factor)  # a power of two rounds nothing
    else:
        torch.testing.assert_close(after, before * factor, rtol=1e-5, atol=1e-6 * float(before.max()) * factor)


def test_the_shipped_file_is_small_plain_and_finite() -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000
    weights, wanted = load_file(WEIGHTS), random_body().state_dict()
    assert set(wanted) - set(weights) <= {name for name in wanted if name.endswith("num_batches_tracked")}
    assert {name: tuple(value.shape) for name, value in weights.items()}.items() <= {
        name: tuple(value.shape) for name, value in wanted.items()
    }.items()
    assert all(bool(torch.isfinite(value.double()).all()) for value in weights.values())
    assert all(bool((value > 0).all()) for name, value in weights.items() if name.endswith("running_var"))


def test_the_shipped_weights_are_what_pretrained_loads() -> None:
    loaded = Tiny().state_dict()
    for name, value in load_file(WEIGHTS).items():
        assert torch.equal(loaded[name], value.to(loaded[name].dtype)), name
    assert not torch.equal(loaded["stem.0.weight"], random_body().state_dict()["stem.0.weight"])


def test_checkpoint_takes_the_place_of_the_shipped_weights(tmp_path: Path) -> None:
    mine = random_body(seed=3)
    save_file(mine.state_dict(), tmp_path / "mine.safetensors")
    assert torch.equal(Tiny(checkpoint=str(tmp_path / "mine.safetensors")).stem[0].weight, mine.stem[0].weight)
    save_file({"stem.0.weight": mine.stem[0].weight.detach().clone()}, tmp_path / "part.safetensors")
    with pytest.raises(WeightsError, match="missing"):
        Tiny(checkpoint=str(tmp_path / "part.safetensors"))


def five_shot_accuracy(backbone: Tiny, data: Digits, folder: Path) -> float:
    """Percent of frozen LDA as shipped on five images of each digit, mean over three draws of the shots."""
    body = Body(backbone, Avg(backbone), EvalTransform(backbone.input_spec, data.train.image_shape), "32", {})
    bank, digest, found = Bank(folder, 128, "float32", torch.device("cpu")), body.digest(), []
    for seed in range(3):
        (session,) = Offline(shots=5).sessions(data, seed)
        head = LDA(body.n_features)
        head.expand(10)
        shots = torch.from_numpy(bank.get(body, digest, data.train, session.train))
        head.update(shots, torch.from_numpy(data.train.labels[session.train]))
        logits = head(torch.from_numpy(bank.get(body, digest, data.test, session.test)))
        found.append(float((logits.argmax(1).numpy() == data.test.labels[session.test]).mean()))
    return 100 * float(np.mean(found))


def feature_variance(backbone: Tiny, data: Digits) -> float:
    """Mean over the features of their variance on 200 training images."""
    transform = EvalTransform(backbone.input_spec, data.train.image_shape)
    with torch.no_grad():
        return float(backbone(transform(data.train.fetch(np.arange(200)))).mean((2, 3)).var(0).mean())


def test_the_shipped_weights_are_worth_shipping(tmp_path: Path) -> None:
    """Random features get the scale that export gives the trained ones, without which the ridge would drown them."""
    data, random = Digits(None, tmp_path / "cache"), random_body()
    random.scale_features((10 / feature_variance(random, data)) ** 0.5)
    bar = five_shot_accuracy(random, data, tmp_path / "bank")
    assert 50 < bar < 75
    assert five_shot_accuracy(Tiny().eval(), data, tmp_path / "bank") > bar + 8
