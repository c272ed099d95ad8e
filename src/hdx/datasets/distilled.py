"""The images that a run has learnt, as a dataset that other runs train on."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hdx import registry
from hdx.datasets._base import Dataset
from hdx.datasets._memory import InMemory
from hdx.errors import DataError, RunError
from hdx.options import OfRun
from hdx.store.rundir import find_run

ARTEFACT = "artefact/images.safetensors"


class Distilled(Dataset):
    """The learnt images of a finished run (method=condense) as train split; classes and test split are those of its dataset.

    Source: Zhao et al. 2021, "Dataset Condensation with Gradient Matching"

    Args:
        run: id or directory of the run.
    """

    licence = "that of the dataset of which the images were learnt"

    def __init__(self, data_dir: Path | None, cache_dir: Path, *, run: OfRun[str]) -> None:
        super().__init__(data_dir, cache_dir)
        path = _artefact(run, cache_dir.parent)
        try:
            with safe_open(path, "np") as file:
                about = json.loads(file.metadata()["hdx"])
                images, labels = file.get_tensor("images"), file.get_tensor("labels")
            options, self.classes = about["dataset"], [str(name) for name in about["classes"]]
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: expected images that a run has learnt, got {error}; redo that run with --force") from None
        whole: Dataset = registry.build("dataset", options, data_dir, cache_dir)
        self.train, self.test, self.groups = InMemory.of(images, labels), whole.test, whole.groups


def _artefact(run: str, output_dir: Path) -> Path:
    try:
        folder = find_run(run, output_dir).path
    except RunError as error:
        raise DataError(f"dataset.run: {error}") from None
    if not (folder / "record.json").exists():
        raise DataError(f"dataset.run={run}: expected a finished run, this one is not: go on with  hdx resume {folder}")
    if not (folder / ARTEFACT).exists():
        raise DataError(f"dataset.run={run}: expected a run that learns images (method=condense), this one left none")
    return folder / ARTEFACT
