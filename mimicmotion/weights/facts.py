"""What a checkpoint brings beside its weights: JSON texts, as files of a folder or metadata of a file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from mimicmotion.errors import WeightsError


def told_by(path: Path) -> dict[str, str]:
    """JSON texts by file name that a checkpoint brings: how poses are drawn, and the form of its clips.

    They are files of a folder, or metadata of a ``.safetensors`` file; a ``.pth`` file has no place for them.

    Raises:
        WeightsError: a ``.safetensors`` file is none, or a JSON file is no text in UTF-8.
    """
    if path.is_dir():
        files = [file for file in path.glob("*.json") if file.name != "model_index.json"]
        return {file.name: _read(file) for file in files}
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, "np") as opened:
            metadata: Mapping[str, str] = opened.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(f"{path} is no safetensors file: {error}") from error
    return {name: text for name, text in metadata.items() if name.endswith(".json")}


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise WeightsError(
            f"{file} is no text in UTF-8 ({error}): save it so, or take it out of this folder"
        ) from error
