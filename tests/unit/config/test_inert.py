"""A config is data: attempts to make one run code, by both of the ways that exist, and to read the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hdx.config.validate import load, load_saved
from hdx.errors import ConfigError

Write = Callable[[str, str], Path]


def refused(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(list(overrides))
    assert all("\n" not in line for line in caught.value.problems)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize("key", ["_target_", "_partial_", "_recursive_", "_convert_", "_args_"])
def test_directives_on_the_command_line(key: str, tmp_path: Path) -> None:
    for prefix in ("", "+", "++"):
        assert "a config is data" in refused(f"{prefix}head.{key}=os.system")
    assert "a config is data" in refused(f"+{key}=os.system")
    assert "a config is data" in refused(f"head.ridge={{{key}: os.system}}")


def test_a_target_in_a_users_file(user_conf: Write, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    user_conf("head/evil.yaml", f"name: lda\nridge: 1.0\n_target_: os.system\n_args_: ['touch {touched}']\n")
    message = refused("head=evil")
    assert "head._target_: a config is data" in message and "set in: ./conf/head/evil.yaml" in message
    assert not touched.exists()


def test_a_python_tag_in_a_users_file(user_conf: Write, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    user_conf("exp/evil.yaml", f"# @package _global_\nseed: !!python/object/apply:os.system ['touch {touched}']\n")
    message = refused("+exp=evil")
    assert "evil.yaml" in message and "python/object" in message
    assert not touched.exists()


def test_a_saved_config_with_code(tmp_path: Path) -> None:
    file, touched = tmp_path / "config.yaml", tmp_path / "touched"
    load().save(file)
    text = file.read_text()
    file.write_text(text.replace("seed: 0", f"seed: !!python/object/apply:os.system ['touch {touched}']"))
    with pytest.raises(ConfigError, match="is no plain YAML"):
        load_saved(file)
    file.write_text(f"{text}_target_: os.system\n")
    with pytest.raises(ConfigError, match="_target_: a config is data"):
        load_saved(file)
    assert not touched.exists()


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "a${oc.env:HOME,x}b", "${oc.decode:'1'}", "${now:%Y}", "${a:${seed}}"])
def test_resolvers(text: str, user_conf: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/secret-place")
    user_conf("exp/evil.yaml", f'# @package _global_\noutput_dir: "{text}"\n')
    message = refused("+exp=evil")
    assert "output_dir: resolvers are refused" in message and "secret" not in message
    if text != "${a:${seed}}":  # which Hydra's grammar refuses by itself
        assert "resolvers are refused" in refused(f"output_dir={text}")


def test_resolvers_in_a_defaults_list(user_conf: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHOICE", "ncm")
    user_conf("exp/evil.yaml", "# @package _global_\ndefaults:\n  - override /head: ${oc.env:CHOICE}\n")
    assert "resolvers are refused" in refused("+exp=evil")
