"""Trees of domains: what each image's domain and class are, the splits, the authors' lists, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.datasets.trees import pixels, write

from hdx.datasets.domain_folders import DomainFolders
from hdx.datasets.domain_net import DomainNet
from hdx.datasets.office_home import OfficeHome
from hdx.datasets.pacs import Pacs
from hdx.errors import ConfigError, DataError
from hdx.protocols.domain_incremental import DomainIncremental

DOMAINS = {"photo": 5, "sketch": 4, "Real World": 6}
TREE = [f"{domain}/{cls}/{i}.png" for domain, n in DOMAINS.items() for cls in ("cat", "dog") for i in range(n)]


def read(path: Path, tmp_path: Path, **options: Any) -> DomainFolders:
    return DomainFolders(None, tmp_path / "cache", path=str(path), image_size=4, **options)


@pytest.mark.parametrize("form", ["folder", "zip", "zip in a folder"])
def test_domain_and_class_are_those_of_the_folders(tmp_path: Path, form: str) -> None:
    data = read(write(tmp_path / "data", TREE, form), tmp_path, test_fraction=0.4)
    assert (data.domains, data.classes) == (["Real World", "photo", "sketch"], ["cat", "dog"])
    assert (len(data.train), len(data.test)) == (18, 12)  # 2 of 4, 2 of 5 and 2 of 6, for both classes
    for images in (data.train, data.test):
        assert images.names is not None and images.domains is not None
        shown = images.fetch(np.arange(len(images))).numpy()
        for name, image, label, domain in zip(images.names, shown, images.labels, images.domains):
            name = name.removeprefix("my data/")
            assert name.startswith(f"{data.domains[domain]}/{data.classes[label]}/")
            np.testing.assert_array_equal(image, pixels(name).transpose(2, 0, 1))
    assert not set(data.train.names or ()) & set(data.test.names or ())


def test_a_target_domain_is_left_out_of_training_and_tested_on(tmp_path: Path) -> None:
    data = read(write(tmp_path / "data", TREE), tmp_path, target="sketch", use=["sketch", "photo"])
    assert data.domains == ["sketch", "photo"]
    assert sorted(data.train.names or ()) == sorted(name for name in TREE if name.startswith("photo/"))
    assert sorted(data.test.names or ()) == sorted(name for name in TREE if name.startswith("sketch/"))


@pytest.mark.parametrize("form", ["{split}/{domain}/{cls}/{i}.png", "{domain}/{split}/{cls}/{i}.png"])
def test_folders_of_splits_are_the_split(tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture) -> None:
    cells = [(split, domain, cls) for split in ("train", "val", "test") for domain in ("ink", "oil") for cls in ("cat", "dog")]
    names = [form.format(split=split, domain=domain, cls=cls, i=i) for split, domain, cls in cells for i in range(2)]
    data = read(write(tmp_path / "data", names), tmp_path)
    assert (data.domains, data.classes, len(data.train), len(data.test)) == (["ink", "oil"], ["cat", "dog"], 8, 8)
    assert all("train" in name.split("/") for name in data.train.names or ())
    assert all("test" in name.split("/") for name in data.test.names or ())
    assert [data.domains[domain] in name for name, domain in zip(data.test.names or (), data.test.domains)] == [True] * 8  # type: ignore[arg-type]
    assert "left out: 8 images" in caplog.text


def test_a_domain_arrives_in_each_session(tmp_path: Path) -> None:
    data = read(write(tmp_path / "data", [*TREE, "photo/emu/0.png", "photo/emu/1.png"]), tmp_path)
    protocol = DomainIncremental(domains="own", order_seed=3)
    sessions = protocol.sessions(protocol.view(data), 0)
    assert [session.new_classes for session in sessions].count(()) == 1  # emu comes with photo, after the first domain
    came = [np.unique(data.train.domains[session.train]) for session in sessions]  # type: ignore[index]
    assert sorted(domain for each in came for domain in each) == [0, 1, 2] and came[0].tolist() == [0]
    last = sessions[-1]
    assert last.seen_classes == (0, 1, 2) and sorted(last.test) == list(range(len(data.test)))
    for row, group in zip(last.test, last.test_group):  # type: ignore[arg-type]
        assert data.test.domains[row] == came[group][0]  # type: ignore[index]
    shots = DomainIncremental(domains="own", shots=2)
    with pytest.raises(ConfigError, match=r"at most 1 \(training images of class 'emu' in domain 'photo'\), got 2"):
        shots.sessions(shots.view(data), 0)


def test_test_images_of_a_domain_that_never_arrives_count_from_the_first_session(tmp_path: Path) -> None:
    data = read(write(tmp_path / "data", TREE), tmp_path, target="sketch")
    protocol = DomainIncremental(domains="own")
    sessions = protocol.sessions(protocol.view(data), 0)
    assert len(sessions) == 2
    assert all(len(session.test) == 8 and set(session.test_group) == {0} for session in sessions)  # type: ignore[arg-type]


def test_a_dataset_without_domains_is_told_so(tmp_path: Path, make_tree: Any) -> None:
    from hdx.datasets.folder import Folder

    data = Folder(None, tmp_path / "cache", path=str(make_tree("plain", {"a": 3, "b": 3})))
    with pytest.raises(ConfigError, match="protocol.domains=own: the dataset has no domains of its own"):
        DomainIncremental(domains="own").view(data)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a/1.png", "b/1.png"], "has 0 folders of class folders"),
        (["photo/cat/1.png", "sketch/dog/1.png"], "has photo/, sketch/, which share no class"),
        (["train/cat/1.png", "test/cat/1.png"], "has 0 folders of class folders"),
    ],
)
def test_a_tree_of_another_kind_is_refused(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(write(tmp_path / "data", names), tmp_path)


def test_unknown_domains_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "data", TREE)
    with pytest.raises(ConfigError, match="dataset.target: expected one of the domains Real World, photo, sketch, got 'art'"):
        read(path, tmp_path, target="art")
    with pytest.raises(ConfigError, match="dataset.use: expected one of the domains .*, got 'art'"):
        read(path, tmp_path, use=["photo", "art"])
    with pytest.raises(ConfigError, match="leaves no domain to train on"):
        read(path, tmp_path, use=["photo"], target="photo")


def lists(root: Path, names: dict[str, list[str]]) -> None:
    for name, lines in names.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(lines) + "\n")


def test_domain_net_is_split_by_its_lists(tmp_path: Path) -> None:
    names = [f"{domain}/{cls}/{domain}_{i}.png" for domain in ("clipart", "real") for cls in ("The_Mona", "ant") for i in (1, 2)]
    root = write(tmp_path / "domain_net", names)
    number = {"ant": 0, "The_Mona": 1}  # the authors' order ignores case

    def lines(domain: str, i: int) -> list[str]:
        return [
            f"{name} {number[name.split('/')[1]]}" for name in names if name.startswith(domain) and name.endswith(f"_{i}.png")
        ]

    files = {
        f"{domain}_{part}.txt": lines(domain, i) for domain in ("clipart", "real") for part, i in (("train", 1), ("test", 2))
    }
    lists(root, files)
    data = DomainNet(tmp_path, tmp_path / "cache", image_size=4)
    assert sorted(data.train.names or ()) == sorted(name for name in names if name.endswith("_1.png"))
    assert sorted(data.test.names or ()) == sorted(name for name in names if name.endswith("_2.png"))
    for name, label in zip(data.train.names or (), data.train.labels):
        assert data.classes[label] == name.split("/")[1]
    lists(root, {"real_test.txt": [lines("real", 2)[0], lines("real", 2)[1].replace(" 0", " 7")]})
    with pytest.raises(DataError, match="line 2 of real_test.txt has label 7|line 1 of clipart_test.txt has label 0"):
        DomainNet(tmp_path, tmp_path / "cache", image_size=4)
    (root / "real_test.txt").unlink()
    with pytest.raises(DataError, match="has no real_test.txt, the authors' list"):
        DomainNet(tmp_path, tmp_path / "cache", image_size=4)


def test_pacs_takes_the_authors_folds(tmp_path: Path) -> None:
    names = [
        f"kfold/{domain}/{cls}/pic_{i}.png" for domain in ("photo", "art_painting") for cls in ("dog", "elk") for i in (1, 2, 3)
    ]
    root = write(tmp_path / "PACS", names)
    drawn = Pacs(tmp_path, tmp_path / "cache", image_size=4)
    assert len(drawn.test) == 4
    for domain in ("photo", "art_painting"):
        for part, end in (("train", ("1.png", "3.png")), ("crossval", ("2.png",))):
            own = [name.removeprefix("kfold/") for name in names if f"/{domain}/" in name and name.endswith(end)]
            lines = [f"{name} {1 + ('elk' in name)}" for name in own]
            lists(root, {f"splits/{domain}_{part}_kfold.txt": lines})
    data = Pacs(tmp_path, tmp_path / "cache", image_size=4)
    assert sorted(data.test.names or ()) == sorted(name for name in names if name.endswith("2.png"))
    assert len(data.train) == 8 and data.train.labels.tolist() == [name.split("/")[2] == "elk" for name in data.train.names or ()]
    lists(root, {"splits/photo_train_kfold.txt": ["photo/dog/pic_9.png 1"]})
    with pytest.raises(DataError, match="line 1 of splits/photo_train_kfold.txt names no image: 'photo/dog/pic_9.png'"):
        Pacs(tmp_path, tmp_path / "cache", image_size=4)


def test_office_home_is_found_by_its_archives_name(tmp_path: Path) -> None:
    write(
        tmp_path / "OfficeHomeDataset_10072016",
        [f"{d}/Bed/{i}.png" for d in ("Art", "Clipart") for i in (1, 2)]
        + ["ImageInfo.csv"]
        + [f"{d}/Mop/{i}.png" for d in ("Art", "Clipart") for i in (1, 2)],
    )
    data = OfficeHome(tmp_path, tmp_path / "cache", target="Art", image_size=4)
    assert (data.domains, data.classes, len(data.train), len(data.test)) == (["Art", "Clipart"], ["Bed", "Mop"], 4, 4)
