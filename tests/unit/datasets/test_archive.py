"""Names in a .zip as tools of macOS and Windows write them."""

from __future__ import annotations

import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from hdx.datasets._listing import list_classes
from hdx.datasets._tree import Files

NFD = unicodedata.normalize("NFD", "café")


def listed(path: Path) -> tuple[list[str], list[bytes]]:
    listing = list_classes(Files(path).contents())
    return listing.classes, [listing.files.read(name) for name in listing.names]


def write(path: Path, members: dict[bytes, bytes], system: int = 3, extra: Callable[[bytes], bytes] = lambda raw: b"") -> Path:
    """A .zip whose names are these bytes, without the flag of UTF-8."""

    class Raw(zipfile.ZipInfo):
        raw: bytes

        def _encodeFilenameFlags(self) -> tuple[bytes, int]:
            return self.raw, self.flag_bits & ~0x800

    with zipfile.ZipFile(path, "w") as archive:
        for i, (name, data) in enumerate(members.items()):
            info = Raw(f"placeholder{i}")
            info.raw, info.create_system, info.extra = name, system, extra(name)
            archive.writestr(info, data)
    return path


def test_utf8_that_is_not_marked(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zip", {f"{NFD}/1.png".encode(): b"one", "猫/1.png".encode(): b"two"})
    assert zipfile.ZipFile(path).namelist()[0] != f"{NFD}/1.png"  # as Python alone reads it
    assert listed(path) == (["café", "猫"], [b"one", b"two"])
    assert Files(path).contents().mended == ("2 names are UTF-8 that is not marked as such",)


def test_code_page_437_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zip", {b"caf\x82/1.png": b"one", b"b/1.png": b"two"}, system=0)
    assert listed(path) == (["b", "café"], [b"two", b"one"])
    assert "1 names are in no known encoding" in Files(path).contents().mended[0]


def test_the_unicode_name_beside_is_used(tmp_path: Path) -> None:
    def beside(raw: bytes) -> bytes:
        name = raw.replace(b"\x94", "ö".encode())
        return struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(raw)) + name

    path = write(tmp_path / "x.zip", {b"b\x94r/1.png": b"one", b"c/1.png": b"two"}, extra=beside)
    assert listed(path) == (["bör", "c"], [b"one", b"two"])
    assert Files(path).contents().mended == ()


@pytest.mark.parametrize("system", [0, 3])
def test_backslashes_of_windows(system: int, tmp_path: Path) -> None:
    path = write(tmp_path / "x.zip", {b"a\\": b"", b"a\\1.png": b"one", b"b\\deep\\1.png": b"two"}, system)
    assert listed(path) == (["a", "b"], [b"one", b"two"])
    assert Files(path).contents().mended == ("3 names have backslashes between folders",)


def test_a_backslash_that_is_part_of_a_name_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zip", {b"\\alpha/1.png": b"one", b"\\beta/1.png": b"two"})
    assert listed(path) == (["\\alpha", "\\beta"], [b"one", b"two"])


def test_dots_before_names(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zip", {b"./": b"", b"./a/1.png": b"one", b".//b/1.png": b"two"})
    assert listed(path) == (["a", "b"], [b"one", b"two"])


def test_two_forms_of_one_name_are_one_class(tmp_path: Path) -> None:
    zipped = write(tmp_path / "x.zip", {f"{NFD}/1.png".encode(): b"1", "café/1.png".encode(): b"2", b"z/1.png": b"3"})
    folder = tmp_path / "x"
    for name, data in {f"{NFD}/1.png": b"1", "café/1.png": b"2", "z/1.png": b"3"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    for path in (zipped, folder):
        assert listed(path) == (["café", "z"], [b"1", b"2", b"3"])
        assert list_classes(Files(path).contents()).labels.tolist() == [0, 0, 1]


def test_what_is_no_image_may_stand_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zip", {b"a/1.png": b"one", b"b/1.png": b"two", b"README": b"", b"./README": b""})
    assert listed(path)[0] == ["a", "b"]
