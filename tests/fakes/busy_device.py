"""A device that works on one thing at a time, for a fixed time, as a GPU does, and notes when it did."""

import time
from threading import Lock


class BusyDevice:
    """Does nothing for as long as it is asked to."""

    def __init__(self):
        self._worked, self._turn = [], Lock()

    def work(self, seconds):
        with self._turn:
            begin = time.monotonic()
            time.sleep(seconds)
            self._worked.append((begin, time.monotonic()))

    @property
    def idle(self):
        """Share of the time from its first to its last work in which it had nothing to do."""
        begin, end = self._worked[0][0], self._worked[-1][1]
        return 1 - sum(last - first for first, last in self._worked) / (end - begin)
