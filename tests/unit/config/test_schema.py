"""Options read from source text."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hdx.config import docstring, schema, source
from hdx.errors import ConfigError

BASE = '''
from typing import Literal
from hdx.options import PositiveInt

raise RuntimeError("imported")

Kind = Literal["a", "b"]
LIMIT = 7


class Base:
    """A base.

    Source: Someone 1999, eq. 3;
    continued here.

    Args:
        width: of the thing, in
            two lines.
        kind, other: which kind: a or b.
    """

    def __init__(self, n_features, *, width: PositiveInt = LIMIT, kind: Kind = "a", other: Kind | None = None):
        pass
'''

CHILD = '''
from .base import LIMIT, Base
from hdx.options import Fraction


class Child(Base):
    """A child without constructor.

    Args:
        width: as the child sees it.
    """


class Grown(Base):
    """A child with its own. Second sentence."""

    def __init__(self, *, path: str, rates: list[Fraction] = [0.5, 1], scale: float = -1.5, size: int = LIMIT):
        pass


class Bare:
    """Nothing to choose."""


class Untyped:
    """Wrong."""

    def __init__(self, *, x=1):
        pass


class Computed:
    """Wrong."""

    def __init__(self, *, x: int = 1 + 1):
        pass


class Odd:
    """Wrong."""

    def __init__(self, *, x: Unheard = 1):
        pass
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that cannot be imported, so that reading it proves that nothing is."""
    name = f"unimportable_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "base.py").write_text(BASE)
    (folder / "child.py").write_text(CHILD)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def describe(package: str, cls: str) -> schema.ComponentInfo:
    return schema._describe(f"{package}.child", cls, cls.lower(), "")


def test_inherited_options_and_meanings(package: str) -> None:
    info = describe(package, "Child")
    assert info.summary == "A child without constructor"
    assert info.source == "Someone 1999, eq. 3; continued here."
    assert [(option.name, option.default, option.required) for option in info.options] == [
        ("width", 7, False),
        ("kind", "a", False),
        ("other", None, False),
    ]
    width, kind, other = info.options
    assert width.meaning == "as the child sees it." and width.bound == ">= 1" and width.type == "int >= 1"
    assert kind.choices == ("a", "b") and kind.meaning == "which kind: a or b."
    assert other.type == "one of a, b or null"
    assert package not in sys.modules


def test_own_constructor_hides_the_base(package: str) -> None:
    path, rates, scale, size = describe(package, "Grown").options
    assert path.required and path.default is None
    assert rates.default == [0.5, 1] and rates.bound == "[0, 1]"
    assert scale.default == -1.5
    assert size.default == 7  # a constant imported from a sibling


def test_no_constructor_no_options(package: str) -> None:
    assert describe(package, "Bare").options == ()


@pytest.mark.parametrize(
    ("cls", "words"),
    [("Untyped", "needs a type annotation"), ("Computed", "is no literal"), ("Odd", "Unheard"), ("Absent", "no class Absent")],
)
def test_a_component_that_breaks_the_rules_is_named(package: str, cls: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        describe(package, cls)


def test_missing_module() -> None:
    with pytest.raises(ConfigError, match="no_such_package_at_all.heads has no source file"):
        source.read("no_such_package_at_all.heads")


def test_run_options_equal_the_constructor() -> None:
    import inspect

    from hdx.config.run import Run

    signature = inspect.signature(Run).parameters
    assert {option.name: option.default for option in schema.run_options().options} == {
        name: parameter.default for name, parameter in signature.items()
    }
    assert all(option.meaning for option in schema.run_options().options)


def test_docstring_sections() -> None:
    doc = """Summary line.

    More.

    Args:
        a: first.
        b (int): second: with a colon
            and more.

    Returns: something.
    """
    assert docstring.arguments(doc) == {"a": "first.", "b": "second: with a colon and more."}
    assert docstring.summary(doc) == "Summary line"
    assert docstring.source(doc) == ""


def test_labels_of_a_docstring() -> None:
    doc = """Summary.

    Source: A 2020, "A title: with a colon"; and
        a line that continues it.
    Trains: the head.
    Keeps: nothing.

    Certainty: by definition.
    """
    assert docstring.source(doc) == 'A 2020, "A title: with a colon"; and a line that continues it.'
    assert [docstring.labelled(doc, label) for label in ("Trains", "Keeps", "Certainty")] == [
        "the head.",
        "nothing.",
        "by definition.",
    ]
    assert docstring.labelled(doc, "Args") == ""


@pytest.mark.parametrize(
    "name", ["finetune", "replay", "cumulative", "joint", "lwf", "wa", "ewc", "icarl", "der_pp", "first_session"]
)
def test_class_incremental_methods_say_what_they_train_and_keep(name: str) -> None:
    info = schema.describe("method", name)
    assert info.trains and info.keeps and info.certainty
