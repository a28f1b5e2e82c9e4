"""Downloads that go on where they stopped, and count only when their content is right."""

import hashlib
from pathlib import Path

from mimicmotion.durable import put_in_place
from mimicmotion.errors import InputError, WeightsError

_GONE_ON_TO_THE_END = 416
_REFUSED = (401, 403)


def fetch_file(
    repository: str, file: str, target: Path, sha256: str | None, endpoint: str | None = None
) -> None:
    """Download a file to ``target``; what an earlier, stopped download left in ``target.part`` is used.

    A connection that breaks is taken up again five times. The token of HF_TOKEN, or of ``hf auth login``,
    goes to the endpoint alone. A terminal shows a bar.

    Args:
        repository: of huggingface.co, e.g. ``tencent/MimicMotion``.
        file: path inside it.
        target: where it belongs; not touched before the download is whole and right.
        sha256: of the whole file; None where nobody knows it.
        endpoint: a mirror; else the variable HF_ENDPOINT, else huggingface.co.

    Raises:
        InputError: the server refuses or cannot be reached.
        WeightsError: the content is not what it should be; the partial file is deleted.
    """
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repository, file, endpoint=endpoint)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    _download(url, part)
    if sha256 is not None:
        found = file_digest(part)
        if found != sha256:
            part.unlink()
            raise WeightsError(f"{url}: has sha256 {found}, expected {sha256}. The download was deleted.")
    put_in_place(part, target)


def file_digest(path: Path) -> str:
    """Sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url: str, part: Path) -> None:
    import httpx2
    from huggingface_hub import get_token
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get

    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with part.open("ab") as file:
            # Its whole ``hf_hub_download`` begins anew after a stop.
            http_get(url, file, resume_size=file.tell(), headers=headers)
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
