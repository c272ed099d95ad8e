"""Pictures of every depth, range and kind of transparency: the right pixels, or one line; never black without a word."""

from __future__ import annotations

import io
import itertools
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from tests.unit.datasets.pictures import png, tiff, tiff_rgb16

from hdx.datasets._kinds import image_endings
from hdx.datasets.folder import Folder
from hdx.errors import DataError

RNG = np.random.default_rng(0)
STORAGES = ("memory", "disk")


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def shown(root: Path, **options: Any) -> dict[str, np.ndarray]:
    """[C, 4, 4] int of every image by name."""
    data = Folder(None, root.parent / "cache", path=str(root), **{"image_size": 4, **options})
    found = {}
    for split in (data.train, data.test):
        images = split.fetch(np.arange(len(split))).numpy().astype(int)
        found |= dict(zip(split.names or [], images))
    return found


def four(make: Any, kind: str = "png") -> dict[str, bytes]:
    """Two files for each of two classes, from `make(0)` … `make(3)`."""
    return {f"{'ab'[i // 2]}/{i}.{kind}": make(i) for i in range(4)}


def levels(top: float, *shape: int, low: float = 0) -> list[np.ndarray]:
    """Four images whose levels together go from `low` to `top`."""
    images = [RNG.uniform(low, low + (top - low) * (i + 1) / 4, (4, 4, *shape)) for i in range(4)]
    images[0].flat[0], images[3].flat[0] = low, top
    return images


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("channels", [(), (3,), (2,), (4,)])
@pytest.mark.parametrize(("top", "white"), [(255, 255), (1000, 1023), (4095, 4095), (3000, 4095), (16383, 16383), (65535, 65535)])
def test_16_bits_with_less_in_them(
    top: int, white: int, channels: tuple[int, ...], storage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [each.astype(np.uint16) for each in levels(top, *channels)]
    if channels in ((2,), (4,)):
        for each in images:
            each[..., -1] = 65535
    root = folder(tmp_path / "x", four(lambda i: png(images[i])))
    with caplog.at_level(logging.WARNING, "hdx"):
        found = shown(root, storage=storage, colour="rgb")
    for i, image in enumerate(images):
        wanted = image[..., :1] if channels in ((), (2,)) else image[..., :3]
        wanted = np.broadcast_to(image[..., None] if channels == () else wanted, (4, 4, 3)).transpose(2, 0, 1) / white * 255
        assert np.abs(found[f"{'ab'[i // 2]}/{i}.png"] - wanted).max() <= 1
    if storage == "memory":
        assert (
            f"4 images hold levels of more than 8 bits and state no range: that of the set, 0 (black) to {white} (white)"
            in caplog.text
        )


def test_a_full_range_of_16_bits_is_its_upper_byte(tmp_path: Path) -> None:
    images = [each.astype(np.uint16) for each in levels(65535)]
    found = shown(folder(tmp_path / "x", four(lambda i: png(images[i]))))
    assert all(np.array_equal(found[f"{'ab'[i // 2]}/{i}.png"][0], images[i] >> 8) for i in range(4))


def test_levels_far_from_zero_are_spread(tmp_path: Path) -> None:
    images = [each.astype(np.uint16) for each in levels(34000, low=30000)]
    found = shown(folder(tmp_path / "x", four(lambda i: png(images[i]))))
    for i in range(4):
        assert np.abs(found[f"{'ab'[i // 2]}/{i}.png"][0] - (images[i] - 30000.0) / 4000 * 255).max() <= 0.51


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("top", [255, 4095, 65535])
def test_colour_tiffs_of_16_bits(top: int, order: str, tmp_path: Path) -> None:
    images = [each.astype(np.uint16) for each in levels(top, 3)]
    found = shown(folder(tmp_path / "x", four(lambda i: tiff_rgb16(images[i], order), "tif")))
    for i in range(4):
        assert np.abs(found[f"{'ab'[i // 2]}/{i}.tif"] - images[i].transpose(2, 0, 1) / top * 255).max() <= 1


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    ("low", "top", "black", "white"),
    [
        (0, 1, 0, 1),
        (0, 0.6, 0, 1),
        (0, 255, 0, 255),
        (0, 65000, 0, 65535),
        (-1, 1, -1, 1),
        (-1000, 3000, -1000, 3000),
        (0, 1e-4, 0, 1e-4),
    ],
)
def test_floats(low: float, top: float, black: float, white: float, storage: str, tmp_path: Path) -> None:
    images = [each.astype(np.float32) for each in levels(top, low=low)]
    found = shown(folder(tmp_path / "x", four(lambda i: tiff(images[i]), "tiff")), storage=storage)
    for i in range(4):
        assert np.abs(found[f"{'ab'[i // 2]}/{i}.tiff"][0] - (images[i] - black) / (white - black) * 255).max() <= 0.51


