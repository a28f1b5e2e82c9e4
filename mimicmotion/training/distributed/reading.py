"""Torch's distributed checkpoints, read without running what their files hold.

Torch keeps the places of tensors in ``.metadata``, a pickle, and unpickles it whole.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from mimicmotion.errors import DataError

_METADATA = "torch.distributed.checkpoint.metadata"
_CLASSES = ("Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata", "ChunkStorageMetadata",
            "TensorProperties", "_MEM_FORMAT_ENCODING")  # fmt: skip
ALLOWED = {
    *((_METADATA, name) for name in _CLASSES),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),
}
"""What the metadata of tensors names, besides kinds of numbers; not bytes, which torch unpickles later."""
_FILE_NAME = re.compile(r"\w+\.distcp")


class TensorsReader(FileSystemReader):
    """Reads a checkpoint that holds tensors alone; the argument is its folder."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Names, shapes and places of the tensors.

        Raises:
            DataError: the metadata is missing or damaged, or holds something else.
        """
        path = Path(self.path) / ".metadata"
        try:
            with path.open("rb") as file:
                metadata = _MetadataUnpickler(file).load()
        except DataError:
            raise
        except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
            raise _refused(path, f"cannot be read ({type(error).__name__}: {error})") from error
        _check(metadata, path)
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata

    def tensors(self) -> dict[str, TensorStorageMetadata]:
        """Shape and kind of each tensor by name; raises as ``read_metadata`` does."""
        stored = self.read_metadata().state_dict_metadata
        return {name: value for name, value in stored.items() if isinstance(value, TensorStorageMetadata)}


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not is_dtype and (module, name) not in ALLOWED:
            raise DataError(
                f"the metadata of a checkpoint names {module}.{name}, which no checkpoint of training does; "
                "it was not opened. Do not trust where it comes from; remove the checkpoint."
            )
        return super().find_class(module, name)


def _check(metadata: Any, path: Path) -> None:
    if not isinstance(metadata, Metadata) or not isinstance(metadata.storage_data, dict):
        raise _refused(path, "is no metadata of a checkpoint")
    tensors = metadata.state_dict_metadata
    if not all(isinstance(value, TensorStorageMetadata) for value in tensors.values()):
        raise _refused(path, "holds something else than tensors")
    for place in metadata.storage_data.values():
        if not _FILE_NAME.fullmatch(str(place.relative_path)) or place.transform_descriptors:
            raise _refused(path, f"names a file outside of the checkpoint ({place.relative_path!r})")


def _refused(path: Path, why: str) -> DataError:
    return DataError(f"{path} {why}: the checkpoint is damaged; remove its folder to go on from an older one")
