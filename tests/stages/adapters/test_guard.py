"""A server of ours answers its own pages and clients, whatever a foreign page sends."""

import asyncio
from typing import Any

import pytest

from stages.adapters.guard import Guard, loopback_hosts

OWN = loopback_hosts(4200)


def status(kind: str = "http", hosts: list[str] = OWN, **headers: str) -> int:
    """What a request with headers is answered; 200 where it reaches the application."""
    sent: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    asyncio.run(Guard(app, hosts)({"type": kind, "headers": given}, None, send))
    return sent[0].get("status", sent[0].get("code"))


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:4200", "LOCALHOST:4200"])
def test_clients_and_own_pages_are_answered(host: str) -> None:
    assert status(host=host) == 200
    assert status(host=host, origin="http://localhost:4200") == 200
    assert status(host=host, origin="http://127.0.0.1:4200", sec_fetch_site="cross-site") == 200
    assert status(host=host, sec_fetch_site="same-origin", sec_fetch_dest="image") == 200


@pytest.mark.parametrize(
    "host", ["evil.example:4200", "127.0.0.1", "127.0.0.1:4201", "10.evil.example", "", "127.0.0.1:4200.evil"]
)
def test_other_names_for_this_machine_are_refused(host: str) -> None:
    assert status(host=host) == 403
    assert status("websocket", host=host) == 1008


def test_a_request_without_a_name_is_refused() -> None:
    assert status() == 403


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://127.0.0.1:3000", "null", "http://localhost:4200.evil.example", "file://",
     "http://x@localhost:4200", "http://["],
)  # fmt: skip
def test_pages_of_another_address_are_refused(origin: str) -> None:
    assert status(host=OWN[0], origin=origin) == 403
    assert status("websocket", host=OWN[0], origin=origin) == 1008


def test_what_foreign_pages_load_is_refused_and_a_link_is_not() -> None:
    assert status(host=OWN[0], sec_fetch_site="cross-site", sec_fetch_dest="script") == 403
    assert status(host=OWN[0], sec_fetch_site="same-site", sec_fetch_dest="iframe") == 403
    assert status(host=OWN[0], sec_fetch_site="cross-site", sec_fetch_dest="document") == 200


def test_what_is_no_request_passes() -> None:
    assert status("lifespan") == 200


def test_a_server_without_an_address_does_not_start() -> None:
    with pytest.raises(ValueError, match="no host is named"):
        Guard(None, [" ", ""])
