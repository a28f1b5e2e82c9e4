"""Work done ahead in a thread, so that reading and resizing go on while a model runs."""

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")

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


def _drain(values: Queue[T | _End]) -> None:
    try:
        while True:
            values.get_nowait()
    except Empty:
        return
