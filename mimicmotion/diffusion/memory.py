"""Which errors mean that a device or the host has no memory left."""

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether this error means too little memory, so that a smaller piece of work may fit."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # torch's allocator for the host raises a plain RuntimeError.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
