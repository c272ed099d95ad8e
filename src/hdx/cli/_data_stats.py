"""`hdx data stats` as lines."""

from __future__ import annotations

from typing import Any


def lines(found: dict[str, Any]) -> list[str]:
    """Counts of both splits, sizes, levels."""
    shown = [f"classes     {found['classes']}", f"licence     {found['licence']}"]
    for split in ("train", "test"):
        own = found[split]
        (few, n_few), (many, n_many) = own["fewest"], own["most"]
        ratio = "a class has none" if own["imbalance"] is None else f"ratio {own['imbalance']:g}"
        spread = f"a class {n_few} ({few}) to {n_many} ({many}), median {own['median']:g}, {ratio}"
        shown.append(f"{split:<12}{own['images']} images; {spread}")
        if "domains" in own:
            shown.append(f"{'':<12}" + ", ".join(f"{name} {count}" for name, count in own["domains"].items()))
        if "classes_an_image" in own:
            shown.append(f"{'':<12}{own['classes_an_image']:g} classes an image have a share of its targets")
    if "file_sizes" in found:
        sizes = {key: " x ".join(map(str, value)) for key, value in found["file_sizes"].items() if key != "of"}
        shown.append(
            f"files       {', '.join(f'{key} {size}' for key, size in sizes.items())} ({found['file_sizes']['of']} looked at)"
        )
    shown.append(f"images      {' x '.join(map(str, found['image_shape']))}")
    shown.append(f"levels      mean {found['mean']}, standard deviation {found['std']}")
    return shown
