"""`hdx data check`: what is wrong with a dataset, each thing in a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hdx.datasets._base import Dataset

SHOWN = 20


def examine(config: dict[str, Any], build: Callable[[dict[str, Any]], Dataset]) -> dict[str, Any]:
    """Plain data: `problems` (files, labels, twins, with every file named), and what was looked at.

    Raises: DataError where the dataset cannot be built at all, as by a label index that no class has.
    """
    from hdx.datasets._check import label_faults, shown, twins
    from hdx.datasets._sets import broken_files_collected
    from hdx.engine.build import forget_datasets

    forget_datasets()  # one that was built before would not say again what is broken
    with broken_files_collected() as broken:
        dataset = build(config)
    forget_datasets()
    problems: list[dict[str, Any]] = [
        {"kind": "broken", "file": name, "reason": " ".join(reason.split())} for name, reason in broken.items()
    ]
    problems += [{"kind": "labels", "reason": line} for line in label_faults(dataset)]
    for twin in twins(dataset):
        labels = int(dataset.test.labels[twin.test]), int(dataset.train.labels[twin.train])
        problems.append(
            {
                "kind": "in train and test",
                "test": shown(dataset.test, twin.test),
                "train": shown(dataset.train, twin.train),
                "bits": twin.bits,
                "classes": [dataset.classes[label] for label in labels],
            }
        )
    counts = {"images": len(dataset.train) + len(dataset.test), "train": len(dataset.train), "test": len(dataset.test)}
    return {"dataset": config["dataset"]["name"], **counts, "classes": len(dataset.classes), "problems": problems}


def lines(found: dict[str, Any]) -> list[str]:
    """A line for each problem, at most 20 of a kind, and one about everything."""
    shown: list[str] = []
    problems = found["problems"]
    for kind in dict.fromkeys(problem["kind"] for problem in problems):
        own = [problem for problem in problems if problem["kind"] == kind]
        shown += [_line(problem) for problem in own[:SHOWN]]
        if len(own) > SHOWN:
            shown.append(f"{kind}: {len(own) - SHOWN} more  (--json names all)")
    looked = (
        f"{found['dataset']}: {found['images']} images ({found['train']} train, {found['test']} test), {found['classes']} classes"
    )
    return [*shown, f"{looked}: {len(problems)} problems" if problems else f"{looked}: nothing found"]


def _line(problem: dict[str, Any]) -> str:
    if problem["kind"] == "broken":
        return f"broken: '{problem['file']}': {problem['reason']}"
    if problem["kind"] == "labels":
        return f"labels: {problem['reason']}"
    how = "equals" if problem["bits"] is None else f"shows the same ({problem['bits']} of 64 bits apart) as"
    other, own = problem["classes"][1], problem["classes"][0]
    classes = "" if own == other else f"; classes '{own}' and '{other}'"
    return f"in train and test: test {problem['test']} {how} train {problem['train']}{classes}"
