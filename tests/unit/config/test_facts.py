"""What components say of themselves, read from source: the same as the classes have, and refused where it is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hdx import registry
from hdx.config import facts, schema, source
from hdx.config.validate import load
from hdx.errors import ConfigError

COMPONENTS = [(group, name) for group in registry.CONTRACTS for name in registry.names(group)]
METHOD = "hdx.methods._base:Method"


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_facts_read_from_source_are_those_of_the_class(group: str, name: str) -> None:
    cls, found = registry.load(group, name), schema.describe(group, name).facts
    assert set(facts.declared(registry.CONTRACTS[group])) <= set(found)
    for key, value in found.items():
        if not key.startswith("__"):
            assert getattr(cls, key) == value, key


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_rules_read_from_source_are_those_of_the_class(group: str, name: str) -> None:
    cls, info = registry.load(group, name), schema.describe(group, name)
    own = [rule for base in cls.__mro__ for rule in vars(base).get("rules", ())]
    known = {option.name for option in info.options}
    assert list(info.rules) == [rule for rule in own if set(rule.options()) <= known]


def test_a_body_trains_in_the_sessions_that_its_method_names() -> None:
    sessions = {
        name: [registry.load("method", name).trains_body(_Named(name), session) for session in range(3)]  # type: ignore[attr-defined]
        for name in ("frozen", "joint", "lwf", "per_episode")
    }
    assert sessions == {
        "frozen": [False] * 3,
        "joint": [True, False, False],
        "lwf": [True] * 3,
        "per_episode": [False] * 3,
    }


class _Named:
    """A method of which only the facts are there."""

    def __init__(self, name: str) -> None:
        self.trains_in = schema.describe("method", name).facts["trains_in"]


def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> source.Module:
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return source.read(name)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("trains_in = 'sometimes'", ":Own.trains_in: expected one of never, first, every, episodes, got 'sometimes'"),
        ("heads = 'gradient'", ":Own.heads: expected a list of string, got 'gradient'"),
        ("trains_in = WHEN()", ":Own.trains_in: a fact is a literal on the class, since it is read without running code"),
        ("def sees_all(self): ...", ":Own.sees_all: a fact is a literal on the class"),
    ],
)
def test_a_wrong_fact_names_its_class(body: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"wrong{abs(hash(body))}"
    written(tmp_path, monkeypatch, name, f"from hdx.methods._base import Method\nclass Own(Method):\n    {body}\n")
    with pytest.raises(ConfigError) as caught:
        facts.read(source.lineage(name, "Own"), METHOD)
    assert caught.value.problems[0].startswith(name + line)


def test_a_fact_without_a_default_has_to_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, monkeypatch, "kindless", "class Own:\n    pass\n")
    with pytest.raises(ConfigError, match="kindless:Own does not say its `kind`: give the class kind = …, one of statistics"):
        facts.read(source.lineage("kindless", "Own"), "hdx.heads._base:Head")


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("(only_when('nope', lam=1),)", "ruled.*:Own.rules: nope is no option of Own"),
        ("(print('run'),)", r":Own.rules: expected one of one_of, .* of hdx.rules, got print\('run'\)"),
        ("(only_when(open('x')),)", "is not understood"),
        ("[1]", r":Own.rules: expected a tuple of rules of hdx.rules, got \[1\]"),
        ("(only_when(),)", r"only_when\(\) is not understood: .*missing 1 required positional argument"),
    ],
)
def test_what_is_no_rule_is_not_run(rules: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"ruled{abs(hash(rules))}"
    written(
        tmp_path, monkeypatch, name, f"from hdx.rules import only_when\nclass Own:\n    kind = 'gradient'\n    rules = {rules}\n"
    )
    with pytest.raises(ConfigError, match=words):
        facts.rules(source.lineage(name, "Own"), ["lam"], "hdx.heads._base:Head")


def test_reading_facts_imports_no_component() -> None:
    assert schema.describe("method", "dhkd").facts["uses_teacher"] is True  # of Distill, its base
    assert schema.describe("method", "dhkd").facts["gives"] == ()
    assert "hdx.config.facts" in sys.modules


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["pool=gem", "pool.learn=true"], "pool.learn=true has no effect with method=frozen: leave it out, or take method="),
        (
            ["loss.label_smoothing=0.1"],
            "loss.label_smoothing=0.1: no effect with method=frozen and head=lda, which train nothing",
        ),
        (["+exp=fsa_film", "trainer.momentum=0.5"], "trainer.momentum=0.5 has no effect with trainer.optimizer=adam"),
        (
            ["+exp=fsa_film", "trainer.schedule=cosine", "trainer.gamma=0.1"],
            "trainer.gamma=0.1 has no effect with trainer.schedule",
        ),
        (
            ["+exp=fsa_film", "method.scale=4"],
            "method.scale=4.0 has no effect with method.classifier=linear: leave it out, or take",
        ),
        (["+exp=cil_finetune", "method.dropout=0.1"], "method.dropout=0.1 is of a temporary head, and head=linear is trained in"),
        (
            ["protocol=offline", "protocol.shot_seed=3"],
            "protocol.shot_seed=3 has no effect with protocol.shots=null: leave it out, or",
        ),
        (["+exp=cil_replay", "memory=none"], "method=replay trains on what a memory keeps, and memory=none: take memory=replay"),
        (
            ["method=wa", "adapter=full", "head=linear"],
            "method=wa trains on what a memory keeps, and memory=none: take memory=replay",
        ),
    ],
)
def test_an_option_without_effect_is_refused(words: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(words)
    (found,) = caught.value.problems
    assert found.startswith(line)


def test_a_pool_that_learns_is_something_to_train() -> None:
    assert load(["pool=gem", "pool.learn=true", "method=first_session"])["adapter.name"] == "none"
