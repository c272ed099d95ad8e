from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hdx.datasets.omniglot import Omniglot
from hdx.errors import DataError


@pytest.mark.parametrize(
    ("subset", "n_classes", "n_alphabets"), [("all", 1623, 50), ("background", 964, 30), ("evaluation", 659, 20)]
)
def test_real_counts(data_dir: Path, real_cache: Path, subset: str, n_classes: int, n_alphabets: int) -> None:
    data = Omniglot(data_dir, real_cache, subset=subset)
    assert len(data.classes) == n_classes
    assert data.groups is not None
    assert len(set(data.groups)) == n_alphabets
    assert data.classes == sorted(set(data.classes))
    assert np.array_equal(np.bincount(data.train.labels), np.full(n_classes, 15))
    assert np.array_equal(np.bincount(data.test.labels), np.full(n_classes, 5))
    assert data.train.image_shape == (1, 28, 28)


def test_real_background_and_evaluation_are_all(data_dir: Path, real_cache: Path) -> None:
    whole = Omniglot(data_dir, real_cache)
    parts = [Omniglot(data_dir, real_cache, subset=subset) for subset in ("background", "evaluation")]
    assert sorted(parts[0].classes + parts[1].classes) == whole.classes
    assert parts[0].classes[0] == "Alphabet_of_the_Magi/character01"


def test_real_vinyals_split_is_pinned_and_independent_of_split_seed(data_dir: Path, real_cache: Path) -> None:
    train = Omniglot(data_dir, real_cache, subset="vinyals_train", rotations=True)
    test = Omniglot(data_dir, real_cache, subset="vinyals_test", split_seed=3)
    assert (len(train.classes), len(test.classes)) == (4800, 423)
    assert not set(train.classes) & set(test.classes)
    assert len(Omniglot(data_dir, real_cache, subset="vinyals_test", rotations=True).classes) == 1692
    assert hashlib.sha256("\n".join(test.classes).encode()).hexdigest()[:16] == "2857815bff1c6a3d"


def test_real_drawings_are_pinned_and_disjoint(data_dir: Path, real_cache: Path) -> None:
    data = Omniglot(data_dir, real_cache)
    assert not set(data.train.rows) & set(data.test.rows)
    assert hashlib.sha256(data.test.rows.tobytes()).hexdigest()[:16] == "224e84c50cf96db8"
    assert not np.array_equal(Omniglot(data_dir, real_cache, split_seed=1).test.rows, data.test.rows)


