"""Which videos are for testing: decided by a hash of each, so that new videos move no old one."""

import hashlib
from collections.abc import Mapping


def split_videos(
    usable: Mapping[str, bool], given: Mapping[str, str | None], test_fraction: float, seed: int
) -> dict[str, str]:
    """``train`` or ``test`` for every video.

    Every video is for testing with a chance of ``test_fraction``, by a hash of its id and the seed. Where a
    side then lacks a usable video although there are two, one of those without a given split changes sides:
    the one whose hash is nearest.

    Args:
        usable: by video id, whether anything of it can be used.
        given: split that the source gives a video; it wins.
        test_fraction: share of videos for testing.
        seed: another one, another choice.
    """
    split = {
        video_id: given.get(video_id) or ("test" if _place(video_id, seed) < test_fraction else "train")
        for video_id in usable
    }
    candidates = [video_id for video_id in usable if usable[video_id]]
    free = sorted(
        (video_id for video_id in candidates if not given.get(video_id)),
        key=lambda video_id: (_place(video_id, seed), video_id),
    )
    sides = {split[video_id] for video_id in candidates}
    if len(candidates) >= 2 and free and test_fraction > 0:
        if "test" not in sides:
            split[free[0]] = "test"
        elif "train" not in sides:
            split[free[-1]] = "train"
    return split


def _place(video_id: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{video_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
