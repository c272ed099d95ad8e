"""The field's session lists: on the published files, and on lists and datasets of their format."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hdx.datasets._base import Dataset, ImageSet
from hdx.datasets.folder import Folder
from hdx.errors import ConfigError, DataError
from hdx.protocols.few_shot_class_incremental import FewShotClassIncremental


class Split(ImageSet):
    """Labels and names; fetching from it is an error."""

    def __init__(self, labels: np.ndarray, names: list[str] | None = None) -> None:
        self.labels, self.names = labels, names

    def fetch(self, indices: np.ndarray):  # type: ignore[no-untyped-def]
        raise AssertionError("a protocol must not look at images")


class Made(Dataset):
    licence = "none"

    def __init__(self, data_dir: Path | None, classes: list[str], train: Split, test: Split) -> None:
        super().__init__(data_dir, Path())
        self.classes, self.train, self.test = classes, train, test


def published(data_dir: Path, name: str) -> list[list[str]]:
    if not (data_dir / "fscil_splits.zip").exists():
        pytest.skip("needs fscil_splits.zip in $HDX_DATA")
    with zipfile.ZipFile(data_dir / "fscil_splits.zip") as archive:
        n = sum(member.startswith(f"{name}/session_") for member in archive.namelist())
        return [archive.read(f"{name}/session_{i + 1}.txt").decode().split() for i in range(n)]


def of_files(data_dir: Path, lists: list[list[str]], extra: int = 2) -> Made:
    """The listed files under train/, with `extra` further ones of each class, shuffled; two test images a class."""
    files = [line for lines in lists for line in lines]
    folders = sorted({line.split("/")[-2] for line in files})
    names = [f"train/{line.split('/')[-2]}/{line.split('/')[-1]}" for line in files]
    names += [f"train/{folder}/more_{i}.jpg" for folder in folders for i in range(extra)]
    names = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
    index = {folder: i for i, folder in enumerate(folders)}
    train = Split(np.array([index[name.split("/")[1]] for name in names]), names)
    return Made(data_dir, folders, train, Split(np.repeat(np.arange(len(folders)), 2)))


def like_cifar100(data_dir: Path | None, lists: list[list[str]], n: int = 50_000) -> tuple[Made, np.ndarray]:
    """Labels such that the lists fit: 60 classes of 500, then 5 a session; names of classes shuffled."""
    number = np.random.default_rng(1).permutation(100)
    labels = np.full(max(n, 50_000), -1)
    first = np.array(lists[0], dtype=int)
    labels[first] = number[np.arange(len(first)) % 60]
    for session, lines in enumerate(lists[1:]):
        labels[np.array(lines, dtype=int)] = number[60 + 5 * session + np.arange(25) % 5]
    labels[labels < 0] = number[60 + np.arange((labels < 0).sum()) % 40]
    test = Split(np.repeat(np.arange(100), 3))
    return Made(data_dir, [f"c{i}" for i in range(100)], Split(labels[:n]), test), number


def test_cifar100(data_dir: Path) -> None:
    lists = published(data_dir, "cifar100")
    dataset, number = like_cifar100(data_dir, lists)
    sessions = FewShotClassIncremental(lists="cifar100").sessions(dataset, 3)
    assert [len(s.new_classes) for s in sessions] == [60, *[5] * 8]
    assert [len(s.train) for s in sessions] == [30_000, *[25] * 8]
    assert sessions[0].train[:3].tolist() == [32048, 34665, 5129] and sessions[1].train[:2].tolist() == [29774, 33344]
    assert sessions[-1].seen_classes == tuple(number)
    for s in sessions:
        assert set(dataset.train.labels[s.train]) == set(s.new_classes)
        assert s.test.tolist() == [i for i, c in enumerate(dataset.test.labels) if c in s.seen_classes]


@pytest.mark.parametrize(
    ("name", "base", "step", "n", "images"), [("cub200", 100, 10, 11, 3000), ("mini_imagenet", 60, 5, 9, 30_000)]
)
def test_lists_of_files(data_dir: Path, name: str, base: int, step: int, n: int, images: int) -> None:
    lists = published(data_dir, name)
    dataset = of_files(data_dir, lists)
    sessions = FewShotClassIncremental(lists=name).sessions(dataset, 0)  # type: ignore[arg-type]
    assert [len(s.new_classes) for s in sessions] == [base, *[step] * (n - 1)]
    assert [len(s.train) for s in sessions] == [images, *[5 * step] * (n - 1)]
    order = list(dict.fromkeys(line.split("/")[-2] for lines in lists for line in lines))
    assert [dataset.classes[label] for label in sessions[-1].seen_classes] == order
    for s, lines in zip(sessions, lists):
        assert dataset.train.names is not None
        assert ["/".join(dataset.train.names[i].split("/")[1:]) for i in s.train] == ["/".join(x.split("/")[-2:]) for x in lines]
        assert len(s.test) == 2 * len(s.seen_classes)
    if name == "mini_imagenet":  # the published test list is every class's 100 test images
        with zipfile.ZipFile(data_dir / "fscil_splits.zip") as archive:
            tested = [line.split("/")[-2] for line in archive.read("mini_imagenet/test.txt").decode().split()]
        assert sorted(set(tested)) == sorted(order) and {tested.count(folder) for folder in order} == {100}


def write(folder: Path, name: str, *sessions: list[str]) -> Path:
    (folder / "fscil_splits" / name).mkdir(parents=True)
    for i, lines in enumerate(sessions, start=1):
        (folder / "fscil_splits" / name / f"session_{i}.txt").write_text("\n".join(lines) + "\n")
    return folder


def tree(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1)).save(root / file)
    return root


BIRDS = [["CUB/images/002.Tern/b.jpg", "CUB/images/002.Tern/a.jpg", "CUB/images/003.Wren/a.jpg"], ["CUB/images/001.Auk/z.jpg"]]
FILES = ["train/001.Auk/z.jpg", "train/002.Tern/a.jpg", "train/002.Tern/b.jpg", "train/002.Tern/c.jpg", "train/003.Wren/a.jpg"]
TEST = ["test/001.Auk/q.jpg", "test/002.Tern/q.jpg", "test/003.Wren/q.jpg"]


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_folder_of_images_is_matched_by_class_and_file_name(tmp_path: Path, storage: str) -> None:
    """001.Auk comes last in the lists and first in the dataset; both splits and classes share file names."""
    data = write(tmp_path, "cub200", *BIRDS)
    root = tree(tmp_path / "birds", *FILES, *TEST)
    dataset = Folder(data, tmp_path / "cache", path=str(root), image_size=1, storage=storage)  # type: ignore[arg-type]
    assert dataset.train.names == FILES and dataset.test.names == TEST
    first, second = FewShotClassIncremental(lists="cub200").sessions(dataset, 0)
    assert (first.new_classes, second.new_classes, second.seen_classes) == ((1, 2), (0,), (1, 2, 0))
    assert (first.train.tolist(), second.train.tolist()) == ([2, 1, 4], [0])
    assert (first.test.tolist(), second.test.tolist()) == ([1, 2], [0, 1, 2])


def test_a_zip_with_the_lists_in_a_folder_of_its_own(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "fscil_splits.zip", "w") as archive:
        archive.writestr("fscil_splits/cifar100/session_1.txt", "2\n0\n")
        archive.writestr("fscil_splits/cifar100/session_2.txt", "3\n")
        archive.writestr("fscil_splits/other_cifar100/session_3.txt", "9\n")
    dataset = Made(tmp_path, ["a", "b", "c"], Split(np.array([0, 1, 1, 2])), Split(np.array([0, 1, 2])))
    sessions = FewShotClassIncremental(lists="cifar100").sessions(dataset, 0)
    assert [(s.new_classes, s.train.tolist(), s.test.tolist()) for s in sessions] == [
        ((1, 0), [2, 0], [0, 1]),
        ((2,), [3], [0, 1, 2]),
    ]
    assert len(FewShotClassIncremental(lists="cifar100", sessions=1).sessions(dataset, 0)) == 2
    with pytest.raises(ConfigError, match=r"protocol.sessions: expected at most 1 \(those of protocol.lists=cifar100\), got 2"):
        FewShotClassIncremental(lists="cifar100", sessions=2).sessions(dataset, 0)


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ([["0", "1"], ["7"]], "session_2.txt lists training image 7, the dataset has 4 training images of 3 classes"),
        ([["0", "x1"], ["3"]], "session_1.txt: expected an index into the train split on each line, got 'x1'"),
        ([["0", "-1"], ["3"]], "session_1.txt: expected an index into the train split on each line, got '-1'"),
        ([["0", "0"], ["3"]], "session_1.txt has 2 lines for 1 different images"),
        (
            [["0", "1"], ["2"]],
            "session_2.txt lists images of class 'b', which session_1.txt has already: .*4 training images of 3",
        ),
        ([["0", "1"]], "only session_1.txt was found"),
        ([["0", "1"], [""]], "session_2.txt is empty"),
    ],
)
def test_lists_that_do_not_fit_are_refused_with_the_numbers(tmp_path: Path, lists: list[list[str]], words: str) -> None:
    write(tmp_path, "cifar100", *lists)
    dataset = Made(tmp_path, ["a", "b", "c"], Split(np.array([0, 1, 1, 2])), Split(np.array([0, 1, 2])))
    with pytest.raises(DataError, match=words) as caught:
        FewShotClassIncremental(lists="cifar100").sessions(dataset, 0)
    assert "\n" not in str(caught.value)


def test_lists_on_another_dataset(data_dir: Path) -> None:
    """CIFAR-10's 50,000 images, a CIFAR-100 that lost some, and one in another order."""
    dataset, _ = like_cifar100(data_dir, published(data_dir, "cifar100"))
    ten = Made(data_dir, [f"c{i}" for i in range(10)], Split(dataset.train.labels % 10), dataset.test)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"session_2.txt lists images of class .* \(50000 training images of 10 classes\)"):
        FewShotClassIncremental(lists="cifar100").sessions(ten, 0)
    fewer = Made(data_dir, dataset.classes, Split(dataset.train.labels[:40_000]), dataset.test)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="session_1.txt lists training image 49998, the dataset has 40000 training images of 100"):
        FewShotClassIncremental(lists="cifar100").sessions(fewer, 0)
    mixed = Made(data_dir, dataset.classes, Split(np.sort(dataset.train.labels)), dataset.test)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="session_2.txt lists images of class .*, which session_1.txt has already"):
        FewShotClassIncremental(lists="cifar100").sessions(mixed, 0)


