"""`hdx doctor`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hdx

Inside = Callable[..., tuple[int, str, str]]
Document = Callable[..., Any]


def findings(document: Document, *overrides: str) -> dict[str, dict[str, Any]]:
    return {finding["what"]: finding for finding in document("doctor", *overrides)}


def test_versions_and_machine(document: Document) -> None:
    found = findings(document)
    assert found["hdx"]["found"] == hdx.__version__
    assert found["torch"]["ok"] and found["torch"]["found"] == torch.__version__.partition("+")[0]
    assert found["precision 32"]["ok"]
    assert found["ranks by gloo"]["ok"] == torch.distributed.is_gloo_available()
    assert ("gpu 0" in found) == torch.cuda.is_available()


def test_data_is_looked_for_where_the_user_says(document: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HDX_DATA", raising=False)
    assert not findings(document)["data_dir"]["ok"]
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "omniglot.zip").write_bytes(b"")
    found = findings(document, f"data_dir={tmp_path / 'd'}")
    assert found["dataset omniglot"]["ok"] and not found["dataset caltech101"]["ok"]
    assert "caltech101.zip" in found["dataset caltech101"]["advice"]
    monkeypatch.setenv("HDX_DATA", str(tmp_path / "d"))
    assert "$HDX_DATA" in findings(document)["data_dir"]["found"]


def test_a_file_in_the_place_of_output_dir(document: Document, tmp_path: Path) -> None:
    assert findings(document, "output_dir=new/folder")["output_dir"]["ok"]
    assert not (tmp_path / "new").exists()  # looking leaves nothing behind


def test_every_line_says_ok_or_missing(inside: Inside) -> None:
    code, out, err = inside("doctor")
    assert (code, err) == (0, "")
    assert {line.split()[0] for line in out.splitlines()} <= {"ok", "missing"}


def test_a_misspelt_override_is_refused(inside: Inside) -> None:
    assert inside("doctor", "data_dri=x")[0] == 2
