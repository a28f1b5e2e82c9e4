"""A file that names others, whatever its own name says, opens none of them."""

from pathlib import Path

import av
import numpy as np
import pytest

from mimicmotion.errors import RejectedItem
from mimicmotion.video.containers import open_film
from mimicmotion.video.files import write_preview
from mimicmotion.video.sources import read_outline

DASH = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>
<AdaptationSet><Representation id="1" bandwidth="1"><BaseURL>own.mp4</BaseURL></Representation>
</AdaptationSet></Period></MPD>"""
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile own.mp4\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 1234 RTP/AVP 96\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A film of somebody else."""
    write_preview(tmp_path / "own.mp4", list(np.zeros((4, 64, 64, 3), np.uint8)), 8)
    return tmp_path / "own.mp4"


@pytest.mark.parametrize(
    "text",
    [CONCAT, HLS.format("own.mp4"), HLS.format("http://[::1]:9/x"), DASH, SDP],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_playlist_is_rejected(own: Path, text: str, suffix: str) -> None:
    path = own.with_name(f"list.{suffix}")
    path.write_text(text)
    with pytest.raises(RejectedItem) as error:
        read_outline(path)
    assert error.value.code == "unreadable"


def test_ffmpeg_alone_would_open_its_neighbour(own: Path) -> None:
    path = own.with_name("list.mp4")
    path.write_text(CONCAT)
    with av.open(str(path)) as container:
        assert container.format.name == "concat"
    with pytest.raises(RejectedItem, match=r"list\.mp4 is of a form that is not read, .*; read are mov, mp4"):
        open_film(path)


def test_a_name_that_reads_like_an_address_is_a_name(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.parent)
    for name in ("concat:own.mp4|own.mp4", "http:x.mp4", "data:x"):
        path = Path(name)
        path.write_bytes(own.read_bytes())
        assert read_outline(path).stream_index == 0
