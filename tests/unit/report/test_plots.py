"""Every kind of plot as PNG, SVG and PDF; the curves and matrices against the engine's metrics; labels and looks."""

from __future__ import annotations

import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdx.errors import ConfigError, RunError
from hdx.metrics.incremental import forgetting as forgetting_metric
from hdx.report import metrics
from hdx.report.groups import Group, distinguish, of_sessions, require
from hdx.report.plots import matrix, points, sessions, style

pytest.importorskip("matplotlib", reason="hdx plot needs the extra: pip install 'hdx[plot]'")
SEED = 3


def record(rng: np.random.Generator, n_sessions: int = 4, parameters: int = 0, seconds: float = 2.0) -> dict[str, Any]:
    rows = [rng.uniform(0.4, 1.0, i + 1).tolist() for i in range(n_sessions)]
    return {
        "sessions": [
            {"classes_seen": 5 * (i + 1), "acc": float(np.mean(row)), "acc_by_session": row} for i, row in enumerate(rows)
        ],
        "metrics": {"acc_last": float(np.mean(rows[-1])), "forgetting": None},
        "trainable_parameters": parameters,
        "images_forwarded": 400,
        "images_trained": 10 * parameters,
        "seconds": {"wall": seconds},
    }


def group(label: str, n_seeds: int = 3, n_sessions: int = 4, shots: int | None = None, **more: Any) -> Group:
    rng = np.random.default_rng(SEED)
    records = {seed: record(rng, n_sessions, **more) for seed in range(n_seeds)}
    return Group(label, {"head": label.split(",")[0], "protocol.shots": shots, "seed": 0}, records)


GROUPS = [group("lda"), group("ncm", 2, parameters=500), group("full", parameters=120_000, seconds=60.0)]
SHOTS = [group(f"{head}, {k}", shots=k) for head in ("lda", "ncm") for k in (1, 5, 20)]
METRIC = metrics.find("acc_last")
DRAW: dict[str, Callable[[Path], str]] = {
    "sessions": lambda out: sessions.sessions(GROUPS, out),
    "forgetting": lambda out: sessions.forgetting(GROUPS, out),
    "matrix": lambda out: matrix.matrix(GROUPS[:2], out),
    "parameters": lambda out: points.parameters(GROUPS, out, METRIC),
    "cost": lambda out: points.cost(GROUPS, out, METRIC, "seconds"),
    "images": lambda out: points.cost(GROUPS, out, METRIC, "images"),
    "shots": lambda out: points.shots(SHOTS, out, METRIC),
}


