"""Kept windows joined to stretches, and stretches cut into clips of the lengths that other trainers take."""

from collections.abc import Iterator, Sequence


def pieces(frames: Sequence[int], num_frames: int | None, multiple: int) -> tuple[list[Sequence[int]], int]:
    """Clips laid end to end, each of ``multiple`` k + 1 frames, and how many frames are left over.

    Args:
        frames: of the stretch, in order.
        num_frames: most frames of a clip; None takes as many as there are.
        multiple: 4 for Wan's VAE, 8 for LTX's, 1 for any.
    """
    found, rest = list[Sequence[int]](), frames
    while len(rest) > multiple:
        most = len(rest) if num_frames is None else min(num_frames, len(rest))
        length = (most - 1) // multiple * multiple + 1
        if length <= multiple:
            break
        found.append(rest[:length])
        rest = rest[length:]
    return found, len(rest)


def joined(windows: Sequence[range]) -> Iterator[tuple[int, int, range]]:
    """First and end of each run of windows that overlap or follow on one another, with its frames.

    Frames go on in the beat of the first window, whatever the others' is.

    Args:
        windows: ranges of frames of one scene at one step, in the order of their first frames; the caller
            breaks where a window between two of them was not kept.
    """
    begin = 0
    for place in range(1, len(windows) + 1):
        if place < len(windows) and _goes_on(windows[place - 1], windows[place]):
            continue
        first, last = windows[begin], windows[place - 1]
        yield begin, place, range(first.start, last[-1] + 1, first.step)
        begin = place


def _goes_on(before: range, after: range) -> bool:
    return before.step == after.step and after.start <= before[-1] + before.step