def test_real_rotations_are_classes_of_the_same_drawings(data_dir: Path, real_cache: Path) -> None:
    plain = Omniglot(data_dir, real_cache, subset="evaluation")
    turned = Omniglot(data_dir, real_cache, subset="evaluation", rotations=True)
    assert turned.classes[:4] == [plain.classes[0] + turn for turn in ("", "@090", "@180", "@270")]
    assert turned.classes == sorted(turned.classes)
    assert turned.groups is not None
    assert turned.groups[4:8] == ["Angelic"] * 4
    for one, four in ((plain.train, turned.train), (plain.test, turned.test)):
        assert np.array_equal(np.bincount(four.labels), np.full(4 * 659, len(one) // 659))
        indices = np.random.default_rng(0).permutation(len(four))[:200]
        expected = [np.rot90(image[0], k) for image, k in zip(one.fetch(indices // 4).numpy(), four.labels[indices] % 4)]
        assert np.array_equal(four.fetch(indices)[:, 0].numpy(), np.stack(expected))
        assert np.array_equal(four.labels[indices] // 4, one.labels[indices // 4])
        parts = np.array_split(indices, 7)
        got = torch.cat(list(four.batches(parts, torch.device("cpu"))))
        assert np.array_equal(got[:, 0].numpy(), np.stack(expected))


@pytest.fixture
def small(make_tree: Callable[..., Path]) -> Path:
    classes = {f"images_background/Greek/character0{i}": 20 for i in range(3)}
    return make_tree("omniglot-py", classes, kind="png", mode="L", size=(105, 105))


def test_torchvisions_layout_is_found_and_can_be_partial(small: Path, cache_dir: Path) -> None:
    data = Omniglot(small.parent, cache_dir, subset="background", test_drawings=8)
    assert data.classes == ["Greek/character00", "Greek/character01", "Greek/character02"]
    assert (len(data.train), len(data.test)) == (36, 24)
    again = Omniglot(None, cache_dir, path=str(small / "images_background"), subset="background", test_drawings=8)
    assert again.train.digest == data.train.digest
    with pytest.raises(DataError, match="subset=all needs images_evaluation/.*Use dataset.subset=background"):
        Omniglot(small.parent, cache_dir)


def test_only_the_evaluation_part(small: Path, cache_dir: Path) -> None:
    (small / "images_background").rename(small / "images_evaluation")
    assert len(Omniglot(small.parent, cache_dir, subset="evaluation").classes) == 3
    with pytest.raises(DataError, match="subset=vinyals_test needs images_background/.*Use dataset.subset=evaluation"):
        Omniglot(small.parent, cache_dir, subset="vinyals_test")


def test_too_few_drawings(small: Path, cache_dir: Path) -> None:
    for i in range(5, 20):
        (small / "images_background" / "Greek" / "character01" / f"{i:03d}.png").unlink()
    with pytest.raises(DataError, match="test_drawings=5: character 'Greek/character01' has 5 drawings.*Use at most 4"):
        Omniglot(small.parent, cache_dir, subset="background")


def test_streamed_rotations_equal_in_memory(small: Path, cache_dir: Path) -> None:
    options = {"subset": "background", "rotations": True}
    memory, disk = (Omniglot(small.parent, cache_dir, storage=storage, **options).train for storage in ("memory", "disk"))
    indices = np.random.default_rng(0).permutation(len(memory))[:50]
    assert torch.equal(memory.fetch(indices), disk.fetch(indices))
    assert torch.equal(torch.cat(list(disk.batches(np.array_split(indices, 5), torch.device("cpu")))), memory.fetch(indices))


def test_not_found_says_what_was_looked_for(tmp_path: Path, cache_dir: Path) -> None:
    with pytest.raises(DataError, match=r"omniglot not found under .*Looked for: omniglot\.zip, omniglot-py.*Set data_dir=…"):
        Omniglot(tmp_path, cache_dir)
    with pytest.raises(DataError, match="no data_dir is set"):
        Omniglot(None, cache_dir)
    with pytest.raises(DataError, match=r"dataset\.path=nowhere\.zip does not exist"):
        Omniglot(tmp_path, cache_dir, path="nowhere.zip")


def test_real_vinyals_has_the_split_of_its_two_parts(data_dir: Path, real_cache: Path) -> None:
    data = Omniglot(data_dir, real_cache, subset="vinyals", split_seed=2)
    train, test = (Omniglot(data_dir, real_cache, subset=f"vinyals_{part}") for part in ("train", "test"))
    assert data.class_splits is not None and train.class_splits is None
    names = {part: [data.classes[label] for label in labels] for part, labels in data.class_splits.items()}
    assert [len(each) for each in names.values()] == [1028, 172, 423] and list(names) == ["base", "validation", "novel"]
    assert sorted(names["base"] + names["validation"]) == train.classes and names["novel"] == test.classes
    assert hashlib.sha256("\n".join(names["validation"]).encode()).hexdigest()[:16] == "9f2498654fb436cf"


def test_real_all_keeps_alphabets_whole(data_dir: Path, real_cache: Path) -> None:
    data = Omniglot(data_dir, real_cache)
    evaluation = Omniglot(data_dir, real_cache, subset="evaluation")
    assert data.class_splits is not None and data.groups is not None
    alphabets = {part: {data.groups[label] for label in labels} for part, labels in data.class_splits.items()}
    assert {part: len(each) for part, each in alphabets.items()} == {"base": 25, "validation": 5, "novel": 20}
    assert len(set.union(*alphabets.values())) == 50
    assert [data.classes[label] for label in data.class_splits["novel"]] == evaluation.classes
    assert sorted(np.concatenate(list(data.class_splits.values()))) == list(range(1623))
    assert sorted(alphabets["validation"]) == [
        "Gujarati",
        "Inuktitut_(Canadian_Aboriginal_Syllabics)",
        "Mkhedruli_(Georgian)",
        "Ojibwe_(Canadian_Aboriginal_Syllabics)",
        "Tagalog",
    ]


def test_real_turns_of_a_character_are_on_one_side(data_dir: Path, real_cache: Path) -> None:
    for subset in ("vinyals", "all"):
        plain, turned = (Omniglot(data_dir, real_cache, subset=subset, rotations=turns) for turns in (False, True))
        assert plain.class_splits is not None and turned.class_splits is not None
        for part, labels in plain.class_splits.items():
            assert np.array_equal(turned.class_splits[part] // 4, np.repeat(labels, 4))
            assert {turned.classes[label].partition("@")[0] for label in turned.class_splits[part]} == {
                plain.classes[label] for label in labels
            }
