"""The gallery: one file, nothing fetched, every video with its scores."""

import base64
import re
from html.parser import HTMLParser

import pytest

from mimicmotion.metrics.scores import SUMMARY, Score
from mimicmotion.pictures.gallery import GalleryClip, gallery_html


class Page(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def page(tmp_path):
    clips = []
    for name in ("a", "b"):
        video = tmp_path / f"{name}.mp4"
        video.write_bytes(b"video " + name.encode())
        clips.append(GalleryClip(f"clip-{name}", f"<{name}> & co", video))
    scores = [
        Score("clip-a", "model", "psnr", 21.5, count=10),
        Score("clip-a", "copy_reference", "psnr", 18.0, count=10),
        Score("clip-b", "model", "psnr", 19.25, count=10),
        Score("clip-b", "model", "hand_psnr", None, note="no hand"),
        Score(SUMMARY, "model", "psnr", 20.4, 19.0, 22.0, 20, 2),
        Score(SUMMARY, "copy_reference", "psnr", 18.0, None, None, 20, 2),
        Score(SUMMARY, "model", "fvd", None, note="absent: no <weights>"),
    ]
    links = {"MLflow run evaluate": "http://127.0.0.1:5000/#/experiments/1/runs/abc"}
    return gallery_html("A & B", {"protocol": "native"}, clips, scores, "psnr", links)


def test_every_video_is_inside_the_file_and_nothing_is_fetched(page):
    videos = [attributes["src"] for attributes in Page(page).all("video")]
    assert [base64.b64decode(src.removeprefix("data:video/mp4;base64,")) for src in videos] == [
        b"video a",
        b"video b",
    ]
    tags = Page(page).tags
    fetched = [a.get("src") or a.get("href") for tag, a in tags if tag in ("script", "link", "img", "iframe")]
    assert not any(fetched)
    assert re.findall(r"https?://[^\"<]*", page) == ["http://127.0.0.1:5000/#/experiments/1/runs/abc"] * 2


def test_clips_carry_the_numbers_they_are_sorted_by(page):
    cards = [a for a in Page(page).all("div") if a.get("class") == "clip"]
    assert [card["data-psnr"] for card in cards] == ["21.5", "19.25"]
    assert not any("data-hand_psnr" in card for card in cards)
    options = {a["value"]: a for a in Page(page).all("option") if "data-higher" in a}
    assert options["psnr"]["data-higher"] == "1"
    assert "selected" in options["psnr"]


def test_the_table_has_floors_intervals_and_reasons_and_names_are_escaped(page):
    assert '<td class="primary">20.40 [19.00, 22.00]</td>' in page
    assert "<th>copy_reference</th>" in page
    assert "FVD: absent: no &lt;weights&gt;" in page
    assert "<h3>&lt;a&gt; &amp; co<" in page
    assert "<title>A &amp; B</title>" in page
    assert "<b>model</b> 20.40 [19.00, 22.00], <b>copy_reference</b> 18.00" in page
    assert "<td>FVD ↓</td>" not in page
    assert "$" not in re.sub(r"base64,[^\"]*", "", page)
