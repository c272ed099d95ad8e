"""The front door: help, unknown words, exit codes, and what is not imported on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from hdx.cli import main as front
from hdx.errors import DataError, Interrupted

Command = Callable[..., subprocess.CompletedProcess[str]]
Inside = Callable[..., tuple[int, str, str]]

HEAVY = ("torch", "pytorch_lightning", "timm", "wandb", "torchvision", "sklearn")


def imported(arguments: list[str], cwd: Path) -> tuple[int, set[str]]:
    """Exit code of a command line, and every module it had imported at its end."""
    code = (
        "import sys\n"
        "from hdx.cli.main import main\n"
        f"code = main({arguments!r})\n"
        "print('\\n'.join(sorted(sys.modules)), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, set(done.stderr.splitlines())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["list", "head"], 0),
        (["show", "head=lda"], 0),
        (["config", "+exp=fsa_film"], 0),
        (["config", "+exp=fsa_film", "--sources"], 0),
        (["train", "+exp=fsa_film", "--cfg", "job"], 0),
        (["train", "+exp=fsa_film", "--dry-run"], 0),
        (["train", "+exp=fsa_flim"], 2),
        (["train", "head=lad", "head.ridge=abc", "method=first_session"], 2),
        (["trian"], 2),
    ],
)
def test_nothing_heavy_is_imported(arguments: list[str], code: int, tmp_path: Path) -> None:
    returned, modules = imported(arguments, tmp_path)
    assert returned == code
    assert "hdx.cli.main" in modules
    assert modules.isdisjoint(HEAVY)


def test_a_run_that_trains_nothing_imports_no_lightning(tmp_path: Path) -> None:
    words = ["backbone.pretrained=false", "accelerator=cpu", "threads=1", "protocol.step=5"]
    returned, modules = imported(["train", "+exp=fsa_na", "dataset=digits", *words], tmp_path)
    assert returned == 0
    assert "torch" in modules
    assert modules.isdisjoint({"pytorch_lightning", "torchmetrics"})


def test_a_run_that_trains_imports_no_metrics_and_they_are_there_for_whoever_asks(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from hdx.engine import fit\n"
        "assert not {'torchmetrics.functional', 'scipy.signal', 'torchvision.models'} & set(sys.modules)\n"
        "from pytorch_lightning.core import module\n"
        "import torch, torchmetrics\n"
        "assert torchmetrics.Metric is module.Metric and torchmetrics.__version__\n"
        "mean = torchmetrics.MeanMetric()\n"  # of the package itself, all of it
        "mean.update(torch.tensor([1.0, 2.0]))\n"
        "assert isinstance(mean, module.Metric) and float(mean.compute()) == 1.5\n"
        "assert torchmetrics.Metric is module.Metric and 'torchmetrics.functional' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_imports_no_hydra(tmp_path: Path) -> None:
    _, modules = imported(["--help"], tmp_path)
    assert modules.isdisjoint({"hydra", "omegaconf", "yaml", "rich", "numpy"})


def test_help(hdx: Command) -> None:
    done = hdx("--help")
    assert done.returncode == 0 and done.stderr == ""
    for name in front.COMMANDS:
        assert f"\n  {name} " in done.stdout
    assert hdx().stdout == done.stdout


@pytest.mark.parametrize("command", front.COMMANDS)
def test_help_of_every_command(command: str, hdx: Command) -> None:
    done = hdx(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: hdx {command}")
    assert front.load_command(command).SUMMARY in done.stdout


def test_version(inside: Inside) -> None:
    import hdx

    assert inside("--version") == (0, f"hdx {hdx.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "hdx: command 'trian' is unknown. Did you mean 'train'?  (hdx --help)"),
        (["--jsn", "list"], "hdx: option '--jsn' stands before the command: hdx COMMAND --jsn …  (hdx --help)"),
        (["head=ncm"], "hdx: 'head=ncm' is an override without a command. Did you mean 'hdx train head=ncm'?  (hdx --help)"),
        (["config", "--surces"], "hdx: option '--surces' is unknown. Did you mean '--sources'?  (hdx config --help)"),
        (["list", "haed"], "hdx: group 'haed' is unknown. Did you mean 'head'?  (hdx list)"),
        (["list", "head", "more"], "hdx: 'more' is one argument too many  (hdx list --help)"),
        (["train", "--seed", "3", "head=lda"], "hdx: option '--seed' is unknown: it is an override: seed=3  (hdx train --help)"),
        (
            ["train", "a=b", "--lr=0.1"],
            "hdx: option '--lr=0.1' is unknown: it is an override: trainer.lr=0.1  (hdx train --help)",
        ),
        (["sweep", "--head", "lda"], "hdx: option '--head' is unknown: it is an override: head=lda  (hdx sweep --help)"),
        (
            ["train", "--retry-faild"],
            "hdx: option '--retry-faild' is unknown. Did you mean '--retry-failed'?  (hdx train --help)",
        ),
        (["plot"], "hdx: expected a kind of plot, got none  (one of sessions, matrix, forgetting, parameters, shots, cost)"),
        (["table"], "hdx: the following arguments are required: NAME  (hdx table --help)"),
        (["show"], "hdx: the following arguments are required: GROUP=NAME  (hdx show --help)"),
        (["train", "head=lad"], "hdx: head 'lad' is unknown. Did you mean 'lda'?  (hdx list head)"),
        (["config", "-cd", "nowhere"], "hdx: config folder nowhere does not exist (given with -cd)"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments: list[str], line: str, inside: Inside) -> None:
    assert inside(*arguments) == (2, "", f"{line}\n")


def test_all_mistakes_of_an_override_line_at_once(hdx: Command) -> None:
    done = hdx("train", "+exp=fsa_flim", "head=lad", "seed=x", "--json")
    assert done.returncode == 2
    errors = json.loads(done.stdout)["error"]
    assert len(errors) == 3
    assert done.stderr.splitlines() == [f"hdx: {line}" for line in errors]


def command(action: Callable[[], object]) -> SimpleNamespace:
    return SimpleNamespace(SUMMARY="a command", add_arguments=lambda parser: None, run=lambda args: action())


def fail(error: BaseException) -> Callable[[], object]:
    def action() -> object:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "err"),
    [
        (DataError("dataset x not found"), 2, "hdx: dataset x not found\n"),
        (Interrupted("stopped; go on with: hdx resume R"), 130, "hdx: stopped; go on with: hdx resume R\n"),
        (KeyboardInterrupt(), 130, "hdx: interrupted\n"),
        (
            ZeroDivisionError("by\nzero"),
            1,
            "hdx: ZeroDivisionError: by zero  (a bug of hdx or of its machine; for the traceback add --debug)\n",
        ),
    ],
)
def test_whatever_is_raised_becomes_a_line(
    error: BaseException, code: int, err: str, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "load_command", lambda name: command(fail(error)))
    assert inside("list") == (code, "", err)


def test_debug_shows_the_traceback(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "load_command", lambda name: command(fail(ZeroDivisionError("by zero"))))
    for arguments, variable in ((["list", "--debug"], "0"), (["list"], "1")):
        monkeypatch.setenv("HDX_DEBUG", variable)
        code, _, err = inside(*arguments)
        assert code == 1 and "Traceback (most recent call last)" in err and err.endswith("hdx: ZeroDivisionError: by zero\n")


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m hdx.cli.main config | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")
