"""TorchScript files of a test's own, which the operator trusts."""

import hashlib
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from mimicmotion.weights.scripts import TRUST_VARIABLE


def save_script(network: nn.Module, path: Path) -> str:
    """Write a network with its code; gives the sha256."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(network).save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save_trusted(network: nn.Module, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a network with its code, and trust it."""
    monkeypatch.setenv(TRUST_VARIABLE, f"{'0' * 64}, {save_script(network, path)}")
