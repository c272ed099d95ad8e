"""Statistics heads on cached features against avalanche-lib, scikit-learn and bare products: agreement, time and memory.

    pip install hdx[bench]
    python scripts/bench/class_incremental.py [--repeats 5] [--cpu-time] [--only sessions fit ranpac memory] [--save]

Both sides get the same features, class order and sessions in this one process; a ratio is of the shortest times, since other
work on the machine only ever adds. Peak memory is measured in a process of its own. A timing never fails this program.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import publish, table
from torch import Tensor

from hdx import registry
from hdx.config import paths
from hdx.config.files import read_plain
from hdx.heads._base import Head

N, N_TEST, D, C, SESSIONS = 50_000, 10_000, 512, 100, 10
CHUNK = 8192  # rows that the engine gives a head at a time
EVAL_CHUNK = 1024  # and asks logits of
M, RANPAC_D, RANPAC_N = 10_000, 768, 2048


def features(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """[n, D] float32 and labels: clusters whose directions differ tenfold in spread, about a common offset."""
    fixed, generator = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    spread = torch.logspace(-0.5, 0.5, D)[torch.randperm(D, generator=fixed)]
    centres = 0.12 * torch.randn(C, D, generator=fixed) + 0.5
    y = torch.arange(n) % C
    return spread * torch.randn(n, D, generator=generator) + centres[y], y


class Clock:
    """Wall time, or the processor time of this process (with one thread: the time on a machine with nothing else to do)."""

    now = staticmethod(time.perf_counter)


def seconds(work: Callable[[], object]) -> float:
    started = Clock.now()
    work()
    return Clock.now() - started


def shortest(repeats: int, *works: Callable[[], object]) -> list[float]:
    """Of each work, in turns."""
    return [min(times) for times in zip(*([seconds(work) for work in works] for _ in range(repeats)))]


class Stream:
    """Sessions of ten classes each, and after each the test samples of all classes seen."""

    def __init__(self) -> None:
        self.x, self.y = features(N, 1)
        self.test_x, self.test_y = features(N_TEST, 2)
        step = C // SESSIONS
        self.train = [self.rows(self.y, s * step, (s + 1) * step) for s in range(SESSIONS)]
        self.test = [self.rows(self.test_y, 0, (s + 1) * step) for s in range(SESSIONS)]
        self.sessions = [(self.x[rows], self.y[rows]) for rows in self.train]
        self.evaluations = [self.test_x[rows] for rows in self.test]

    @functools.lru_cache(maxsize=1)  # noqa: B019 (built before the clock starts)
    def experiences(self) -> list[Any]:
        """The sessions as avalanche has them."""
        from avalanche.benchmarks import tensors_benchmark

        tasks = {"task_labels": [0] * SESSIONS}
        benchmark = tensors_benchmark(train_tensors=self.sessions, test_tensors=self.sessions, **tasks)
        return list(benchmark.train_stream)

    @staticmethod
    def rows(y: Tensor, first: int, end: int) -> Tensor:
        return ((y >= first) & (y < end)).nonzero()[:, 0]

    def accuracy(self, predictions: list[Tensor]) -> float:
        """Over all classes, after the last session."""
        return float((predictions[-1] == self.test_y[self.test[-1]]).double().mean())


def head_of(preset: str, d: int = D, **changes: Any) -> Head:
    options = {**read_plain(paths.packaged() / "head" / f"{preset}.yaml"), **changes}
    head: Head = registry.build("head", options, d)
    return head


@torch.no_grad()
def ours(stream: Stream, preset: str, **changes: Any) -> list[Tensor]:
    """Predictions of each session's evaluation, in the engine's chunks."""
    head, predictions = head_of(preset, **changes), []
    for (x, y), test in zip(stream.sessions, stream.evaluations):
        head.expand(C // SESSIONS)
        for part, labels in zip(x.split(CHUNK), y.split(CHUNK)):
            head.update(part, labels)
        head.merge_ranks()
        predictions.append(torch.cat([head(part).argmax(1) for part in test.split(EVAL_CHUNK)]))
    return predictions


def avalanche_slda(stream: Stream) -> list[Tensor]:
    """Its own update of one sample at a time and its own solve; neither its data loaders nor its logging is counted."""
    from avalanche.training import StreamingLDA

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = StreamingLDA(
            slda_model=torch.nn.Identity(),
            criterion=torch.nn.CrossEntropyLoss(),
            input_size=D,
            num_classes=C,
            evaluator=None,
        )
    predictions, seen = [], 0
    for (x, y), test in zip(stream.sessions, stream.evaluations):
        for sample, label in zip(x, y):
            model.fit(sample.unsqueeze(0), label.unsqueeze(0))
        seen += C // SESSIONS
        scores = torch.cat([model.predict(part) for part in test.split(EVAL_CHUNK)])
        predictions.append(scores[:, :seen].argmax(1))  # it leaves classes without samples a score of 0
    return predictions


class Features(torch.nn.Module):
    """The part of a model that avalanche asks for features."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_extractor = torch.nn.Identity()


