"""Downloads from a local server: resumed, checked, refused."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save
from served import serving

from mimicmotion.errors import InputError, WeightsError
from mimicmotion.weights import fetching
from mimicmotion.weights.fetching import fetch_file

CONTENT = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; ``cut`` stops in the middle once, ``gated`` wants a token."""

    asked: ClassVar[list[str | None]] = []
    path_asked = ""
    cut = False

    def do_GET(self) -> None:
        asked, name = self.headers.get("Range"), self.path.rpartition("/")[2]
        Handler.asked.append(asked)
        Handler.path_asked = self.path
        if name == "gated" and self.headers.get("Authorization") != "Bearer secret":
            return self._answer(401, b"")
        if name == "gone":
            return self._answer(404, b"")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and name != "deaf" else 0
        if start >= len(CONTENT):
            return self._answer(416, b"")
        body = CONTENT[start:]
        if name == "cut" and not Handler.cut:
            Handler.cut = True
            return self._answer(200, body[:100_000], len(body))
        return self._answer(206 if start else 200, body, start=start)

    def _answer(self, code: int, body: bytes, length: int | None = None, start: int = 0) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if code == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing: the test's own output is enough."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked, Handler.cut = [], False
    with serving(Handler) as address:
        yield address


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library waits between its trials, and keeps whole blocks of 10 MB."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


def fetch(server: str, name: str, target: Path, sha256: str | None = SHA256) -> None:
    fetch_file("some/body", name, target, sha256, endpoint=server)


def test_a_file_arrives_whole(server: str, tmp_path: Path) -> None:
    fetch(server, "x", tmp_path / "w" / "x")
    assert (tmp_path / "w" / "x").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["x"]


def test_a_commit_is_asked_for_where_one_is_known(server: str, tmp_path: Path) -> None:
    fetch_file("some/body", "whole", tmp_path / "a", SHA256, server, revision="0438438")
    assert Handler.path_asked == "/some/body/resolve/0438438/whole"


def test_a_broken_connection_is_taken_up_where_it_broke(server: str, tmp_path: Path) -> None:
    fetch(server, "cut", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    first, second = Handler.asked
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 100_000


def test_a_stopped_download_goes_on_where_it_stopped(server: str, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(CONTENT[:12345])
    fetch(server, "x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert Handler.asked == ["bytes=12345-"]


def test_a_server_that_knows_no_ranges_starts_over(server: str, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"something else")
    fetch(server, "deaf", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken(server: str, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(CONTENT)
    fetch(server, "x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_other_content_is_refused_and_deleted(server: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"has sha256 {SHA256}, expected 00"):
        fetch(server, "x", tmp_path / "x", "00")
    assert list(tmp_path.iterdir()) == []


def test_refusals_say_what_to_do(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(InputError, match=r"refused \(401\).*HF_TOKEN"):
        fetch(server, "gated", tmp_path / "x")
    monkeypatch.setenv("HF_TOKEN", "secret")
    with pytest.raises(InputError, match=r"refused \(401\)"):
        fetch(server, "gated", tmp_path / "x")  # a token goes nowhere in the clear
    monkeypatch.setattr(fetching, "_login", lambda url: {"Authorization": "Bearer secret"})
    fetch(server, "gated", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    with pytest.raises(InputError, match="the server answers 404"):
        fetch(server, "gone", tmp_path / "y")
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9.*fetch again to go on"):
        fetch("http://127.0.0.1:9", "x", tmp_path / "y")


def test_the_token_goes_by_https_to_its_own_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://huggingface.co")
    assert fetching._login("https://huggingface.co/a/b") == {"Authorization": "Bearer secret"}
    for other in ("http://huggingface.co/a", "https://mirror/a", "https://huggingface.co.evil/a",
                  "https://evil@mirror/huggingface.co", "https://huggingface.co:444/a"):  # fmt: skip
        assert fetching._login(other) == {}, other


SAFETENSORS = save({"a": torch.zeros(8)})


@pytest.mark.parametrize(
    ("suffix", "content", "says"),
    [
        (".pth", b"\n <!DOCTYPE html><html>", "a page for a browser"),
        (".safetensors", b"\xef\xbb\xbf<html>", "a page for a browser"),
        (".safetensors", SAFETENSORS[:-4], "no .safetensors file"),
        (".safetensors", SAFETENSORS + b"more", "no .safetensors file"),
        (".safetensors", b"\xff" * 64, "no .safetensors file"),
        (".json", b"{", "no .json file"),
        (".json", b"[" * 100_000, "no .json file"),
        (".onnx", b"not found", "no .onnx file"),
        (".pth", b"not found", "no .pth file"),
        (".pth", b"PK\x03\x04", None),
        (".onnx", b"\x08\x07", None),
        (".json", b'{"a": 1}', None),
        (".safetensors", SAFETENSORS, None),
    ],
)
def test_content_of_another_kind_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suffix: str, content: bytes, says: str | None
) -> None:
    monkeypatch.setattr(fetching, "_download", lambda url, part: part.write_bytes(content))
    target = tmp_path / f"x{suffix}"
    if says is None:
        fetching.fetch_file("some/body", target.name, target, None)
        assert target.read_bytes() == content
        return
    with pytest.raises(WeightsError, match=says):
        fetching.fetch_file("some/body", target.name, target, None)
    assert list(tmp_path.iterdir()) == []
