"""Work done ahead of time in threads, delivered in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def prefetched(
    make: Callable[[Given], Made], given: Iterable[Given], threads: int, ahead: int
) -> Iterator[Made]:
    """Yield ``make(x)`` for each x in order, up to ``ahead`` of them made before they are asked for.

    An error of ``make`` is raised where its result would have come. Decoding, resizing and drawing let go
    of Python's lock, so threads do; they share the page cache and leave nothing behind when killed.
    """
    rest = iter(given)
    with ThreadPoolExecutor(threads, thread_name_prefix="samples") as pool:
        waiting: deque[Future[Made]] = deque(pool.submit(make, x) for x in islice(rest, ahead))
        try:
            while waiting:
                made = waiting.popleft().result()
                waiting.extend(pool.submit(make, x) for x in islice(rest, 1))
                yield made
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
