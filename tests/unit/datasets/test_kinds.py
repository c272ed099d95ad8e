from __future__ import annotations

import pytest

from hdx.datasets._kinds import ending, image_endings, is_image, is_junk, printable


@pytest.mark.parametrize("name", ["x.jfif", "x.jpe", "a/x.PGM", "x.pbm", "x.Avif", "x.JPG", "x.mpo", "x.tga", "x.ico", "x.jp2"])
def test_whatever_pillow_decodes_is_an_image(name: str) -> None:
    assert is_image(name)


@pytest.mark.parametrize("name", ["x.txt", "x.pdf", "x.mpg", "x.h5", "x.heic", "x.npy", "jpg", "a.jpg/x", "x.png.txt"])
def test_documents_videos_and_unknown_endings_are_none(name: str) -> None:
    assert not is_image(name)


def test_endings_are_all_lower_case() -> None:
    assert all(each == each.lower() and each.startswith(".") for each in image_endings())


def test_words_for_messages() -> None:
    assert (ending("a/x.HEIC"), ending("a.b/x"), ending(".x")) == (".heic", "no ending", "no ending")
    assert printable("a\nb\udce9ü") == "a\\nb\\udce9ü"
    assert is_junk("a/Thumbs.db") and is_junk("desktop.ini") and not is_junk("a/x.txt")
