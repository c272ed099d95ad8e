"""Grids: Hydra's sweep grammar, named grids, all problems at once; the same configs as composing each run alone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hdx.config import files, paths, sweeps
from hdx.config.grid import Grid, expand
from hdx.config.identity import body_key
from hdx.config.validate import load
from hdx.errors import ConfigError

UserConf = Callable[[str, str], Path]


def problems(*arguments: str, **options: bool) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        expand(arguments, **options)
    return caught.value.problems


def values(grid: Grid, key: str) -> list[object]:
    return [run.config[key] for run in grid.runs]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("seed=0,1,2", [0, 1, 2]),
        ("seed=range(3)", [0, 1, 2]),
        ("seed=range(1,8,3)", [1, 4, 7]),
        ("seed=choice(5,3)", [5, 3]),
        ("seed=sort(3,1,2)", [1, 2, 3]),
        ("++seed=4,5", [4, 5]),
        ("seed=7", [7]),
    ],
)
def test_values(word: str, expected: list[int]) -> None:
    assert values(expand([word]), "seed") == expected


def test_groups_globs_and_presets() -> None:
    heads = files.names("head", [paths.packaged()])
    trained = ["linear", "cosine", "dual", "rotations"]
    assert values(expand(["head=lda,ncm"]), "head.name") == ["lda", "ncm"]
    grid = expand(["protocol=episodic", f"head=glob(*,exclude=[{','.join(trained)}])"])
    assert [run.config.choices["head"] for run in grid.runs] == [name for name in heads if name not in trained]
    ncm = [name for name in heads if name.startswith("ncm")]
    assert [run.config.choices["head"] for run in expand(["head=glob(ncm*)"]).runs] == ncm
    without = [run.config.choices["head"] for run in expand(["head=glob([l*,n*],exclude=[ncm_*,la*])"]).runs]
    assert without == ["lda", "linear", "ncm"]
    assert [run.config.exp for run in expand(["+exp=fsa_na,ncm_frozen"]).runs] == ["fsa_na", "ncm_frozen"]
    assert [run.config.exp for run in expand(["exp=fsa_na,fsa_film"]).runs] == ["fsa_na", "fsa_film"]
    assert expand(["+exp=[fsa_na,setting_cifar100]"]).runs[0].config.exp == "fsa_na+setting_cifar100"


def test_the_last_override_varies_fastest_and_a_run_stands_once() -> None:
    grid = expand(["head=lda,ncm", "seed=0,1", "protocol.shots=5,5"])
    assert [run.overrides for run in grid.runs] == [
        ("head=lda", "seed=0", "protocol.shots=5"),
        ("head=lda", "seed=1", "protocol.shots=5"),
        ("head=ncm", "seed=0", "protocol.shots=5"),
        ("head=ncm", "seed=1", "protocol.shots=5"),
    ]


GRIDS = [
    ["+exp=fsa_na,fsa_film,pretrain_tiny", "head=lda,ncm,linear", "seed=range(2)", "data_dir=null,here"],
    ["+exp=[fsa_film,setting_letters],fsa_full", "backbone=tiny,conv4,resnet20", "trainer.milestones=[0.5],[0.1,0.2]"],
    ["head=lda", "head.ridge=0.5,2", "threads=1,null", "++precision=32,bf16-mixed"],
    ["protocol=offline,class_incremental", "protocol.shots=null,5", "dataset=digits,omniglot", "method=frozen,first_session"],
    ["tracker=csv,wandb", "trainer.lr=1,0.1", "trainer.augment=[],[hflip]", "launcher.workers=1"],
]


@pytest.mark.parametrize("words", GRIDS, ids=lambda words: words[0])
def test_every_run_equals_the_one_that_is_composed_alone(words: list[str]) -> None:
    try:
        grid = expand(words, skip_invalid=True)
    except ConfigError as error:
        pytest.fail("\n".join(error.problems))
    assert len(grid.runs) > 1
    for run in grid.runs[:: max(1, len(grid.runs) // 6)]:
        alone = load(run.overrides)
        assert run.config == alone
        assert list(run.config.data) == list(alone.data)
        assert run.config.run_id == alone.run_id


def test_interpolations_presets_and_nested_defaults_are_composed_in_full(user_conf: UserConf) -> None:
    user_conf("exp/tuned.yaml", "# @package _global_\nprotocol:\n  order_seed: ${seed}\nhead:\n  ridge: 0.25\n")
    user_conf("head/mine.yaml", "defaults:\n  - lda\n  - _self_\nridge: 4.0\ncovariance: within\n")
    user_conf("trainer/short.yaml", "defaults:\n  - default\n  - _self_\nepochs: 2\n")
    grid = expand(["+exp=tuned", "head=lda,mine", "trainer=default,short", "seed=3,4"])
    assert len(grid.runs) == 8
    assert values(grid, "protocol.order_seed") == [3, 4] * 4
    assert values(grid, "trainer.epochs") == [30, 30, 2, 2] * 2
    assert set(values(grid, "head.ridge")) == {0.25}  # a preset is laid over its parts
    for run in grid.runs:
        assert run.config == load(run.overrides)
    plain = expand(["head=mine,ncm", "seed=1"])
    assert [run.config["head"].get("ridge") for run in plain.runs] == [4.0, None]


def test_added_and_deleted_keys(user_conf: UserConf) -> None:
    user_conf("head/odd.yaml", "name: lda\ncovariance: within\nridge: 1.0\nshrinkage: 0.0\nprior: uniform\nextra: 1\n")
    grid = expand(["head=odd", "~head.extra", "seed=0,1"])
    assert [run.config for run in grid.runs] == [load(run.overrides) for run in grid.runs]
    assert problems("head=lda", "+head.ridge=1,2", "seed=0,1") == [
        "'+head.ridge=1': head.ridge already has a value; write head.ridge=1 to change it  (2 of 4 runs)",
        "'+head.ridge=2': head.ridge already has a value; write head.ridge=2 to change it  (2 of 4 runs)",
    ]


def test_a_thousand_runs_are_planned_in_seconds_without_torch(tmp_path: Path) -> None:
    words = [
        "+exp=fsa_na",
        "head=lda,ncm,ncm_cosine,linear,cosine",
        "dataset=digits,caltech101",
        "protocol.shots=1,2,5,10",
        "seed=range(25)",
    ]
    code = "import sys; from hdx.config.grid import expand; from hdx.launchers.plan import plan\n"
    code += "print(len(plan(expand(sys.argv[1:])).tasks), 'torch' in sys.modules)"
    began = time.monotonic()
    found = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert found.stdout.split() == ["1000", "False"]
    assert time.monotonic() - began < 60  # ten times what a busy laptop needs; composing each alone would take minutes


def test_all_problems_at_once_each_once() -> None:
    found = problems("+exp=fsa_flim,fsa_na", "head=lad,ncm", "sede=0,1", "protocol.shots=5,many", "trainer.lr=-1")
    assert found == [
        "exp 'fsa_flim' is unknown. Did you mean 'fsa_film'?  (hdx list exp)",
        "head 'lad' is unknown. Did you mean 'lda'?  (hdx list head)",
        "'sede' is unknown. Did you mean 'seed'?  (groups: hdx list; all keys: hdx config)",
        "trainer.lr: expected a float > 0, got -1  (set in: command line)",
        "protocol.shots: expected an int >= 1 or null, got 'many'  (set in: command line)  (8 of 16 runs)",
    ]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("trainer.lr=interval(0,1)", "an interval has no end of values"),
        ("seed=range(3,1)", "'seed=range(3,1)' has no values; expected range(start,stop,step) with start before stop"),
        ("head=glob(zzz*)", "'head=glob(zzz*)' has no values; expected one of "),
        ("seed=glob(*)", "glob() chooses among config files, and seed is no group"),
        ("launcher=local,slurm", "one launcher starts all runs of a sweep"),
        ("launcher.workers=1,2", "one launcher starts all runs of a sweep"),
        ("seed=range(200000)", "the grid has 200,000 runs; expected at most 100,000"),
        ("seed=range(", "does not follow Hydra's grammar"),
        ("head._target_=os.system,b", "a config is data and cannot name code to run"),
        ("hydra.sweep.dir=a,b", "is a setting of Hydra's own"),
        ("data_dir=${oc.env:HOME},b", "resolvers are refused"),
    ],
)
def test_refused(word: str, expected: str) -> None:
    assert expected in "\n".join(problems(word))


def test_a_key_that_is_given_twice() -> None:
    assert problems("head=lda,ncm", "head=cosine") == ["head is given twice; the second time as 'head=cosine'"]


def test_combinations_that_make_no_sense() -> None:
    words = ["method=frozen,first_session", "adapter=none,film", "seed=range(5)"]
    first, second = problems(*words)
    assert "has nothing to train with adapter=none" in first + second and "has no effect with method=frozen" in first + second
    assert "(5 of 20 runs: method=frozen adapter=film; --skip-invalid leaves them out)" in first + second
    assert "(5 of 20 runs: method=first_session adapter=none; --skip-invalid leaves them out)" in first + second
    grid = expand(words, skip_invalid=True)
    assert {(run.config["method.name"], run.config["adapter.name"]) for run in grid.runs} == {
        ("frozen", "none"),
        ("first_session", "film"),
    }
    assert len(grid.runs) == 10 and len(grid.dropped) == 2 and all("left out" in line for line in grid.dropped)


def test_an_option_that_only_some_parts_have() -> None:
    grid = expand(["head=lda,ncm", "head.ridge=0.1,1"], skip_invalid=True)
    assert values(grid, "head.ridge") == [0.1, 1.0]
    assert "(2 of 4 runs: head=ncm; left out)" in grid.dropped[0]
    assert "--skip-invalid leaves them out" in problems("head=lda,ncm", "head.ridge=0.1,1")[0]
    assert (
        "head.rigde is unknown to head=lda. Did you mean 'head.ridge'?"
        in problems("head=lda,ncm", "head.rigde=1", skip_invalid=True)[0]
    )
    assert problems("method=frozen", "adapter=film,full", skip_invalid=True)[0] == "no combination of the grid makes sense"


def test_what_does_not_tell_runs_apart_is_said() -> None:
    grid = expand(["threads=1,2", "seed=0,1"])
    assert len(grid.runs) == 2 and grid.dropped[0].startswith("2 of 4 runs are others once more")


def test_named_grids_are_the_overrides_they_stand_for(user_conf: UserConf) -> None:
    user_conf(
        "sweep/mine.yaml",
        "exp: fsa_na\n"
        "grid:\n  head: [lda, ncm]\n  protocol.shots: [null, 5]\n  seed: range(2)\n  dataset: digits,omniglot\n"
        "set:\n  output_dir: it's here\n  trainer.milestones: [0.5, 0.75]\n  devices: 1\n  accelerator: 'auto'\n",
    )
    alone = ["+exp=fsa_na", "head=lda,ncm", "protocol.shots=null,5", "seed=range(2)", "dataset=digits,omniglot"]
    alone += ["output_dir='it\\'s here'", "trainer.milestones=[0.5,0.75]"]
    named, spelt = expand(["+sweep=mine"]), expand(alone)
    assert named.name == "mine" and [run.config for run in named.runs] == [run.config for run in spelt.runs]
    assert named.runs[0].config["output_dir"] == "it's here"
    assert len(expand(["+sweep=mine", "seed=7", "head=lda"]).runs) == 4  # the command line's word holds


@pytest.mark.parametrize(
    "value", ["plain", "a b", "it's", 'say "x"', "a,b", "null", "1", "true", "x=y", "[a]", "back\\slash", "é"]
)
def test_texts_read_back(value: str) -> None:
    assert expand([f"output_dir={sweeps.text_of(value)}"]).runs[0].config["output_dir"] == value


def test_named_grids_that_are_wrong(user_conf: UserConf) -> None:
    user_conf("sweep/bad.yaml", "grdi:\n  seed: [1]\nset: 3\n")
    assert problems("+sweep=bad") == [
        "./conf/sweep/bad.yaml: 'grdi' is unknown. Did you mean 'grid'?",
        "./conf/sweep/bad.yaml: set: expected a mapping of overrides, got 3",
    ]
    user_conf("sweep/none.yaml", "grid:\n  seed: []\n")
    assert problems("+sweep=none") == ["./conf/sweep/none.yaml: grid: seed has no values; expected a list of them, or range(5)"]
    assert problems("+sweep=dmeo") == ["sweep 'dmeo' is unknown. Did you mean 'demo'?  (hdx list sweep)"]
    assert "expected the name of one grid" in problems("+sweep=a,b")[0]


@pytest.mark.parametrize("name", files.names("sweep", [paths.packaged()]))
def test_every_packaged_grid_expands(name: str) -> None:
    head = files.header(paths.packaged() / "sweep" / f"{name}.yaml")
    assert head.summary and head.source and f"+sweep={name}" in head.command.split()
    assert len(expand([f"+sweep={name}"]).runs) > 1


def key(*words: str) -> str:
    return body_key(load(words).data)


def test_frozen_runs_of_one_body_share_a_key() -> None:
    one = key("+exp=fsa_na")
    assert one == key("+exp=ncm_frozen", "head=linear", "seed=3", "protocol=offline", "protocol.shots=5", "trainer.lr=1")
    assert one == key("+exp=fsa_na", "devices=2", "threads=1", "tracker=wandb")
    others = ["dataset=omniglot", "backbone=conv4", "pool=gem", "precision=bf16-mixed", "feature_dtype=float16"]
    assert len({one, *(key("+exp=fsa_na", word) for word in others)}) == 1 + len(others)


def test_weights_that_are_drawn_belong_to_a_seed() -> None:
    drawn = ["+exp=fsa_na", "backbone.pretrained=false"]
    assert key(*drawn) != key(*drawn, "seed=1")
    assert key(*drawn, "protocol.train_seed=4") == key(*drawn, "protocol.train_seed=4", "seed=1")


def test_a_body_that_trains_has_the_key_of_what_it_sees() -> None:
    film = key("+exp=fsa_film")
    assert film == key("+exp=fsa_film", "head=ncm")
    assert (
        len({film, key("+exp=fsa_film", "seed=1"), key("+exp=fsa_film", "trainer.lr=1"), key("+exp=fsa_film", "adapter=bn")}) == 4
    )
    assert key("+exp=finetune") != key("+exp=finetune", "head=cosine")
