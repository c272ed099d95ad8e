"""Episodes per second of every few-shot head, against easyfsl, on cached features.

    python scripts/bench/episodes.py [--repeats 3] [--only ncm bd_cspn] [--threads 2] [--save]

5-way 5-shot episodes with 15 queries a class, 640 features, 20 classes of 600 images. Both sides of a ratio run
in this one process, in turns, and medians are compared. A timing never fails this program.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from _common import interleaved, publish, seconds, table
from easyfsl import methods as easy
from easyfsl.datasets import FeaturesDataset
from easyfsl.samplers import TaskSampler
from easyfsl.utils import evaluate
from torch import Tensor
from torch.utils.data import DataLoader

from hdx import registry
from hdx.config import paths
from hdx.config.files import read_plain
from hdx.engine.episodes import CACHED
from hdx.heads._base import Head
from hdx.protocols._base import Episodes
from hdx.protocols._episodes import ClassRows, Shape, Source, draw_episodes

CLASSES, IMAGES, D = 20, 600, 640
WAYS, SHOTS, QUERIES = 5, 5, 15
TURN = 0.4  # seconds that one side works in one turn, about
UNIT = {"feature_normalization": 2}

# a preset of conf/head, options that change it, and the same in easyfsl where it has it
HEADS: dict[str, tuple[dict[str, Any], tuple[type, dict[str, Any]] | None]] = {
    "ncm": ({}, (easy.PrototypicalNetworks, {})),
    "simpleshot": ({}, (easy.SimpleShot, UNIT)),
    "bd_cspn": ({}, (easy.BDCSPN, UNIT)),
    "laplacian_shot": ({}, (easy.LaplacianShot, UNIT)),
    "laplacian_shot_benchmark": ({}, (easy.LaplacianShot, {**UNIT, "lambda_regularization": 0.1, "inference_steps": 10})),
    "tim": ({}, (easy.TIM, UNIT)),
    "pt_map": ({}, (easy.PTMAP, UNIT)),
    "tuned_prototypes_benchmark": ({}, (easy.Finetune, {**UNIT, "fine_tuning_steps": 50, "temperature": 10.0})),
    "transductive_finetune": ({}, (easy.TransductiveFinetuning, UNIT)),
    "ncm_cosine": ({}, None),
    "lda": ({}, None),
    "ridge": ({}, None),
    "k_means": ({"centre": "none"}, None),
    "k_modes": ({"centre": "none"}, None),
    "slk_means": ({"centre": "none"}, None),
    "slk": ({"centre": "none"}, None),
}


class Bank:
    """Features as bodies give them, and episodes over them drawn by hdx."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        centres = 0.16 * torch.randn(CLASSES, 1, D, generator=generator) - 0.2
        self.features = (centres + torch.randn(CLASSES, IMAGES, D, generator=generator)).relu().flatten(0, 1)
        self.labels = np.repeat(np.arange(CLASSES), IMAGES)

    def draw(self, n_episodes: int) -> Episodes:
        rows = ClassRows(self.labels, np.arange(CLASSES))
        source = Source(np.arange(CLASSES), [np.arange(CLASSES)], rows, rows)
        return draw_episodes(source, Shape(WAYS, SHOTS, QUERIES), n_episodes, seed=0)[0]

    def picked(self, rows: np.ndarray) -> Tensor:
        """[E, n, D], as the engine gathers them."""
        return self.features.index_select(0, torch.from_numpy(rows.ravel())).view(*rows.shape, -1)


