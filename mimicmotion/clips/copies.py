"""Which videos are near-copies: encoded anew, cropped, mirrored or shortened, found by motion and pictures.

A moment is three poses half a second apart, normalised by the body, so that size, crop and place in the
picture do not matter. Two films are near-copies where half the moments of one are found in the other at one
offset in time, or where perceptual hashes of their pictures are nearly the same all along. Where either gives
only a hint, as of short films, slow dances and points that were found roughly, the ways of all points over
the whole time that both share must agree; what the body does as a whole across the picture is no way.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, UInt8, UInt64

from mimicmotion.clips.quality import PosedVideo

log = logging.getLogger(__name__)

_POINTS = np.arange(5, 13)
"""Shoulders, elbows, wrists and hips, left before right: what most crops leave."""
_SWAPPED = np.array([1, 0, 3, 2, 5, 4, 7, 6])
_LAGS_S = (0.0, 0.5, 1.0)
_RATE_HZ, _EVERY = 15, 4
"""Moments a second that are looked through, and which of them are looked for."""
_RADIUS = 0.7
"""Largest distance of a moment's poses, in radii of the upper body: about a tenth a point."""
_TOLD_EVERY_S = 30.0
_COMPONENTS, _BLOCK = 16, 4096
"""Main components of moments that are compared first, and how many moments at once: what a cache holds."""
_MIN_MOTION = 0.9
_SMOOTHED_S = 0.2
_OFFSET_S = 0.25
_MIN_MOMENTS = 3
_MIN_SHARE, _MIN_SHARE_WITH_HASH, _MIN_NEARNESS = 0.5, 0.25, 4.0
"""Share of moments that is enough by itself where so many are found, counted by how near they are, or where
pictures hint at it; and with pictures alike."""
_MAX_BITS, _MAX_BITS_ALONE, _MAX_BITS_HINT, _MAX_BITS_FIRST = 8.0, 5.0, 20.0, 20
"""Mean of the 63 bits in which hashes of one time may differ: with some motion alike, by themselves where no
motion is told, or as a hint; and those of the first."""
_HINT_MOMENTS, _MAX_LOOKED_FOR = 2, 8
_MAX_REST, _MAX_REST_WITH_HASH = 0.45, 0.55
"""Share of a point's way that may be otherwise, as the middle one of the points; and with pictures alike."""
_MIN_SHARED_S, _MIN_POINTS, _SLACK = 2.0, 4, 4
"""For how long so many points must be sure; and by how many samples the offset may be wrong."""
_MAX_OFFSETS, _MAX_SAMPLES, _MIN_SHARED = 2, 48, 1 / 3
"""Offsets of two films at which ways are compared, those that fit best; at how many times, evenly spread; and
which share of the shorter film they must span: for seconds of many, other dances may look alike."""
_STILL_PX2 = 1e-2
"""A way so small is none, and like no other."""
_TIME, _POINT = 3, 0
_SIDE = 8


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What of a video is compared.

    Attributes:
        times_s: of its moments with a sure upper body that moves.
        moments: three normalised poses each.
        hash_times_s: of its hashes.
        hashes: of single pictures, see ``picture_hash``.
        ways: points of the upper body in pixels, at an even rate; nan where they are not sure.
    """

    times_s: Float64[np.ndarray, " m"]
    moments: Float32[np.ndarray, "m d"]
    hash_times_s: Float64[np.ndarray, " k"]
    hashes: UInt64[np.ndarray, " k"]
    ways: Float32[np.ndarray, "t p 2"]

    @classmethod
    def of(cls, video: PosedVideo, hash_frames: Sequence[int], hashes: Sequence[int]) -> Self:
        """The fingerprint of a video with its poses; hashes are those of the decode stage."""
        track, threshold = video.track, video.settings.keypoint_threshold
        points = track.keypoints[:, _POINTS].astype(np.float64)
        width = max(1, round(video.fps * _SMOOTHED_S))
        points = cv2.blur(points.reshape(len(track), -1), (1, width), borderType=cv2.BORDER_REPLICATE)
        points = points.reshape(len(track), len(_POINTS), 2)
        centred = points - points.mean(axis=1, keepdims=True)
        radius = np.sqrt((centred**2).sum(axis=2).mean(axis=1))
        sure = track.present & (track.confidences[:, _POINTS] > threshold).all(axis=1) & (radius > 0)
        poses = (centred / np.maximum(radius, 1e-6)[:, None, None]).reshape(len(track), -1)
        times = np.arange(0, max(0.0, (len(track) - 1) / video.fps - _LAGS_S[-1]) + 1e-6, 1 / _RATE_HZ)
        frames = np.rint((times[:, None] + _LAGS_S) * video.fps).astype(int).clip(0, len(track) - 1)
        asked = (times[:, None] + _LAGS_S).ravel() * video.fps
        between = np.stack([np.interp(asked, np.arange(len(track)), axis) for axis in poses.T], axis=1)
        shown = between.reshape(*frames.shape, -1)
        steps = np.linalg.norm(np.diff(shown, axis=1), axis=(1, 2))
        usable = sure[frames].all(axis=1) & (steps > _MIN_MOTION)
        moments = shown[usable].reshape(int(usable.sum()), shown[0].size).astype(np.float32)
        seconds = np.array(hash_frames, dtype=np.float64) / video.fps
        found = np.where((track.confidences[:, _POINTS] > threshold)[..., None], points, np.nan)
        ways = found[np.arange(0, len(track) - 0.5, video.fps / _RATE_HZ).round().astype(int)]
        numbers = np.array(hashes, dtype=np.int64).view(np.uint64)
        return cls(times[usable], moments, seconds, numbers, ways.astype(np.float32))


def picture_hash(picture: UInt8[np.ndarray, "h w 3"]) -> int:
    """Signs of the 63 lowest frequencies of a picture's brightness, as a signed 64-bit number (pHash)."""
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(small)[:_SIDE, :_SIDE].ravel()
    waves[0] = 0  # how bright it is
    return int(np.packbits(waves > 0).view(np.int64)[0])


