"""Lake's 20 one-shot classification runs, with Omniglot's background characters as base classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from hdx.datasets._base import Dataset
from hdx.datasets._decode import Decoder
from hdx.datasets._find import locate
from hdx.datasets._join import Joined
from hdx.datasets._listing import Listing
from hdx.datasets._sets import image_sets
from hdx.datasets._tree import Contents, Files
from hdx.datasets.omniglot import Omniglot
from hdx.errors import DataError
from hdx.options import FilePath, PositiveFloat, PositiveInt, Seed, Unhashed

RUNS = [f"run{i:02d}" for i in range(1, 21)]
N_CLASSES = 20


class OmniglotRuns(Dataset):
    """Lake's 20 one-shot runs: 20 characters of one alphabet, one drawing of each to learn from and one to classify.

    Source: Lake, Salakhutdinov and Tenenbaum 2015, Human-level concept learning through probabilistic program induction

    Novel classes are `run01/class01` … `run20/class20`: the drawing to learn from is in the train split, the one to classify in
    the test split, and `groups` has the run. With protocol=episodic ways=20 shots=1 queries=1 episodes=20 within_groups=true
    support=train every run is one episode, and accuracy is that of the 400 trials. Base classes are the 964 background
    characters of omniglot.zip, of other alphabets, with `groups` their alphabets.

    Args:
        path: omniglot_one_shot_runs.zip, or a folder with run01/ … run20/; null looks under data_dir.
        omniglot_path: omniglot.zip, or a folder with images_background/; null looks under data_dir.
        rotations: make three further base classes of each background character, turned by 90, 180 and 270 degrees.
        test_drawings: of the 20 drawings of a background character, how many are in the test split.
        split_seed: which drawings those are; not the seed of the run.
        image_size: side in pixels; the files have 105.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    licence = "MIT"
    looked_for = {
        "path": ("omniglot_one_shot_runs.zip", "omniglot_one_shot_runs", "all_runs.zip", "all_runs"),
        "omniglot_path": ("omniglot.zip", "omniglot-py", "omniglot", "images_background"),
    }
    known = {
        "omniglot_one_shot_runs.zip": "437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325",
        "omniglot.zip": "d4dea72e29d3f39f19fe66f8979b3a5c814a6abef0d9685e645a4b350e587f3e",
    }
    beside = {"images_background": ("images_evaluation",)}

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        omniglot_path: FilePath | None = None,
        rotations: bool = False,
        test_drawings: Annotated[int, "[1, 19]"] = 5,
        split_seed: Seed = 0,
        image_size: PositiveInt = 28,
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        super().__init__(data_dir, cache_dir)
        listing = _list(Files(locate("omniglot_runs", data_dir, path, self.looked_for["path"])).contents())
        base = Omniglot(
            data_dir,
            cache_dir,
            path=_background(data_dir, omniglot_path),
            subset="background",
            rotations=rotations,
            test_drawings=test_drawings,
            split_seed=split_seed,
            image_size=image_size,
            storage=storage,
            memory_gb=memory_gb,
        )
        n_base, n_novel = len(base.classes), len(listing.classes)
        splits = [(rows, n_base + listing.labels[rows]) for rows in np.split(np.arange(2 * n_novel), 2)]
        decoder = Decoder(size=image_size, colour="grey", fit="squash")
        runs = image_sets("omniglot_runs", cache_dir, listing, decoder, splits, storage=storage, memory_gb=memory_gb)
        self.classes = base.classes + listing.classes
        self.groups = [*(base.groups or []), *(name.partition("/")[0] for name in listing.classes)]
        self.class_splits = {
            "base": np.arange(n_base),
            "validation": np.zeros(0, np.int64),
            "novel": np.arange(n_base, n_base + n_novel),
        }
        self.train, self.test = Joined([base.train, runs[0]]), Joined([base.test, runs[1]])


def _background(data_dir: Path | None, path: str | None) -> str | None:
    if path is not None and not Path(path).expanduser().exists():
        raise DataError(f"dataset.omniglot_path={path} does not exist. Give omniglot.zip, or a folder with images_background/")
    return path


def _list(contents: Contents) -> Listing:
    """The 400 drawings to learn from, then the 400 to classify, both in the order of the classes."""
    above = contents.above(f"{RUNS[0]}/training")
    if above is None:
        raise DataError(f"dataset omniglot_runs: {contents.files.path} has no run01/training/. Give dataset.path=…")
    classes = [f"{run}/class{i:02d}" for run in RUNS for i in range(1, N_CLASSES + 1)]
    item_of = {cls: item for run in RUNS for cls, item in _answers(contents.files, above, run).items()}
    learn = [f"{above}{cls.replace('/', '/training/')}.png" for cls in classes]
    classify = [above + item_of[cls] for cls in classes]
    names = learn + classify
    if missing := [name for name in names if name not in contents.images]:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(f"dataset omniglot_runs: '{missing[0]}'{more} is missing in {contents.files.path}. Get the file anew")
    return Listing(
        files=contents.files,
        names=names,
        classes=classes,
        labels=np.tile(np.arange(len(classes)), 2),
    )


def _answers(files: Files, above: str, run: str) -> dict[str, str]:
    """For each class of a run (`run01/class01`) the drawing that is to be classified as it, by the run's class_labels.txt."""
    name = f"{above}{run}/class_labels.txt"
    lines = [line.split() for line in files.read(name).decode("utf-8", "replace").splitlines() if line.strip()]
    found = {line[1].replace("/training/", "/").removesuffix(".png"): line[0] for line in lines if len(line) == 2}
    wanted = {f"{run}/class{i:02d}" for i in range(1, N_CLASSES + 1)}
    if set(found) != wanted or len(lines) != len(wanted):
        what = f"{len(lines)} lines that name {len(wanted & set(found))} of the run's {len(wanted)} classes"
        raise DataError(f"dataset omniglot_runs: '{name}' in {files.path} has {what}, instead of one for each. Get the file anew")
    return found