class Ours:
    """A head of hdx, in the batches that the engine takes."""

    def __init__(self, bank: Bank, preset: str, changes: dict[str, Any]) -> None:
        self.bank = bank
        options = {**read_plain(paths.packaged() / "head" / f"{preset}.yaml"), **changes}
        self.head: Head = registry.build("head", options, D)
        self.at_once = max(1, CACHED // (4 * self.head.episode_floats(WAYS * SHOTS, WAYS * QUERIES, WAYS)))

    @torch.no_grad()
    def predictions(self, episodes: Episodes) -> np.ndarray:
        """[E, Q]: gather from the bank, classify."""
        found = np.empty(episodes.query.shape, np.int64)
        for start in range(0, len(episodes), self.at_once):
            part = slice(start, start + self.at_once)
            labels = torch.from_numpy(episodes.support_labels[part])
            support, query = self.bank.picked(episodes.support[part]), self.bank.picked(episodes.query[part])
            found[part] = self.head.classify(support, labels, query, WAYS).argmax(2).numpy()
        return found

    def pipeline(self, n_episodes: int) -> float:
        """Mean accuracy, from the seed on."""
        episodes = self.bank.draw(n_episodes)
        return float((self.predictions(episodes) == episodes.query_labels).mean(1).mean())


class Theirs:
    """A method of easyfsl, one episode at a time as it works."""

    def __init__(self, bank: Bank, method: type, options: dict[str, Any]) -> None:
        self.bank, self.model = bank, method(backbone=torch.nn.Identity(), **options).eval()
        self.features = FeaturesDataset(bank.labels.tolist(), bank.features, [str(c) for c in range(CLASSES)])

    def gathered(self, episodes: Episodes) -> list[tuple[Tensor, Tensor, Tensor]]:
        labels = torch.from_numpy(episodes.support_labels)
        return [(self.bank.picked(s), y, self.bank.picked(q)) for s, y, q in zip(episodes.support, labels, episodes.query)]

    @torch.no_grad()
    def predictions(self, gathered: list[tuple[Tensor, Tensor, Tensor]]) -> np.ndarray:
        """[E, Q] of episodes whose features are at hand."""
        found = []
        for support, labels, query in gathered:
            self.model.process_support_set(support, labels)
            found.append(self.model(query).argmax(1))
        return torch.stack(found).numpy()

    def pipeline(self, n_episodes: int) -> float:
        """Its own dataset, sampler, loader and `evaluate`."""
        sampler, _ = task_sampler(self.features, n_episodes)
        loader = DataLoader(self.features, batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn)
        return evaluate(self.model, loader, device="cpu", use_tqdm=False)


def task_sampler(features: FeaturesDataset, n_episodes: int) -> tuple[TaskSampler, bool]:
    """easyfsl's sampler, and whether its constructor works with this torch; where not, its fields are set without it."""
    sizes = {"n_way": WAYS, "n_shot": SHOTS, "n_query": QUERIES, "n_tasks": n_episodes}
    try:
        return TaskSampler(features, **sizes), True
    except TypeError:  # it hands torch's Sampler an argument that newer versions no longer take
        sampler = TaskSampler.__new__(TaskSampler)
        vars(sampler).update(sizes, items_per_label={c: list(range(c * IMAGES, (c + 1) * IMAGES)) for c in range(CLASSES)})
        return sampler, False


def fitting(work: Callable[[int], object], most: int) -> int:
    """How many episodes take about TURN seconds: told from a few, then from more."""
    n = 1
    work(n)  # warms up
    while (taken := seconds(partial(work, n))) < TURN / 4 and n < most:
        n = min(most, 4 * n)
    return int(min(most, max(1, n * TURN / taken)))


def rates(works: list[Callable[[int], object]], repeats: int) -> list[float]:
    """Episodes per second of each, in turns."""
    numbers = [fitting(work, 4000) for work in works]
    times = interleaved(repeats, *map(partial, works, numbers))
    return [n / statistics.median(each) for n, each in zip(numbers, times)]


def row(bank: Bank, preset: str, repeats: int) -> list[str]:
    """Rates of one head, alone and in the whole pipeline, and how often both sides decide alike."""
    changes, same = HEADS[preset]
    ours, episodes = Ours(bank, preset, changes), bank.draw(4000)

    def first(n: int) -> Episodes:
        return Episodes(*(value[:n] for value in vars(episodes).values()))

    alone = [lambda n: ours.predictions(first(n))]
    whole: list[Callable[[int], object]] = [ours.pipeline]
    if same is None:
        (a,), (b,) = rates(alone, repeats), rates(whole, repeats)
        return [f"`{preset}`", "", f"{a:,.0f}", "", "", f"{b:,.0f}", "", ""]
    theirs = Theirs(bank, *same)
    gathered = theirs.gathered(first(400))
    n_alike = 200 if seconds(lambda: theirs.predictions(gathered[:1])) < 0.02 else 10
    alike = (theirs.predictions(gathered[:n_alike]) == ours.predictions(first(n_alike))).mean()
    many = gathered * 10
    a, easy_a = rates([*alone, lambda n: theirs.predictions(many[:n])], repeats)
    b, easy_b = rates([*whole, theirs.pipeline], repeats)
    cells = [f"{easy_a:,.0f}", f"{a:,.0f}", f"**{a / easy_a:.1f}**", f"{easy_b:,.0f}", f"{b:,.0f}", f"**{b / easy_b:.1f}**"]
    return [f"`{preset}`", *cells, f"{100 * alike:.2f} % of {n_alike * WAYS * QUERIES:,}"]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="of each side of a ratio (default: 3)")
    parser.add_argument("--only", nargs="+", choices=list(HEADS), default=list(HEADS), help="which heads (default: all)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: 2)")
    parser.add_argument("--save", action="store_true", help="write results/episodes.md")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    bank = Bank()
    works = task_sampler(Theirs(bank, easy.SimpleShot, {}).features, 1)[1]
    about = (
        f"Episodes per second, medians of {args.repeats} interleaved repetitions: {WAYS}-way {SHOTS}-shot with {QUERIES} queries "
        f"a class, {D} random features of {CLASSES} classes x {IMAGES} images. *Evaluator*: easyfsl gets its episodes already "
        f"gathered, hdx gathers them from the bank. *Pipeline*: sampling included; easyfsl's dataset, sampler, `DataLoader` and "
        f"`evaluate`, and hdx's list of episodes in batches of at most {CACHED >> 20} MB, as the engine takes them. Bold: "
        "ratios. *Alike*: queries given the same class by both."
    )
    if not works:
        about += (
            " easyfsl's TaskSampler cannot be constructed under this torch: its fields are set by hand, its methods are its own."
        )
    head = ["head", "easyfsl evaluator", "hdx evaluator", "ratio", "easyfsl pipeline", "hdx pipeline", "ratio", "alike"]
    rows = [row(bank, preset, args.repeats) for preset in args.only]
    publish("episodes", "Few-shot heads: episodes per second", [about, table(head, rows)], args.save)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
