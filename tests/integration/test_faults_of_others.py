"""A component of an installed package that is wrong is named as such; it is never a bug of hdx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hdx import registry
from hdx.cli.main import main
from tests.integration.harness import config_words, errors_of

Inside = Callable[..., tuple[int, str, str]]
START = """
import torch
from hdx.heads.ncm import NCM


class Ours(NCM):
    \"\"\"A head of someone else.

    Source: nobody
    \"\"\"
"""
WIDE = """
    def forward(self, features):
        return torch.zeros(len(features), self.n_classes + 1)
"""
LATE = """
    def forward(self, features):
        return torch.zeros(len(features), min(self.n_classes, 3))
"""
FAILS = """
    def forward(self, features):
        raise TypeError("not like this")
"""
MADE = """
    def __init__(self, n_features, *, metric: str = "euclidean"):
        raise KeyError("nothing")
"""


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    """`inside(*arguments)` gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`install(methods)` makes head=ours of a package."""

    def make(methods: str) -> None:
        site, package = tmp_path / "site", tmp_path / "site" / "ours"
        (package / "conf" / "head").mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "head.py").write_text(START + methods)
        (package / "conf" / "head" / "ours.yaml").write_text(
            "# A head of someone else.\nname: ours\n" + ("" if "Plain" in methods else "metric: euclidean\n")
        )
        about = site / "ours-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[hdx.components]\nhead.ours = ours.head:Ours\n")
        monkeypatch.syspath_prepend(str(site))
        registry.forget()

    yield make  # type: ignore[misc]
    registry.forget()
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "ours"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("methods", "line", "begun"),
    [
        (WIDE, "head=ours (Ours) gives 3 logits, expected 2, one for each class: that is a fault of the head", False),
        (LATE, "head=ours (Ours) gives 3 logits, expected 4, one for each class: that is a fault of the head", True),
        (FAILS, "head 'ours' (ours.head:Ours) failed: TypeError: not like this", True),
        (MADE, "head 'ours' (ours.head:Ours) failed: KeyError: 'nothing'", False),
        ("\nimport nowhere\n", "head 'ours' (ours.head:Ours) cannot be imported: ModuleNotFoundError", False),
    ],
)
def test_the_part_is_named(
    methods: str,
    line: str,
    begun: bool,
    install: Callable[[str], None],
    inside: Inside,
    tmp_path: Path,
) -> None:
    install(methods)
    code, _, err = inside("train", *config_words(tmp_path / "out", "+exp=ncm_frozen", "head=ours", "protocol.shots=2"))
    assert code == 2 and len(errors_of(err)) == 1 and f"hdx: {line}" in err and "bug of hdx" not in err, err
    assert (tmp_path / "out" / "runs").exists() == begun
    if methods == FAILS:
        assert "not like this" in next((tmp_path / "out").glob("runs/*/*/log.txt")).read_text()


def test_a_head_without_classify_judges_no_episodes(
    install: Callable[[str], None],
    inside: Inside,
    tmp_path: Path,
) -> None:
    install("""
    pass


from hdx.heads._base import Head


class Plain(Head):
    \"\"\"A head of someone else.

    Source: nobody
    \"\"\"

    kind = "statistics"

    def forward(self, features):
        return torch.zeros(len(features), self.n_classes)
""")
    entry = next(tmp_path.glob("site/*.dist-info/entry_points.txt"))
    entry.write_text("[hdx.components]\nhead.ours = ours.head:Plain\n")
    registry.forget()
    words = ("head=ours", "protocol=episodic", "method=frozen", "adapter=none", "protocol.ways=3", "protocol.episodes=2")
    code, _, err = inside("train", *config_words(tmp_path / "out", *words))
    assert code == 2 and "head=ours has no `classify`, by which episodes are judged" in err and not (tmp_path / "out").exists()
