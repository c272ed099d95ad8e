"""Packages that bring components: what is in tests/plugin, from its wheel, and packages that are broken in every way."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hdx import registry
from hdx.cli import _doctor
from hdx.cli.main import main
from hdx.config import schema
from hdx.config.validate import load
from hdx.errors import ConfigError
from tests.integration.harness import train

BROUGHT = {
    ("adapter", "biases"): "hdx_more.adapters.biases:Biases",
    ("dataset", "stripes"): "hdx_more.datasets.stripes:Stripes",
    ("head", "scaled"): "hdx_more.heads.scaled:Scaled",
    ("loss", "focal"): "hdx_more.losses.focal:Focal",
    ("method", "l2_sp"): "hdx_more.methods.l2_sp:L2Sp",
}
EVERYTHING = ("dataset=stripes", "adapter=biases", "head=scaled", "loss=focal", "method=l2_sp")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hatchling.builders.wheel import WheelBuilder

    root, out = Path(__file__).parents[1] / "plugin", tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(root)).build(directory=str(out), versions=["standard"])
    return Path(built)


@pytest.fixture
def fresh() -> Iterator[None]:
    """What a test installs is looked for, and forgotten afterwards."""
    registry.forget()
    yield
    registry.forget()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("hdx_more", "broken")]:
        del sys.modules[name]


@pytest.fixture
def more(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    """The plugin, installed."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    registry.forget()


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None) -> Install:
    """`install(entry, {path: text})` puts a package `broken` on the path."""

    def put(entry: str, files: dict[str, str]) -> None:
        for name, text in {"broken/__init__.py": "", **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        info = tmp_path / "broken-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[hdx.components]\n{entry}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.chdir(tmp_path)
        registry.forget()

    return put


def test_two_files_each_are_found_in_the_wheel(more: None) -> None:
    assert registry.problems() == []
    assert {key: registry.find(*key) for key in BROUGHT} == BROUGHT
    assert all(name in registry.names(group) for group, name in BROUGHT)
    assert schema.describe("method", "l2_sp").facts["trains_in"] == "every"
    assert not any(name.startswith("hdx_more") for name in sys.modules)  # nothing was imported for that


def test_they_are_listed_shown_and_guessed(more: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "head"]) == 0
    assert "scaled " in capsys.readouterr().out
    assert main(["show", "loss=focal", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [option["name"] for option in shown["options"]] == ["gamma", "floor"]
    with pytest.raises(ConfigError) as caught:
        load(["head=scalded"])
    assert caught.value.problems == ["head 'scalded' is unknown. Did you mean 'scaled'?  (hdx list head)"]


def test_they_are_judged_as_those_of_hdx(more: None) -> None:
    assert load(EVERYTHING)["loss.gamma"] == 2.0
    for words, line in (
        (["method=l2_sp", "adapter=film"], "method=l2_sp trains the head by gradient descent, and head=lda is solved in closed"),
        (["adapter=biases"], "adapter=biases has no effect with method=frozen, which trains no body: take method=first_session"),
        ([*EVERYTHING, "loss.gamma=0", "loss.floor=0.5"], "loss.floor=0.5 has no effect with loss.gamma=0.0: leave it out"),
        ([*EVERYTHING, "memory=replay"], "memory=replay has no effect with method=l2_sp, which uses none: take memory=none"),
        (["head=scaled", "protocol=episodic"], "head=scaled is trained by gradient descent, and method=frozen trains nothing on"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(words)
        assert [found for found in caught.value.problems if found.startswith(line)], caught.value.problems


def test_they_go_into_a_sweep(more: None, capsys: pytest.CaptureFixture[str]) -> None:
    grid = ["head=scaled,linear", "loss=focal,cross_entropy"]
    assert main(["sweep", "dataset=stripes", "method=l2_sp", "adapter=biases", *grid, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "4 runs" in out and "scaled" in out


def test_they_train(more: None, tmp_path: Path) -> None:
    record = train(
        tmp_path / "outputs",
        *EVERYTHING,
        "protocol=offline",
        "backbone.pretrained=true",
        "trainer.lr=0.01",
        "trainer.feature_epochs=50",
    )
    assert record["metrics"]["acc_last"] > 0.5
    assert record["trainable_parameters"] > 0


GOOD = "from hdx.heads._base import Head\nclass Foo(Head):\n    kind = 'statistics'\n"


@pytest.mark.parametrize(
    ("entry", "files", "line"),
    [
        ("head.foo = broken.nowhere:Foo", {}, "module broken.nowhere has no source file: is the package that registers it"),
        ("head.foo = broken.foo:Foo", {"broken/foo.py": "class Foo(:\n"}, "module broken.foo does not parse: "),
        ("head.foo = broken.foo:Bar", {"broken/foo.py": GOOD}, "module broken.foo has no class Bar"),
        (
            "head.foo = broken.foo:Foo",
            {"broken/foo.py": GOOD.replace("statistics", "best")},
            "broken.foo:Foo.kind: expected one of statistics, gradient, episode, got 'best'",
        ),
        ("hed.foo = broken.foo:Foo", {"broken/foo.py": GOOD}, "expected the name '<group>.<name>' with a group of dataset, "),
        ("head.lda = broken.foo:Foo", {"broken/foo.py": GOOD}, "broken.foo:Foo: head 'lda' is already hdx's own"),
        ("all = broken", {"broken/heads/foo.py": GOOD}, "expected a package broken with a folder conf, or module:Class"),
        ("all = nothing_here", {}, "expected a package nothing_here with a folder conf, or module:Class"),
        (
            "all = broken",
            {"broken/heads/foo.py": "def f(:\n", "broken/conf/head/foo.yaml": "name: foo\n"},
            "module broken.heads.foo does not parse: ",
        ),
        (
            "all = broken",
            {
                "broken/heads/foo.py": f"{GOOD}class Bar(Head):\n    kind = 'gradient'\n",
                "broken/conf/head/foo.yaml": "name: foo\n",
            },
            "broken.heads.foo:Bar: head 'foo' is already broken.heads.foo:Foo",
        ),
        ("all = broken", {"broken/conf/head/lda.yaml": "name: foo\n"}, "conf/head/lda.yaml has the name of hdx's own"),
    ],
)
def test_a_broken_one_names_itself_and_harms_nothing(
    entry: str, files: dict[str, str], line: str, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(entry, files)
    (found,) = registry.problems()
    assert found.startswith(f"plugin broken 1.0 ({entry}): {line}") and found.endswith("; it is left out")
    assert main(["config", "head=lda"]) == 0
    said = capsys.readouterr()
    assert said.err == f"hdx: {found}\n" and "covariance" in said.out
    assert load()["head.name"] == "lda"


def test_a_broken_one_that_is_chosen_says_why(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    install("all = broken", {"broken/heads/foo.py": "def f(:\n", "broken/conf/head/foo.yaml": "# foo\nname: foo\n"})
    assert main(["config", "head=foo"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "module broken.heads.foo does not parse" in lines[0]
    assert main(["list", "head"]) == 0
    assert "foo  " in (out := capsys.readouterr().out) and "cannot run: no head 'foo' is installed" in out


def test_a_module_that_does_not_import_is_named(install: Install) -> None:
    install("head.foo = broken.foo:Foo", {"broken/foo.py": f"import not_there\n{GOOD}"})
    assert registry.problems() == []  # its source is whole
    findings = {found.what: found for found in _doctor._plugins()}
    assert not findings["plugin head foo"].ok and "No module named 'not_there'" in findings["plugin head foo"].found
    with pytest.raises(ConfigError, match=r"head 'foo' \(broken.foo:Foo\) cannot be imported: ModuleNotFoundError: No module"):
        registry.load("head", "foo")