def test_files_that_the_train_split_lacks(tmp_path: Path) -> None:
    data = write(tmp_path, "cub200", *BIRDS)
    classes, names = ["001.Auk", "002.Tern", "003.Wren"], [name.partition("/")[2] for name in FILES]
    rows = np.array([1, 3, 4])  # without Auk's z.jpg and Tern's b.jpg
    labels = np.array([0, 1, 1, 1, 2])
    train, test = Split(labels[rows], [names[i] for i in rows]), Split(labels[[0, 2]], [names[0], names[2]])
    words = r"session_1.txt lists 3 images, of which 1 \(first: CUB/images/002.Tern/b.jpg\) .*\(3 training images of 3 classes\)"
    with pytest.raises(DataError, match=f"{words}: 1 are in its test split; give it train/ and test/ folders"):
        FewShotClassIncremental(lists="cub200").sessions(Made(data, classes, train, test), 0)
    with pytest.raises(DataError, match=f"{words}: lists of another dataset"):
        FewShotClassIncremental(lists="cub200").sessions(Made(data, classes, train, Split(labels[:1], ["other.jpg"])), 0)
    with pytest.raises(DataError, match="session_1.txt lists files, but the images of this dataset have none"):
        FewShotClassIncremental(lists="cub200").sessions(Made(data, classes, Split(labels), Split(labels)), 0)


