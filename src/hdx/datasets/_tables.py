"""Text files with one image a line: their cells, whatever the separator, quotes, header and encoding."""

from __future__ import annotations

import codecs
import csv
from dataclasses import dataclass
from pathlib import Path

from hdx.datasets._kinds import printable
from hdx.datasets._listing import composed
from hdx.datasets._tree import MAX_FILE_BYTES, Contents
from hdx.errors import DataError

BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Table:
    """A list file.

    Attributes:
        name: how messages call it: `dataset.train_list=…`.
        rows: for each line that is not empty its number and its cells, stripped; a line without separators is one cell.
        spaced: whether lines have no other separators than spaces, so that a path and a label are still one cell.
    """

    name: str
    rows: list[tuple[int, list[str]]]
    spaced: bool


def read_table(option: str, given: str, contents: Contents) -> Table:
    """The file that an option names, here or inside the data. Raises: DataError when there is none, or it is no text."""
    name = f"dataset.{option}={printable(given)}"
    text = _text(name, _bytes(name, given, contents))
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise DataError(f"{name} is empty. Expected a line for each image: its path and its label")
    separator = next((each for each in "\t,;" if all(each in line for _, line in lines)), None)
    if separator is None:
        return Table(name, [(number, [composed(line.strip())]) for number, line in lines], spaced=True)
    try:
        reader = csv.reader((line for _, line in lines), delimiter=separator, skipinitialspace=True, strict=True)
        rows = [(number, [composed(cell.strip()) for cell in cells]) for (number, _), cells in zip(lines, reader, strict=True)]
    except (csv.Error, ValueError) as error:
        raise DataError(f"{name} is no table with one line an image: {error}. Write it again as a .csv") from None
    width = len(rows[0][1])
    if odd := next((number for number, cells in rows if len(cells) != width), None):
        raise DataError(f"{name}: line {odd} has another number of cells than the {width} of the first. Mend the line")
    return Table(name, rows, spaced=False)


def _bytes(name: str, given: str, contents: Contents) -> bytes:
    place = Path(given).expanduser()
    if place.is_file():
        if place.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{name} has more than {MAX_FILE_BYTES} bytes. Give a smaller list")
        try:
            return place.read_bytes()
        except OSError as error:
            raise DataError(f"{name} cannot be read: {error.strerror}") from error
    parts = composed(given).split("/")  # a run has it with the path of the folder that hdx was started in
    for i in range(len(parts)):
        end = "/".join(parts[i:])
        if inside := [other for other in contents.others if f"/{composed(other)}".endswith(f"/{end}")]:
            break
    if len(inside) == 1:
        return contents.files.read(inside[0])
    where = f"in {contents.files.path}"
    if inside:
        raise DataError(f"{name} is there {len(inside)} times {where} ({inside[0]}, {inside[1]}). Give its whole path")
    raise DataError(f"{name} does not exist, neither here nor {where}. Give a text or .csv of path and label")


def _text(name: str, data: bytes) -> str:
    encoding = next((encoding for bom, encoding in BOMS if data.startswith(bom)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        raise DataError(f"{name} is no text in UTF-8: {error}. Save it as UTF-8") from None
    if "\0" in text:
        raise DataError(f"{name} is no text. Give a text or .csv of path and label")
    return text
