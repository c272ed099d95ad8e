"""`hdx data ls|get|check|show|stats`: which datasets are here, and what is in them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdx.cli import _common

if TYPE_CHECKING:
    from hdx.datasets._base import Dataset

SUMMARY = "datasets: which are here, get one, check it, look at it, count it"

EPILOG = """\
examples:
  hdx data ls                                   each dataset: here or not, where it was looked for, licence
  hdx data get eurosat data_dir=data            download with checksum; a broken download goes on where it ended
  hdx data check folder dataset.path=photos.zip every file decoded; the bad ones named, and pictures of the test split
                                                that are in the train split, near ones too; exit code 2 where there are any
  hdx data show caltech101 --out sheet.png      a contact sheet, a row a class
  hdx data stats cifar100                       counts, sizes, imbalance, mean and standard deviation
"""
ACTIONS = ("ls", "get", "check", "show", "stats")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, with which dataset."""
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("words", nargs="*", metavar="NAME", help="a dataset, and overrides: data_dir=…, dataset.path=…")
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("sheet.png"), help="show: the PNG (default: sheet.png)")
    parser.add_argument("--split", choices=("train", "test"), default="train", help="show: which split (default: train)")
    parser.add_argument("--classes", type=int, metavar="N", default=20, help="show: at most so many classes (default: 20)")
    parser.add_argument("--images", type=int, metavar="N", default=10, help="show: images a class (default: 10)")
    _common.add_config_dir_argument(parser)
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Do it."""
    return {"ls": _ls, "get": _get, "check": _check, "show": _show, "stats": _stats}[args.action](args)


def _config(args: argparse.Namespace) -> dict[str, Any]:
    """The config whose dataset is the one that is named. Raises: ConfigError, also where none is."""
    from hdx.config.validate import load
    from hdx.errors import ConfigError

    names = [word for word in args.words if "=" not in word]
    if len(names) != 1:
        what = f"'{names[1]}' is one argument too many" if names else "which dataset?"
        raise ConfigError(f"{what}  (hdx data {args.action} NAME; hdx data ls)")
    overrides = [word for word in args.words if "=" in word]
    return load([f"dataset={names[0]}", *overrides], args.config_dirs).data


def _built(config: dict[str, Any]) -> Dataset:
    from hdx.engine.build import build_dataset

    return build_dataset(config)


def _ls(args: argparse.Namespace) -> int:
    from hdx.cli import _data_ls
    from hdx.config.validate import load

    rows = _data_ls.rows(load([word for word in args.words if "=" in word], args.config_dirs)["data_dir"])
    if names := [word for word in args.words if "=" not in word]:
        from hdx.errors import ConfigError

        if unknown := [name for name in names if name not in [row["name"] for row in rows]]:
            raise ConfigError(f"dataset '{unknown[0]}' is unknown  (hdx data ls)")
        rows = [row for row in rows if row["name"] in names]
    if args.json:
        _common.print_json(rows)
    else:
        print("\n".join(_data_ls.lines(rows)))
    return 0


def _get(args: argparse.Namespace) -> int:
    from hdx import registry
    from hdx.config.paths import data_folder
    from hdx.datasets import _download
    from hdx.errors import ConfigError, DataError

    config = _config(args)
    name = config["dataset"]["name"]
    reader: type[Dataset] = registry.load("dataset", name)
    remotes = reader.remotes()
    if not remotes:
        raise DataError(
            f"dataset {name} has no address to download from: get its files by hand  (hdx data ls {name} says where they go)"
        )
    folder = data_folder(config["data_dir"])
    if folder is None:
        raise ConfigError("where to? Set data_dir=… or HDX_DATA, or make ./data")
    got = [str(_download.get(remote, folder)) for remote in remotes]
    if args.json:
        _common.print_json({"dataset": name, "files": got})
    else:
        print("\n".join(dict.fromkeys(got)))
    return 0


def _check(args: argparse.Namespace) -> int:
    from hdx.cli import _data_check

    found = _data_check.examine(_config(args), _built)
    if args.json:
        _common.print_json(found)
    else:
        print("\n".join(_data_check.lines(found)))
    return 2 if found["problems"] else 0


def _show(args: argparse.Namespace) -> int:
    from hdx.datasets._sheet import sheet
    from hdx.errors import DataError

    dataset = _built(_config(args))
    labels = list(range(min(len(dataset.classes), max(1, args.classes))))
    picture = sheet(dataset, args.split, labels, max(1, args.images))
    try:
        picture.save(args.out, "png")
    except OSError as error:
        raise DataError(f"cannot write {args.out}: {error.strerror}. Give another --out") from error
    shown = {"file": str(args.out), "classes": len(labels), "of": len(dataset.classes), "split": args.split}
    if args.json:
        _common.print_json(shown)
    else:
        print(f"{args.out}: {len(labels)} of {len(dataset.classes)} classes, {args.split} split")
    return 0


def _stats(args: argparse.Namespace) -> int:
    from hdx.cli import _data_stats
    from hdx.datasets._stats import stats

    found = stats(_built(_config(args)))
    if args.json:
        _common.print_json(found)
    else:
        print("\n".join(_data_stats.lines(found)))
    return 0
