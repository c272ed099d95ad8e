"""`hdx list [group]`: the groups, or the names that `group=NAME` takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from hdx.cli import _common

SUMMARY = "list the groups, or the names in one group"

GROUPS = {
    "dataset": "labelled images with a train and a test split",
    "backbone": "image to feature map or tokens",
    "pool": "map or tokens to one feature vector",
    "adapter": "which parameters of the backbone train",
    "head": "features to logits",
    "method": "when the body trains, and with what",
    "memory": "which training samples later sessions see again",
    "protocol": "how data arrives and how it is scored",
    "teacher": "the frozen model that a student learns from",
    "loss": "what the gradient phase minimises",
    "augment": "how training sees an image: crops, colours, several views, mixtures",
    "trainer": "optimiser, schedule, batch size, epochs",
    "ops": "which form the hot kernels take",
    "tracker": "where metrics are logged",
    "launcher": "where runs are started",
    "exp": "presets: one run each, chosen with +exp=NAME",
    "sweep": "presets: grids of runs",
    "table": "presets: tables of published results",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `hdx list`."""
    parser.add_argument("group", nargs="?", help="dataset, backbone, head, exp, …; any other word is looked up in all groups")
    _common.add_config_dir_argument(parser)
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    from hdx.config import paths

    folders = paths.config_dirs(args.config_dirs)
    rows = _groups(folders) if args.group is None else _names(args.group, folders)
    if args.json:
        _common.print_json(rows)
    else:
        _print(rows)
    return 0


def _groups(folders: list) -> list[dict[str, str]]:
    from hdx import registry
    from hdx.config import files

    known = {*registry.groups(), *files.PLAIN}
    found = [group for group in files.groups(folders) if group in known]
    order = [*GROUPS, *found]
    rows = []
    for group in sorted(found, key=order.index):
        count = len(files.names(group, folders))
        rows.append({"name": group, "summary": f"{GROUPS.get(group, '')} ({count})", "source": f"hdx list {group}"})
    return rows


def _names(group: str, folders: list) -> list[dict[str, str]]:
    from hdx import registry
    from hdx.config import files
    from hdx.errors import ConfigError

    known = sorted({*registry.groups(), *(name for name in files.PLAIN if files.names(name, folders))})
    if group in known:
        return [_row(group, name, name, folders) for name in files.names(group, folders)]
    exact, inside = files.named(group, folders)
    if not exact and not inside:
        raise ConfigError(f"group '{group}' is unknown.{registry.did_you_mean(group, known)}  (hdx list)")
    return [_row(*place, files.chosen(*place), folders) for place in (*exact, *inside)]


def _row(group: str, name: str, title: str, folders: list) -> dict[str, str]:
    from hdx.config import files

    file = files.paths_of(group, name, folders)[0]
    head = files.header(file)
    return {"name": title, "summary": _unable(group, file) or head.summary, "source": head.source}


def _unable(group: str, file: Path) -> str:
    """Why a component's config cannot be chosen: its class is not installed, or broken; empty where it can.

    hdx's own always can.
    """
    from hdx import registry
    from hdx.config import files

    if group not in registry.groups() or file.is_relative_to(files.packaged()):
        return ""
    component = str(files.read_plain(file).get("name"))
    return "" if registry.known(group, component) else f"cannot run: no {group} '{component}' is installed"


def _print(rows: list[dict[str, str]]) -> None:
    """Aligned columns; what does not fit in the width is cut, the sources first."""
    from hdx.cli import _runs

    cells = [[row[key] for key in ("name", "summary", "source")] for row in rows]
    print("\n".join(_runs.table(("", "", ""), cells, cut=(2, 1, 0))[1:]))
