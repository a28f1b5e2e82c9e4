"""Which errors mean that a device or the host has no memory left."""

from typing import Final

import torch

_SHORTAGES: Final = (
    "can't allocate memory",  # torch's allocator for the host
    "CUDA error: out of memory",  # what CUDA allocates by itself: pinned memory, events, kernels
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    # A convolution is not supported, or has no engine, when no plan's workspace fits.
    "CUDNN_STATUS_NOT_SUPPORTED",
    "unable to find an engine to execute this computation",
)
"""Texts of plain RuntimeErrors; those of torch's allocator for CUDA have a type of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether this error means too little memory, so that a smaller piece of work may fit."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SHORTAGES)
