"""What people decided of windows: a list that ``mimicmotion review`` writes and ``clips.review`` reads.

A decision speaks of a stretch of a video and holds for every window that lies within it, whatever the form of
windows is by then. The last one that holds counts. A window that was accepted is kept in spite of limits that
a config sets; what has no limit, such as frames that do not decode, no decision overrules.
"""

import csv
import io
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from math import ceil, floor, inf, isclose
from pathlib import Path
from typing import Any, Final, Literal, get_args

from mimicmotion.clips.choosing import Candidate
from mimicmotion.clips.windows import Reject, spread
from mimicmotion.durable import write_file
from mimicmotion.errors import InputError
from mimicmotion.lists import read_list

Verdict = Literal["accept", "reject"]
REASON: Final = "review"
_TINY: Final = 1e-6


@dataclass(frozen=True)
class Decision:
    """One decision.

    Attributes:
        video_id: of which video.
        first_frame, last_frame: of which of its normalised frames, both counted.
        decision: accept or reject.
        who, when: who decided it, and when.
        source: name of the video, for people.
        fps: rate of those frames; None where a list says none: they are those of the films now.
    """

    video_id: str
    first_frame: int
    last_frame: int
    decision: Verdict
    who: str
    when: str
    source: str = ""
    fps: float | None = None

    def at(self, fps: float) -> "Decision":
        """The same, of the frames that are shown in that time at this rate."""
        if self.fps is None or isclose(self.fps, fps, rel_tol=1e-6):
            return self
        faster = fps / self.fps
        first, end = floor(self.first_frame * faster + _TINY), ceil((self.last_frame + 1) * faster - _TINY)
        return replace(self, first_frame=first, last_frame=max(first, end - 1), fps=fps)

    def holds(self, first: int, last: int) -> bool:
        """Whether these frames lie within the stretch."""
        return self.first_frame <= first and last <= self.last_frame


def read_review(path: Path) -> list[Decision]:
    """The decisions of a list, in their order.

    Raises:
        InputError: the list cannot be read, lacks a column, or a row is no decision; names the row.
    """
    names = [field.name for field in fields(Decision)]
    table = read_list(path, names)
    if missing := [name for name in names[:-2] if name not in table.column_names]:
        raise InputError(
            f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(table.column_names)}"
        )
    return [_decision(row, f"{path}: row {line}") for line, row in enumerate(table.to_pylist(), start=2)]


def _decision(row: dict[str, Any], where: str) -> Decision:
    first, last, decision = row["first_frame"], row["last_frame"], row["decision"]
    if decision not in get_args(Verdict):
        raise InputError(f"{where}: the decision is {decision!r}; allowed are {', '.join(get_args(Verdict))}")
    try:
        span = (int(first), int(last))
    except (TypeError, ValueError, OverflowError):
        span = (-1, -1)
    if not 0 <= span[0] <= span[1]:
        raise InputError(
            f"{where}: frames {first!r} to {last!r} are no stretch; write whole numbers from 0 on"
        )
    fps = row.get("fps") or None
    try:
        fps = fps and float(fps)
    except ValueError:
        fps = -1.0
    if fps is not None and not 0 < fps < inf:
        raise InputError(f"{where}: fps is {row['fps']!r}; write the rate of these frames, or nothing")
    source = row.get("source") or ""
    return Decision(row["video_id"], *span, decision, row["who"], row["when"], source, fps)


def write_review(path: Path, decisions: Iterable[Decision]) -> None:
    """Write the list, whole or not at all."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow([field.name for field in fields(Decision)])
    rows.writerows(astuple(one) for one in decisions)
    write_file(path, text.getvalue().encode())


def verdict(decisions: Sequence[Decision], first: int, last: int) -> Decision | None:
    """The last decision that holds for these frames of its video."""
    return next((one for one in reversed(decisions) if one.holds(first, last)), None)


def can_accept(reject: Reject | None, measured: bool) -> bool:
    """Whether a decision may keep a window that was rejected for this: a limit of the config decided."""
    return reject is None or (measured and bool(reject.limit))


def reviewed(
    candidates: Sequence[Candidate],
    decisions: Sequence[Decision],
    max_references: int,
    cuts: Sequence[int] = (),
) -> list[Candidate]:
    """The candidates of one video as people decided; one that they divide becomes several.

    Args:
        candidates: all of one video.
        decisions: of that video.
        max_references: most references that a window takes from its own frames; 0 where it may not.
        cuts: first frames of the video's scenes but the first; references are of the window's own scene.
    """
    if not decisions:
        return list(candidates)

    def scene(one: Candidate) -> int:
        return bisect(cuts, one.window.first)

    decided = [
        _decided(part, said, [one for one in candidates if scene(one) == scene(candidate)], max_references)
        for candidate in candidates
        for part, said in _divided(candidate, decisions)
    ]
    return [_referred(one, decisions, max_references) for one in decided]


def _referred(candidate: Candidate, decisions: Sequence[Decision], max_references: int) -> Candidate:
    """A candidate without references from stretches that were rejected."""
    if candidate.reject is not None:
        return candidate

    def allowed(frames: Iterable[int]) -> tuple[int, ...]:
        said = ((frame, verdict(decisions, frame, frame)) for frame in frames)
        return tuple(frame for frame, one in said if one is None or one.decision == "accept")

    window = candidate.window
    own = range(window.first, window.last + candidate.num_windows)
    references = allowed(candidate.references) or spread(allowed(own), max_references)
    if references:
        return replace(candidate, references=references)
    lost = "every frame that could be its reference lies in a stretch that was rejected"
    return candidate.rejected(Reject(REASON, "", lost))


def _divided(
    candidate: Candidate, decisions: Sequence[Decision]
) -> Iterator[tuple[Candidate, Decision | None]]:
    """Parts of a candidate of which one decision holds, or none."""
    window = candidate.window
    said = [
        verdict(decisions, window.first + later, window.last + later)
        for later in range(candidate.num_windows)
    ]
    begin = 0
    for place in range(1, len(said) + 1):
        if place == len(said) or said[place] is not said[begin]:
            first = replace(window, first=window.first + begin)
            yield replace(candidate, window=first, num_windows=place - begin), said[begin]
            begin = place


def _decided(
    candidate: Candidate, said: Decision | None, beside: Sequence[Candidate], max_references: int
) -> Candidate:
    if said is None or (candidate.reject is None) == (said.decision == "accept"):
        return candidate
    if said.decision == "reject":
        return candidate.rejected(Reject(REASON, "", f"{said.who} rejected it on {said.when}"))
    if not can_accept(candidate.reject, bool(candidate.measures)):
        return candidate
    alike = {frame for one in beside if one.fit == candidate.fit for frame in one.references}
    last = candidate.window.last + candidate.num_windows - 1
    frames = sorted(alike) or range(candidate.window.first, last + 1)
    return replace(candidate, reject=None, references=spread(frames, max_references))