_ODD_WAVES = np.packbits(np.tile(np.arange(_SIDE) % 2 == 1, _SIDE)).view(np.uint64)[0]
"""Bits of the frequencies that change their sign when a picture is mirrored."""


def near_copies(films: Mapping[str, Fingerprint]) -> list[tuple[str, str]]:
    """Pairs of videos of which one shows what the other shows, or a part of it, also mirrored."""
    names = sorted(films)
    if not names:
        return []
    pairs = set()
    for mirrored in (False, True):
        hints = defaultdict[tuple[int, int], list[_Hint]](list)
        for one, other, hint in _alike(films, names, mirrored):
            turned = hint if one < other else hint._replace(offset_s=-hint.offset_s)
            hints[min(one, other), max(one, other)].append(turned)
        for (one, other), found in hints.items():
            pair = (names[one], names[other])
            if any(_agree(films[pair[0]], films[pair[1]], hint, mirrored) for hint in _best(found)):
                pairs.add(pair)
    return sorted(pairs | _same_pictures(films, names))


class _Hint(NamedTuple):
    """That moments of one film are found in another.

    Attributes:
        share: how many of those that were looked for; 0 of too few.
        nearness: how alike they are, summed over them.
        offset_s: of the other film.
    """

    share: float
    nearness: float
    offset_s: float


def _best(hints: Sequence[_Hint]) -> list[_Hint]:
    """Those that fit best, of offsets so far apart that none is compared for another."""
    kept = list[_Hint]()
    for hint in sorted(hints, reverse=True):
        if all(abs(hint.offset_s - other.offset_s) > _SLACK / _RATE_HZ for other in kept):
            kept.append(hint)
            if len(kept) == _MAX_OFFSETS:
                break
    return kept


def _agree(one: Fingerprint, other: Fingerprint, hint: _Hint, mirrored: bool) -> bool:
    """Whether a hint holds: by moments, by moments and pictures, or by the ways of points."""
    if hint.share >= _MIN_SHARE and hint.nearness >= _MIN_NEARNESS:
        return True
    compared = (one, other, hint.offset_s, mirrored)
    bits = min(_bits(*compared), _bits(other, one, -hint.offset_s, mirrored))
    alike = (hint.share >= _MIN_SHARE_WITH_HASH and bits <= _MAX_BITS) or (
        hint.share >= _MIN_SHARE and bits <= _MAX_BITS_HINT
    )
    return alike or _rest(*compared) <= _MAX_REST


