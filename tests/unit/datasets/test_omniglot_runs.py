from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hdx.datasets.omniglot import Omniglot
from hdx.datasets.omniglot_runs import OmniglotRuns
from hdx.errors import DataError
from hdx.protocols.episodic import Episodic

AS_PUBLISHED = Episodic(ways=20, shots=1, queries=1, episodes=20, within_groups=True, support="train")


def test_real_runs_are_exactly_the_400_pairs_of_the_files(data_dir: Path, real_cache: Path) -> None:
    data = OmniglotRuns(data_dir, real_cache)
    view = AS_PUBLISHED.view(data)
    (bucket,) = AS_PUBLISHED.episodes(view, 0)
    asked, learnt = (view.test.fetch(rows.ravel()).reshape(20, 20, 28, 28).numpy() for rows in (bucket.query, bucket.support))
    runs = {data.groups[row[0]]: e for e, row in enumerate(bucket.classes)} if data.groups else {}
    assert sorted(runs) == [f"run{i:02d}" for i in range(1, 21)]
    with zipfile.ZipFile(data_dir / "omniglot_one_shot_runs.zip") as archive:

        def drawing(name: str) -> np.ndarray:
            image = Image.open(io.BytesIO(archive.read(name))).convert("L")
            return np.array(image.resize((28, 28), Image.Resampling.BICUBIC))

        pairs = 0
        for run, e in runs.items():
            way = {data.classes[label]: slot for slot, label in enumerate(bucket.classes[e])}
            for line in archive.read(f"{run}/class_labels.txt").decode().split("\n"):
                if line:
                    item, training = line.split()
                    slot = way[training.replace("training/", "").removesuffix(".png")]
                    assert np.array_equal(learnt[e, slot], drawing(training))
                    assert bucket.query_labels[e, slot] == slot and np.array_equal(asked[e, slot], drawing(item))
                    pairs += 1
    assert pairs == 400


def test_real_base_classes_are_the_background_characters(data_dir: Path, real_cache: Path) -> None:
    data = OmniglotRuns(data_dir, real_cache, rotations=True)
    background = Omniglot(data_dir, real_cache, subset="background", rotations=True)
    assert data.class_splits is not None and data.groups is not None
    assert {name: len(labels) for name, labels in data.class_splits.items()} == {"base": 3856, "validation": 0, "novel": 400}
    assert data.classes[:3856] == background.classes and data.groups[:3856] == background.groups
    assert (data.classes[3856], data.classes[-1], data.groups[-1]) == ("run01/class01", "run20/class20", "run20")
    assert np.bincount(data.train.labels)[3856:].tolist() == np.bincount(data.test.labels)[3856:].tolist() == [1] * 400
    (session,) = AS_PUBLISHED.sessions(AS_PUBLISHED.view(data), 0)
    assert (len(session.new_classes), len(session.train), len(session.test)) == (3856, 3856 * 20, 800)


@pytest.fixture
def small(make_tree: Callable[..., Path]) -> Path:
    """Runs and a background set of two characters; test item i of a run is class 21 - i."""
    root = make_tree("omniglot", {f"images_background/Greek/character0{i}": 20 for i in range(2)}, kind="png", mode="L")
    for run in range(1, 21):
        folder = make_tree(f"all_runs/run{run:02d}", {"training": 20, "test": 20}, kind="png", mode="L")
        for i in range(20, 0, -1):
            (folder / "training" / f"{i - 1:03d}.png").rename(folder / "training" / f"class{i:02d}.png")
            (folder / "test" / f"{i - 1:03d}.png").rename(folder / "test" / f"item{i:02d}.png")
        lines = [f"run{run:02d}/test/item{i:02d}.png run{run:02d}/training/class{21 - i:02d}.png" for i in range(1, 21)]
        (folder / "class_labels.txt").write_text("\n".join(lines) + "\n")
    return root.parent


def test_a_folder_and_a_zip_give_the_same(small: Path, cache_dir: Path, zipped: Callable[[Path], Path]) -> None:
    data = OmniglotRuns(small, cache_dir)
    assert len(data.classes) == 402 and data.train.image_shape == (1, 28, 28)
    given = {"path": str(zipped(small / "all_runs")), "omniglot_path": str(small / "omniglot")}
    again = OmniglotRuns(None, cache_dir, **given)
    rows = np.arange(len(data.test))
    assert np.array_equal(data.test.fetch(rows).numpy(), again.test.fetch(rows).numpy())
    assert np.array_equal(data.test.labels, again.test.labels)


def test_what_is_missing_is_named(small: Path, cache_dir: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.omniglot_path=nowhere\.zip does not exist"):
        OmniglotRuns(small, cache_dir, omniglot_path="nowhere.zip")
    labels = small / "all_runs" / "run03" / "class_labels.txt"
    whole = labels.read_text()
    labels.write_text(whole.replace("class07", "class08"))
    with pytest.raises(DataError, match=r"'run03/class_labels.txt' in .* has 20 lines that name 19 of the run's 20 classes"):
        OmniglotRuns(small, cache_dir)
    labels.write_text(whole)
    (small / "all_runs" / "run05" / "test" / "item02.png").unlink()
    with pytest.raises(DataError, match=r"'run05/test/item02.png' is missing in .*all_runs\. Get the file anew"):
        OmniglotRuns(small, cache_dir)
    shutil.rmtree(small / "all_runs" / "run01")
    with pytest.raises(DataError, match=r"has no run01/training/\. Give dataset\.path=…"):
        OmniglotRuns(small, cache_dir)
    shutil.rmtree(small / "all_runs")
    with pytest.raises(DataError, match=r"omniglot_runs not found under .*Looked for: omniglot_one_shot_runs\.zip"):
        OmniglotRuns(small, cache_dir)
