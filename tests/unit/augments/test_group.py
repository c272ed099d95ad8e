"""The augmentations that configs name: their views, and what they do in a run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from tests.contract.made import build, classes
from tests.unit.augments.test_steps import pictures

from hdx.augments._base import Augmentation
from hdx.augments._mix import CutMix, MixUp, box
from hdx.config.paths import absolute_in
from hdx.config.validate import load
from hdx.engine.launch import launch
from hdx.engine.report import Report
from hdx.errors import ConfigError
from hdx.store.rundir import RunDir

AUGMENTS = classes("augment")
QUICK = (
    "backbone=conv4",
    "backbone.width=8",
    "protocol=offline",
    "protocol.shots=6",
    "trainer.epochs=2",
    "accelerator=cpu",
    "threads=1",
)


@pytest.mark.parametrize("name", sorted(AUGMENTS))
def test_views_are_as_many_as_said_and_repeat_with_their_numbers(name: str) -> None:
    augment: Augmentation = build("augment", name)
    views, images = augment.views(24), pictures(6)
    assert (len(views) > 1) == (type(augment).shows == "several") and (augment.mix() is not None) == type(augment).mixes
    for view in views:
        draws = view.draws(6, torch.Generator().manual_seed(1))
        seen = view(images, draws)
        assert seen.dtype == torch.uint8 and len(seen) == 6 and view.geometry(draws, 24, 24).shape == (6, 2, 3)
        assert torch.equal(view(images, draws), seen) and torch.equal(view(images[3:4], draws[3:4])[0], seen[3])
        assert view.describe() == build("augment", name).views(24)[views.index(view)].describe()


def test_small_crops_are_small_and_show_little() -> None:
    views = build("augment", "multi_crop", n_large=2, n_small=3).views(56)
    assert [view.size for view in views] == [56, 56, 24, 24, 24]
    draws = [view.draws(200, torch.Generator().manual_seed(0)) for view in views]
    areas = [view.geometry(own, 56, 56)[:, :, :2].det().abs() for view, own in zip(views, draws)]
    assert min(area.min() for area in areas[:2]) > 0.35 and max(area.max() for area in areas[2:]) < 0.45


def test_barlows_views_differ_in_blur_and_solarising() -> None:
    one, other = (view.describe()["steps"] for view in build("augment", "barlow").views(32))
    assert [(each["step"], each["share"]) for each in one[-2:]] == [("Blur", 1.0), ("Solarize", 0.0)]
    assert [(each["step"], each["share"]) for each in other[-2:]] == [("Blur", 0.1), ("Solarize", 0.2)]


def test_targets_are_mixed_as_the_pixels_are() -> None:
    """Images of one value each: the mean of a mixed image is the same mixture of values as its target is of classes."""
    values = torch.tensor([0.0, 40.0, 120.0, 240.0])
    images = values[:, None, None, None].expand(-1, 3, 20, 20).to(torch.uint8)
    for mix in (MixUp(1.0), CutMix(1.0, 1.0)):
        for seed in range(20):
            mixed, targets = mix(images, torch.eye(4), torch.Generator().manual_seed(seed))
            torch.testing.assert_close(mixed.float().mean((1, 2, 3)), targets @ values, atol=0.6, rtol=0)
            torch.testing.assert_close(targets.sum(1), torch.ones(4))
    unmixed, targets = CutMix(1.0, 0.0)(images, torch.eye(4), torch.Generator())
    assert torch.equal(unmixed, images) and torch.equal(targets, torch.eye(4))


def test_a_box_has_its_area_where_no_border_cuts_it() -> None:
    assert box(100, 100, 0.75, 0.5, 0.5) == (25, 75, 25, 75)
    assert box(100, 100, 0.75, 0.0, 0.99) == (0, 25, 74, 100)
    assert box(100, 100, 1.0, 0.5, 0.5) == (50, 50, 50, 50)


def trained(folder: Path, *words: str) -> tuple[str, float]:
    config = absolute_in(load([*words, *QUICK, f"output_dir={folder}"]))
    record = launch(config, RunDir.of(config["output_dir"], config.run_id), Report(), io.StringIO())
    return config.group_hash, record["sessions"][0]["loss"]


def test_a_group_of_the_same_steps_trains_as_the_list_does(tmp_path: Path) -> None:
    """Under another hash, since the config says it in other words."""
    words = ("+exp=finetune", "head=linear", "seed=3")
    listed = trained(tmp_path, *words, "trainer.augment=[crop,hflip]")
    group = trained(tmp_path, *words, "augment=flip_crop")
    plain = trained(tmp_path, *words)
    assert group[1] == listed[1] != plain[1] and len({group[0], listed[0], plain[0]}) == 3


def test_mixed_images_train_on_mixed_targets(tmp_path: Path) -> None:
    words = ("+exp=finetune", "head=linear")
    assert trained(tmp_path, *words, "augment=mixup", "augment.alpha=5")[1] > 0  # a label of its own would be an error below
    with pytest.raises(ConfigError, match=r"augment=mixup mixes labels, which the losses of method=icarl do not take"):
        load(["+exp=cil_icarl", "augment=mixup"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["+exp=fsa_film", "augment=simclr"], "augment=simclr shows an image several times, and method=first_session looks once"),
        (["+exp=fsa_na", "augment=flip_crop"], "augment=flip_crop has no effect with method=frozen"),
        (["+exp=finetune", "augment=trivial", "trainer.augment=[hflip]"], r"augment=trivial beside trainer.augment=\[hflip\]"),
        (["+exp=cil_lwf", "augment=cutmix"], "method.mask=old takes labels and not the mixed targets of augment=cutmix"),
        (["+exp=fsa_full", "trainer.crops=2"], "trainer.crops=2 stores crops that trainer.augment="),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        load(words)


def test_views_of_simclr_train_simclr(tmp_path: Path) -> None:
    words = ("+exp=simclr", "trainer.augment=[]", "trainer.batch_size=16")
    losses = {trained(tmp_path, *words, f"augment={name}")[1] for name in ("simclr", "barlow", "flip_crop")}
    assert len(losses) == 3
    with pytest.raises(
        ConfigError, match="method=simclr compares two views of an image, and with augment=none they are the same"
    ):
        trained(tmp_path, *words)
