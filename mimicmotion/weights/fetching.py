"""Downloads that go on where they stopped, and count only when their content is right."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx

from mimicmotion.errors import InputError, WeightsError

_TIMEOUT_S = 30.0
_REFUSED = (401, 403)

Progress = Callable[[int, int | None], None]
"""Told how many bytes are there, and of how many (None: unknown)."""


def fetch_file(
    url: str,
    target: Path,
    sha256: str | None,
    progress: Progress,
    token: str | None = None,
    client: httpx.Client | None = None,
) -> None:
    """Download a file to ``target``; what an earlier, stopped download left in ``target.part`` is used.

    Args:
        url: where it is.
        target: where it belongs; not touched before the download is whole and right.
        sha256: of the whole file; None where nobody knows it.
        progress: told of every block.
        token: sent to the host of ``url`` only, never to one that it redirects to.
        client: for tests.

    Raises:
        InputError: the server refuses or cannot be reached.
        WeightsError: the content is not what it should be; the partial file is deleted.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with client or httpx.Client(follow_redirects=True, timeout=_TIMEOUT_S) as session:
        try:
            _download(session, url, part, progress, token)
        except httpx.HTTPError as error:
            raise InputError(
                f"{url}: {error or type(error).__name__}. What came so far is kept; fetch again to go on."
            ) from error
    if sha256 is not None:
        found = file_digest(part)
        if found != sha256:
            part.unlink()
            raise WeightsError(f"{url}: has sha256 {found}, expected {sha256}. The download was deleted.")
    part.replace(target)


def file_digest(path: Path) -> str:
    """Sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(session: httpx.Client, url: str, part: Path, progress: Progress, token: str | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    with session.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it is here already
        if response.status_code in _REFUSED:
            raise InputError(
                f"{url}: refused ({response.status_code}). Gated weights need consent on their page, then a "
                "token in the variable HF_TOKEN."
            )
        if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            raise InputError(f"{url}: the server answers {response.status_code}.")
        goes_on = response.status_code == httpx.codes.PARTIAL_CONTENT
        have = have if goes_on else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and "Content-Encoding" not in response.headers else None
        with part.open("ab" if goes_on else "wb") as file:
            for block in response.iter_bytes():
                file.write(block)
                have += len(block)
                progress(have, total)
    if total is not None and have != total:
        raise httpx.ReadError(f"the connection ended after {have} of {total} bytes")
