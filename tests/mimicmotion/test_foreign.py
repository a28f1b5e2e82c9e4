"""Messages of other libraries, as they were seen."""

import errno

import pytest

from mimicmotion.foreign import says_disk_full, says_lost_peer, says_out_of_memory, says_slow_start

SEEN = [
    (says_disk_full, OSError("Error writing bytes to file. Detail: [errno 28] No space left on device")),
    (says_disk_full, OSError(errno.EDQUOT, "Disk quota exceeded")),
    (says_out_of_memory, RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
    (
        says_out_of_memory,
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    ),
    (says_out_of_memory, RuntimeError("CUDA error: out of memory")),
    (says_out_of_memory, RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED.")),
    (
        says_lost_peer,
        RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"),
    ),
    (says_slow_start, Exception("The current node timed out during startup.")),
]


@pytest.mark.parametrize(("says", "error"), SEEN)
def test_a_message_is_known_by_one_function_alone(says, error) -> None:
    every = (says_disk_full, says_lost_peer, says_out_of_memory, says_slow_start)
    assert [one for one in every if one(error)] == [says]


def test_other_messages_mean_nothing() -> None:
    error = RuntimeError("shapes cannot be multiplied")
    every = (says_disk_full, says_lost_peer, says_out_of_memory, says_slow_start)
    assert not any(says(error) for says in every)


def test_the_words_of_memory_count_in_runtime_errors_only() -> None:
    assert not says_out_of_memory(ValueError("CUDA error: out of memory"))
