"""`hdx config`, and `--cfg job` on other commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from hdx.config.validate import load

Inside = Callable[..., tuple[int, str, str]]
Document = Callable[..., Any]


def test_yaml(inside: Inside) -> None:
    code, out, err = inside("config", "+exp=fsa_film", "seed=4", "output_dir=o")
    assert (code, err) == (0, "")
    data = yaml.safe_load(out)
    assert data == load(["+exp=fsa_film", "seed=4", "output_dir=o"]).data
    assert data["adapter"]["name"] == "film" and data["seed"] == 4 and data["output_dir"] == "o"


def test_cfg_job_is_the_same(inside: Inside) -> None:
    assert inside("train", "+exp=fsa_film", "--cfg", "job") == inside("config", "+exp=fsa_film")


def test_json(document: Document) -> None:
    assert document("config", "exp=fsa_film", "head.ridge=3") == load(["+exp=fsa_film", "head.ridge=3"]).data


def test_options_and_overrides_in_any_order(inside: Inside) -> None:
    assert inside("config", "--json", "seed=1", "--sources", "head=ncm") == inside(
        "config", "seed=1", "head=ncm", "--sources", "--json"
    )


def test_sources(inside: Inside, document: Document) -> None:
    told = document("config", "+exp=fsa_film", "head.ridge=3", "--sources")
    assert told["config"]["head"]["ridge"] == 3.0
    assert told["sources"]["head.ridge"] == "command line"
    assert told["sources"]["adapter.name"] == "conf/adapter/film.yaml"
    code, out, _ = inside("config", "+exp=fsa_film", "head.ridge=3", "--sources")
    lines = [line for line in out.splitlines() if line.strip().startswith("ridge:")]
    assert code == 0 and lines[0].split() == ["ridge:", "3.0", "#", "command", "line"]
    assert yaml.safe_load(out) == told["config"]  # the sources are comments


def test_a_users_own_conf_extends_the_packaged_one(inside: Inside, document: Document, tmp_path: Path) -> None:
    for folder in ("conf", "more"):
        (tmp_path / folder / "exp").mkdir(parents=True)
    (tmp_path / "conf" / "exp" / "mine.yaml").write_text("# @package _global_\n# Mine.\nseed: 9\n")
    (tmp_path / "more" / "exp" / "theirs.yaml").write_text("# @package _global_\n# Theirs.\nseed: 8\n")
    assert document("config", "+exp=mine")["seed"] == 9
    assert document("config", "+exp=theirs", "-cd", "more")["seed"] == 8
    assert document("config", "+exp=[mine,theirs]", "--config-dir", "more")["seed"] == 8
    names = [row["name"] for row in document("list", "exp", "-cd", "more")]
    assert {"mine", "theirs", "fsa_film"} <= set(names)
    assert inside("config", "+exp=theirs")[0] == 2
