"""`hdx predict model.safetensors images/`: classes of images."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hdx.cli import _common, _runs

SUMMARY = "classes of images, by a model that hdx export wrote: hdx predict model.safetensors images/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the images and the form of the answer."""
    parser.add_argument("model", metavar="MODEL", help="a .safetensors file of hdx export")
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="image files, folders or .zip files of images")
    parser.add_argument("--top", type=_count, default=1, metavar="K", help="how many classes for each image (default: 1)")
    parser.add_argument("--csv", action="store_true", help="comma-separated values: file, rank, class, probability")
    _common.add_json_argument(parser)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an int >= 1, got '{text}'")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Predict and print; 2 when an image could not be read (the others are predicted all the same)."""
    from pathlib import Path

    from hdx.datasets._listing import listed
    from hdx.errors import WeightsError

    paths = [Path(word) for word in args.images]
    list(listed(paths))  # what cannot be found is said before torch is imported
    if not Path(args.model).is_file():
        raise WeightsError(f"model {args.model}: no such file  (hdx export RUN --out {args.model} writes one)")
    import torch

    from hdx.engine.predict import Model

    model = Model(Path(args.model), torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    show = _Csv() if args.csv else _Lines()
    found = []
    for each in model.predict(paths, args.top):
        found.append(each)
        if "error" in each:
            print(f"hdx: {_runs.clean(each['error'])}", file=sys.stderr)
        elif not args.json:
            show(each)
    if args.json:
        _common.print_json(found)
    return 2 if any("error" in each for each in found) else 0


class _Lines:
    """`file  class 98.2 %  class 1.1 %`, as they come."""

    def __call__(self, each: dict[str, Any]) -> None:
        pairs = zip(each["classes"], each["probabilities"])
        print(_runs.clean("  ".join([each["file"], *(f"{name} {100 * value:.1f} %" for name, value in pairs)])))


class _Csv:
    """One row for each file and rank."""

    def __init__(self) -> None:
        import csv

        self.writer = csv.writer(sys.stdout, lineterminator="\n")
        self.writer.writerow(["file", "rank", "class", "probability"])

    def __call__(self, each: dict[str, Any]) -> None:
        for rank, (name, value) in enumerate(zip(each["classes"], each["probabilities"]), 1):
            self.writer.writerow([each["file"], rank, name, value])
