"""A process that ends with the one that started it; as a program it becomes the command it is given."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Let Linux signal this process when the thread that started it ends, be it by kill -9; see prctl(2).

    Elsewhere nothing happens. The signal is not handed down: children have to ask for themselves.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


if __name__ == "__main__":
    # SIGTERM, so that a server ends what it has started itself.
    end_with_parent(signal.SIGTERM)
    os.execv(sys.argv[1], sys.argv[1:])
