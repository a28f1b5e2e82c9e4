"""Damaged containers are kept or rejected, whatever class an error has; none stops the stage."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import av
import pytest

from mimicmotion.errors import RejectedItem
from mimicmotion.video import normalise
from mimicmotion.video.containers import reading
from mimicmotion.video.settings import NormaliseSettings

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz.py"


def test_damaged_films_are_kept_or_rejected() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--variants", "60", "--seed", "7"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    assert found["stopped"] == []
    assert done.returncode == 0
    assert sum(found["outcomes"].values()) == 60
    # Some damages are harmless and some are not, else nothing was tried.
    assert 0 < found["outcomes"]["kept"] < 60


@pytest.mark.parametrize(
    "error",
    [
        *(PermissionError(errno.EPERM, "Operation not permitted"), OSError(errno.EIO, "Input/output error")),
        *(ValueError("a tag"), UnicodeDecodeError("utf-8", b"x", 0, 1, "a title"), RecursionError("deep")),
        *(KeyError("name"), MemoryError(), av.error.InvalidDataError(1, "bad")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_error_of_reading_an_item_is_the_items(error: Exception) -> None:
    with pytest.raises(RejectedItem, match=r"a\.mp4 cannot be read") as caught, reading(Path("x/a.mp4")):
        raise error
    assert caught.value.code == "unreadable"
    assert "x/" not in caught.value.sentence


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ETIMEDOUT, errno.ENOENT, errno.EMFILE, errno.ENOSPC])
def test_what_the_surroundings_do_is_no_fault_of_the_item(number: int) -> None:
    with pytest.raises(OSError, match="gone"), reading(Path("a.mp4")):
        raise OSError(number, "gone")


def test_an_error_after_reading_is_the_items_and_one_of_the_disk_is_not(tmp_path, monkeypatch) -> None:
    for error, kind in ((TypeError("odd frame"), RejectedItem), (OSError(errno.EIO, "the disk"), OSError)):

        def failing(*_, error=error):
            raise error

        monkeypatch.setattr(normalise, "read_outline", lambda _: None)
        monkeypatch.setattr(normalise, "_transcode", failing)
        with pytest.raises(kind):
            normalise.normalise_video(tmp_path / "a.mp4", tmp_path / "b.mp4", NormaliseSettings())
