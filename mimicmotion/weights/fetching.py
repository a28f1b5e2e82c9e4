"""Downloads that go on where they stopped, and count only when their content is right."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from safetensors import SafetensorError, safe_open

from mimicmotion.durable import put_in_place
from mimicmotion.errors import InputError, WeightsError
from mimicmotion.names import is_hidden

_BEGIN_BYTES = 512
_PICKLED = (b"PK", b"\x80")  # as a zip archive, and of old versions of torch
_STARTS = {".pth": _PICKLED, ".pt": _PICKLED, ".bin": _PICKLED, ".onnx": (b"\x08",)}
_LOADED = {".json", ".safetensors", *_STARTS}
_GONE_ON_TO_THE_END = 416
_REFUSED = (401, 403)


def fetch_file(
    repository: str,
    file: str,
    target: Path,
    sha256: str | None,
    endpoint: str | None = None,
    revision: str | None = None,
) -> None:
    """Download a file to ``target``; what an earlier, stopped download left in ``target.part`` is used.

    A connection that breaks is taken up again five times. The token of HF_TOKEN, or of ``hf auth login``,
    goes by https to huggingface.co, or to the host of HF_ENDPOINT, alone. A terminal shows a bar.

    Args:
        repository: of huggingface.co, e.g. ``tencent/MimicMotion``.
        file: path inside it.
        target: where it belongs; not touched before the download is whole and right.
        sha256: of the whole file; None where nobody knows it.
        endpoint: a mirror; else the variable HF_ENDPOINT, else huggingface.co.
        revision: commit of the repository; else its newest.

    Raises:
        InputError: the server refuses or cannot be reached.
        WeightsError: the content is not what it should be; the partial file is deleted.
    """
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repository, file, revision=revision, endpoint=endpoint)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    _download(url, part)
    if sha256 is None:
        wrong = _wrong_content(part, target.suffix)
    else:
        found = file_digest(part)
        wrong = None if found == sha256 else f"has sha256 {found}, expected {sha256}"
    if wrong:
        part.unlink()
        raise WeightsError(f"{url}: {wrong}. The download was deleted.")
    put_in_place(part, target)


def file_digest(path: Path) -> str:
    """Sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong_content(path: Path, suffix: str) -> str | None:
    """Why a file cannot be of the kind that its name says, if it cannot: a page of a login, or a part."""
    with path.open("rb") as file:
        begin = file.read(_BEGIN_BYTES)
    if begin.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "is a page for a browser and no weight file"
    if begin.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS in place of the file: run `git lfs pull` where it was cloned"
    try:
        if suffix == ".json":
            json.loads(path.read_bytes())
        elif suffix == ".safetensors":
            with safe_open(path, "np"):
                pass  # its header fits its length
        elif (starts := _STARTS.get(suffix)) and not begin.startswith(starts):
            return f"is no {suffix} file"
    except (ValueError, RecursionError, SafetensorError) as error:
        return f"is no {suffix} file ({error})"
    return None


def wrong_weights(path: Path) -> str | None:
    """Why a file, or one of a folder, cannot be loaded, as far as its beginning tells; else None."""
    for file in [path] if path.is_file() else _weights_in(path):
        # A file of one's own may begin otherwise than those that are published.
        if wrong := _wrong_content(file, file.suffix if file.suffix in (".json", ".safetensors") else ""):
            return f"{file} {wrong}"
    return None


def _weights_in(folder: Path) -> Iterator[Path]:
    """Files of a folder that loading may open."""
    # Whole models in one file lie beside the parts of a pipeline, and variants beside a part.
    is_pipeline = (folder / "model_index.json").is_file()
    for file in sorted(folder.rglob("*")):
        place = file.relative_to(folder)
        is_spare = (is_pipeline and len(place.parts) == 1 and file.suffix != ".json") or ".fp16." in file.name
        if file.suffix in _LOADED and file.is_file() and not is_spare and not is_hidden(place):
            yield file


def _login(url: str) -> dict[str, str]:
    """The header with the token, for the host that it is of, and never in the clear."""
    from huggingface_hub import constants, get_token

    own, asked = urlsplit(constants.ENDPOINT), urlsplit(url)
    token = get_token() if asked.scheme == "https" and asked.netloc == own.netloc else None
    return {"Authorization": f"Bearer {token}"} if token else {}


def _download(url: str, part: Path) -> None:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get

    try:
        with part.open("ab") as file:
            # Its whole ``hf_hub_download`` begins anew after a stop.
            http_get(url, file, resume_size=file.tell(), headers=_login(url))
    except HfHubHTTPError as error:
        code = error.response.status_code
        if code in _REFUSED:
            raise InputError(
                f"{url}: refused ({code}). Gated weights need consent on their page, then a token in the "
                "variable HF_TOKEN."
            ) from error
        if code != _GONE_ON_TO_THE_END:  # else all of it is here already
            raise InputError(f"{url}: the server answers {code}.") from error
    except (OSError, httpx2.HTTPError) as error:
        raise InputError(
            f"{url}: {error or type(error).__name__}. What came so far is kept; fetch again to go on."
        ) from error
