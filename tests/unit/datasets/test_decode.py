from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hdx.datasets import _tree
from hdx.datasets._decode import Decoder, all_grey, decode
from hdx.datasets._levels import Ranges
from hdx.datasets._tree import Files
from hdx.errors import DataError

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def read(folder: Path, name: str, **options: object) -> np.ndarray:
    return Decoder(**{"size": 20, "colour": "rgb", "fit": "crop", **options}).read(Files(folder), name)


def test_exact_pixels_without_resizing(tmp_path: Path) -> None:
    Image.fromarray(RGB[:, :20]).save(tmp_path / "x.png")
    assert np.array_equal(read(tmp_path, "x.png"), RGB[:, :20].transpose(2, 0, 1))


def test_crop_keeps_the_centre(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "x.png")
    assert np.array_equal(read(tmp_path, "x.png", fit="crop"), RGB[:, 5:25].transpose(2, 0, 1))


def test_squash_is_pillows_resize(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "x.png")
    expected = np.asarray(Image.fromarray(RGB).resize((20, 20), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.array_equal(read(tmp_path, "x.png", fit="squash"), expected)


def test_pad_adds_black_above_and_below(tmp_path: Path) -> None:
    Image.fromarray(RGB | 1).save(tmp_path / "x.png")
    padded = read(tmp_path, "x.png", fit="pad", size=30)
    assert np.array_equal(padded[:, 5:25], (RGB | 1).transpose(2, 0, 1))
    assert not padded[:, :5].any()
    assert not padded[:, 25:].any()


def test_grey_and_palettes_and_alpha(tmp_path: Path) -> None:
    grey = RGB[:, :20, 0]
    Image.fromarray(grey).save(tmp_path / "l.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "p.png")
    Image.fromarray(np.dstack([RGB[:, :20], RGB[:, :20, :1]])).save(tmp_path / "rgba.png")
    assert np.array_equal(read(tmp_path, "l.png", colour="grey"), grey[None])
    assert np.array_equal(read(tmp_path, "l.png"), np.stack([grey] * 3))
    assert np.array_equal(read(tmp_path, "p.png"), np.stack([grey] * 3))
    alpha = RGB[:, :20, :1].astype(int)
    on_white = (RGB[:, :20] * alpha + 255 * (255 - alpha)) / 255
    assert np.abs(read(tmp_path, "rgba.png") - on_white.transpose(2, 0, 1)).max() <= 0.5


def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 400).astype(np.uint16).reshape(20, 20)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    ranges = Ranges(integer=(0, 65535))
    assert np.array_equal(read(tmp_path, "deep.png", colour="grey", ranges=ranges)[0], (levels >> 8).astype(np.uint8))
    with pytest.raises(DataError, match="levels of more than 8 bits, and no range that they are in is known"):
        read(tmp_path, "deep.png")


def test_exif_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    left_white = np.zeros((40, 40), dtype=np.uint8)
    left_white[:, :20] = 255
    Image.fromarray(left_white).save(tmp_path / "x.jpg", exif=exif)
    shown = read(tmp_path, "x.jpg", size=40, colour="grey")[0]
    assert shown[:16].mean() > 250
    assert shown[24:].mean() < 5


def test_large_jpegs_are_near_a_full_decode(tmp_path: Path) -> None:
    y, x = np.mgrid[:512, :512] / 60
    Image.fromarray((127 + 100 * np.sin(x + y)).astype(np.uint8)).save(tmp_path / "x.jpg", quality=95)
    full = np.asarray(Image.open(tmp_path / "x.jpg").resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(read(tmp_path, "x.jpg", size=32, colour="grey")[0].astype(int) - full).max() <= 3


@pytest.mark.parametrize("n_bytes", [0, 50, 700])
def test_truncated_jpeg_is_named(tmp_path: Path, n_bytes: int) -> None:
    Image.fromarray(RGB).save(tmp_path / "cut.jpg", quality=95)
    data = (tmp_path / "cut.jpg").read_bytes()
    assert len(data) > 1000
    (tmp_path / "cut.jpg").write_bytes(data[:n_bytes])
    with pytest.raises(DataError, match=r"cut\.jpg.* in .*Replace or remove the file"):
        read(tmp_path, "cut.jpg")


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + chunk(b"IDAT", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_001, 60_000])
def test_decompression_bombs_are_refused_by_their_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    with pytest.raises(DataError, match=r"image 'bomb\.png' in .* is too large"):
        read(tmp_path, "bomb.png")


def test_a_member_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tree, "MAX_FILE_BYTES", 10_000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/zeros.png", bytes(10_001))
    with pytest.raises(DataError, match=r"'a/zeros\.png' in .* has 10001 bytes, more than 10000"):
        Files(tmp_path / "x.zip").read("a/zeros.png")


def test_threads_keep_the_order_and_pass_errors_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"{i:03d}.png" for i in range(200)]
    images = rng.integers(0, 256, (200, 6, 6), dtype=np.uint8)
    for name, image in zip(names, images):
        Image.fromarray(image).save(tmp_path / name)
    decoder = Decoder(size=6, colour="grey", fit="crop")
    assert np.array_equal(decode(Files(tmp_path), names, decoder, threads=2)[:, 0], images)
    (tmp_path / "150.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"150\.png"):
        decode(Files(tmp_path), names, decoder, threads=2)


def test_all_grey_looks_at_the_stored_mode(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(5)]
    for name in names:
        Image.fromarray(RGB[:, :, 0]).save(tmp_path / name)
    assert all_grey(Files(tmp_path), names)
    Image.fromarray(RGB).save(tmp_path / names[-1])
    assert not all_grey(Files(tmp_path), names)
