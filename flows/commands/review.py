"""The command ``review``: one local page on which a person accepts or rejects every window by a key.

``mimicmotion review configs/demo.yaml``

The page answers on this machine only, to whoever has the address with its token, and to its own pages.
"""

import getpass
import secrets
import shlex
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.processes import LOOPBACK, check_port
from flows.commands.run import Config, Overrides
from flows.terminal import Terminal
from mimicmotion.errors import InputError, MimicMotionError
from stages.adapters.guard import Guard, loopback_hosts
from stages.engine.config import load_config
from stages.engine.plan import StageGraph
from stages.engine.storage.workspace import is_remote
from stages.parts.reviewing import Review

if TYPE_CHECKING:
    from fastapi import FastAPI

LIST_FILE = "review.csv"
_COOKIE = "mimicmotion_review"
_POLICY = "default-src 'self' 'unsafe-inline'; img-src data:; frame-ancestors 'none'"


def review(
    config: Config,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option("--list", help="The list to write; else clips.review, or one in the workspace."),
    ] = None,
    who: Annotated[str | None, typer.Option(help="Who decides; else the name of this user.")] = None,
    port: Annotated[int, typer.Option(help="Port of the page.")] = 5050,
) -> None:
    """Show every window with its film, pose and numbers, until Ctrl-C; each decision is written at once.

    `clips.review` reads the list: what was rejected is not used, what was accepted is, in spite of limits.
    """
    import uvicorn

    settings = load_config(config, overrides or [])
    check_port(port, "--port")
    graph = StageGraph(settings)
    stage: Any = graph.stage("clips")
    place = out or stage.review
    if place is None:
        if is_remote(settings.workspace):
            raise InputError(f"workspace {settings.workspace} is not a local folder: give --list FILE.")
        place = Path(settings.workspace) / LIST_FILE
    clips = graph.result("clips")
    token = secrets.token_urlsafe(32)
    with TemporaryDirectory() as films:
        read = (clips, graph.read_by(clips), place, who or getpass.getuser(), Path(films))
        shown = Review(*read, stage.opened_calibration())
        app = review_app(shown, token)
        console = Terminal()
        console.lines(f"{len(shown.windows)} windows: http://{LOOPBACK}:{port}/?token={token}")
        then = f"{settings.command('stage clips')} --set {shlex.quote(f'clips.review={place.absolute()}')}"
        console.lines(f"decisions: {place}; then: {then}")
        uvicorn.run(Guard(app, loopback_hosts(port)), host=LOOPBACK, port=port, log_level="warning")


def review_app(shown: Review, token: str) -> "FastAPI":
    """The application; it answers who has the token, which the page's first address brings into a cookie."""
    from fastapi import FastAPI, Request
    from starlette.responses import (
        FileResponse,
        HTMLResponse,
        JSONResponse,
        PlainTextResponse,
        RedirectResponse,
        Response,
    )

    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def known(request: Request, answer: Callable[[Request], Awaitable[Any]]) -> Response:
        given = request.query_params.get("token", "")
        if request.url.path == "/" and secrets.compare_digest(given.encode(), token.encode()):
            entered = RedirectResponse("/", status_code=303)
            entered.set_cookie(_COOKIE, token, httponly=True, samesite="strict")
            return entered
        if not secrets.compare_digest(request.cookies.get(_COOKIE, "").encode(), token.encode()):
            return PlainTextResponse("Open the address that the command printed, with its token.", 401)
        response: Response = await answer(request)
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(shown.page())

    @app.get("/windows")
    def windows() -> JSONResponse:
        return JSONResponse(shown.told())

    @app.get("/film/{number}")
    def film(number: int) -> Response:
        try:
            return FileResponse(shown.film(number), media_type="video/mp4")
        except MimicMotionError as error:
            return PlainTextResponse(str(error), 404)

    @app.post("/decide")
    def decide(asked: dict[str, Any]) -> Response:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            return JSONResponse(shown.decide(asked.get("number"), asked.get("decision"), now))
        except MimicMotionError as error:
            return PlainTextResponse(str(error), 400)
        except OSError as error:
            return PlainTextResponse(f"{shown.place}: {error.strerror or error}", 500)

    return app
