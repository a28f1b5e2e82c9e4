"""Which TorchScript files may run: a network with its code may do what a program may, such as write files."""

import os
import zipfile
from pathlib import Path

from mimicmotion.errors import WeightsError
from mimicmotion.weights.fetching import file_digest
from mimicmotion.weights.known import all_known

TRUST_VARIABLE = "MIMICMOTION_TRUSTED_SCRIPTS"
"""Environment variable with sha256 of further files, by commas: trust is the operator's, not a config's."""


def is_torchscript(path: Path) -> bool:
    """Whether a file holds a network together with its code."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def check_script(path: Path) -> None:
    """Make sure that a file is no TorchScript, or a published one, or one that the operator trusts.

    Raises:
        WeightsError: it is neither; says how to trust it.
    """
    if not is_torchscript(path):
        return
    digest = file_digest(path)
    published = {known.sha256 for weights in all_known() for known in weights.files}
    if digest not in published | set(os.environ.get(TRUST_VARIABLE, "").replace(" ", "").split(",")):
        raise WeightsError(
            f"{path} is TorchScript, a program that may do anything here, and its sha256 {digest} is that of "
            "no published network. Take a file of tensors (.safetensors, .pth) where one can be used. If "
            f"you trust where it comes from, set the environment variable {TRUST_VARIABLE}={digest}."
        )