def avalanche_ncm(stream: Stream) -> list[Tensor]:
    """Its class means of each session's data set, by its data loader, and its classifier."""
    from avalanche.models import NCMClassifier
    from avalanche.training.plugins.update_ncm import compute_class_means

    classifier, body, predictions = NCMClassifier(normalize=False), Features(), []
    for experience, test in zip(stream.experiences(), stream.evaluations):
        means = compute_class_means(body, experience.dataset, CHUNK, normalize=False, device="cpu")
        classifier.update_class_means_dict(means)
        predictions.append(torch.cat([classifier(part).argmax(1) for part in test.split(EVAL_CHUNK)]))
    return predictions


def slda_by_definition(stream: Stream) -> list[Tensor]:
    """Streaming LDA in float64 from each session's samples so far, for a third opinion where two disagree."""
    predictions, x, y = [], stream.x[:0].double(), stream.y[:0]
    for (new, labels), test in zip(stream.sessions, stream.evaluations):
        x, y = torch.cat([x, new.double()]), torch.cat([y, labels])
        means = torch.stack([x[y == c].mean(0) for c in range(int(y.max()) + 1)])
        z = x - means[y]
        weight = torch.linalg.solve((1 - 1e-4) * (z.T @ z) / len(z) + 1e-4 * torch.eye(D), means.T)
        predictions.append((test.double() @ weight - 0.5 * (means.T * weight).sum(0)).argmax(1))
    return predictions


def agreement(a: list[Tensor], b: list[Tensor]) -> float:
    return float(torch.cat([x == y for x, y in zip(a, b)]).double().mean())


def sessions_table(repeats: int) -> str:
    stream, rows = Stream(), []
    pairs: list[tuple[str, Callable, Callable, int, str]] = [
        ("SLDA", lambda: ours(stream, "slda"), lambda: avalanche_slda(stream), 1, "≥ 20"),
        ("NCM", lambda: ours(stream, "ncm"), lambda: avalanche_ncm(stream), repeats, "≥ 5"),
    ]
    bounds = {"SLDA": "≥ 99.5 %", "NCM": "100 %"}
    notes = ""
    for name, mine, other, their_repeats, bound in pairs:
        found, theirs = mine(), other()
        (own,), (their_time,) = shortest(repeats, mine), shortest(their_repeats, other)
        row = [name, f"{own:.3f} s", f"{their_time:.2f} s", f"**{their_time / own:.1f}** ({bound})"]
        row += [f"**{100 * agreement(found, theirs):.3f} %** ({bounds[name]})"]
        rows.append(row + [f"{100 * stream.accuracy(found):.2f} / {100 * stream.accuracy(theirs):.2f} %"])
        if name == "SLDA":
            exact = slda_by_definition(stream)
            notes = (
                f"\n\nOf the formula solved in float64 from all samples, hdx gives {100 * agreement(found, exact):.3f} % of the "
                f"predictions and avalanche {100 * agreement(theirs, exact):.3f} %. Where they differ, avalanche has weighted "
                "a sample's deviation from its class's running mean by t / (t + 1), t counting the samples of all classes; the "
                "running update is exact with those of its own class. So a class's first sample, whose running mean is 0, adds "
                "its square and not 0, and early samples of a class count too much. It also sums in float32."
            )
    head = ["10 sessions, train + evaluation", "hdx", "avalanche", "ratio", "same predictions", "last accuracy, hdx / avalanche"]
    return table(head, rows) + notes


def fit_table(repeats: int) -> str:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, y = features(N, 1)
    test, _ = features(N_TEST, 2)
    values, labels = x.numpy(), y.numpy()
    rows = []

    def fit(data: Tensor, preset: str, **changes: Any) -> Head:
        head = head_of(preset, **changes)
        head.expand(C)
        head.update(data, y)
        head(data[:1])  # the solve
        return head

    same = {"preset": "slda", "shrinkage": 0.0, "prior": "empirical"}
    cases: dict[str, Callable[[], Head]] = {
        "lda, within, ridge 0": lambda: fit(x, **same),
        "the same of float64 features": lambda: fit(x.double(), **same),
        "slda": lambda: fit(x, "slda"),
        "lda (total, ridge 1)": lambda: fit(x, "lda"),
    }
    oracle = LinearDiscriminantAnalysis(solver="lsqr").fit(values, labels).predict(test.numpy())
    reference = lambda: LinearDiscriminantAnalysis(solver="lsqr").fit(values, labels)  # noqa: E731
    for name, mine in cases.items():
        equal = (mine()(test).argmax(1).numpy() == oracle).mean()
        own, theirs = shortest(repeats, mine, reference)
        agrees = f"{100 * equal:.2f} %" if "slda" not in name and "total" not in name else f"{100 * equal:.2f} % (other S)"
        rows.append([name, f"{1e3 * own:.0f} ms", f"{1e3 * theirs:.0f} ms", f"**{theirs / own:.1f}**", agrees])
    head = ["fit and solve in one call", "hdx", "scikit-learn `lsqr`", "ratio (≥ 7)", "same predictions"]
    return table(head, rows)


