"""The README's catalogue of parts and its list of class-incremental methods, made from config headers and docstrings.

python scripts/catalogue.py            # rewrite it between the markers
python scripts/catalogue.py --check    # exit 1 when it is stale
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hdx.cli.list import GROUPS
from hdx.config import files, paths, schema

README = Path(__file__).resolve().parents[1] / "README.md"
CLOSED_FORM = "nothing; the head is solved in closed form"


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


def incremental(conf: Path) -> str:
    """One row for each preset `cil_*` that is a method: what trains and what is kept, on the default data and body."""
    rows = [
        "| preset | trains | trained parameters of the body | kept of earlier sessions | formula | paper |",
        "|---|---|---:|---|---|---|",
    ]
    for name in files.names("exp", [conf]):
        head = files.header(conf / "exp" / f"{name}.yaml")
        if not name.startswith("cil_") or f"+exp={name}" not in head.command.split():
            continue  # one to lay over a method
        trains, trained, keeps, certainty = _facts(name)
        rows.append(f"| `{name}` | {trains} | {trained:,} | {keeps} | {certainty} | {_cell(head.source)} |")
    return "\n".join(rows)


def _facts(preset: str) -> tuple[str, int, str, str]:
    """What trains, how many parameters of the body, what is kept, and where the formula was read."""
    from hdx.config.validate import load
    from hdx.engine.build import assemble

    config = load([f"+exp={preset}"])
    method, head = (schema.describe(group, config[group]["name"]) for group in ("method", "head"))
    assembly = assemble(config.data)
    assembly.attach(config["adapter"])
    trained = sum(parameter.numel() for parameter in assembly.method.body.trainable)
    trains = CLOSED_FORM if method.name == "frozen" and head.keeps else method.trains
    keeps = [part.keeps for part in (method, head) if part.keeps not in ("", "nothing")] or ["nothing"]
    certainty = method.certainty if not head.keeps else head.certainty
    if method.name != "frozen" and head.certainty not in ("", method.certainty):
        certainty = f"{method.certainty}; head {head.certainty}"
    return trains, trained, "; ".join(keeps), certainty


def _cell(text: str) -> str:
    return text.strip().removesuffix(".").replace("|", "\\|").replace("<", "&lt;")


BLOCKS = {"incremental": incremental, "catalogue": catalogue}


def renewed(text: str, conf: Path) -> str:
    """The README with fresh text between its markers. Raises: SystemExit where a marker is missing or stands twice."""
    for name, block in BLOCKS.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise SystemExit(f"README.md: expected {begin} and after it {end}, each once; add them where the text should stand")
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n\n{block(conf)}\n\n{end}{after}"
    return text


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
