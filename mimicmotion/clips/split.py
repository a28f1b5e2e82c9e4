"""Which videos train, validate and test: decided by a hash, so that new videos move no old one.

A new one that is a near-copy of an old one must be on its side: a group keeps its own side, of two single
films one may move.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from mimicmotion.clips.settings import SplitSettings

SIDES = ("train", "val", "test")
_GROUP = "group "


def split_videos(
    usable: Mapping[str, bool],
    given: Mapping[str, str | None],
    groups: Mapping[str, str],
    settings: SplitSettings,
) -> dict[str, str]:
    """``train``, ``val`` or ``test`` for every video; a group is on one side.

    Every group is for testing with a chance of ``test_fraction`` and for validation with ``val_fraction``, by
    a hash of its name and the seed. Where the train side, then test, then val, lacks a usable video although
    another side has two groups that may move, the one whose hash is nearest changes sides.

    Args:
        usable: by video id, whether anything of it can be used.
        given: split that the source gives a video; it wins, for the video and for the rest of its group.
        groups: name of a video's group; it is one by itself where it has none.
        settings: shares and seed.
    """
    units = {video_id: groups.get(video_id, video_id) for video_id in usable}
    place = {unit: _place(unit, settings.seed) for unit in units.values()}
    side = {unit: _side(place[unit], settings) for unit in place}
    fixed: dict[str, str] = {}
    for video_id, unit in units.items():
        named = given.get(video_id)
        if named:
            # Of a group that the source itself divides, the rest trains if anything of it does.
            fixed[unit] = min(named, fixed.get(unit, named), key=SIDES.index)
    side |= fixed
    able = {units[video_id] for video_id in usable if usable[video_id]}
    shares = {"train": 1.0, "test": settings.test_fraction, "val": settings.val_fraction}
    for lacking, share in shares.items():
        taken = {given.get(video_id) or side[units[video_id]] for video_id in usable if usable[video_id]}
        free = sorted((unit for unit in able - fixed.keys()), key=lambda unit: (place[unit], unit))
        donors = [unit for unit in free if sum(side[other] == side[unit] for other in able) > 1]
        donors = [unit for unit in donors if side[unit] == "train"] or donors
        if share > 0 and lacking not in taken and donors:
            side[donors[-1 if lacking == "train" else 0]] = lacking
    return {video_id: given.get(video_id) or side[unit] for video_id, unit in units.items()}


def joined_groups(groups: Mapping[str, str | None], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Groups of videos in which both of each pair are together.

    Args:
        groups: name of each video's group, if it has one; one that holds all videos is none.
        pairs: videos that belong together.
    """
    joined = {video_id: f"{_GROUP}{name}" for video_id, name in groups.items() if name}
    if len(groups) == len(joined) and len(set(joined.values())) == 1:
        joined = {}
    for one, other in pairs:
        of_both = joined.get(one, one), joined.get(other, other)
        new, old = sorted(of_both, key=lambda name: (not name.startswith(_GROUP), name))
        joined |= {one: new, other: new}
        joined |= {video_id: new for video_id, group in joined.items() if group == old}
    return joined


def divided(pairs: Iterable[tuple[str, str]], split: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Pairs on two sides: the video that must go, so that it gives nothing away, then the one that stays."""
    for pair in pairs:
        out, stays = sorted(pair, key=lambda video_id: SIDES.index(split[video_id]))
        if split[out] != split[stays]:
            yield out, stays


def uneven_sides(
    split: Mapping[str, str],
    given: Mapping[str, str | None],
    groups: Mapping[str, str],
    settings: SplitSettings,
) -> Iterator[str]:
    """A sentence for each side that has more than twice its share of videos because of one large group.

    Videos whose side the source gives are not counted.
    """
    split = {name: side for name, side in split.items() if not given.get(name)}
    for side, share in (("val", settings.val_fraction), ("test", settings.test_fraction)):
        held = Counter(groups[name] for name, where in split.items() if where == side and name in groups)
        num, largest = sum(where == side for where in split.values()), held.most_common(1)
        if largest and num > 2 * share * len(split) + 1 and largest[0][1] > share * len(split) + 1:
            name, count = largest[0]
            yield (
                f"{num} of {len(split)} videos are for {side}, where {share:.0%} was asked: {name} alone has "
                f"{count}, and a group is on one side. Name smaller groups, e.g. dancers, in the column "
                "group of a list"
            )


def _side(place: float, settings: SplitSettings) -> str:
    if place < settings.test_fraction:
        return "test"
    return "val" if place < settings.test_fraction + settings.val_fraction else "train"


def _place(unit: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
