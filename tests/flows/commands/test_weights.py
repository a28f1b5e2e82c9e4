"""The commands around weight files, with downloads from a server of this machine."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from served import serving
from typer.testing import CliRunner, Result

from flows import cli
from flows.commands import weights as weights_commands
from mimicmotion.errors import ConfigError, InputError, WeightsError
from stages.engine.checking import check_stages
from stages.engine.config import load_config

CONTENT = b"PK" + bytes(range(256)) * 4_000
TENSORS = {"unet.a": torch.arange(3.0), "pose_net.b": torch.ones(2, 2, dtype=torch.float16)}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["weights", *map(str, arguments)], env={"COLUMNS": "200"})


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT from any byte on; what lies under ``stabilityai`` is gated."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        begin = self.headers.get("Range")
        Handler.asked.append((self.path, begin))
        body = CONTENT[int(begin.removeprefix("bytes=").rstrip("-")) :] if begin else CONTENT
        gated = self.path.startswith("/stabilityai")
        self.send_response(401 if gated else 206 if begin else 200)
        self.send_header("Content-Length", "0" if gated else str(len(body)))
        start = len(CONTENT) - len(body)
        self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        self.wfile.write(b"" if gated else body)

    def log_message(self, *arguments: object) -> None:
        """Nothing: the test's own output is enough."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked = []
    with serving(Handler) as address:
        yield address


def fetch(server: str, weights: str) -> Result:
    return run("fetch", "fake", "--set", f"decode.weights={weights}", "--endpoint", server)


def test_fetching_says_what_comes_goes_on_and_comes_once(project: Path, server: str) -> None:
    (project / "MimicMotion_1.pth.part").write_bytes(CONTENT[:1000])
    fetched = fetch(server, "MimicMotion_1.pth")
    assert fetched.exception is None, fetched.output
    for words in (
        "https://huggingface.co/tencent/MimicMotion",
        "Tencent MimicMotion licence",
        "needs SVD-XT",
    ):
        assert words in fetched.stdout
    assert (project / "MimicMotion_1.pth").read_bytes() == CONTENT
    assert Handler.asked == [("/tencent/MimicMotion/resolve/main/MimicMotion_1.pth", "bytes=1000-")]
    assert "MimicMotion_1.pth is there" in fetch(server, "MimicMotion_1.pth").stdout
    assert len(Handler.asked) == 1


def test_content_that_was_not_published_is_refused(project: Path, server: str) -> None:
    refused = fetch(server, "yolox_l.onnx")
    assert "expected 7860ae79" in str(refused.exception)
    assert isinstance(refused.exception, WeightsError)
    assert not list(project.glob("yolox_l.onnx*"))


def test_gated_weights_name_the_page_and_the_token(project: Path, server: str) -> None:
    refused = fetch(server, "stable-video-diffusion-img2vid-xt-1-1")
    assert isinstance(refused.exception, InputError)
    assert "HF_TOKEN" in str(refused.exception)
    assert "stable-video-diffusion-img2vid-xt-1-1 (gated)" in refused.stdout
    assert "commercial use is restricted; accept the licence on the page" in refused.stdout


def test_files_that_cannot_be_loaded_are_told_before_anything_runs(project: Path) -> None:
    folder = project / "network"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n"
    for name, content, said in (
        ("a.safetensors", pointer, "is a pointer of Git LFS in place of the file: run `git lfs pull`"),
        ("b.pth", pointer, "is a pointer of Git LFS"),
        ("c.bin", "<html>log in</html>", "is a page for a browser"),
        ("d.safetensors", "half of it", "is no .safetensors file"),
        ("e.json", "{", "is no .json file"),
    ):
        (folder / name).write_text(content)
        with pytest.raises(ConfigError, match=said):
            check_stages(load_config("fake", [f"decode.weights={folder}"]), ["decode"])
        assert run("verify", "fake", "--set", f"decode.weights={folder}").exit_code == 1
        (folder / name).unlink()
    # What is beside the weights is not loaded.
    for name in ("._config.json", "README.md", "a.fp16.safetensors", "whole.safetensors"):
        (folder / name).write_text(pointer if "safetensors" in name else "<p align=center>")
    (folder / "model_index.json").write_text("{}")
    check_stages(load_config("fake", [f"decode.weights={folder}"]), ["decode"])


def test_weights_without_an_address_are_to_be_put_there_by_hand(project: Path, server: str) -> None:
    refused = fetch(server, "vgg16.pt")
    assert "put them there by hand" in str(refused.exception)
    assert "https://github.com/NVlabs/stylegan2-ada-pytorch" in str(refused.exception)


def test_files_are_converted_from_a_path_or_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(TENSORS, tmp_path / "a.pth")
    written = run("convert", tmp_path / "a.pth", tmp_path / "new" / "b.safetensors")
    assert written.exception is None, written.output
    found = load_file(tmp_path / "new" / "b.safetensors")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(value, TENSORS[name]) for name, value in found.items())

    def downloaded(model: str, config: object, folder: Path) -> Path:
        assert (model, config) == ("models:/dancer@champion", None)
        torch.save(TENSORS, folder / "c.pth")
        return folder / "c.pth"

    monkeypatch.setattr(weights_commands, "download_registered", downloaded)
    written = run("convert", "models:/dancer@champion", tmp_path / "d.pth")
    assert written.exception is None, written.output
    assert torch.load(tmp_path / "d.pth", weights_only=True).keys() == TENSORS.keys()