def test_where_lists_are_looked_for(tmp_path: Path) -> None:
    def sessions(data_dir: Path | None) -> object:
        split = Split(np.array([0, 1]))
        return FewShotClassIncremental(lists="cifar100").sessions(Made(data_dir, ["a", "b"], split, split), 0)

    with pytest.raises(
        DataError, match="session lists not found, no data_dir is set. Looked for: fscil_splits.zip, fscil_splits/"
    ):
        sessions(None)
    with pytest.raises(DataError, match=f"session lists not found under {tmp_path}"):
        sessions(tmp_path)
    write(tmp_path, "cub200", *BIRDS)
    with pytest.raises(DataError, match="fscil_splits has no cifar100/session_1.txt"):
        sessions(tmp_path)
    write(tmp_path, "cifar100", ["0"], ["1"])
    assert len(sessions(tmp_path)) == 2  # type: ignore[arg-type]
    (tmp_path / "fscil_splits" / "cifar100" / "session_2.txt").rename(tmp_path / "fscil_splits" / "cifar100" / "session_4.txt")
    with pytest.raises(DataError, match="has cifar100/session_4.txt but no session_2.txt"):
        sessions(tmp_path)
    (tmp_path / "fscil_splits.zip").write_bytes(b"PK not a zip")
    with pytest.raises(DataError, match="fscil_splits.zip is not a readable .zip"):
        sessions(tmp_path)
