"""The live studio: what `studio/src/live.ts` asks, over HTTP, for one person at this machine.

Every answer that holds data needs the token in the address that was printed. Requests that name
another host are refused, so that no page elsewhere can reach the studio under a name of its own.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isthmus._messages import one_line
from isthmus.report import REPORT
from isthmus.studio.answers import Answers
from isthmus.studio.page import app_file, shell, to_json

__all__ = ["make_app", "serve"]

Array = NDArray[Any]

LARGEST = 2**26  # bytes of one question
PATIENCE = 2  # seconds that answers under way have after Ctrl-C
FILES = {
    "app.js": "text/javascript; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "licences.txt": "text/plain; charset=utf-8",
}
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
SHELL_POLICY = (
    f"{NOTHING}; script-src 'self' 'unsafe-eval'; connect-src 'self'; "  # eval is regl's
    "style-src 'self'; img-src 'self' data: blob:; media-src data: blob:"
)
REPORT_POLICY = f"{NOTHING}; style-src 'unsafe-inline'; img-src data:"


def make_app(answers: Answers, token: str, hosts: frozenset[str] | None) -> FastAPI:
    """Return the studio as an application of FastAPI.

    Parameters
    ----------
    answers : Answers
    token : str
        Which whoever asks must know.
    hosts : frozenset of str, optional
        What requests may name as their host, with the port; without them any.
    """
    app = FastAPI(openapi_url=None)
    app.add_middleware(Guard, hosts=hosts)
    app.add_exception_handler(RequestValidationError, _say_what_is_invalid)
    app.add_exception_handler(ValueError, _say_what_is_wrong)
    app.add_exception_handler(OSError, _say_what_is_wrong)
    app.add_exception_handler(ClientDisconnect, _say_nothing)
    _add_page(app, answers)
    _add_report(app, answers.runs[0] / REPORT, token)
    api = APIRouter(prefix="/api", dependencies=[Depends(_in_header(token))])
    _add_facts(api, answers)
    _add_rows(api, answers)
    _add_model(api, answers)
    app.include_router(api)
    return app


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Answer at a socket that listens already, until Ctrl-C."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
    )
    with contextlib.suppress(KeyboardInterrupt):  # raised anew when all is closed
        uvicorn.Server(config).run(sockets=[listener])


# -------------------------------------------------------------------------- ways


def _add_page(app: FastAPI, answers: Answers) -> None:
    @app.get("/")
    def page() -> Response:
        html = shell("isthmus studio")  # what is in it, only the token opens
        policy = {"Content-Security-Policy": SHELL_POLICY}
        return Response(html, media_type="text/html", headers=policy)

    for name in FILES:
        app.add_api_route(f"/{name}", _file(name))


def _file(name: str) -> Callable[[], Response]:
    def file() -> Response:
        return Response(app_file(name), media_type=FILES[name])

    return file


def _add_report(app: FastAPI, path: Path, token: str) -> None:
    @app.get("/report", dependencies=[Depends(_in_address(token))])
    def report() -> Response:
        if not path.is_file():
            raise HTTPException(404, "this run has no report.")
        policy = {"Content-Security-Policy": REPORT_POLICY}
        return Response(path.read_bytes(), media_type="text/html", headers=policy)


def _add_facts(api: APIRouter, answers: Answers) -> None:
    @api.get("/manifest")
    def manifest() -> Response:
        return _json(answers.manifest())

    @api.get("/runs")
    def runs() -> Response:
        return _json(answers.records())

    @api.get("/arrays/{name}")
    def array(name: str) -> Response:
        try:
            found = answers.array(name)
        except KeyError:
            raise HTTPException(404, f"the studio holds no array {one_line(name)!r}.") from None
        return _bytes(found.dtype.str, found)


def _add_rows(api: APIRouter, answers: Answers) -> None:
    @api.post("/items")
    def items(body: Body) -> Response:
        return _bytes("f8", answers.items(_numbers(body, "i4")))

    @api.post("/codes")
    def codes(body: Body) -> Response:
        return _bytes("f4", *answers.codes(_numbers(body, "i4")))

    @api.post("/neighbours")
    def neighbours(body: Body, k: int) -> Response:
        code = _numbers(body, "f4", answers.n_components)
        rows, distances = answers.neighbours(code, k)
        return Response(_raw("i4", rows) + _raw("f4", distances), media_type=OCTETS)


def _add_model(api: APIRouter, answers: Answers) -> None:
    @api.post("/encode")
    def encode(body: Body, n: Count, condition: int | None = None) -> Response:
        x = _numbers(body, "f8", n, answers.n_features)
        return _bytes("f4", *answers.encode(x, condition))

    @api.post("/decode")
    def decode(body: Body, n: Count, condition: int | None = None) -> Response:
        z = _numbers(body, "f4", n, answers.n_components)
        return _bytes("f8", answers.decode(z, condition))

    @api.post("/repair")
    def repair(body: Body, condition: int | None = None) -> Response:
        x = _numbers(body, "f8", answers.n_features)
        made = answers.repair(x, condition)
        return _bytes("f8", *(each for each in made if each is not None))


# ---------------------------------------------------------------------- numbers


async def _read(request: Request) -> bytearray:
    """Return the body of a request; refuse one that is too large, whatever it says it is."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST:
            raise HTTPException(413, f"expected at most {LARGEST:,} bytes: ask for less at once.")
    return body