@pytest.mark.parametrize("kind", DRAW)
def test_each_kind_in_each_format(kind: str, tmp_path: Path) -> None:
    captions = {DRAW[kind](tmp_path / f"plot{ending}") for ending in style.ENDINGS}
    assert len(captions) == 1 and captions.pop().endswith(".")
    png = (tmp_path / "plot.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    assert width == round(300 * (style.PAGE if kind == "matrix" else style.COLUMN)) and 400 < height < 1200
    assert (tmp_path / "plot.pdf").read_bytes().startswith(b"%PDF")
    svg = ElementTree.parse(tmp_path / "plot.svg").getroot()
    text = " ".join("".join(node.itertext()) for node in svg.iter() if node.tag.endswith("text"))
    assert all(word in text for word in ("lda", "ncm"))  # letters stay letters, so that they can be searched and edited


def test_the_same_numbers_give_the_same_file(tmp_path: Path) -> None:
    for ending in style.ENDINGS:
        for name in ("a", "b"):
            DRAW["sessions"](tmp_path / f"{name}{ending}")
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes(), ending


def test_forgetting_curve_ends_at_the_metric() -> None:
    rng = np.random.default_rng(SEED)
    for _ in range(10):
        one = record(rng, n_sessions=5)
        full = np.full((5, 5), np.nan)
        for i, session in enumerate(one["sessions"]):
            full[i, : i + 1] = session["acc_by_session"]
        curve = sessions.forgetting_curve(one)
        for length in range(2, 6):
            assert curve[length - 2] == pytest.approx(100 * forgetting_metric(full[:length, :length]))  # type: ignore[operator]


def test_mean_matrix() -> None:
    mean = matrix.mean_matrix(GROUPS[0])
    for i in range(4):
        for j in range(4):
            values = [one["sessions"][i]["acc_by_session"][j] for one in GROUPS[0].records.values()] if j <= i else []
            assert np.isnan(mean[i, j]) if j > i else mean[i, j] == pytest.approx(100 * np.mean(values))


def test_captions_say_what_intervals_are_over(tmp_path: Path) -> None:
    some = sessions.sessions(GROUPS, tmp_path / "a.svg")
    assert some.endswith("n = 2 to 3; band: 95 % confidence interval (Student t) over seeds, where there are 3 or more.")
    none = sessions.sessions([GROUPS[1]], tmp_path / "a.svg")
    assert none.endswith("mean over seeds, n = 2.")


def test_series_can_be_told_apart_without_colour() -> None:
    looks = [style.look(i) for i in range(style.MOST_SERIES)]
    assert len({(look.colour, look.marker, look.dash) for look in looks}) == len(looks)
    for i, one in enumerate(looks):
        for other in looks[i + 1 :]:
            assert (one.marker, one.dash) != (other.marker, other.dash)  # lines, in grey
            assert (one.marker, one.colour) != (other.marker, other.colour)  # points, in colour


def test_labels_are_what_differs() -> None:
    base = {"head": "lda", "adapter": "none", "protocol.shots": 5, "seed": 0, "head.ridge": 1.0, "exp": "fsa_na"}
    assert distinguish([base, {**base, "head": "ncm"}], ["a", "b"]) == ["lda", "ncm"]
    assert distinguish([base, {**base, "head.ridge": 2.0}], ["a", "b"]) == ["ridge=1.0", "ridge=2.0"]
    assert distinguish([base, {**base, "protocol.shots": 1, "seed": 4}], ["a", "b"]) == ["5 shots", "1 shot"]
    both = [{**base, "head": head, "adapter": adapter} for head in ("lda", "ncm") for adapter in ("none", "film")]
    assert distinguish(both, list("abcd")) == ["lda, none", "lda, film", "ncm, none", "ncm, film"]
    assert distinguish([base], ["a"]) == ["fsa_na"]
    assert len(set(distinguish([base, dict(base)], ["a", "b"]))) == 2


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="15 series cannot be told apart, expected at most 14"):
        sessions.sessions([group(str(i)) for i in range(15)], tmp_path / "a.png")
    with pytest.raises(ConfigError, match="matrix: 5 groups, expected at most 4"):
        matrix.matrix([group(str(i)) for i in range(5)], tmp_path / "a.png")
    with pytest.raises(RunError, match="at least two sessions"):
        sessions.forgetting([group("a", n_sessions=1)], tmp_path / "a.png")
    with pytest.raises(RunError, match="no run has protocol.shots"):
        points.shots(GROUPS, tmp_path / "a.png", METRIC)
    with pytest.raises(RunError, match="no finished run fits"):
        require([])
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_a_line_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from hdx.report.plots import style\n"
        "try:\n    style.figure().__enter__()\nexcept Exception as error:\n    print(type(error).__name__, error)\n"
        "print(sorted({'torch', 'pytorch_lightning', 'matplotlib.figure'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "RunError hdx plot needs matplotlib, which is not installed: pip install 'hdx[plot]'",
        "[]",
    ]


def test_sessions_without_new_classes_stand_at_their_numbers(tmp_path: Path) -> None:
    stream = group("stream")
    for each in stream.records.values():
        each["sessions"][2]["classes_seen"] = each["sessions"][1]["classes_seen"]
    for groups, label in ((GROUPS, "classes seen"), ([*GROUPS, stream], "session")):
        sessions.sessions(groups, tmp_path / "plot.svg")
        svg = ElementTree.parse(tmp_path / "plot.svg").getroot()
        text = ["".join(node.itertext()) for node in svg.iter() if node.tag.endswith("text")]
        assert label in text
        assert text[:4] == (["5", "10", "15", "20"] if label == "classes seen" else ["1", "2", "3", "4"])


def test_runs_on_episodes_have_no_sessions_to_plot(tmp_path: Path) -> None:
    runs = {
        seed: {**record(np.random.default_rng(seed)), "metrics": {"acc": 0.5 + seed / 10}, "episodes": {}} for seed in range(3)
    }
    few = [Group("ncm", {"head": "ncm", "protocol.shots": 1}, runs)]
    with pytest.raises(RunError, match="runs on episodes have no sessions"):
        of_sessions(few)
    assert [each.label for each in of_sessions([*few, *GROUPS[:1]])] == ["lda"]
    for draw in (points.cost, points.shots, points.parameters):
        more = ("seconds",) if draw is points.cost else ()
        with pytest.raises(RunError, match=r"none of these runs has acc_last; they have acc  \(--metric …\)"):
            draw(few, tmp_path / "x.png", METRIC, *more)  # type: ignore[operator]
        assert draw(few, tmp_path / "x.png", metrics.find("acc"), *more)  # type: ignore[operator]
