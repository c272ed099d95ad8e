"""A table as LaTeX with booktabs: a float to `\\input`, which needs `\\usepackage{booktabs}` and nothing else."""

from __future__ import annotations

import re
import unicodedata

from hdx.report.layout import Layout

MANY = 5  # columns of numbers that need smaller print
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",  # after \\ a bracket would be its argument
    "]": "{]}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "†": r"\textsuperscript{$\dagger$}",
    "°": r"$^\circ$",
    "µ": r"$\mu$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\to$",
    "Δ": r"$\Delta$",
    "λ": r"$\lambda$",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
}
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0327": "c ", "\u030c": "v "}


def latex(layout: Layout) -> str:
    """A `table` float. Missing cells are `-`; what fills them stands in comments above it."""
    columns = "l" * layout.labels + "r" * (len(layout.header) - layout.labels)
    out = [f"% hdx table {layout.name} --format latex", r"% \usepackage{booktabs}"]
    out += [f"% missing: {_comment(command)}" for command in layout.commands]
    tall = not all(line.last for line in layout.lines)
    many = len(layout.header) - layout.labels >= MANY
    out += [r"\begin{table}[t]", r"  \centering", r"  \footnotesize\setlength{\tabcolsep}{3pt}" if many else r"  \small"]
    out += [f"  \\caption{{{escaped(layout.title)}}}"]
    out += [
        f"  \\label{{tab:{re.sub(r'[^a-zA-Z0-9-]+', '-', layout.name)}}}",
        f"  \\begin{{tabular}}{{{columns}}}",
        r"    \toprule",
    ]
    out += [_row(layout.header), r"    \midrule"]
    for i, line in enumerate(layout.lines):
        if line.heading:
            out += [r"    \addlinespace"] if i else []
            out.append(f"    \\multicolumn{{{len(columns)}}}{{l}}{{\\textit{{{escaped(line.cells[0])}}}}} \\\\")
        else:
            out.append(_row(line.cells))
            if line.last and tall and i + 1 < len(layout.lines) and not layout.lines[i + 1].heading:
                out.append(r"    \addlinespace[2pt]")
    out += [r"    \bottomrule", r"  \end{tabular}"]
    if layout.notes:
        out += [r"  \par\medskip", r"  \begin{minipage}{\linewidth}\footnotesize"]
        out += [f"    {escaped(note)}\\par" for note in layout.notes]
        out.append(r"  \end{minipage}")
    out.append(r"\end{table}")
    return "\n".join(out) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return f"    {' & '.join(_number(cell) for cell in cells)} \\\\"


def _number(cell: str) -> str:
    """A cell; a minus before digits is a minus and not a hyphen."""
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", escaped(cell))


def escaped(text: str) -> str:
    """Text whose every character LaTeX prints; one that it cannot print becomes `?`."""
    return "".join(_character(character) for character in text)


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character.isascii():
        return character
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS:
        return f"\\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return {"ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "å": r"\aa{}", "Å": r"\AA{}", "ł": r"\l{}"}.get(
        character, "?"
    )


def _comment(text: str) -> str:
    return " ".join(text.split())
