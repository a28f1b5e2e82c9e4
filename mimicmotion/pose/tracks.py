"""Who is who over the frames of a video, and who is the main person.

People of neighbouring frames are linked by the overlap of their boxes and the similarity of their keypoints,
both against where the person should be by now if it went on moving as before. A person that is hidden for a
moment keeps its number. So does one that was away for long or moved in a cut, where nobody else can
have come back: one candidate is one person.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from jaxtyping import Float

from mimicmotion.pose.layout import BODY
from mimicmotion.pose.people import Person
from mimicmotion.video.size import Size

_MIN_SIMILARITY: Final = 0.15
_MAX_GAP_S: Final = 1.0
_SURE: Final = 0.3
_KEYPOINT_SCALE: Final = 0.1
"""Distance, relative to the size of a person, at which keypoints count as fairly different."""
_SLIGHT: Final = 0.05
"""Share of the weight of the heaviest track below which one beside it is no candidate."""
_VELOCITY_MEMORY: Final = 0.5
_LOST_DAMPING: Final = 0.8
"""Share of its speed that a hidden person is expected to keep per frame."""


@dataclass(eq=False)
class _Track:
    """One person so far."""

    last: Person
    last_frame: int
    velocity: Float[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2))
    members: list[tuple[int, int]] = field(default_factory=list)

    def shift(self, frame: int) -> Float[np.ndarray, "2"]:
        """How far the person should have moved since it was last seen."""
        gap = frame - self.last_frame
        return self.velocity * sum(_LOST_DAMPING**step for step in range(gap))

    def add(self, person: Person, frame: int, index: int) -> None:
        """Go on with this person."""
        moved = (_centre(person.box) - _centre(self.last.box)) / (frame - self.last_frame)
        first = len(self.members) == 1
        self.velocity = moved if first else _VELOCITY_MEMORY * self.velocity + (1 - _VELOCITY_MEMORY) * moved
        self.last, self.last_frame = person, frame
        self.members.append((frame, index))


def link(frames: Sequence[Sequence[Person]], fps: float, size: Size) -> list[list[tuple[int, Person]]]:
    """Return per frame the people with their track numbers; 0 is the main person of the video.

    The main person is the one with the largest sum over frames of box area times score, where a person at
    the side of the picture counts half; the others follow in the same order.

    Args:
        frames: people of each frame.
        fps: frame rate; among several, a person may be hidden for up to a second.
        size: of the frames.
    """
    max_gap = max(1, round(_MAX_GAP_S * fps))
    tracks: list[_Track] = []
    for frame, people in enumerate(frames):
        open_tracks = [track for track in tracks if frame - track.last_frame <= max_gap]
        matched = _match(open_tracks, people, frame)
        for index, person in enumerate(people):
            if index in matched:
                matched[index].add(person, frame, index)
            else:
                tracks.append(_Track(person, frame, members=[(frame, index)]))
    tracks = _joined(tracks, [_weight(track, frames, size) for track in tracks])
    weights = [_weight(track, frames, size) for track in tracks]
    order = sorted(range(len(tracks)), key=lambda number: (-weights[number], number))
    linked: list[list[tuple[int, Person]]] = [[] for _ in frames]
    for rank, number in enumerate(order):
        for frame, index in tracks[number].members:
            linked[frame].append((rank, frames[frame][index]))
    return linked


def _joined(tracks: Sequence[_Track], weights: Sequence[float]) -> list[_Track]:
    """Return the tracks, those of one person put together.

    A track goes on with the only one that has ended before it begins, unless others begin beside it. Slight
    ones beside a person of weight, such as a picture on a wall, are no candidates.
    """
    least = _SLIGHT * max(weights, default=0.0)
    heavy = [track for track, weight in zip(tracks, weights, strict=True) if weight >= least]
    slight = [
        track
        for track, weight in zip(tracks, weights, strict=True)
        if weight < least and any(_beside(track, other) for other in heavy)
    ]
    left_out = {id(track) for track in slight}
    candidates = sorted(
        (track for track in tracks if id(track) not in left_out), key=lambda track: track.members[0][0]
    )
    people: list[_Track] = []
    for track in candidates:
        gone = [person for person in people if person.last_frame < track.members[0][0]]
        if len(gone) == 1 and not _rivals(track, gone[0], candidates):
            gone[0].members.extend(track.members)
            gone[0].last_frame = track.last_frame
        else:
            people.append(track)
    return [*people, *slight]


def _rivals(track: _Track, gone: _Track, candidates: Sequence[_Track]) -> bool:
    """Return whether others beside this track may be the one that is gone just as well."""
    return any(
        other is not track and gone.last_frame < other.members[0][0] and _beside(track, other)
        for other in candidates
    )


def _beside(track: _Track, other: _Track) -> bool:
    """Return whether two tracks share a part of the film."""
    return track.members[0][0] <= other.last_frame and other.members[0][0] <= track.last_frame


def _match(tracks: Sequence[_Track], people: Sequence[Person], frame: int) -> dict[int, _Track]:
    """Return the track of each person that goes on with one: the most similar pair first."""
    pairs = [
        (_similarity(track, person, frame), number, index)
        for number, track in enumerate(tracks)
        for index, person in enumerate(people)
    ]
    matched: dict[int, _Track] = {}
    taken: set[int] = set()
    for similarity, number, index in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if similarity >= _MIN_SIMILARITY and number not in taken and index not in matched:
            matched[index] = tracks[number]
            taken.add(number)
    return matched


def _similarity(track: _Track, person: Person, frame: int) -> float:
    """Return the mean of box overlap and keypoint similarity, 0 to 1."""
    shift = track.shift(frame)
    return 0.5 * (
        overlap(track.last.box + np.tile(shift, 2), person.box)
        + _keypoint_similarity(track.last, person, shift)
    )


def overlap(a: Float[np.ndarray, "4"], b: Float[np.ndarray, "4"]) -> float:
    """Return intersection over union of two boxes."""
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
    return float(shared / union) if union > 0 else 0.0


def _keypoint_similarity(before: Person, now: Person, shift: Float[np.ndarray, "2"]) -> float:
    """Return how alike two poses are, 0 to 1, over body points that both see (as COCO's OKS)."""
    sure = (before.confidences[BODY] > _SURE) & (now.confidences[BODY] > _SURE)
    scale = _KEYPOINT_SCALE * np.sqrt(max(before.area, now.area))
    if not sure.any() or scale == 0:
        return 0.0
    distance = np.linalg.norm(before.keypoints[BODY] + shift - now.keypoints[BODY], axis=-1)
    return float(np.exp(-0.5 * (distance[sure] / scale) ** 2).mean())


def _weight(track: _Track, frames: Sequence[Sequence[Person]], size: Size) -> float:
    """Return the sum over frames of area x score x centrality."""
    total = 0.0
    for frame, index in track.members:
        person = frames[frame][index]
        off_centre = min(1.0, abs(float(_centre(person.box)[0]) / size.width_px - 0.5) * 2)
        total += person.area * person.box_score * (1 - 0.5 * off_centre)
    return total


def _centre(box: Float[np.ndarray, "4"]) -> Float[np.ndarray, "2"]:
    return np.asarray(box[:2] + box[2:], dtype=np.float64) / 2
