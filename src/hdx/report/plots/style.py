"""How every plot looks: one column of a two-column paper wide, 8 pt, colours and marks that colour-blind readers tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdx.errors import ConfigError, RunError
from hdx.registry import did_you_mean

COLUMN, PAGE = 3.3, 6.9  # inches: a column and the text width of a two-column page
ENDINGS = (".png", ".svg", ".pdf")
MOST_SERIES = 14
#: Okabe and Ito 2008; their yellow is left out, which is too light on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_SETTINGS: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "hdx",
    "savefig.dpi": 300,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.06,
}


@dataclass(frozen=True)
class Look:
    """Colour, marker and dash of one series: two series of a colour differ in marker and dash."""

    colour: str
    marker: str
    dash: Any


def look(i: int) -> Look:
    """The look of the i-th series."""
    turn = i // len(COLOURS)
    return Look(COLOURS[i % len(COLOURS)], MARKERS[(i + turn) % len(MARKERS)], DASHES[i % len(DASHES)])


def check_out(out: Path) -> None:
    """Raises: ConfigError for an ending that is none of `ENDINGS`."""
    if out.suffix.lower() not in ENDINGS:
        near = did_you_mean(out.suffix, list(ENDINGS))
        raise ConfigError(f"--out {out}: expected a file that ends in {', '.join(ENDINGS)}, got '{out.suffix}'.{near}")


def check_series(count: int) -> None:
    """Raises: ConfigError for more series than can be told apart."""
    if count > MOST_SERIES:
        raise ConfigError(
            f"{count} series cannot be told apart, expected at most {MOST_SERIES}: narrow them with filters, --row or --column"
        )


@contextmanager
def figure(width: float = COLUMN, height: float = 2.4, panels: tuple[int, int] = (1, 1)) -> Iterator[tuple[Any, Any]]:
    """A figure and its array of axes [rows, columns], in this style and without a screen.

    Raises: RunError when matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise RunError("hdx plot needs matplotlib, which is not installed: pip install 'hdx[plot]'") from None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        drawing = Figure(figsize=(width, height))
        FigureCanvasAgg(drawing)
        yield drawing, drawing.subplots(*panels, squeeze=False)


def legend(drawing: Any, axes: Any) -> None:
    """Series below the axes, in as many columns as their labels leave room for; none for a single series."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) < 2:
        return
    room = drawing.get_figwidth() * 72 / (4.0 * max(map(len, labels)) + 32)  # 4 pt a letter at 7 pt, and the handle
    columns = max(1, min(len(labels), int(room)))
    lines = -(-len(labels) // columns)
    drawing.set_figheight(drawing.get_figheight() + 0.14 * lines)
    drawing.legend(handles, labels, loc="outside lower center", ncols=columns, columnspacing=1.2)


def save(drawing: Any, out: Path) -> None:
    """Write PNG, SVG or PDF by the file's ending; the same numbers give the same bytes. Raises: RunError."""
    import io

    from hdx.store.files import write_bytes

    form = out.suffix.lower()[1:]
    stamp: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[form]
    content = io.BytesIO()
    drawing.savefig(content, format=form, metadata=stamp)
    write_bytes(out, content.getvalue())
