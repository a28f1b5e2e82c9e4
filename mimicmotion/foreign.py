"""What other libraries say in the text of an error alone, having no class for it.

The only place that looks into messages which are not ours; each text has a test.
"""

import errno
from typing import Final

_DISK_FULL: Final = ("No space left on device",)
"""FFmpeg's, Arrow's and OpenCV's words for ENOSPC where they drop the number."""
_OUT_OF_MEMORY: Final = (
    "can't allocate memory",  # torch's allocator for the host
    "CUDA out of memory",  # torch's allocator for a GPU, where torch's own type is not at hand
    "CUDA error: out of memory",  # what CUDA allocates by itself: pinned memory, events, kernels
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    # A convolution is not supported, or has no engine, when no plan's workspace fits.
    "CUDNN_STATUS_NOT_SUPPORTED",
    "unable to find an engine to execute this computation",
)
"""Texts of torch's plain RuntimeErrors; those of its allocator for CUDA have a type of their own."""
_LOST_PEER: Final = ("/gloo/",)
"""gloo has no type of its own for a worker that is gone; its messages name its source files."""
_SLOW_START: Final = ("timed out",)
"""What Ray says where its processes did not come up in time."""


def _says(error: BaseException, texts: tuple[str, ...]) -> bool:
    said = str(error).lower()
    return any(text.lower() in said for text in texts)


def says_disk_full(error: BaseException) -> bool:
    """Whether this error tells of a full disk, or of a quota that is used up."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _says(error, _DISK_FULL)


def says_out_of_memory(error: BaseException) -> bool:
    """Whether this RuntimeError's text tells that a device or the host has no memory left."""
    return isinstance(error, RuntimeError) and _says(error, _OUT_OF_MEMORY)


def says_lost_peer(error: BaseException) -> bool:
    """Whether this error's text tells that another worker of the group is gone."""
    return _says(error, _LOST_PEER)


def says_slow_start(error: BaseException) -> bool:
    """Whether this error's text tells that Ray did not come up in time."""
    return _says(error, _SLOW_START)
