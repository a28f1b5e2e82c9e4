"""Downloads from a local server: resumed, checked, refused."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
from served import serving

from mimicmotion.errors import InputError, WeightsError
from mimicmotion.weights.fetching import fetch_file

CONTENT = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; ``/cut`` stops in the middle once, ``/gated`` wants a token."""

    asked: ClassVar[list[str | None]] = []
    cut = False

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        Handler.asked.append(asked)
        if self.path == "/gated" and self.headers.get("Authorization") != "Bearer secret":
            return self._answer(401, b"")
        if self.path == "/gone":
            return self._answer(404, b"")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.path != "/deaf" else 0
        if start >= len(CONTENT):
            return self._answer(416, b"")
        body = CONTENT[start:]
        if self.path == "/cut" and not Handler.cut:
            Handler.cut = True
            return self._answer(200, body[:100_000], len(body))
        return self._answer(206 if start else 200, body)

    def _answer(self, code: int, body: bytes, length: int | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing: the test's own output is enough."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked, Handler.cut = [], False
    with serving(Handler) as address:
        yield address


def quiet(have: int, total: int | None) -> None:
    """No progress shown."""


def test_a_file_arrives_whole(server: str, tmp_path: Path) -> None:
    seen = []
    fetch_file(f"{server}/x", tmp_path / "w" / "x", SHA256, lambda have, total: seen.append((have, total)))
    assert (tmp_path / "w" / "x").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["x"]


def test_a_stopped_download_goes_on_where_it_stopped(server: str, tmp_path: Path) -> None:
    target = tmp_path / "x"
    with pytest.raises(InputError, match="fetch again to go on"):
        fetch_file(f"{server}/cut", target, SHA256, quiet)
    assert not target.exists()
    have = (tmp_path / "x.part").stat().st_size
    assert 0 < have < len(CONTENT)
    fetch_file(f"{server}/cut", target, SHA256, quiet)
    assert target.read_bytes() == CONTENT
    assert Handler.asked == [None, f"bytes={have}-"]


def test_a_server_that_knows_no_ranges_starts_over(server: str, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"something else")
    fetch_file(f"{server}/deaf", tmp_path / "x", SHA256, quiet)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken(server: str, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(CONTENT)
    fetch_file(f"{server}/x", tmp_path / "x", SHA256, quiet)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_other_content_is_refused_and_deleted(server: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"has sha256 {SHA256}, expected 00"):
        fetch_file(f"{server}/x", tmp_path / "x", "00", quiet)
    assert list(tmp_path.iterdir()) == []


def test_refusals_say_what_to_do(server: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"refused \(401\).*HF_TOKEN"):
        fetch_file(f"{server}/gated", tmp_path / "x", None, quiet)
    fetch_file(f"{server}/gated", tmp_path / "x", None, quiet, token="secret")
    assert (tmp_path / "x").read_bytes() == CONTENT
    with pytest.raises(InputError, match="the server answers 404"):
        fetch_file(f"{server}/gone", tmp_path / "y", None, quiet)
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9"):
        fetch_file("http://127.0.0.1:9/x", tmp_path / "y", None, quiet)
