"""The list of pairs: where results may go, and rows that cannot be used."""

from pathlib import Path

import numpy as np
import pytest

from mimicmotion.animation.pairs import read_pairs
from mimicmotion.animation.settings import LARGEST_SEED, DrivingSettings
from mimicmotion.errors import InputError
from mimicmotion.video.picture_files import write_picture


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    write_picture(tmp_path / "me.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "dance.mp4").write_bytes(b"a video, as far as the list is concerned")
    (tmp_path / "pairs.csv").write_text("image,video\nme.png,dance.mp4\n")
    return tmp_path / "pairs.csv"


def test_results_go_into_a_folder_that_is_there_or_can_be_made(pairs: Path) -> None:
    there = pairs.parent / "results.v2"
    there.mkdir()
    for folder in (there, pairs.parent / "new" / "results"):
        (request,) = read_pairs(pairs, folder, {})
        assert request.out == folder / "me_dance.mp4"
    for place, words in (
        (pairs.parent / "results.mp4", "must be a folder"),
        (pairs, "must be a folder"),
        (pairs / "results", "cannot be made: .*Not a directory"),
    ):
        with pytest.raises(InputError, match=words):
            read_pairs(pairs, place, {})


def test_a_seed_that_torch_cannot_take_is_named_by_its_line(pairs: Path) -> None:
    pairs.write_text(f"image,video,seed\nme.png,dance.mp4,{2**65}\n")
    with pytest.raises(InputError, match=rf"line 2: seed is {2**65}; it must be at most {2**62}"):
        read_pairs(pairs, pairs.parent, {})


def test_the_last_of_several_tries_has_a_seed_that_torch_takes(pairs: Path) -> None:
    """Told before the first film: the one after it would end with all that was made."""
    pairs.write_text(f"image,video,seed\nme.png,dance.mp4,{2**62}\n")
    with pytest.raises(InputError, match=r"line 2: seed \+ tries - 1 is"):
        read_pairs(pairs, pairs.parent, {"tries": 4})
    pairs.write_text("image,video\nme.png,dance.mp4\n")
    with pytest.raises(InputError, match=r"line 2: seed \+ tries - 1 is"):
        read_pairs(pairs, pairs.parent, {"seed": LARGEST_SEED, "tries": 4})
    with pytest.raises(ValueError, match=r"seed \+ tries - 1 is"):
        DrivingSettings(seed=LARGEST_SEED, tries=2)
    assert DrivingSettings(seed=LARGEST_SEED - 1, tries=2).tries == 2
