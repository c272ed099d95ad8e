"""Files and folders are known by their bytes, and what was read once is not read again."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import unicodedata
from pathlib import Path

import pytest

from hdx import content, content_store
from hdx.errors import DataError


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "SETTLED_S", -1.0)


def _tree(root: Path) -> Path:
    for name, text in (("cat/1.png", "one"), ("cat/2.png", "two"), ("dog/1.png", "three"), ("list.txt", "cat")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_file_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"0" * 3_000_000)
    assert content.of(file) == hashlib.sha256(b"0" * 3_000_000).hexdigest() == content.of_file(str(file))


def test_any_byte_of_any_file_counts_and_so_do_names(tmp_path: Path) -> None:
    root = _tree(tmp_path / "set")
    found = [content.of(root)]
    (root / "dog" / "1.png").write_text("threE")  # the same size
    found.append(content.of(root))
    (root / "dog" / "1.png").rename(root / "dog" / "2.png")
    found.append(content.of(root))
    (root / "cat" / "1.png").write_text("two")
    (root / "cat" / "2.png").write_text("one")  # swapped
    found.append(content.of(root))
    (root / "note.md").touch()
    found.append(content.of(root))
    assert len(set(found)) == len(found)


def test_place_times_and_hidden_files_do_not_count(tmp_path: Path) -> None:
    root = _tree(tmp_path / "set")
    before = content.of(root)
    os.utime(root / "cat" / "1.png", (1, 1))
    (root / ".DS_Store").write_text("x")
    (root / "cat" / "._1.png").write_text("x")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "1.png").write_text("x")
    (root / "empty").mkdir()
    moved = shutil.move(root, tmp_path / "elsewhere")
    assert content.of(moved) == before == content.of(f"{moved}/") == content.of(_tree(tmp_path / "again"))


def test_both_spellings_of_a_name_are_one(tmp_path: Path) -> None:
    found = set()
    for form in ("NFC", "NFD"):
        folder = tmp_path / form / unicodedata.normalize(form, "café")
        folder.mkdir(parents=True)
        (folder / "1.png").write_text("x")
        found.add(content.of(tmp_path / form))
    assert len(found) == 1


def test_links_are_followed_and_end(tmp_path: Path) -> None:
    root, copy = _tree(tmp_path / "set"), _tree(tmp_path / "copy")
    shutil.rmtree(copy / "dog")
    (copy / "dog").symlink_to(root / "dog")
    (copy / "cat" / "loop").symlink_to(copy)
    assert content.of(copy) == content.of(root)


@pytest.mark.parametrize("what", ["file", "tree"])
def test_asking_again_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    root = _tree(tmp_path / "set")
    path = root if what == "tree" else root / "list.txt"
    before, read = content.of(path), []
    original = content._read
    monkeypatch.setattr(content, "_read", lambda seen: read.append(Path(seen.path).name) or original(seen))
    assert content.of(path) == before and read == []
    (root / "list.txt").write_text("dog")  # the same size
    assert content.of(path) != before and read == ["list.txt"]  # and of a folder, only what changed


def test_bytes_put_back_under_old_times_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_text("old")
    times, before = file.stat(), content.of(file)
    file.write_text("new")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert content.of(file) != before


def test_what_has_just_been_written_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "SETTLED_S", 3600.0)
    content.of(_tree(tmp_path / "set"))
    with sqlite3.connect(content_store.folder() / "content.sqlite") as database:
        assert database.execute("select count(*) from digests").fetchone() == (0,)


def test_a_damaged_or_forbidden_store_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _tree(tmp_path / "set")
    before, file = content.of(root), content_store.folder() / "content.sqlite"
    file.write_bytes(b"no database" * 1000)
    assert content.of(root) == before
    assert content.of(root) == before and content_store.Store().get(["x"]) == {}
    with sqlite3.connect(file) as database:
        database.execute("update digests set digest = 'forged'")
    assert content.of(root) == before
    (tmp_path / "a file").touch()
    monkeypatch.setenv("HDX_CACHE", str(tmp_path / "a file"))
    assert content.of(root) == before


def test_inside_asked_once_a_path_is_looked_at_once(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    with content.asked_once():
        before = content.of(file)
        file.write_text("2")
        assert content.of(file) == before
    assert content.of(file) != before


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*gone: No such file"):
        content.of(tmp_path / "gone")
    (tmp_path / "set").mkdir()
    os.mkfifo(tmp_path / "set" / "1.png")
    with pytest.raises(DataError, match=r"1\.png is not a file"):
        content.of(tmp_path / "set")
    (tmp_path / "set" / "1.png").unlink()
    (tmp_path / "set" / "2.png").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=r"2\.png: No such file"):
        content.of(tmp_path / "set")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    root = _tree(tmp_path / "set")
    (root / "dog").chmod(0)
    try:
        with pytest.raises(DataError, match=r"cannot read .*dog: Permission denied"):
            content.of(root)
    finally:
        (root / "dog").chmod(0o755)
