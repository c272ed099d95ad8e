"""What the commands over runs share: where the runs are, how a run is named, and how rows are shown."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from hdx.store.index import Index

WIDTH = 100
SPARE = 8  # the least that a cut column keeps
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def split_output_dir(words: Sequence[str]) -> tuple[Path, list[str]]:
    """The folder of `output_dir=…` (default: outputs), and the other words."""
    from pathlib import Path

    chosen, rest = "outputs", []
    for word in words:
        key, given, value = word.partition("=")
        if key.lstrip("+") == "output_dir" and given:
            chosen = _unquoted(word) if value[:1] in ("'", '"') else value
        else:
            rest.append(word)
    return Path(chosen).expanduser(), rest


def _unquoted(word: str) -> str:
    """The value of a word that is quoted as `hdx train` wants it."""
    from hdx.config.quoting import plain

    return plain(word)


def refreshed(output_dir: Path) -> Index:
    """The index over a folder's runs, up to date."""
    from hdx.store.index import Index

    return Index(output_dir).refresh()


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), cut: Sequence[int] = ()) -> list[str]:
    """Aligned columns within the width of the terminal (100 characters elsewhere).

    Args:
        right: columns that are aligned to the right.
        cut: columns that give way where a line is too long, in this order.
    """
    cells = [[clean(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for column in cut:
        over = sum(widths) + 2 * (len(widths) - 1) - width_of_lines()
        widths[column] = max(min(widths[column], SPARE), widths[column] - max(0, over))
    lines = []
    for row in cells:
        shown = [_fit(cell, width, i in right) for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(shown).rstrip())
    return lines


def width_of_lines() -> int:
    """Characters on a line: $COLUMNS, or the terminal's, or 100."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


def shorten(text: str, width: int) -> str:
    """The beginning of a text that is too long, with an ellipsis."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def _fit(cell: str, width: int, right: bool) -> str:
    cell = shorten(cell, width)
    return cell.rjust(width) if right else cell.ljust(width)


def clean(text: str) -> str:
    """Text without control characters: a name in a foreign folder must not steer the terminal."""
    return _CONTROL.sub("?", text)


def percent(value: float | None) -> str:
    """`93.21`, or `-` where there is none."""
    return "-" if value is None else f"{100 * value:.2f}"


def duration(seconds: float | None) -> str:
    """`3.2 s`, `4 min`, `2.5 h`, `3 d`."""
    if seconds is None:
        return "-"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for unit, size, limit in (("min", 60, 99.5), ("h", 3600, 48)):
        if seconds / size < limit:
            return f"{seconds / size:.0f} {unit}" if seconds / size >= 10 else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86400:.0f} d"


def metric_text(name: str, value: Any) -> str:
    """A metric as it is read: accuracies in %, the others as they are."""
    if not isinstance(value, (int, float)):
        return "-"
    return f"{100 * value:.2f} %" if in_percent(name) else f"{value:.4g}"


def in_percent(name: str) -> bool:
    """Whether a metric is a share of samples, which tables show in %."""
    return name.startswith("acc") or name in ("forgetting", "bwt", "pd")
