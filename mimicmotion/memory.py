"""Memory of freed frames, given back to the system."""

import ctypes
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_CHUNKS = 4


def giving_back(chunks: Iterable[T]) -> Iterator[T]:
    """The same chunks of frames; every now and then the allocator gives back what freed ones leave.

    In glibc's heap the small things that stay, such as keypoints, are put into the holes that frames leave,
    so that the next frame does not fit and the heap grows. Other allocators have no such call.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    for number, chunk in enumerate(chunks, start=1):
        yield chunk
        if trim is not None and number % _CHUNKS == 0:
            trim(0)
