"""What is wrong with a request for episodes, in numbers; a line each, so that all of it is said at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hdx.protocols._episodes import FEWEST_WAYS, Shape, Source


def source_problems(source: Source, shape: Shape, names: Sequence[str], kind: str, grouped: bool) -> list[str]:
    """Too few classes, or too few images in one of those that can be drawn.

    Args:
        source: with every group, also those that are too small.
        shape: of the episodes.
        names: of all classes of the dataset.
        kind: "novel", "validation" or "base".
        grouped: whether the groups are those of `protocol.within_groups`.
    """
    found = [*_class_problems(source, shape, kind, grouped)]
    drawn = np.unique(np.concatenate([np.zeros(0, np.int64), *able(source.groups, shape)]))
    if len(drawn):
        labels = [f"{kind} class '{names[source.classes[i]]}'" for i in drawn]
        found += _image_problems(source, shape, drawn, labels)
    return found


def able(groups: list[np.ndarray], shape: Shape) -> list[np.ndarray]:
    """The groups with enough classes for an episode; all of them where none has, so that images are checked as well."""
    return [group for group in groups if len(group) >= (shape.ways or FEWEST_WAYS)] or groups


def _class_problems(source: Source, shape: Shape, kind: str, grouped: bool) -> list[str]:
    largest = max((len(group) for group in source.groups), default=0)
    has = f"the {'largest group' if grouped else 'dataset'} has {largest} {kind} class{'es' if largest != 1 else ''}"
    if shape.ways is None:
        few = f"protocol.ways=null draws {FEWEST_WAYS} or more classes, and {has}; give a number"
        return [few] if largest < FEWEST_WAYS else []
    found = []
    if shape.ways < 2:
        found.append(f"protocol.ways: expected at least 2, got {shape.ways}")
    if largest < 2:
        found.append(f"protocol.classes={kind}: an episode needs at least 2 classes, and {has}")
    elif shape.ways > largest:
        found.append(f"protocol.ways: {has}, got {shape.ways}; use at most {largest}")
    return found


def _image_problems(source: Source, shape: Shape, drawn: np.ndarray, labels: list[str]) -> list[str]:
    support, query = source.support.sizes[drawn], source.query.sizes[drawn]
    everything = support if source.shared else support + query
    if not everything.all():
        empty = np.flatnonzero(everything == 0)
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        return [f"{labels[empty[0]]}{more} has no images, so no episode can be drawn of it: fill or remove it"]
    if source.shared:
        wants = f"protocol.shots={shape.shots} + protocol.queries={shape.queries}"
        wanted = shape.shots + shape.queries if shape.shots is not None else 2
        if shape.shots is None:
            wants = "protocol.shots=null needs an image for the support and one for a query"
        return _too_few(wants, wanted, support, labels, "images")
    wants = f"protocol.shots={'null' if shape.shots is None else shape.shots}"
    found = _too_few(wants, shape.shots or 1, support, labels, "training images")
    least = 1 if shape.shots is None else shape.queries
    return found + _too_few(f"protocol.queries={shape.queries}", least, query, labels, "test images")


def _too_few(wants: str, wanted: int, sizes: np.ndarray, labels: list[str], what: str) -> list[str]:
    """A line that names the smallest class when it has fewer than `wanted`."""
    few = int((sizes < wanted).sum())
    if not few:
        return []
    smallest = int(sizes.argmin())
    others = f"; {few} of {len(sizes)} classes have fewer" if few > 1 else ""
    return [f"{wants}: expected at most {sizes[smallest]} ({what} of {labels[smallest]}), got {wanted}{others}"]
