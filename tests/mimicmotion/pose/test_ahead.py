"""Work ahead keeps order, stays bounded, hands errors over and stops with its consumer."""

import threading
import time

import pytest

from mimicmotion.pose.ahead import ahead


def test_values_come_in_order():
    assert list(ahead(range(100))) == list(range(100))


def test_the_source_runs_in_another_thread_and_not_too_far_ahead():
    seen, threads = [], set()

    def source():
        for value in range(20):
            seen.append(value)
            threads.add(threading.current_thread())
            yield value

    values = ahead(source(), depth=2)
    next(values)
    time.sleep(0.05)
    assert len(seen) <= 4
    assert list(values)[-1] == 19
    assert threading.current_thread() not in threads


def test_an_error_arrives_after_what_came_before_it():
    def source():
        yield 1
        raise ValueError("broken")

    values = ahead(source())
    assert next(values) == 1
    with pytest.raises(ValueError, match="broken"):
        next(values)


def test_the_source_ends_with_its_consumer():
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    values = ahead(ahead(source()))
    next(values)
    values.close()
    assert closed.wait(2)