def test_signed_integers(tmp_path: Path) -> None:
    images = [each.astype(np.int32) for each in levels(3071, low=-1024)]
    found = shown(folder(tmp_path / "x", four(lambda i: tiff(images[i]), "tif")))
    for i in range(4):
        assert np.abs(found[f"{'ab'[i // 2]}/{i}.tif"][0] - (images[i] + 1024) / 4095 * 255).max() <= 0.51


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_floats_that_are_not_finite_are_named(bad: float, tmp_path: Path) -> None:
    images = [each.astype(np.float32) for each in levels(1)]
    images[2].flat[3] = bad
    root = folder(tmp_path / "x", four(lambda i: tiff(images[i]), "tif"))
    with pytest.raises(DataError, match=r"'b/2\.tif' in .* not finite"):
        shown(root)


@pytest.mark.parametrize("make", [lambda i: png(np.full((4, 4), 7)), lambda i: tiff(np.full((4, 4), 0.5, np.float32))])
def test_one_level_alone_has_no_range(make: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no range that they are in is known, or all are the same"):
        shown(folder(tmp_path / "x", four(make)))


def test_what_a_file_states_counts_before_the_set(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grey, real = RNG.integers(0, 900, (4, 4)), RNG.uniform(0, 3, (4, 4)).astype(np.float32)
    front = RNG.integers(0, 1024, (4, 4))
    pgm = b"P5 4 4 4095\n" + grey.astype(">u2").tobytes()
    files = {"a/0.png": png(grey, significant=12), "a/1.tif": tiff(real, t341=4.0), "b/2.pgm": pgm}
    files |= {"b/3.png": png(front << 6 | front >> 4, significant=10)}
    with caplog.at_level(logging.WARNING, "hdx"):
        found = shown(folder(tmp_path / "x", files), colour="grey")
    assert np.abs(found["a/0.png"][0] - grey / 4095 * 255).max() <= 1
    assert np.abs(found["a/1.tif"][0] - real / 4 * 255).max() <= 0.51
    assert np.abs(found["b/2.pgm"][0] - grey / 4095 * 255).max() <= 1
    assert np.abs(found["b/3.png"][0] - front / 1023 * 255).max() <= 1
    assert "state no range" not in caplog.text


def test_white_is_zero(tmp_path: Path) -> None:
    images = [each.astype(np.uint16) for each in levels(65535)]
    found = shown(folder(tmp_path / "x", four(lambda i: tiff(images[i], t262=0), "tif")))
    state = Image.open(tmp_path / "x" / "a" / "0.tif").tag_v2[262]
    wanted = (lambda each: 255 - (each >> 8)) if state == 0 else (lambda each: each >> 8)
    assert all(np.array_equal(found[f"{'ab'[i // 2]}/{i}.tif"][0], wanted(images[i])) for i in range(4))


SHAPE = RNG.integers(0, 2, (4, 4))
HIDDEN = RNG.integers(0, 256, (4, 4, 3))


def saved(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(kind: str = "png", **options: Any) -> bytes:
    return saved(Image.fromarray(RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)), kind, **options)


def with_palette(clear: int | bytes) -> bytes:
    image = Image.fromarray(SHAPE.astype(np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50] + [0] * 762)
    return saved(image, transparency=clear)


def layers(colour: np.ndarray, alpha: np.ndarray, kind: str) -> bytes:
    return saved(Image.fromarray(np.dstack([colour, alpha]).astype(np.uint8), kind))


SHOWS = {  # a black shape on whatever is behind, with noise in the colours that are hidden
    "rgba": lambda: layers(HIDDEN * 0, SHAPE * 255, "RGBA"),
    "rgba with colours hidden": lambda: layers(HIDDEN * (1 - SHAPE[..., None]), SHAPE * 255, "RGBA"),
    "la": lambda: layers(HIDDEN[..., 0] * (1 - SHAPE), SHAPE * 255, "LA"),
    "rgba of 16 bits": lambda: png(np.dstack([HIDDEN * 257 * (1 - SHAPE[..., None]), SHAPE * 65535])),
    "la of 16 bits": lambda: png(np.dstack([HIDDEN[..., 0] * 257 * (1 - SHAPE), SHAPE * 65535])),
    "grey with a clear level": lambda: png(np.where(SHAPE, 0, 77), 8, clear=(77,)),
    "2 bits with a clear level": lambda: png(np.where(SHAPE, 0, 2), 2, clear=(2,)),
    "1 bit with a clear level": lambda: png(np.where(SHAPE, 0, 1), 1, clear=(1,)),
    "rgb with a clear colour": lambda: png(np.where(SHAPE[..., None], 0, [[[9, 8, 7]]]), 8, clear=(9, 8, 7)),
}


@pytest.mark.parametrize("background", ["white", "grey", "black"])
@pytest.mark.parametrize("kind", SHOWS)
def test_transparency_shows_the_background(kind: str, background: str, tmp_path: Path) -> None:
    files = four(lambda i: SHOWS[kind]())
    files["a/0.png"] = saved(Image.fromarray(HIDDEN.astype(np.uint8)))  # so that levels of 16 bits alone are not all of the set
    files["b/3.png"] = png(np.linspace(0, 65535, 16).reshape(4, 4))
    found = shown(folder(tmp_path / "x", files), background=background, colour="rgb")
    wanted = np.where(SHAPE, 0, {"white": 255, "grey": 128, "black": 0}[background])
    assert np.array_equal(found["a/1.png"], np.stack([wanted] * 3))


def test_palettes_with_transparency(tmp_path: Path) -> None:
    files = {"a/0.png": with_palette(0), "a/1.png": with_palette(bytes([0, 255])), "b/2.png": with_palette(bytes([255, 51]))}
    files["b/3.gif"] = saved(Image.open(io.BytesIO(files["a/0.png"])), "gif", transparency=0)
    found = shown(folder(tmp_path / "x", files))
    on_white = np.where(SHAPE[..., None], [200, 100, 50], 255).transpose(2, 0, 1)
    assert all(np.array_equal(found[name], on_white) for name in ("a/0.png", "a/1.png", "b/3.gif"))
    half = np.where(SHAPE[..., None], [244, 224, 214], [10, 20, 30]).transpose(2, 0, 1)
    assert np.array_equal(found["b/2.png"], half)


def test_clear_levels_of_16_bits(tmp_path: Path) -> None:
    grey = np.where(SHAPE, 60000, 1234)
    colour = np.where(SHAPE[..., None], [60000, 0, 65535], [1, 2, 3])
    files = {"a/0.png": png(grey, clear=(1234,)), "b/1.png": png(colour, clear=(1, 2, 3))}
    files |= {"a/2.png": png(np.linspace(0, 65535, 16).reshape(4, 4)), "b/3.png": saved(Image.fromarray(HIDDEN.astype(np.uint8)))}
    found = shown(folder(tmp_path / "x", files))
    assert np.array_equal(found["a/0.png"][0], np.where(SHAPE, 60000 >> 8, 255))
    assert np.array_equal(found["b/1.png"], np.where(SHAPE[..., None], [60000 >> 8, 0, 255], 255).transpose(2, 0, 1))


def test_pictures_of_one_colour_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = four(lambda i: noise())
    files |= {"a/black.png": saved(Image.new("RGB", (4, 4))), "b/clear.png": saved(Image.new("RGBA", (4, 4)))}
    with caplog.at_level(logging.WARNING, "hdx"):
        data = Folder(None, tmp_path / "cache", path=str(folder(tmp_path / "x", files)), image_size=4)
    assert "2 pictures are of one colour all over (first: a/black.png)" in caplog.text
    assert "equal another one" not in caplog.text
    assert data.notes == {"flat": 2}


def writable() -> list[str]:
    """Endings that Pillow reads, writes and keeps pixels of without loss of more than a little."""
    Image.init()
    found = []
    for ending in image_endings():
        kind = Image.registered_extensions()[ending]
        try:
            back = Image.open(io.BytesIO(saved(Image.new("RGB", (16, 16), (200, 30, 60)), kind)))
            if back.size == (16, 16) and back.convert("RGB").getpixel((8, 8))[0] > 150:
                found.append(ending)
        except (OSError, KeyError, ValueError):
            continue
    return found


def test_every_format_that_pillow_writes_is_read_in_both_cases(tmp_path: Path) -> None:
    endings = writable()
    assert {".jpg", ".jfif", ".jpe", ".ppm", ".pgm", ".png", ".tga", ".bmp", ".tif"} <= set(endings)
    files = {}
    for i, ending in enumerate(endings):
        colour = Image.new("RGB", (16, 16), (200, 30, 60))
        colour.paste((20, 200, 90), (0, 0, 8, 16))
        shown_as = ending if i % 2 else ending.upper()
        files |= {f"{cls}/{i}{shown_as}": saved(colour, Image.registered_extensions()[ending]) for cls in "ab"}
    found = shown(folder(tmp_path / "x", files), colour="rgb")
    assert len(found) == 2 * len(endings)
    for image in found.values():
        assert np.abs(image[:, 2, 0] - [20, 200, 90]).max() <= 12
        assert np.abs(image[:, 2, 3] - [200, 30, 60]).max() <= 12


BROKEN = {"empty": b"", "text": b"hello, I am no picture", "cut": saved(Image.fromarray(HIDDEN.astype(np.uint8)))[:60]}


@pytest.mark.parametrize(("storage", "how"), list(itertools.product(STORAGES, BROKEN)))
def test_all_broken_files_are_named_at_once(how: str, storage: str, tmp_path: Path) -> None:
    files = {f"{cls}/{i:02d}.png": noise() for cls in "ab" for i in range(9)}
    files |= {f"{cls}/odd\n{i}.jpg": BROKEN[how] for cls in "ab" for i in range(6)}
    root = folder(tmp_path / "x", files)
    with pytest.raises(DataError) as caught:
        shown(root, storage=storage, skip_broken=11)
    line = str(caught.value)
    assert "\n" not in line and "object at" not in line
    assert line.startswith(f"12 files in {root} cannot be read: 'a/odd\\n0.jpg' (")
    assert line.count("odd") == 10 and " and 2 more. Replace or remove them, or dataset.skip_broken=12 leaves them out" in line


@pytest.mark.parametrize("storage", STORAGES)
def test_skipping_is_as_if_the_file_were_not_there(storage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {f"{cls}/{i:02d}.png": noise() for cls in "ab" for i in range(9)}
    whole = folder(tmp_path / "x", files)
    broken = folder(tmp_path / "y", files | {"a/03b.png": b"", "b/000.jpg": b"text"})
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING, "hdx"):
            data = Folder(None, tmp_path / "cache", path=str(broken), image_size=4, storage=storage, skip_broken=2)
        assert "2 files cannot be read and are left out (first: a/03b.png: is empty)" in caplog.text
        assert data.notes == {"broken": 2}
    same = Folder(None, tmp_path / "cache", path=str(whole), image_size=4, storage=storage)
    for split in ("train", "test"):
        one, two = getattr(data, split), getattr(same, split)
        assert one.names == two.names and np.array_equal(one.labels, two.labels)
        assert np.array_equal(one.fetch(np.arange(len(one))), two.fetch(np.arange(len(two))))
    with pytest.raises(DataError, match="2 files in .* cannot be read"):
        Folder(None, tmp_path / "cache", path=str(broken), image_size=4, storage="memory", skip_broken=1)


def test_a_class_of_broken_files_alone_is_named(tmp_path: Path) -> None:
    files = four(lambda i: saved(Image.fromarray(HIDDEN.astype(np.uint8)))) | {"c/0.png": b"", "c/1.png": b""}
    with pytest.raises(DataError, match="class 'c' in .* has no image that can be read"):
        shown(folder(tmp_path / "x", files), skip_broken=5)


def test_warnings_of_pillow_end_nothing_and_are_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0\x01\0"  # says five entries and has one
    files = four(lambda i: noise("jpeg", exif=exif), "jpg")
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING, "hdx"):
        warnings.simplefilter("error")
        assert len(shown(folder(tmp_path / "x", files))) == 4
    assert caplog.text.count("Pillow had doubts about") == 1
    assert "Warning" not in capfd.readouterr().err
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_animations_show_their_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), level, np.uint8)) for level in (255, 0, 90)]
    frames[0].putpixel((0, 0), (0, 0, 0))
    kinds: dict[str, dict[str, Any]] = {"gif": {}, "webp": {"lossless": True}, "png": {}, "tiff": {}}
    files = {}
    for i, (kind, options) in enumerate(kinds.items()):
        files[f"{'ab'[i % 2]}/{i}.{kind}"] = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    found = shown(folder(tmp_path / "x", files), colour="grey")
    assert all(image[0, 0, 0] == 0 and (image[0, 1:] == 255).all() for image in found.values())


def test_8_bit_colours_are_what_pillow_gives(tmp_path: Path) -> None:
    images = [RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8) for _ in range(4)]
    kinds = ("png", "jpeg", "bmp", "webp")
    files = {f"{'ab'[i // 2]}/{i}.{kind}": saved(Image.fromarray(images[i]), kind) for i, kind in enumerate(kinds)}
    root = folder(tmp_path / "x", files)
    for name, image in shown(root, fit="squash").items():
        plain = Image.open(root / name).convert("RGB").resize((4, 4), Image.Resampling.BICUBIC)
        assert np.array_equal(image, np.asarray(plain).transpose(2, 0, 1))
