"""Which form runs, and what a user is told where native code cannot."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from hdx.errors import OpsUnavailable
from hdx.ops import build, dispatch
from hdx.ops.episode_ncm import episode_ncm
from hdx.ops.options import Ops

BANK = torch.randn(30, 8)


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine where nothing was ever compiled."""
    monkeypatch.setenv("HDX_OPS_DIR", str(tmp_path))
    monkeypatch.delitem(dispatch._missing, "cpu")
    dispatch.load("cpu")


def test_auto_takes_torch_where_nothing_is_built_and_says_so_once(unbuilt, caplog, monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "_said", set())
    caplog.set_level(logging.DEBUG, logger="hdx")
    monkeypatch.setattr(logging.getLogger("hdx"), "propagate", True)
    assert [dispatch.choose("episode_ncm", BANK) for _ in range(3)] == ["composite"] * 3
    line = "op episode_ncm runs in torch for cpu float32: the cpu library is not built  (run: hdx ops build)"
    assert [record.message for record in caplog.records] == [line]


def test_native_is_refused_in_one_line_that_names_the_command(unbuilt) -> None:
    index = torch.zeros(1, 2, dtype=torch.int64)
    with dispatch.using("native"), pytest.raises(OpsUnavailable) as refused:
        episode_ncm(BANK, index, index, index, 1)
    assert str(refused.value) == (
        "op episode_ncm has no native form for cpu float32: the cpu library is not built  (run: hdx ops build)  "
        "(or set ops.backend=auto)"
    )
    with pytest.raises(
        OpsUnavailable, match=r"ops.backend=native: the cpu library cannot be used: not built  \(run: hdx ops build\)"
    ):
        Ops(backend="native").apply("cpu")


def test_another_dtype_is_refused_by_name(native) -> None:
    with pytest.raises(OpsUnavailable, match="no native form for cpu float64: it takes float32  "):
        dispatch.choose("episode_ncm", BANK.double())
    dispatch.set_backend("auto")
    assert dispatch.choose("episode_ncm", BANK.double()) == "composite"
    assert dispatch.choose("episode_ncm", BANK) == "native"
    assert dispatch.choose("episode_ncm", BANK, refused="it is Sunday") == "composite"


@pytest.mark.parametrize("backend", ["composite", "reference"])
def test_a_form_that_is_asked_for_is_taken(native, backend) -> None:
    with dispatch.using(backend):
        assert dispatch.choose("episode_ncm", BANK) == backend


def test_an_unknown_backend() -> None:
    with pytest.raises(ValueError, match="Expected a backend in auto, native, composite, reference, got 'fast'"):
        dispatch.set_backend("fast")  # type: ignore[arg-type]


def test_a_library_that_does_not_load(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HDX_OPS_DIR", str(tmp_path))
    monkeypatch.setitem(dispatch._missing, "cpu", "not tried")
    library = build.library("cpu")
    library.parent.mkdir(parents=True)
    library.write_bytes(b"truncated")
    assert dispatch.load("cpu").startswith(f"{library} does not load: ")
    assert dispatch.load("cpu").endswith("(delete it and run: hdx ops build)")


def test_an_old_torch_is_named(monkeypatch) -> None:
    monkeypatch.setattr(build.metadata, "version", lambda name: "2.9.1+cpu")
    monkeypatch.setitem(dispatch._missing, "cpu", "not tried")
    wanted = "torch 2.9.1+cpu is older than 2.11  (pip install 'torch>=2.11')"
    assert dispatch.load("cpu") == wanted and build.obstacle("cpu") == wanted


def test_no_compiler(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HDX_OPS_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(build.BuildError, match=r"cannot be compiled here: no C\+\+ compiler: looked for .* \(apt install g\+\+"):
        build.build("cpu")


def test_a_compiler_error_is_one_line(cpu_library, monkeypatch, tmp_path) -> None:
    if cpu_library:
        pytest.skip(f"needs a compiler: {cpu_library}")
    monkeypatch.setenv("HDX_OPS_DIR", str(tmp_path / "built"))
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "wrong.cpp").write_text("int wrong = ;\n")
    with pytest.raises(build.BuildError, match=r"wrong.cpp:1:\d+: error: ") as raised:
        build.build("cpu")
    assert "\n" not in str(raised.value)
    (tmp_path / "cpu" / "wrong.cpp").write_text("int right = 1;\n")
    library, _ = build.build("cpu")
    assert library.is_file() and [path.suffix for path in sorted(library.parent.iterdir())] == [".log", ".so"]


def test_the_library_is_keyed_by_its_sources(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    (tmp_path / "cpu").mkdir()
    names = set()
    for text in ("a", "b", "a"):
        (tmp_path / "cpu" / "one.cpp").write_text(text)
        names.add(build.library("cpu"))
    assert len(names) == 2


def test_sources_are_packaged() -> None:
    assert {"class_gram.cpp", "class_scores.cpp", "episode_ncm.cpp"} <= {path.name for path in build.sources("cpu")}
    assert (build.SOURCES / "math.h").is_file()
