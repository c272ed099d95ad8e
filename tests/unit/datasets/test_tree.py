from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hdx.datasets._listing import Listing, list_classes, top_folder
from hdx.datasets._tree import Files
from hdx.errors import DataError


def listing_of(path: Path) -> Listing:
    contents = Files(path).contents()
    return list_classes(contents, unders=[top_folder(contents.images)])


def test_classes_are_sorted_and_folders_equal_zips(make_tree: Callable[..., Path], zipped: Callable[[Path], Path]) -> None:
    root = make_tree("flowers", {"tulip": 2, "rose": 3, "Aster": 1})
    folder, archive = listing_of(root), listing_of(zipped(root))
    assert folder.classes == archive.classes == ["Aster", "rose", "tulip"]
    assert folder.names == archive.names
    assert folder.labels.tolist() == archive.labels.tolist() == [0, 1, 1, 1, 2, 2]
    assert [folder.files.read(n) for n in folder.names] == [archive.files.read(n) for n in archive.names]


@pytest.mark.parametrize(
    ("names", "top"),
    [
        (["a/1.png", "b/2.png"], ""),
        (["x/a/1.png", "x/b/2.png"], "x/"),
        (["x/y/a/1.png", "x/y/b/2.png"], "x/y/"),
        (["a/1.png", "a/2.png"], ""),
        (["x/a/1.png", "x/a/2.png"], "x/"),
        (["a/1.png", "a/more/2.png"], ""),
        (["1.png", "2.png"], ""),
        ([], ""),
    ],
)
def test_top_folder(names: list[str], top: str) -> None:
    assert top_folder(names) == top


def test_hidden_files_other_files_and_case(make_tree: Callable[..., Path]) -> None:
    root = make_tree("x", {"a": 1, "b": 1, "__MACOSX/a": 1, ".git/a": 1})
    (root / "a" / "000.jpg").rename(root / "a" / "UP.JPG")
    (root / "a" / "._UP.JPG").write_bytes(b"shadow")
    (root / "a" / "notes.txt").write_text("no image")
    assert listing_of(root).names == ["a/UP.JPG", "b/000.jpg"]


def test_deeper_folders_belong_to_their_class(make_tree: Callable[..., Path]) -> None:
    root = make_tree("x", {"a/day": 2, "a/night": 1, "b": 1})
    assert listing_of(root).labels.tolist() == [0, 0, 0, 1]


def test_two_levels(make_tree: Callable[..., Path]) -> None:
    contents = Files(make_tree("x", {"greek/a": 2, "greek/b": 1, "latin/a": 1})).contents()
    assert list_classes(contents, depth=2).classes == ["greek/a", "greek/b", "latin/a"]


def test_identity_follows_contents_and_not_place(make_tree: Callable[..., Path], zipped: Callable[[Path], Path]) -> None:
    root = make_tree("x", {"a": 2, "b": 1})
    archive = zipped(root)
    moved = archive.rename(archive.with_name("moved.zip"))
    assert listing_of(moved).identity == listing_of(zipped(root)).identity
    (root / "b" / "000.jpg").write_bytes((root / "a" / "000.jpg").read_bytes())
    assert listing_of(moved).identity != listing_of(zipped(root)).identity


def test_a_link_to_a_folder_above_does_not_loop(make_tree: Callable[..., Path]) -> None:
    root = make_tree("x", {"a": 2, "b": 1})
    elsewhere = make_tree("elsewhere", {"c": 3})
    (root / "a" / "up").symlink_to(root)
    (root / "c").symlink_to(elsewhere / "c")
    listing = listing_of(root)
    assert listing.classes == ["a", "b", "c"]
    assert np.bincount(listing.labels).tolist() == [2, 1, 3]


def test_empty_class_folder_is_named(make_tree: Callable[..., Path], zipped: Callable[[Path], Path]) -> None:
    root = make_tree("x", {"a": 2, "b": 1})
    (root / "c").mkdir()
    (root / "c" / "notes.txt").write_text("no image")
    for path in (root, zipped(root)):
        with pytest.raises(DataError, match="class folder 'c' in .* has no images"):
            listing_of(path)


def test_no_class_folders(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    root = make_tree("x", {".": 3})
    with pytest.raises(DataError, match="has no class folders with images"):
        listing_of(root)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="has no class folders with images"):
        listing_of(tmp_path / "nothing")


def test_images_outside_classes_are_counted(make_tree: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    root = make_tree("x", {"a": 1, "b": 1, ".": 2})
    with caplog.at_level(logging.WARNING, "hdx"):
        assert len(listing_of(root)) == 2
    assert "2 images outside class folders" in caplog.text


def test_bad_zips(tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"no zip at all")
    with pytest.raises(DataError, match=r"bad\.zip is not a readable \.zip"):
        Files(bad).contents()
    twice = tmp_path / "twice.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(twice, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("a/1.png", b"x")
        archive.writestr("a/1.png", b"y")
    with pytest.raises(DataError, match="lists 'a/1.png' twice"):
        Files(twice).contents()


def test_a_zip_that_is_replaced_is_opened_anew(make_tree: Callable[..., Path], zipped: Callable[[Path], Path]) -> None:
    one, two = make_tree("one", {"a": 1, "b": 1}), make_tree("two", {"c": 2, "d": 2})
    target = zipped(one)
    assert listing_of(target).classes == ["a", "b"]
    zipped(two).replace(target)
    assert listing_of(target).classes == ["c", "d"]


def test_a_damaged_member_and_a_missing_file_are_named(make_tree: Callable[..., Path], zipped: Callable[[Path], Path]) -> None:
    root = make_tree("x", {"a": 1, "b": 1})
    archive = zipped(root)
    data = bytearray(archive.read_bytes())
    data[200] ^= 0xFF  # inside the first member, whose CRC no longer fits
    archive.write_bytes(data)
    with pytest.raises(DataError, match="cannot read 'a/000.jpg' in"):
        Files(archive).read("a/000.jpg")
    with pytest.raises(DataError, match="cannot read 'a/001.jpg' in"):
        Files(root).read("a/001.jpg")


def test_a_dangling_link_is_named(make_tree: Callable[..., Path]) -> None:
    root = make_tree("x", {"a": 1, "b": 1})
    (root / "a" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    with pytest.raises(DataError, match=r"cannot read .*gone\.jpg"):
        listing_of(root)
