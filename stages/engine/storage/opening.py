"""Opens the workspace at an address: a local folder, or a prefix of an object store."""

import hashlib
import os
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from mimicmotion.errors import InputError, redacted
from stages.engine.storage.object_workspace import ObjectWorkspace
from stages.engine.storage.workspace import (
    CACHE_VARIABLE,
    LocalWorkspace,
    Workspace,
    is_remote,
    local_path,
)


def open_workspace(uri: str) -> Workspace:
    """The workspace at a local folder, or at a URI such as ``s3://bucket/prefix?endpoint_override=...``.

    Raises:
        InputError: the URI cannot be opened.
    """
    if not is_remote(uri):
        return LocalWorkspace(Path(local_path(uri)).absolute())
    try:
        files, prefix = pafs.FileSystem.from_uri(_with_single_puts(uri))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"workspace {redacted(uri)}: cannot be opened ({redacted(error)})") from error
    default = Path.home() / ".cache" / "mimicmotion"
    cache = Path(os.environ.get(CACHE_VARIABLE, default)) / hashlib.sha256(uri.encode()).hexdigest()[:16]
    return ObjectWorkspace(uri, files, prefix, cache)


def _with_single_puts(uri: str) -> str:
    """The URI with Arrow's option to store a small file in one PUT instead of a multipart upload."""
    if urlsplit(uri).scheme != "s3" or "allow_delayed_open=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"
