"""Work ahead keeps order, stays bounded, hands errors over and stops with its consumer."""

import threading
import time

import pytest

from mimicmotion.video.ahead import ahead, prefetched


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


def test_results_come_in_order_though_made_at_once():
    def slow_first(n):
        time.sleep(0.05 if n == 0 else 0)
        return n * n

    assert list(prefetched(slow_first, range(20), threads=4, ahead=6)) == [n * n for n in range(20)]


def test_no_more_is_made_than_asked_for_ahead():
    made = []
    results = prefetched(made.append, range(100), threads=2, ahead=3)
    next(results)
    results.close()
    assert len(made) <= 4


def test_an_error_comes_where_its_result_would_have():
    def fail_at_two(n):
        if n == 2:
            raise RuntimeError("two")
        return n

    results = prefetched(fail_at_two, range(5), threads=2, ahead=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(RuntimeError, match="two"):
        next(results)


def test_threads_end_when_the_iteration_is_given_up():
    results = prefetched(lambda n: n, range(100), threads=3, ahead=5)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
