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
    for group in [*registry.groups(), "exp"]:
        _, _, table = text.partition(f"**{group}**")
        listed = [line.split("`")[1] for line in table.partition("\n\n**")[0].splitlines() if line.startswith("| `")]
        assert listed == files.names(group, [conf])
    assert all(line.replace("\\|", "").count("|") == 4 for line in text.splitlines() if line.startswith("|"))


def test_check_notices_a_changed_summary_and_writing_mends_it(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{markers(*script.BLOCKS)}\nafter\n", encoding="utf-8")
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
    with pytest.raises(SystemExit, match="incremental:begin"):
        wrong = text.format(begin="<!-- incremental:begin -->", end="<!-- incremental:end -->")
        script.renewed(f"{wrong} {markers('catalogue')}", paths.packaged())


def test_incremental_methods_have_their_facts(script: ModuleType) -> None:
    rows = {line.split("`")[1]: line.split(" | ") for line in script.incremental(paths.packaged()).splitlines()[2:]}
    overlays = {"cil_online", "cil_domain"}
    assert set(rows) == {name for name in files.names("exp", [paths.packaged()]) if name.startswith("cil_")} - overlays
    assert all(cell.strip("| ") for row in rows.values() for cell in row)
    assert rows["cil_lwf"][3].startswith("no sample") and rows["cil_replay"][3].startswith("rows of the train split")
    assert rows["cil_slda"][1] == script.CLOSED_FORM and rows["cil_slda"][2] == "0" and rows["cil_wa"][2] == "886,048"


def markers(*names: str) -> str:
    return "\n".join(f"<!-- {name}:begin -->\n<!-- {name}:end -->" for name in names)
