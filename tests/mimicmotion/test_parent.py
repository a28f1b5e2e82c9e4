import os
import subprocess
import sys
import time

import psutil
import pytest

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.readline()
"""
CHILD = """
import time
from mimicmotion.parent import end_with_parent
{call}
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")
@pytest.mark.parametrize("asks", [True, False])
def test_a_child_ends_when_its_parent_is_killed_if_it_asked_for_that(asks):
    child = CHILD.format(call="end_with_parent()" if asks else "")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    end_s = time.monotonic() + (30 if asks else 0.5)
    while _runs(pid) and time.monotonic() < end_s:
        time.sleep(0.05)
    left = _runs(pid)
    if left:
        os.kill(pid, 9)
    assert left == (not asks)


def _runs(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