Body = Annotated[bytearray, Depends(_read)]
Count = Annotated[int, Query(ge=1)]
OCTETS = "application/octet-stream"


def _numbers(body: bytearray, dtype: str, *shape: int) -> Array:
    """Return the numbers of a body; in one row all that there are, where no shape is given."""
    kind = np.dtype(f"<{dtype}")
    shape = shape or (len(body) // kind.itemsize,)
    wanted = math.prod(shape) * kind.itemsize
    if len(body) != wanted or not wanted:
        sizes = " x ".join(map(str, shape))
        raise ValueError(
            f"expected {sizes} numbers of {kind.name}, {wanted:,} bytes, got {len(body):,}."
        )
    return np.frombuffer(body, kind).reshape(shape)


def _raw(dtype: str, array: Array) -> bytes:
    return np.asarray(array, np.dtype(dtype).newbyteorder("<")).tobytes()


def _bytes(dtype: str, *arrays: Array) -> Response:
    """Answer arrays, one after another, little end first."""
    return Response(b"".join(_raw(dtype, a) for a in arrays), media_type=OCTETS)


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")


# ------------------------------------------------------------------------ guards


class Guard:
    """Refuse requests under another host's name; add the headers of every answer.

    Parameters
    ----------
    app : ASGI application
    hosts : frozenset of str, optional
        As for `make_app`.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app_for(scope)(scope, receive, send_with_headers)

    def _app_for(self, scope: Scope) -> ASGIApp:
        host = Headers(scope=scope).get("host", "").lower()
        if self.hosts is None or host in self.hosts:
            return self.app
        return _refusal(400, "the studio is not known under this name: use the address printed.")


def _in_header(token: str) -> Callable[..., None]:
    def check(x_isthmus_token: Annotated[str, Header()] = "") -> None:
        _check_token(x_isthmus_token, token)

    return check


def _in_address(token: str) -> Callable[..., None]:
    def check(given: Annotated[str, Query(alias="token")] = "") -> None:
        _check_token(given, token)

    return check


def _check_token(given: str, token: str) -> None:
    if not secrets.compare_digest(given.encode(), token.encode()):
        raise HTTPException(401, "open the address that `isthmus studio` printed, with its token.")


def _refusal(status: int, reason: object) -> JSONResponse:
    return JSONResponse({"detail": one_line(reason)}, status)


def _say_what_is_wrong(request: Request, error: Exception) -> Response:
    return _refusal(422, error)


def _say_what_is_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _refusal(422, f"{first['loc'][-1]}: {first['msg']}")


def _say_nothing(request: Request, error: Exception) -> Response:
    return Response()  # who asked has gone
