"""Tensors of weight files, and a strict way into a network: all or an error that lists what does not fit."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar
from zipfile import is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mimicmotion.errors import WeightsError

Network = TypeVar("Network", bound=nn.Module)

_NUM_LISTED = 20


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` or ``.pth`` / ``.pt`` / ``.bin`` file by name, on the host.

    Pickled files are read with ``weights_only``: a file with anything but tensors is refused. Those of torch
    before 1.6 are no archive, and are read whole.

    Raises:
        WeightsError: no such file, another kind of file, or one that cannot be read.
    """
    if not path.is_file():
        raise WeightsError(f"no weight file at {path}")
    if path.suffix not in (".safetensors", ".pth", ".pt", ".bin"):
        raise WeightsError(f"{path} is no weight file; allowed are .safetensors, .pth, .pt and .bin")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a protocol that torch itself does not write
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except UnpicklingError as error:
        raise WeightsError(f"{path} holds something else than tensors and was not opened: {error}") from error
    except Exception as error:  # torch's unpickler meets damage with whatever comes up
        raise WeightsError(f"{path} cannot be read as weights: {error}") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise WeightsError(f"{path} does not hold tensors by name; a released checkpoint does")
    return tensors


def fill_strictly(network: Network, tensors: Mapping[str, Tensor], source: str) -> Network:
    """Return the network with exactly these tensors; it may have been built on the meta device.

    Raises:
        WeightsError: tensors are missing, unexpected or of another shape; all are listed at once.
    """
    problems = list(_differences(network.state_dict(), tensors))
    if problems:
        raise WeightsError(
            f"the weights of {source} do not fit {type(network).__name__}: {'; '.join(problems)}. "
            "The config and the weights belong to different networks, or the file is incomplete."
        )
    network.load_state_dict(tensors, strict=True, assign=True)
    return network


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterable[str]:
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    misshapen = [
        f"{name} is {tuple(found[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    for title, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen)):
        if names:
            rest = len(names) - _NUM_LISTED
            listed = ", ".join(names[:_NUM_LISTED]) + (f" and {rest} more" if rest > 0 else "")
            yield f"{len(names)} {title}: {listed}"
