"""Memory of freed frames, given back to the system."""

import ctypes
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_MMAP_THRESHOLD = -3
_FRAME_BYTES, _MOST_BYTES = 1 << 20, 32 << 20


def giving_back(chunks: Iterable[T]) -> Iterator[T]:
    """The same chunks of frames; while they pass, the allocator gives back each large array as it is freed.

    By itself glibc does so only with arrays larger than any that was freed before. Frames then lie in the
    heap, where small things that stay, such as keypoints, fill the holes that frames leave, and it grows.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda option, value: 0)
    mallopt(_MMAP_THRESHOLD, _FRAME_BYTES)
    try:
        yield from chunks
    finally:
        mallopt(_MMAP_THRESHOLD, _MOST_BYTES)
