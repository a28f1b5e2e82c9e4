"""Which errors mean that a device or the host has no memory left."""

import torch

from mimicmotion.foreign import says_out_of_memory


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether this error means too little memory, so that a smaller piece of work may fit."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or says_out_of_memory(error)
