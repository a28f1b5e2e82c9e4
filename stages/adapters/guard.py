"""Which pages of a browser may ask a server of ours: those that it serves itself.

A page of any origin may send requests to 127.0.0.1, and a name that its owner lets point there makes such a
page look like one of the server's own. The first is told by the header ``Origin``, the second by ``Host``.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

LOOPBACK_NAMES = ("127.0.0.1", "localhost")
_Message = MutableMapping[str, Any]
_App = Callable[[_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Any]


def loopback_hosts(port: int) -> list[str]:
    """What a browser on this machine calls a server at a port: the values of ``Host`` that are right."""
    return [f"{name}:{port}" for name in LOOPBACK_NAMES]


class Guard:
    """An ASGI application that answers requests for itself and from its own pages, and 403 to others.

    Args:
        app: the application.
        hosts: ``name:port`` of every address that it is reached at.

    Raises:
        ValueError: there is no host, so that nobody could be answered.
    """

    def __init__(self, app: _App, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = {host.strip().lower() for host in hosts} - {""}
        if not self._hosts:
            raise ValueError("no host is named at which the server is reached")

    async def __call__(
        self, scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Any]
    ) -> None:
        """Answer one request, as ASGI says."""
        wrong = self._refusal(scope["headers"]) if scope["type"] in ("http", "websocket") else None
        if wrong is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            plain = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": plain})
            await send({"type": "http.response.body", "body": f"{wrong}\n".encode()})

    def _refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Why a request is refused, if it is."""
        given: dict[str, list[str]] = {}
        for name, value in headers:
            given.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1").lower())
        if any(host not in self._hosts for host in given.get("host", [""])):
            return (
                "This server is not reached by that name (header Host). Through an SSH tunnel give both "
                "sides the same port, and open 127.0.0.1 with it."
            )
        origins = given.get("origin", [])
        if any(origin.partition("://")[2] not in self._hosts for origin in origins):
            return "Pages of another address may not ask this server (header Origin)."
        # A browser says no origin of what it only loads, such as a script; a person's click stays allowed.
        elsewhere = {*given.get("sec-fetch-site", [])} & {"cross-site", "same-site"}
        if elsewhere and not origins and given.get("sec-fetch-dest") != ["document"]:
            return "Pages of another address may not load from this server (header Sec-Fetch-Site)."
        return None
