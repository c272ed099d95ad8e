"""The README's catalogue of parts, made from the headers of the config files.

python scripts/catalogue.py            # rewrite it between the markers
python scripts/catalogue.py --check    # exit 1 when it is stale
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hdx.cli.list import GROUPS
from hdx.config import files, paths

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- catalogue:begin -->", "<!-- catalogue:end -->"


def catalogue(conf: Path) -> str:
    """One Markdown table a group, in the order of `hdx list`."""
    present = files.groups([conf])
    return "\n\n".join(table(group, conf) for group in GROUPS if group in present)


def table(group: str, conf: Path) -> str:
    """Name, meaning and source of every file in a group."""
    rows = [f"**{group}**: {GROUPS[group]}", "", "| name | what it is | source |", "|---|---|---|"]
    for name in files.names(group, [conf]):
        head = files.header(conf / group / f"{name}.yaml")
        rows.append(f"| `{name}` | {_cell(head.summary)} | {_cell(head.source)} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.strip().removesuffix(".").replace("|", "\\|").replace("<", "&lt;")


def renewed(text: str, conf: Path) -> str:
    """The README with a fresh catalogue between its markers. Raises: SystemExit where a marker is missing or stands twice."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(f"README.md: expected {BEGIN} and after it {END}, each once; add them where the catalogue should stand")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n\n{catalogue(conf)}\n\n{END}{after}"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when README.md is stale")
    args = parser.parse_args(argv)
    text = README.read_text(encoding="utf-8")
    fresh = renewed(text, paths.packaged())
    if fresh == text:
        return 0
    if args.check:
        print("README.md: the catalogue is stale; run: python scripts/catalogue.py", file=sys.stderr)
        return 1
    README.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
