"""Interlaced frames made whole: one progressive frame for each, by FFmpeg's bwdif."""

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

import av
from av.filter import Graph

T = TypeVar("T")


def deinterlaced(frames: Iterable[tuple[T, av.VideoFrame]]) -> Iterator[tuple[T, av.VideoFrame]]:
    """The same number of frames in the same order, each with what came beside it.

    Frames that say they are interlaced are made progressive with the help of their neighbours; others pass
    as they are.

    Args:
        frames: each with anything beside it.
    """
    graph: Graph | None = None
    made_for: tuple[object, ...] = ()
    beside: deque[T] = deque()
    for number, (tag, frame) in enumerate(frames):
        if graph is None and not frame.interlaced_frame:
            yield tag, frame
            continue
        kind = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if graph is None or kind != made_for:
            if graph is not None:
                graph.push(None)
                yield from _pulled(graph, beside)
            graph, made_for = _graph(frame), kind
        beside.append(tag)
        frame.pts, frame.time_base = number, Fraction(1, 25)
        graph.push(frame)
        yield from _pulled(graph, beside)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph, beside)


def _graph(frame: av.VideoFrame) -> Graph:
    graph = Graph()
    entry = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    # One frame a frame; what is progressive in between is left alone.
    graph.link_nodes(
        entry, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
    ).configure()
    return graph


def _pulled(graph: Graph, beside: deque[T]) -> Iterator[tuple[T, av.VideoFrame]]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield beside.popleft(), frame
