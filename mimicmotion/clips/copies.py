"""Which videos are near-copies: encoded anew, cropped, mirrored or shortened, found by motion and pictures.

A moment is three poses half a second apart, normalised by the body, so that size, crop and place in the
picture do not matter. Two films are near-copies where half the moments of one are found in the other at one
offset in time, or where perceptual hashes of their pictures are nearly the same all along. Where either gives
only a hint, as of short films, slow dances and points that were found roughly, the ways of all points over
the whole time that both share must agree.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, UInt8, UInt64

from mimicmotion.clips.quality import PosedVideo

_POINTS = np.arange(5, 13)
"""Shoulders, elbows, wrists and hips, left before right: what most crops leave."""
_SWAPPED = np.array([1, 0, 3, 2, 5, 4, 7, 6])
_LAGS_S = (0.0, 0.5, 1.0)
_RATE_HZ, _EVERY = 15, 4
"""Moments a second that are looked through, and which of them are looked for."""
_RADIUS = 0.7
"""Largest distance of a moment's poses, in radii of the upper body: about a tenth a point."""
_MIN_MOTION = 0.9
_SMOOTHED_S = 0.2
_OFFSET_S = 0.25
_MIN_MOMENTS = 3
_MIN_SHARE, _MIN_SHARE_WITH_HASH = 0.5, 0.25
_MAX_BITS, _MAX_BITS_ALONE, _MAX_BITS_HINT, _MAX_BITS_FIRST = 8.0, 5.0, 16.0, 20
"""Mean of the 63 bits in which hashes of one time may differ: with some motion alike, by themselves, or as a
hint; and those of the first."""
_HINT_MOMENTS, _MAX_LOOKED_FOR = 2, 8
_MAX_REST, _MIN_SHARED_S, _MIN_POINTS, _SLACK = 0.45, 2.0, 4, 4
"""Share of a point's way that may be otherwise, as the middle one of the points; for how long so many of them
must be sure; and by how many samples the offset may be wrong."""
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
    shares = defaultdict[tuple[int, int, bool], tuple[float, float]](lambda: (0.0, 0.0))
    for mirrored in (False, True):
        for one, other, share, offset_s in _alike(films, names, mirrored):
            shares[one, other, mirrored] = max(shares[one, other, mirrored], (share, offset_s))
    pairs = set()
    for (one, other, mirrored), (share, offset_s) in shares.items():
        compared = (films[names[one]], films[names[other]], offset_s, mirrored)
        alike = share >= _MIN_SHARE or (share >= _MIN_SHARE_WITH_HASH and _bits(*compared) <= _MAX_BITS)
        if alike or _rest(*compared) <= _MAX_REST:
            pairs.add((names[min(one, other)], names[max(one, other)]))
    return sorted(pairs | _same_pictures(films, names))


def _alike(
    films: Mapping[str, Fingerprint], names: Sequence[str], mirrored: bool
) -> Iterator[tuple[int, int, float, float]]:
    """Which share of the moments of one film is found in another at an offset in seconds."""
    everything = np.concatenate([films[name].moments for name in names])
    film_of = np.repeat(np.arange(len(names)), [len(films[name].moments) for name in names])
    times = np.concatenate([films[name].times_s for name in names])
    if not len(everything):
        return
    order = np.argsort(everything[:, 0])
    first = everything[order, 0]
    norms = (everything**2).sum(axis=1)
    for number, name in enumerate(names):
        every = min(_EVERY, max(1, len(films[name].moments) // _MAX_LOOKED_FOR))
        looked_for = films[name].moments[::every]
        if not len(looked_for):
            continue
        found = _mirrored(looked_for) if mirrored else looked_for
        since = films[name].times_s[::every]
        votes = defaultdict[tuple[int, int], set[int]](set)
        for place, moment in enumerate(found):
            low, high = np.searchsorted(first, (moment[0] - _RADIUS, moment[0] + _RADIUS))
            near = order[low:high]
            near = near[norms[near] - 2 * everything[near] @ moment + moment @ moment < _RADIUS**2]
            near = near[film_of[near] != number]
            for film, offset in zip(film_of[near], (times[near] - since[place]) / _OFFSET_S, strict=True):
                for bin_ in (int(np.floor(offset)), int(np.floor(offset)) + 1):
                    votes[int(film), bin_].add(place)
        for (film, bin_), places in votes.items():
            if len(places) >= _HINT_MOMENTS:
                share = len(places) / len(looked_for) if len(places) >= _MIN_MOMENTS else 0.0
                yield number, film, share, bin_ * _OFFSET_S


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
    rests = [np.inf]
    for shift in round(offset_s * _RATE_HZ) + np.arange(-_SLACK, _SLACK + 1):
        mine, seen = one.ways[max(0, -shift) :], theirs[max(0, shift) :]
        rests.append(_unlike(mine[: len(seen)], seen[: len(mine)]))
    return min(rests)


def _unlike(one: Float32[np.ndarray, "t p 2"], other: Float32[np.ndarray, "t p 2"]) -> float:
    known = ~np.isnan(one + other).any(axis=2, keepdims=True)
    told = known.sum(axis=(0, 2)) >= _MIN_SHARED_S * _RATE_HZ
    if told.sum() < _MIN_POINTS:
        return np.inf
    known = known[:, told]
    mine, theirs = (
        np.where(known, some - some.mean(axis=0, where=known), 0) for some in (one[:, told], other[:, told])
    )
    scale = (mine * theirs).sum() / max(float(np.square(theirs).sum()), 1e-6)
    rest = np.square(mine - scale * theirs).sum(axis=(0, 2)) / (np.square(mine).sum(axis=(0, 2)) + 1e-6)
    return float(np.median(rest))


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
                compared = (films[name], films[other], 0.0, mirrored)
                bits = _bits(*compared)
                if bits <= _MAX_BITS_ALONE or (bits <= _MAX_BITS_HINT and _rest(*compared) <= _MAX_REST):
                    pairs.add((name, other))
    return pairs
