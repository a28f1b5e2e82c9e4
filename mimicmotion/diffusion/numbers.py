"""Numbers of networks that are none: they would become black or grey pictures without a word."""

import torch
from torch import Tensor

from mimicmotion.errors import StageError


def check_finite(values: Tensor, what: str) -> Tensor:
    """Return the values of a network, if all of them are finite.

    Raises:
        StageError: some are infinite or no numbers; says what to try.
    """
    if bool(torch.isfinite(values).all()):
        return values
    wrong = int((~torch.isfinite(values)).sum())
    kind = str(values.dtype).removeprefix("torch.")
    raise StageError(
        f"{what}: {wrong} of {values.numel()} numbers are infinite or no numbers ({kind}). Use bfloat16 or "
        "float32 instead of float16, and check the weights by `mimicmotion weights verify`."
    )
