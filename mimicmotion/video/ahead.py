"""Work done ahead of time in threads and delivered in order, so that no device waits for the host."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")
Given = TypeVar("Given")
Made = TypeVar("Made")

_PATIENCE_S = 0.1


class _End:
    """Marks that the source ended, and with which error."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(source: Iterable[T], depth: int = 1) -> Iterator[T]:
    """Yield the values of ``source``, which runs in a thread of its own and at most ``depth`` values ahead.

    An error in the source is raised here, in its place. When the consumer stops early, so does the source.
    """
    values: Queue[T | _End] = Queue(maxsize=depth)
    stopped = threading.Event()

    def put(value: T | _End) -> None:
        while not stopped.is_set():
            try:
                values.put(value, timeout=_PATIENCE_S)
            except Full:
                continue
            return

    def work() -> None:
        iterator = iter(source)
        try:
            for value in iterator:
                put(value)
                if stopped.is_set():
                    break
        except BaseException as error:  # handed over to the consumer, whatever it is
            put(_End(error))
        else:
            put(_End(None))
        finally:
            # A generator that is left in the middle frees what it holds in the thread that ran it.
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            value = values.get()
            if isinstance(value, _End):
                if value.error is not None:
                    raise value.error
                return
            yield value
    finally:
        stopped.set()
        _drain(values)
        thread.join()


def prefetched(
    make: Callable[[Given], Made], given: Iterable[Given], threads: int, ahead: int
) -> Iterator[Made]:
    """Yield ``make(x)`` for each x in order, up to ``ahead`` of them made before they are asked for.

    An error of ``make`` is raised where its result would have come. Decoding, resizing and drawing let go
    of Python's lock, so threads do; they share the page cache and leave nothing behind when killed.
    """
    rest = iter(given)
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        waiting: deque[Future[Made]] = deque(pool.submit(make, x) for x in islice(rest, ahead))
        try:
            while waiting:
                made = waiting.popleft().result()
                waiting.extend(pool.submit(make, x) for x in islice(rest, 1))
                yield made
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _drain(values: Queue[T | _End]) -> None:
    try:
        while True:
            values.get_nowait()
    except Empty:
        return