def ranpac_table(repeats: int) -> str:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(RANPAC_N, RANPAC_D, generator=generator)
    y = torch.arange(RANPAC_N) % C
    head = head_of("ranpac", RANPAC_D, projections=M, ridge=1e4)
    head.expand(C)
    h = (x @ head.projection).relu()  # type: ignore[operator]
    repeats = min(repeats, 3)
    update, bare = shortest(repeats, lambda: head.update(x, y), lambda: h.T @ h)
    solve = seconds(lambda: head(x[:1]))
    ruled = head_of("ranpac", RANPAC_D, projections=M)
    ruled.expand(C)
    ruled.update(x, y)
    session = seconds(ruled.merge_ranks)
    rows = [
        ["bare HᵀH as the authors' code has it (float32, all of it, H given)", f"{bare:.2f} s", "1"],
        [
            "update with a given ridge (float64 sums, projection and labels included)",
            f"{update:.2f} s",
            f"**{update / bare:.2f}** (≤ 1.3)",
        ],
        ["update with the paper's rule for the ridge (17 values)", f"{session:.2f} s", f"{session / bare:.2f}"],
        ["solve", f"{solve:.2f} s", f"{solve / bare:.2f}"],
    ]
    return table([f"RanPAC, M = {M}, {RANPAC_N} samples of {RANPAC_D} features", "time", "ratio"], rows)


def peak(task: str, answer: Any) -> None:
    """Bytes that `task` adds to the largest resident size of a fresh process."""
    torch.set_num_threads(1)
    preset, d, n, changes = TASKS[task]
    x, y = torch.randn(n, d), torch.arange(n) % C
    torch.randn(256, 256) @ torch.randn(256, 256)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: a new process has that of the one it came from
    before = peak_kb()
    head = head_of(preset, d, **changes)
    head.expand(C)
    for part, labels in zip(x.split(CHUNK), y.split(CHUNK)):
        head.update(part, labels)
    head.merge_ranks()
    head(x[:EVAL_CHUNK])
    answer.put((peak_kb() - before, sum(value.nbytes for value in head.state_dict().values())))


def peak_kb() -> int:
    """The largest resident size of this process, by Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


TASKS: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    f"ncm, N = {N}, D = {D}": ("ncm", D, N, {}),
    f"slda, N = {N}, D = {D}": ("slda", D, N, {}),
    f"slda, N = {2 * N}, D = {D}": ("slda", D, 2 * N, {}),
    f"fecam, N = {N}, D = {D}, C = {C}": ("fecam", D, N, {}),
    f"fecam shared, N = {N}, D = {D}": ("fecam", D, N, {"shared": True}),
    f"ranpac with a ridge, M = {M}, N = 1024": ("ranpac", D, 1024, {"ridge": 1e4, "projections": M}),
    f"ranpac by the rule, M = {M}, N = 1024": ("ranpac", D, 1024, {"projections": M}),
    f"ranpac by the rule, M = 2000, N = {N // 5} > M": ("ranpac", D, N // 5, {"projections": 2000}),
}


def memory_table(repeats: int) -> str:
    rows, context = [], multiprocessing.get_context("spawn")
    for task in TASKS:
        answer = context.SimpleQueue()
        process = context.Process(target=peak, args=(task, answer))
        process.start()
        grown, state = answer.get()
        process.join()
        rows.append([task, f"{grown / 1024:.0f} MB", f"{state / 2**20:.1f} MB"])
    return table(["peak memory beyond the features, update to logits of 1,024", "process", "of it kept as state"], rows)


TABLES = {"sessions": sessions_table, "fit": fit_table, "ranpac": ranpac_table, "memory": memory_table}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="of each timing; avalanche's SLDA runs once (default: 5)")
    parser.add_argument("--only", nargs="+", choices=list(TABLES), default=list(TABLES), help="which tables (default: all)")
    parser.add_argument("--cpu-time", action="store_true", help="processor time of one thread in place of wall time")
    parser.add_argument("--save", action="store_true", help="write results/class_incremental.md")
    args = parser.parse_args(argv)
    if args.cpu_time:
        Clock.now = staticmethod(time.process_time)
        torch.set_num_threads(1)  # and OMP_NUM_THREADS=1 for numpy and scikit-learn
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (avalanche draws from it)
    about = (
        f"N = {N:,} features of D = {D} in C = {C} classes, {SESSIONS} sessions, {N_TEST:,} test samples; the shortest of "
        f"{args.repeats} {'processor' if args.cpu_time else 'wall'} times in one process (avalanche's SLDA: the second of two "
        f"runs). hdx gets chunks of {CHUNK} as from its engine."
    )
    parts = [TABLES[name](args.repeats) for name in args.only]
    publish("class_incremental", "Statistics heads in class-incremental learning", [about, *parts], args.save)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
