import threading
import time

import pytest

from mimicmotion.training.data.prefetch import prefetched


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
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("samples")]
