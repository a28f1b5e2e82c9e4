"""The review page answers whoever has the token, on this machine only, and works in a browser."""

import shutil
import threading
import time

import pytest
import uvicorn
from clip_table import clip_row
from marked_film import HEIGHT, WIDTH, make_datasets
from scored_clips import FakeDataset
from starlette.testclient import TestClient
from typer.testing import CliRunner

from flows import cli
from flows.commands.processes import free_port
from flows.commands.review import review_app
from mimicmotion.clips.review import read_review
from mimicmotion.errors import InputError
from stages.adapters.guard import Guard, loopback_hosts
from stages.parts.reviewing import Review

TOKEN = "secret"


@pytest.fixture
def shown(tmp_path):
    said = {"reason": None, "sentence": None, "visibility": 0.5, "source": "film.mov"}
    rows = [
        clip_row(f"film-{first}", "film", "train", (WIDTH, HEIGHT), first_frame=first, num_frames=4, step=1)
        | said
        | {"motion": 1.5 - first / 10}
        for first in (0, 4, 8)
    ]
    inputs = make_datasets(tmp_path, [])
    return Review(FakeDataset({"all": rows}), inputs, tmp_path / "review.csv", "anna", tmp_path)


@pytest.fixture
def client(shown):
    app = Guard(review_app(shown, TOKEN), loopback_hosts(5050))
    return TestClient(app, base_url="http://127.0.0.1:5050")


def test_only_the_token_lets_in(client):
    for path in ("/", "/windows", "/film/0", "/?token=wrong"):
        assert client.get(path).status_code == 401
    assert client.post("/decide", json={"number": 0, "decision": "reject"}).status_code == 401
    entered = client.get(f"/?token={TOKEN}")
    assert (entered.status_code, str(entered.url)) == (200, "http://127.0.0.1:5050/")
    assert "frame-ancestors 'none'" in entered.headers["content-security-policy"]
    assert len(client.get("/windows").json()["windows"]) == 3


def test_other_names_and_pages_of_others_are_refused(client):
    client.get(f"/?token={TOKEN}")
    for headers in ({"Host": "evil.example:5050"}, {"Origin": "http://evil.example"}):
        assert client.get("/windows", headers=headers).status_code == 403
        decided = client.post("/decide", json={"number": 0, "decision": "reject"}, headers=headers)
        assert decided.status_code == 403


def test_films_and_decisions(client, shown):
    client.get(f"/?token={TOKEN}")
    film = client.get("/film/1", headers={"Range": "bytes=0-9"})
    assert (film.status_code, film.headers["content-type"], len(film.content)) == (206, "video/mp4", 10)
    assert client.get("/film/9").status_code == 404
    assert (
        client.post("/decide", json={"number": 1, "decision": "reject"}).json()[1]["verdict"]["who"] == "anna"
    )
    wrong = client.post("/decide", json={"number": 9, "decision": "reject"})
    assert (wrong.status_code, wrong.text) == (400, "there is no window 9; they are numbered 0 to 2")
    assert [one.first_frame for one in read_review(shown.place)] == [4]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here")
def test_keys_and_columns_in_a_browser(shown):
    playwright = pytest.importorskip("playwright.sync_api")
    port = free_port()
    app = Guard(review_app(shown, TOKEN), loopback_hosts(port))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        with playwright.sync_playwright() as browsers:
            browser = browsers.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{port}/?token={TOKEN}")
            page.wait_for_selector("#rows tr")
            page.keyboard.press("r")
            page.keyboard.press("a")  # at once: it speaks of the next window
            page.wait_for_selector('tr.reject[data-number="0"]')
            page.wait_for_selector('tr.accept[data-number="1"]')
            page.click("th[data-column=motion]")
            numbers = [line.get_attribute("data-number") for line in page.locator("#rows tr").all()]
            browser.close()
    finally:
        server.should_exit = True
        thread.join()
    assert numbers == ["2", "1", "0"]
    assert [(one.first_frame, one.decision) for one in read_review(shown.place)] == [
        (0, "reject"),
        (4, "accept"),
    ]


def test_a_config_without_clips_says_so(tmp_path):
    (tmp_path / "early.yaml").write_text(f"workspace: {tmp_path}\ndecode: {{source: {tmp_path}}}\n")
    with pytest.raises(InputError, match="has no stage 'clips'; it has decode"):
        raise CliRunner().invoke(cli.app, ["review", str(tmp_path / "early.yaml")]).exception
