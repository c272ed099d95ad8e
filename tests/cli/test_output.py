"""Where nobody reads, or the terminal lacks characters, a command still does its work and says the right thing."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.harness import config_words, small_train

from hdx import streams
from hdx.cli.main import main
from hdx.cli.status import look
from hdx.engine import stop
from hdx.store.rundir import find_run

Inside = Callable[..., tuple[int, str, str]]
SMALL = ("protocol=offline", "protocol.shots=5", "dataset=digits")


def broken_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def hung_up_terminal() -> int:
    reader, writer = pty.openpty()
    os.close(reader)
    return writer


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


@pytest.fixture
def stdout(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, str], None]]:
    """`stdout(descriptor, encoding)` is what commands of this process print to."""
    monkeypatch.delenv("HDX_DEBUG", raising=False)
    given: list[int] = []

    def take(descriptor: int, encoding: str = "utf-8") -> None:
        given.append(descriptor)
        monkeypatch.setattr(sys, "stdout", streams.sturdy(descriptor, encoding))

    yield take
    monkeypatch.undo()
    for descriptor in given:
        os.close(descriptor)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.mark.parametrize(("open_it", "code"), [(broken_pipe, 0), (hung_up_terminal, 0), (full_disk, 2)])
def test_a_run_whose_output_is_lost_is_finished(
    open_it: Callable[[], int], code: int, stdout: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stdout(open_it())
    assert main(["train", *config_words(tmp_path, *SMALL)]) == code
    run_dir = find_run("custom/", tmp_path)
    assert run_dir.status()["state"] == "finished" and run_dir.record() is not None
    assert "a bug of hdx" not in capsys.readouterr().err
    assert main(["train", *config_words(tmp_path, *SMALL)]) == code  # its record cannot be printed either


@pytest.mark.parametrize(
    "command", [["list"], ["list", "exp"], ["show", "head=lda"], ["config"], ["runs"], ["status"], ["--help"]]
)
@pytest.mark.parametrize("open_it", [broken_pipe, hung_up_terminal])
def test_no_command_minds_a_reader_that_left(
    command: list[str], open_it: Callable[[], int], stdout: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stdout(open_it())
    assert main(command) == 0


def test_a_full_disk_is_told(stdout: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    stdout(full_disk())
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "hdx: stdout cannot be written: No space left on device; what the command did stays done\n"


def test_watching_ends_when_nobody_watches(stdout: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = {**look(tmp_path, None), "counts": {"running": 1, "finished": 0}}
    monkeypatch.setattr("hdx.cli.status.look", lambda output_dir, name: waiting)
    stdout(broken_pipe())
    assert main(["status", "--watch", f"output_dir={tmp_path}"]) == 0


def test_a_pipe_that_closes_inside_a_run(tmp_path: Path) -> None:
    """As `hdx train … | head -1`: said on stderr, finished, exit 0."""
    process = subprocess.Popen(
        small_train(tmp_path, *SMALL, "method=finetune", "adapter=bn", "head=linear"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait() == 0
    assert said.startswith("hdx: nobody reads the output any more; the run goes on (to stop it: kill ") and said.count("\n") == 1
    assert find_run("custom/", tmp_path).status()["state"] == "finished"


@pytest.mark.parametrize("closed", ["<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_descriptors_closed_from_the_start(closed: str, tmp_path: Path) -> None:
    """No file that the command opens gets the number of a closed stream, and with it what is printed."""
    shell = f'exec {sys.executable} -m hdx.cli.main runs "output_dir={tmp_path}" {closed}'
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_terminal_that_hangs_up_stops_a_run_resumable() -> None:
    with stop.listening():
        signal.raise_signal(signal.SIGHUP)
        assert stop.requested()
    stop.forget()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with stop.listening():
            signal.raise_signal(signal.SIGHUP)
            assert not stop.requested()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_run_on_a_terminal_without_the_characters(
    encoding: str, stdout: Callable[..., None], tmp_path: Path, outputs: Path
) -> None:
    file = tmp_path / "said"
    stdout(os.open(file, os.O_WRONLY | os.O_CREAT), encoding)
    assert main(["train", *config_words(outputs)]) == 0
    text = file.read_text(encoding)
    curve = next(line for line in text.splitlines() if line.startswith("accuracy over sessions"))
    assert set(curve.split()[-1]) <= set("#%*+=-._")
    assert "accuracy (%) on the classes of session ..." in text or "…" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("93 ± 1 …", "93 +- 1 ..."),
        ("▁▃█", "_-#"),
        ("café", "cafe"),
        ("日本", "\\u65e5\\u672c"),
        (os.fsdecode("naïve".encode()), "naive"),
        ("\udcff", "\\xff"),
        ("───†", "---*"),
    ],
)
def test_characters_in_ascii(text: str, shown: str, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        stream = streams.sturdy(file.fileno(), "ascii")
        stream.write(text)
        stream.flush()
    assert (tmp_path / "file").read_text("ascii") == shown


def test_a_document_stays_a_document_in_ascii(stdout: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "said"
    stdout(os.open(file, os.O_WRONLY | os.O_CREAT), "ascii")
    assert main(["list", "têtes", "--json"]) == 2
    assert json.loads(file.read_text("ascii"))["error"][0].startswith("group 'têtes' is unknown")


def test_a_locale_without_utf8(tmp_path: Path) -> None:
    """Files are written and read as UTF-8 whatever the locale says."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for arguments in (["list", "exp"], ["config", "+exp=fsa_film", "--sources"], ["show", "head=lda"], ["runs"]):
        done = subprocess.run(
            [sys.executable, "-m", "hdx.cli.main", *arguments], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.isascii() and done.stdout


def test_a_stream_of_someone_else_stays(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    streams.protect()
    assert sys.stdout is before and isinstance(before, io.TextIOBase)
    assert streams.lost(sys.stdout) is None


def test_a_non_blocking_terminal_gets_everything() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    raw = streams.Sturdy(writer)
    filled = 0
    while filled < 1 << 22:
        try:
            filled += os.write(writer, b"x" * 4096)
        except BlockingIOError:
            break
    process = subprocess.Popen(["cat"], stdin=reader, stdout=subprocess.PIPE)
    assert raw.write(b"the end") == 7
    os.close(writer)
    os.close(reader)
    assert process.communicate()[0].endswith(b"xthe end") and raw.lost is None
