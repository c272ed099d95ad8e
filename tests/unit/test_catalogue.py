"""The README's catalogue is what the config files say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from hdx import registry
from hdx.config import files, paths

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("catalogue", ROOT / "scripts" / "catalogue.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_is_current(script: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert script.renewed(text, paths.packaged()) == text, "run: python scripts/catalogue.py"


def test_it_lists_every_component_and_preset_once(script: ModuleType) -> None:
    conf = paths.packaged()
    text = script.catalogue(conf)
    for group in [*registry.COMPONENTS, "exp"]:
        _, _, table = text.partition(f"**{group}**")
        listed = [line.split("`")[1] for line in table.partition("\n\n**")[0].splitlines() if line.startswith("| `")]
        assert listed == files.names(group, [conf])
    assert all(line.replace("\\|", "").count("|") == 4 for line in text.splitlines() if line.startswith("|"))


def test_check_notices_a_changed_summary_and_writing_mends_it(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{script.BEGIN}\n{script.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(script, "README", readme)
    assert script.main(["--check"]) == 1
    assert "python scripts/catalogue.py" in capsys.readouterr().err
    assert script.main([]) == 0 and script.main(["--check"]) == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    readme.write_text(text.replace("| `lda` |", "| `lda` | stale"), encoding="utf-8")
    assert script.main(["--check"]) == 1


@pytest.mark.parametrize("text", ["", "{begin}", "{end} {begin}", "{begin} {end} {begin}"])
def test_missing_markers_are_named(script: ModuleType, text: str) -> None:
    with pytest.raises(SystemExit, match="catalogue:begin"):
        script.renewed(text.format(begin=script.BEGIN, end=script.END), paths.packaged())
