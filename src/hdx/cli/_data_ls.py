"""`hdx data ls`: each dataset, whether its files are here, and where they were looked for. No torch."""

from __future__ import annotations

from typing import Any


def rows(data_dir: str | None) -> list[dict[str, Any]]:
    """For every dataset its name, what was found and looked for, how many classes, its licence and what it is."""
    from hdx import registry
    from hdx.config.paths import data_folder
    from hdx.config.schema import describe

    folder, found = data_folder(data_dir), []
    for name in registry.names("dataset"):
        info = describe("dataset", name)
        wanted = [each for names in info.facts["looked_for"].values() for each in names]
        here = [] if folder is None else [str(folder / each) for each in wanted if (folder / each).exists()]
        needs = bool(wanted) or any("file" in option.marks for option in info.options)
        found.append(
            {
                "name": name,
                "here": bool(here) or not needs,
                "found": here,
                "looked_for": wanted,
                "under": str(folder) if folder is not None else None,
                "classes": info.facts["n_classes"] or None,
                "licence": info.licence,
                "summary": info.summary,
            }
        )
    return found


def lines(found: list[dict[str, Any]]) -> list[str]:
    """Two lines for each: whether it is here and what it is; where, or what was looked for, and the licence."""
    width = max(len(row["name"]) for row in found)
    shown = []
    for row in found:
        shown.append(f"{'here   ' if row['here'] else 'missing'}  {row['name']:<{width}}  {row['summary']}")
        where = ", ".join(row["found"]) or (f"looked for {', '.join(row['looked_for'])}" if row["looked_for"] else _nothing(row))
        shown.append(f"{'':<{width + 11}}{where}; licence: {row['licence']}")
    under = found[0]["under"]
    return [*shown, f"under {under}" if under else "no data_dir is set: data_dir=… or HDX_DATA"]


def _nothing(row: dict[str, Any]) -> str:
    return "needs no files" if row["here"] else "give dataset.path"
