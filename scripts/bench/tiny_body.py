"""What pretraining on formulas gives the shipped body: frozen LDA accuracy with random and with pretrained weights.

    HDX_DATA=... python scripts/bench/tiny_body.py [--checkpoint FILE] [--save]

The head is the default one (total covariance, ridge 1). A ridge is in squared feature units, so the same heads are also shown
with the ridge as a share of the mean feature variance, which takes the features' scale out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _common import publish, table

from hdx.config.validate import load
from hdx.datasets._base import Dataset
from hdx.engine.bank import Bank
from hdx.engine.build import build_body, build_dataset, data_dir
from hdx.heads.lda import LDA
from hdx.protocols.offline import Offline

SEEDS = (0, 1, 2)
SHARES = (0.1, 0.01)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """One row of the table; `first` keeps that many classes, `sketch` is what issue 2's sketch of a body reached."""

    name: str
    shots: int
    overrides: tuple[str, ...]
    first: int | None = None
    sketch: str = "–"


CALTECH = ("dataset=caltech101", "backbone.image_size=48")
OMNIGLOT = ("dataset=omniglot", "dataset.subset=evaluation")
SETTINGS = (
    Setting("digits", 5, ("dataset=digits",), sketch="66 → 79"),
    Setting("digits", 50, ("dataset=digits",), sketch="88 → 97"),
    Setting("caltech101, 48 px", 5, CALTECH, sketch="12 → 24"),
    Setting("caltech101, 48 px", 25, CALTECH, sketch="20 → 37"),
    Setting("150 omniglot characters", 5, OMNIGLOT, first=150, sketch="7 → 60"),
    Setting("sign_digits", 5, ("dataset=sign_digits",)),
    Setting("sign_digits", 50, ("dataset=sign_digits",)),
)


class Scores:
    """Accuracies of frozen LDA, features cached over shots and ridges."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bank = Bank(folder / "bank", 128, "float32", CPU)
        self.datasets: dict[tuple[str, ...], Dataset] = {}

    def of(self, setting: Setting, weights: list[str]) -> tuple[np.ndarray, float]:
        """Percent [1 + len(SHARES)], mean over seeds: ridge 1, then ridge as shares of the variance; and that mean variance."""
        found = [list(self._seed(setting, weights, seed)) for seed in SEEDS]
        means = np.mean(found, axis=0)
        return 100 * means[:-1], float(means[-1])

    def _seed(self, setting: Setting, weights: list[str], seed: int) -> Iterator[float]:
        config = load(["+exp=fsa_na", *setting.overrides, *weights, f"output_dir={self.folder}"]).data
        key = tuple(word for word in setting.overrides if word.startswith("dataset"))
        data = self.datasets[key] = self.datasets.get(key) or build_dataset(config)
        body = build_body(config, data.train.image_shape, "32", seed)
        digest, kept = body.digest(), setting.first or len(data.classes)
        (session,) = Offline(shots=setting.shots).sessions(data, seed)
        train = session.train[data.train.labels[session.train] < kept]
        test = session.test[data.test.labels[session.test] < kept]
        x = torch.from_numpy(self.bank.get(body, digest, data.train, train))
        z = torch.from_numpy(self.bank.get(body, digest, data.test, test))
        variance = float(x.double().var(0).mean())
        for ridge in (1.0, *(share * variance for share in SHARES)):
            head = LDA(body.n_features, ridge=ridge)
            head.expand(kept)
            head.update(x, torch.from_numpy(data.train.labels[train]))
            yield float((head(z).argmax(1).numpy() == data.test.labels[test]).mean())
        yield variance


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", metavar="FILE", help="weights to score (default: those that ship with hdx)")
    parser.add_argument("--save", action="store_true", help="write results/tiny_body.md")
    args = parser.parse_args(argv)
    pretrained = [f"backbone.checkpoint={Path(args.checkpoint).resolve()}"] if args.checkpoint else ["backbone.pretrained=true"]
    real = data_dir(load([]).data) is not None
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scores = Scores(Path(folder))
        for setting in SETTINGS:
            if "dataset=digits" not in setting.overrides and not real:
                continue
            random, random_variance = scores.of(setting, ["backbone.pretrained=false"])
            shipped, variance = scores.of(setting, pretrained)
            pairs = [f"{before:.1f} → {after:.1f}" for before, after in zip(random, shipped)]
            pairs[0] = f"{random[0]:.1f} → **{shipped[0]:.1f}**"
            name = f"{setting.name}, {setting.shots}-shot"
            rows.append([name, *pairs, setting.sketch, f"{random_variance:.2g} → {variance:.2g}"])
    head = ["data", "ridge 1 (the default)", *(f"ridge {share:g} × variance" for share in SHARES), "earlier sketch", "variance"]
    what = "the given checkpoint" if args.checkpoint else "the shipped weights"
    about = (
        f"Accuracy in percent on the test split, random weights → {what}, LDA on frozen features, mean over {len(SEEDS)} draws "
        "of the shots (and of the random weights). Variance: mean over the features, on the shots."
    )
    absent = [] if real else ["Set HDX_DATA for the rows on caltech101, omniglot and sign_digits."]
    publish("tiny_body", "What pretraining on formulas gives", [about, table(head, rows), *absent], args.save)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
