"""Downloads from a server in this process: whole, broken off and gone on with, wrong, and unpacked."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hdx.datasets._download import Remote, get
from hdx.errors import DataError

CONTENT = bytes(range(256)) * 40


class Server:
    """Serves `files`; breaks a transfer off after `breaks[name].pop(0)` bytes while there are any."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"data.bin": CONTENT}
        self.breaks: dict[str, list[int]] = {}
        self.ranges = True
        self.asked: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                asked = self.headers.get("Range")
                outer.asked.append(asked)
                if name not in outer.files:
                    self.send_error(404)
                    return
                data = outer.files[name]
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and outer.ranges else 0
                if start >= len(data) and asked:
                    self.send_error(416)
                    return
                self.send_response(206 if asked and outer.ranges else 200)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                limit = outer.breaks[name].pop(0) if outer.breaks.get(name) else len(data)
                self.wfile.write(data[start : start + limit])

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/{name}"


@pytest.fixture
def server() -> Iterator[Server]:
    own = Server()
    yield own
    own.http.shutdown()
    own.http.server_close()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def test_a_file_arrives_whole_and_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    remote = Remote((server.url("nowhere.bin"), server.url("data.bin")), "data.bin", md5(CONTENT))
    assert get(remote, tmp_path / "new").read_bytes() == CONTENT
    n_asked = len(server.asked)
    get(remote, tmp_path / "new")
    assert len(server.asked) == n_asked == 2 and [each.name for each in (tmp_path / "new").iterdir()] == ["data.bin"]
    (tmp_path / "new" / "data.bin").write_bytes(b"damaged")
    assert get(remote, tmp_path / "new").read_bytes() == CONTENT


def test_a_transfer_that_breaks_off_goes_on_from_there(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.breaks["data.bin"] = [1000, 3000]
    sha = hashlib.sha256(CONTENT).hexdigest()
    assert get(Remote((server.url("data.bin"),), "data.bin", sha), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=4000-"]
    assert "broke off after 1000 bytes" in caplog.text


def test_what_a_killed_download_left_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:2500])
    assert get(Remote((server.url("data.bin"),), "data.bin", md5(CONTENT)), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=2500-"]
    (tmp_path / "data.bin").rename(tmp_path / "data.bin.part")  # killed just before it was renamed
    assert get(Remote((server.url("data.bin"),), "data.bin", md5(CONTENT)), tmp_path).read_bytes() == CONTENT


def test_a_server_that_sends_no_parts_is_asked_for_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.breaks["data.bin"] = False, [1000]
    assert get(Remote((server.url("data.bin"),), "data.bin", md5(CONTENT)), tmp_path).read_bytes() == CONTENT


def test_a_transfer_that_stays_broken_is_named_and_kept(server: Server, tmp_path: Path) -> None:
    server.breaks["data.bin"] = [1000] + [0] * 20
    with pytest.raises(DataError, match=r"download of data.bin failed: .*broke off \(1000 bytes are kept in data.bin.part"):
        get(Remote((server.url("data.bin"),), "data.bin", md5(CONTENT)), tmp_path)
    server.breaks.clear()
    assert get(Remote((server.url("data.bin"),), "data.bin", md5(CONTENT)), tmp_path).read_bytes() == CONTENT
    with pytest.raises(DataError, match="download of x.bin failed: .*HTTP 404"):
        get(Remote((server.url("x.bin"),), "x.bin"), tmp_path)


def test_a_wrong_checksum_is_named_and_nothing_stays(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"download of data.bin has md5 {md5(CONTENT)}, expected {'0' * 32}: it is removed"):
        get(Remote((server.url("data.bin"),), "data.bin", "0" * 32), tmp_path)
    assert not list(tmp_path.iterdir())


def test_archives_are_unpacked_and_nothing_outside_their_folder(server: Server, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a/1.txt", "one")
        archive.writestr("gzip/inner.gz", gzip.compress(b"three"))  # as EMNIST's
    server.files["a.zip"] = packed.getvalue()
    server.files["b.gz"] = gzip.compress(b"two")
    for name in ("a.zip", "b.gz"):
        get(Remote((server.url(name),), f"got/{name}", md5(server.files[name]), unpack="got"), tmp_path)
    assert (tmp_path / "got/a/1.txt").read_text() == "one" and (tmp_path / "got/b").read_bytes() == b"two"
    assert (tmp_path / "got/inner").read_bytes() == b"three"
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as packed_tar:
        info = tarfile.TarInfo("../outside.txt")
        info.size = 4
        packed_tar.addfile(info, io.BytesIO(b"evil"))
    server.files["c.tar"] = evil.getvalue()
    with pytest.raises(DataError, match="c.tar cannot be unpacked"):
        get(Remote((server.url("c.tar"),), "c.tar", unpack="got"), tmp_path)
    assert not (tmp_path / "outside.txt").exists() and not (tmp_path / "c.tar.unpacking").exists()
