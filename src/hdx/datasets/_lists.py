"""Splits and labels from files: a text or .csv with a path and a label a line."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from hdx.datasets._finder import Finder
from hdx.datasets._kinds import is_image, printable
from hdx.datasets._layout import Layout, noted
from hdx.datasets._listing import listing_of
from hdx.datasets._recognise import recognise
from hdx.datasets._roles import roles
from hdx.datasets._tables import Table, read_table
from hdx.datasets._tree import Contents
from hdx.errors import DataError

Cells = list[str]
LABELS = {"label", "class", "category", "target", "classname", "labelname", "tag", "species", "breed", "choice", "y"}


@dataclass(frozen=True)
class _Row:
    line: int
    image: str
    label: str | None  # None where the folder of the image says it
    role: str


def from_lists(contents: Contents, train_list: str, test_list: str | None) -> Layout:
    """The images that the lists name, with their labels; without a test list, a column that names splits divides them, if any.

    Raises: DataError naming the first line that names no image, or one image for both splits or with two labels.
    """
    tables = [read_table("train_list", train_list, contents)]
    tables += [read_table("test_list", test_list, contents)] if test_list is not None else []
    found = [_rows(table, Finder(contents, role), role) for table, role in zip(tables, ("train", "test"))]
    if test_list is not None and any(row.role != own for rows, own in zip(found, ("train", "test")) for row in rows):
        raise DataError(f"{tables[0].name} names other splits itself. Give it alone, or lists of one split each")
    rows = [row for part in found for row in part]
    labels, split, n_repeated = _merged(rows, tables[0].name if len(tables) == 1 else f"{tables[0].name} and {tables[1].name}")
    chosen = _chosen(contents, labels)
    test = "test" if "test" in split.values() else "validation"
    left_out = noted(contents)
    unused = [name for name in chosen if split[name] not in ("train", test)]
    left_out.add("images of the validation split", unused)
    left_out.add("images that no list names", [name for name in contents.images if name not in labels])
    listing = listing_of(contents, {name: each for name, each in chosen.items() if split[name] in ("train", test)})
    layout = Layout(listing, left_out, splits=(tables[0].name, tables[-1].name))
    in_test = np.array([split[name] == test for name in listing.names], dtype=bool)
    if in_test.any():
        layout.in_test = in_test
    else:
        layout.said.append(f"{tables[0].name} stands alone: dataset.test_fraction of it is the test split")
    if n_repeated:
        layout.said.append(f"{n_repeated} lines repeat an image and its label")
    return layout


def _merged(rows: list[_Row], name: str) -> tuple[dict[str, str | None], dict[str, str], int]:
    """Label and split of each image, and how many lines say what another one said."""
    labels: dict[str, str | None] = {}
    split: dict[str, str] = {}
    for row in rows:
        if labels.setdefault(row.image, row.label) != row.label:
            raise DataError(f"{name}: '{printable(row.image)}' has two labels, '{labels[row.image]}' and '{row.label}'. Keep one")
        if split.setdefault(row.image, row.role) != row.role:
            raise DataError(f"{name}: '{printable(row.image)}' is in {split[row.image]} and in {row.role}. Keep one")
    return labels, split, len(rows) - len(labels)


def _chosen(contents: Contents, labels: dict[str, str | None]) -> dict[str, tuple[str, str]]:
    """For each listed image its class, from the list or from its folder, and its name."""
    if all(label is not None for label in labels.values()):
        return {name: (str(label), name) for name, label in labels.items()}
    listing = recognise(contents).listing
    of_folder = {name: listing.classes[label] for name, label in zip(listing.names, listing.labels)}
    if unknown := [name for name in labels if name not in of_folder]:
        raise DataError(
            f"{contents.files.path}: '{printable(unknown[0])}' is in no class folder, and its list has no labels. Add them"
        )
    return {name: (of_folder[name], name) for name in labels}


def _rows(table: Table, finder: Finder, role: str) -> list[_Row]:
    cells = [cells for _, cells in table.rows]
    lines = [number for number, _ in table.rows]
    if table.spaced and not all(finder.knows(line) for (line,) in cells[1:] or cells):
        cells = [line.rsplit(None, 1) for (line,) in cells]
        if short := [i for i, each in enumerate(cells) if len(each) != 2]:
            raise DataError(f"{table.name}: line {lines[short[0]]} is no path and label. Mend or remove it")
    hits = [sum(finder.knows(each[j]) for each in cells) for j in range(len(cells[0]))]
    column = hits.index(max(hits))
    header = cells[0] if _is_header(cells, column, finder) else None
    if header is not None:
        cells, lines = cells[1:], lines[1:]
    images = finder.find([each[column] for each in cells])
    if missing := [i for i, image in enumerate(images) if image is None]:
        first = f"line {lines[missing[0]]}: '{printable(cells[missing[0]][column])}'"
        raise DataError(
            f"{table.name}: {len(missing)} of {len(cells)} lines name no image, or several (first: {first}). Mend them"
        )
    others = [j for j in range(len(cells[0])) if j != column]
    splits = _split_column(cells, others)
    labels = _labels(table, header, cells, lines, [j for j in others if j != splits])
    own = [role] * len(cells) if splits is None else [roles([each[splits]])[each[splits]] for each in cells]
    return [_Row(*each) for each in zip(lines, (str(image) for image in images), labels, own)]


def _is_header(cells: list[Cells], column: int, finder: Finder) -> bool:
    """Whether the first line names columns: no image, and nothing that is a value further down."""
    first, rest = cells[0], cells[1:]
    if not rest or finder.knows(first[column]) or is_image(first[column]):
        return False
    return not any(first[j] == each[j] for each in rest for j in range(len(first)) if j != column)


def _split_column(cells: list[Cells], columns: list[int]) -> int | None:
    """The column whose every cell names a split, train among them."""
    for j in columns:
        named = roles([])
        for value in {each[j] for each in cells}:
            named |= roles([value])
        if named and len(named) == len({each[j] for each in cells}) and "train" in named.values() and len(columns) > 1:
            return j
    return None


def _labels(table: Table, header: list[str] | None, cells: list[Cells], lines: list[int], columns: list[int]) -> list[str | None]:
    """The label of each line; None for all where the list has paths alone."""
    if not columns:
        return [None] * len(cells)
    named = [j for j in columns if header and re.sub(r"[^a-z]", "", header[j].lower()) in LABELS]
    chosen = columns if len(columns) == 1 else named
    if len(chosen) != 1:
        return _one_hot(table, header, cells, lines, columns)
    labels = [each[chosen[0]] for each in cells]
    if "" in labels:
        raise DataError(f"{table.name}: line {lines[labels.index('')]} has no label. Add it or remove the line")
    return list(labels)


def _one_hot(
    table: Table, header: list[str] | None, cells: list[Cells], lines: list[int], columns: list[int]
) -> list[str | None]:
    """Labels from one column a class, with a 1 where it applies. Raises: DataError when that is not what the columns are."""
    if header is None or not all(each[j] in ("0", "1", "0.0", "1.0") for each in cells for j in columns):
        seen = ", ".join(header[j] for j in columns) if header else f"{len(columns)} columns beside the path"
        raise DataError(
            f"{table.name}: which column is the label? It has {seen}. Keep the path and the label, or name it 'label'"
        )
    marked = [[header[j] for j in columns if each[j].startswith("1")] for each in cells]
    if odd := [i for i, each in enumerate(marked) if len(each) != 1]:
        raise DataError(f"{table.name}: line {lines[odd[0]]} marks {len(marked[odd[0]])} classes, expected 1. Mend or remove it")
    return [each[0] for each in marked]
