"""The page as an ASGI application: who may ask, what is answered, and what browsers may do with it.

The address begins with a secret, so that no other page, process of another user or rebound name can
ask; everything the page needs lies under it, and no cookie is set.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langchain_logprobs.core.heat import DARK, DARK_INK, LIGHT, LIGHT_INK, ramp
from langchain_logprobs.store.query import Query
from langchain_logprobs.store.reader import StoredRuns
from langchain_logprobs.store.schema import StoreError
from langchain_logprobs.viewer import answers

STATIC = Path(__file__).with_name("static")
POLL_SECONDS = 0.5
"""How often to look for new runs."""
_BEAT_SECONDS = 15.0
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",  # the address holds the secret
    "x-content-type-options": "nosniff",
}
_NAMES = ("127.0.0.1", "localhost", "[::1]")


def create_app(path: Path, token: str, stopping: threading.Event | None = None) -> Starlette:
    """The application.

    Args:
        path: The store.
        token: The secret that addresses begin with.
        stopping: Ends the answers that would go on for as long as a page is open.
    """
    page = [
        Route("/", _index),
        Route("/colours.css", _colours),
        Route("/api/choices", _json(path, lambda stored, _: answers.choices(stored))),
        Route("/api/runs", _json(path, _runs)),
        Route("/api/runs/{run_id}", _json(path, _run)),
        Route("/api/runs/{run_id}/trace", _json(path, _trace)),
        Route("/api/trend", _json(path, lambda stored, of: answers.trend(stored, _query(of)))),
        Route("/api/live", _live(path, stopping or threading.Event())),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    app = Starlette(
        routes=[
            Route(f"/{token}", lambda _: RedirectResponse(f"/{token}/")),
            Mount(f"/{token}", routes=page),
        ],
        exception_handlers={404: _not_found},
    )
    app.add_middleware(Guard, token=token)
    return app


class Guard:
    """Lets through what comes from this machine's own page, and tells the browser what it may do.

    Args:
        app: The application.
        token: The secret that addresses begin with.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or has the application answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        refused = self._refusal(scope) if scope["type"] == "http" else None
        answer = self._app if refused is None else PlainTextResponse(*refused)
        await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[str, int] | None:
        # A name that some other page's owner points at this machine comes with that name.
        host = Headers(scope=scope).get("host", "")
        if host.rpartition(":")[0] not in _NAMES and host not in _NAMES:
            return "This page is for 127.0.0.1 and localhost only.", 421
        given = scope["path"].removeprefix("/").partition("/")[0]
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return "Open the whole address that `langchain-logprobs view` printed.", 403
        if scope["method"] not in ("GET", "HEAD"):
            return "This page only reads.", 405
        return None


def _json(
    path: Path, answer: Callable[[StoredRuns, Request], Any]
) -> Callable[[Request], Response]:
    """An endpoint that answers in JSON; what is wrong with the store or the address, too."""

    def endpoint(request: Request) -> Response:
        try:
            return _response(answer(StoredRuns(path), request))
        except StoreError as error:
            return _response({"error": str(error)}, 404)
        except answers.BadQueryError as error:
            return _response({"error": str(error)}, 400)

    return endpoint


def _response(value: Any, status: int = 200) -> Response:
    # ASCII: JSON may hold half characters, which UTF-8 cannot.
    body = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Response(body, status, media_type="application/json")


def _runs(stored: StoredRuns, request: Request) -> Mapping[str, Any]:
    offset = request.query_params.get("offset", "0")
    if not offset.isdecimal():
        raise answers.BadQueryError(f"offset is {offset!r}, but takes a whole number")
    return answers.page_of(stored, _query(request), min(int(offset), 2**62))


def _run(stored: StoredRuns, request: Request) -> Mapping[str, Any]:
    return answers.run_of(stored, request.path_params["run_id"])


def _trace(stored: StoredRuns, request: Request) -> Mapping[str, Any]:
    return answers.trace_of(stored, stored.resolve(request.path_params["run_id"]))


def _query(request: Request) -> Query:
    return answers.query_of(request.query_params, time.time_ns())


def _live(path: Path, stopping: threading.Event) -> Callable[[Request], Response]:
    """Server-sent events: the `seq` of the last call and root run, whenever there is a new one."""

    async def events() -> AsyncIterator[str]:
        told, beat = None, time.monotonic()
        while not stopping.is_set():
            state = await asyncio.to_thread(_last, path)
            if state != told or time.monotonic() - beat > _BEAT_SECONDS:
                told, beat = state, time.monotonic()
                yield f"data: {json.dumps(state)}\n\n"
            await asyncio.sleep(POLL_SECONDS)

    return lambda _: StreamingResponse(events(), media_type="text/event-stream")


def _last(path: Path) -> dict[str, Any]:
    try:
        stored = StoredRuns(path)
        return {"seq": stored.last_seq(), "tree": stored.last_tree()}
    except StoreError as error:
        return {"error": str(error)}


def _index(_: Request) -> Response:
    return Response((STATIC / "index.html").read_bytes(), media_type="text/html")


def _colours(_: Request) -> Response:
    """The heat scale, as the terminal and notebooks have it."""
    light, dark = ramp(LIGHT, LIGHT_INK), ramp(DARK, DARK_INK)
    bands = "".join(f".h{n}{{background:var(--h{n});color:var(--i{n})}}" for n in range(9))
    return Response(
        f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        f":root[data-theme=light]{{{light}}}:root[data-theme=dark]{{{dark}}}{bands}",
        media_type="text/css",
    )


def _not_found(_: Request, __: Exception) -> Response:
    return PlainTextResponse("There is nothing here.", 404)
