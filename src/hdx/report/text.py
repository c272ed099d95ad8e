"""A table for a terminal (aligned columns) and as Markdown (GitHub's pipe tables)."""

from __future__ import annotations

from hdx.report.layout import Layout


def terminal(layout: Layout) -> str:
    """Aligned columns with rules, the notes and the commands that fill what is missing."""
    rows = [line.cells for line in layout.lines if not line.heading]
    widths = [max(len(cells[i]) for cells in (layout.header, *rows)) for i in range(len(layout.header))]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    tall = not all(line.last for line in layout.lines)
    out = [layout.title, "", _aligned(layout.header, widths, layout.labels), rule]
    for i, line in enumerate(layout.lines):
        if line.heading:
            out += [*([""] if i and out[-1] else []), line.cells[0]]
        else:
            out.append(_aligned(line.cells, widths, layout.labels))
            if line.last and tall:
                out.append("")
    while not out[-1]:
        out.pop()
    out += [rule, *layout.notes]
    if layout.commands:
        out += ["", "missing cells (-) are filled by", *(f"  {command}" for command in layout.commands)]
    return "\n".join(out) + "\n"


def _aligned(cells: tuple[str, ...], widths: list[int], labels: int) -> str:
    return "  ".join(
        f"{cell:<{width}}" if i < labels else f"{cell:>{width}}" for i, (cell, width) in enumerate(zip(cells, widths))
    ).rstrip()


def markdown(layout: Layout) -> str:
    """Title, pipe table, notes as a list, commands as a code block."""
    rows = [layout.header, *((*line.cells, *[""] * (len(layout.header) - len(line.cells))) for line in layout.lines)]
    bold = [line.heading for line in layout.lines]
    out = [f"**{_escaped(layout.title)}**", ""]
    for i, cells in enumerate(rows):
        words = [_escaped(cell) for cell in cells]
        if i and bold[i - 1]:
            words[0] = f"**{words[0]}**"
        out.append(f"| {' | '.join(words)} |")
        if i == 0:
            out.append(f"|{'|'.join(['---'] * layout.labels + ['---:'] * (len(cells) - layout.labels))}|")
    out += ["", *(f"- {_escaped(note)}" for note in layout.notes)]
    if layout.commands:
        out += ["", "Missing cells (-) are filled by", "", "```sh", *layout.commands, "```"]
    return "\n".join(out) + "\n"


def _escaped(text: str) -> str:
    """Characters that Markdown or HTML would act on, made plain."""
    for character in "\\`*_[]|~#":
        text = text.replace(character, f"\\{character}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