def _alike(
    films: Mapping[str, Fingerprint], names: Sequence[str], mirrored: bool
) -> Iterator[tuple[int, int, _Hint]]:
    """Films of which moments are found in another, and at which offsets."""
    everything = np.concatenate([films[name].moments for name in names])
    if not len(everything):
        return
    near = _Near(everything)
    film_of = np.repeat(np.arange(len(names)), [len(films[name].moments) for name in names])
    times = np.concatenate([films[name].times_s for name in names])
    due_s = time.monotonic() + _TOLD_EVERY_S
    for number, name in enumerate(names):
        if time.monotonic() > due_s:
            due_s += _TOLD_EVERY_S
            how = "mirrored " if mirrored else ""
            log.info("near-copies: %d of %d films compared %swith all", number, len(names), how)
        every = min(_EVERY, max(1, len(films[name].moments) // _MAX_LOOKED_FOR))
        looked_for = films[name].moments[::every]
        if not len(looked_for):
            continue
        place, found, apart = near(_mirrored(looked_for) if mirrored else looked_for)
        bins = np.floor((times[found] - films[name].times_s[::every][place]) / _OFFSET_S)
        voters = np.stack([film_of[found], bins, place, apart / _RADIUS**2])[:, film_of[found] != number]
        votes = np.concatenate([voters, voters + np.array([[0], [1], [0], [0]])], axis=1)
        for film, bin_, num, nearness in _counted(votes):
            if num >= _HINT_MOMENTS:
                share = num / len(looked_for) if num >= _MIN_MOMENTS else 0.0
                yield number, int(film), _Hint(share, nearness, bin_ * _OFFSET_S)


class _Near:
    """Which of many moments are near some, by their main components first, which tell most apart cheaply."""

    def __init__(self, everything: Float32[np.ndarray, "m d"]) -> None:
        self._everything = everything
        _, axes = np.linalg.eigh(everything.T @ everything)
        self._axes = np.ascontiguousarray(axes[:, -_COMPONENTS:])
        main = everything @ self._axes
        self._main = np.column_stack([main, -(main**2).sum(axis=1) / 2])

    def __call__(
        self, looked_for: Float32[np.ndarray, "l d"]
    ) -> tuple[Int[np.ndarray, " v"], Int[np.ndarray, " v"], Float32[np.ndarray, " v"]]:
        """Numbers of those looked for and of those found, each pair with its squared distance."""
        main = looked_for @ self._axes
        least = (main**2).sum(axis=1, keepdims=True) / 2 - _RADIUS**2 / 2 - 1e-3
        main = np.column_stack([main, np.ones_like(least)])
        pairs = []
        for begin in range(0, len(self._main), _BLOCK):
            block = self._main[begin : begin + _BLOCK]
            place, found = np.divmod(np.flatnonzero(main @ block.T > least), len(block))
            pairs.append((place, found + begin))
        place, found = np.concatenate(pairs, axis=1)
        apart = ((self._everything[found] - looked_for[place]) ** 2).sum(axis=1)
        close = apart < _RADIUS**2
        return place[close], found[close], apart[close]


def _counted(votes: Float64[np.ndarray, "4 v"]) -> Iterator[tuple[float, float, int, float]]:
    """Of each film and bin the number of places that vote for it, and how near their nearest votes are."""
    votes = votes[:, np.lexsort(votes[::-1])]
    changes = np.diff(votes[:3], axis=1, prepend=np.nan) != 0
    film, bin_, _, apart = votes[:, changes.any(axis=0)]
    begins = np.flatnonzero(np.diff([film, bin_], axis=1, prepend=np.nan).any(axis=0))
    if len(begins):
        nums = np.diff([*begins, len(film)])
        sums = np.add.reduceat(1 - apart, begins)
        yield from zip(film[begins], bin_[begins], nums.tolist(), sums.tolist(), strict=True)


def _mirrored(moments: Float32[np.ndarray, "m d"]) -> Float32[np.ndarray, "m d"]:
    """The same motion seen in a mirror: left and right points change places."""
    points = moments.reshape(len(moments), len(_LAGS_S), len(_POINTS) // 2, 2, 2)
    return (points[:, :, :, ::-1] * np.array([-1, 1], np.float32)).reshape(len(moments), -1)


def _bits(one: Fingerprint, other: Fingerprint, offset_s: float, mirrored: bool) -> float:
    """Mean number of bits in which pictures of the same time differ; infinite where there are none."""
    if not len(one.hashes) or not len(other.hashes):
        return np.inf
    wanted = one.hash_times_s + offset_s
    nearest = abs(other.hash_times_s[None] - wanted[:, None]).argmin(axis=1)
    near: Bool[np.ndarray, " k"] = abs(other.hash_times_s[nearest] - wanted) <= 1
    theirs = other.hashes[nearest] ^ (_ODD_WAVES if mirrored else np.uint64(0))
    differing = np.bitwise_count(one.hashes ^ theirs)[near]
    return float(differing.mean()) if differing.size else np.inf


def _rest(one: Fingerprint, other: Fingerprint, offset_s: float, mirrored: bool) -> float:
    """Which share of the points' ways is otherwise at the best offset nearby; infinite if little is known."""
    theirs = other.ways[:, _SWAPPED] * np.array([-1, 1], np.float32) if mirrored else other.ways
    shifts = round(offset_s * _RATE_HZ) + np.arange(-_SLACK, _SLACK + 1)
    first, end = max(0, -shifts[-1]), min(len(one.ways), len(theirs) - shifts[0])
    shorter = min(len(one.ways), len(theirs))
    if end - first < max(_MIN_SHARED_S * _RATE_HZ, _MIN_SHARED * shorter):
        return np.inf
    step = -(-(end - first) // _MAX_SAMPLES)
    places = np.arange(first, end, step)
    wanted = places + shifts[:, None]
    inside = (wanted >= 0) & (wanted < len(theirs))
    mine = np.moveaxis(one.ways[places], 0, -1)[:, :, None]
    seen = np.where(inside, np.moveaxis(theirs, 0, -1)[..., wanted.clip(0, len(theirs) - 1)], np.nan)
    return float(_unlike(mine, seen, _MIN_SHARED_S * _RATE_HZ / step).min())


def _unlike(
    one: Float32[np.ndarray, "p 2 1 t"], others: Float32[np.ndarray, "p 2 s t"], least: float
) -> Float64[np.ndarray, " s"]:
    """Share of the ways within the body that is otherwise, of each of the others; the size is left open.

    Points count that are known at so many times at least.
    """
    known = ~np.isnan(one + others).any(axis=1, keepdims=True)
    told = known.sum(axis=_TIME, keepdims=True) >= least
    known &= told
    mine, theirs = _within_body(one, known), _within_body(others, known)
    both, own, their = (
        np.einsum("pcst,pcst->ps", *some).astype(np.float64)
        for some in ((mine, theirs), (mine, mine), (theirs, theirs))
    )
    told = told[:, 0, :, 0]
    count = told.sum(axis=0)
    middle = np.stack([(count - 1).clip(0) // 2, (count // 2).clip(0, len(told) - 1)])
    shares = []
    for whole, part in ((own, their), (their, own)):
        scale = np.maximum(0, both.sum(axis=0) / np.maximum(part.sum(axis=0), 1e-6))
        rest = (whole - 2 * scale * both + scale**2 * part + _STILL_PX2) / (whole + _STILL_PX2)
        ranked = np.sort(np.where(told, rest, np.inf), axis=0)
        shares.append(np.take_along_axis(ranked, middle, axis=0).mean(axis=0))
    return np.where(count >= _MIN_POINTS, np.minimum(*shares), np.inf)


def _within_body(
    ways: Float32[np.ndarray, "p 2 n t"], known: Bool[np.ndarray, "p 1 s t"]
) -> Float32[np.ndarray, "p 2 s t"]:
    """Ways without each point's mean place and without what all points do together; 0 where not known.

    Both are fitted at once: a point that is known for a while has its mean place where the others were then.
    """
    weights = known[:, 0].astype(np.float32)
    shares = weights / np.maximum(weights.sum(axis=_POINT), 1)
    ways = np.where(known, ways, np.float32(0))
    ways = (ways - np.einsum("pcst,pst->cst", ways, shares)) * known
    counts, beside = weights.sum(axis=2).T, np.einsum("pst,qst->spq", weights, shares)
    tied = np.eye(len(ways)) * (counts[..., None] + 1e-3) - beside  # a place of all is no way
    places = np.linalg.solve(tied, np.moveaxis(ways.sum(axis=_TIME), 2, 0))
    own = np.moveaxis(places, 0, 2)[..., None].astype(np.float32)
    return (ways - own + np.einsum("pcs,pst->cst", own[..., 0], shares)) * known


def _same_pictures(films: Mapping[str, Fingerprint], names: Sequence[str]) -> set[tuple[str, str]]:
    """Pairs of films with nearly the same pictures from the beginning on, or similar ones and motion."""
    hashed = [name for name in names if len(films[name].hashes)]
    first = np.array([films[name].hashes[0] for name in hashed])
    pairs = set()
    for place, name in enumerate(hashed):
        for mirrored in (False, True):
            mask = _ODD_WAVES if mirrored else np.uint64(0)
            close: Int[np.ndarray, " c"] = np.flatnonzero(
                np.bitwise_count(first[place + 1 :] ^ first[place] ^ mask) <= _MAX_BITS_FIRST
            )
            for other in (hashed[place + 1 + int(step)] for step in close):
                if _same_throughout(films[name], films[other], mirrored):
                    pairs.add((name, other))
    return pairs


def _same_throughout(one: Fingerprint, other: Fingerprint, mirrored: bool) -> bool:
    """Whether pictures are alike with the same motion, or nearly the same where no motion is told."""
    bits = _bits(one, other, 0.0, mirrored)
    if bits > _MAX_BITS_HINT:
        return False
    rest = _rest(one, other, 0.0, mirrored)
    untold = np.isinf(rest) or min(len(one.moments), len(other.moments)) < _MIN_MOMENTS
    return rest <= _MAX_REST_WITH_HASH or bool(untold and bits <= _MAX_BITS_ALONE)
