"""The HTTP server of the live studio, for one user on this machine; see `studio/src/live.ts`.

Every response with data requires the token from the printed address. Requests with a foreign Host
header are refused, so that other web pages cannot reach the server by DNS rebinding.
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
from isthmus.studio.page import app_file, shell, to_json
from isthmus.studio.queries import ModelQueries

__all__ = ["make_app", "serve"]

Array = NDArray[Any]

MAX_REQUEST = 2**26  # bytes
SHUTDOWN_TIMEOUT = 2  # seconds for open requests after Ctrl-C
FILES = {
    "app.js": "text/javascript; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "licences.txt": "text/plain; charset=utf-8",
}
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address contains the token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
DENY_ALL = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
SHELL_POLICY = (
    f"{DENY_ALL}; script-src 'self' 'unsafe-eval'; connect-src 'self'; "  # regl uses eval
    "style-src 'self'; img-src 'self' data: blob:; media-src data: blob:"
)
REPORT_POLICY = f"{DENY_ALL}; style-src 'unsafe-inline'; img-src data:"


def make_app(queries: ModelQueries, token: str, hosts: frozenset[str] | None) -> FastAPI:
    """Return the FastAPI application of the studio.

    Requests must present the token and one of the `hosts` with port, if given, as Host header.
    """
    app = FastAPI(openapi_url=None)
    app.add_middleware(Guard, hosts=hosts)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ValueError, _client_error)
    app.add_exception_handler(OSError, _client_error)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    _add_app(app, queries)
    _add_report(app, queries.runs[0] / REPORT, token)
    check = _token_check(token, Header("", alias="X-Isthmus-Token"))
    api = APIRouter(prefix="/api", dependencies=[Depends(check)])
    _add_metadata_routes(api, queries)
    _add_row_routes(api, queries)
    _add_model_routes(api, queries)
    app.include_router(api)
    return app


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve the application at a listening socket until Ctrl-C."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after shutdown
        uvicorn.Server(config).run(sockets=[listener])


def _add_app(app: FastAPI, queries: ModelQueries) -> None:
    @app.get("/")
    def page() -> Response:
        html = shell("isthmus studio")  # contains no data, so it needs no token
        policy = {"Content-Security-Policy": SHELL_POLICY}
        return Response(html, media_type="text/html", headers=policy)

    for name in FILES:
        app.add_api_route(f"/{name}", _file(name))


def _file(name: str) -> Callable[[], Response]:
    def file() -> Response:
        return Response(app_file(name), media_type=FILES[name])

    return file


def _add_report(app: FastAPI, path: Path, token: str) -> None:
    @app.get("/report", dependencies=[Depends(_token_check(token, Query("", alias="token")))])
    def report() -> Response:
        if not path.is_file():
            raise HTTPException(404, "this run has no report.")
        policy = {"Content-Security-Policy": REPORT_POLICY}
        return Response(path.read_bytes(), media_type="text/html", headers=policy)


def _add_metadata_routes(api: APIRouter, queries: ModelQueries) -> None:
    @api.get("/manifest")
    def manifest() -> Response:
        return _json(queries.manifest())

    @api.get("/runs")
    def runs() -> Response:
        return _json(queries.records())

    @api.get("/arrays/{name}")
    def array(name: str) -> Response:
        try:
            found = queries.array(name)
        except KeyError:
            raise HTTPException(404, f"unknown array {one_line(name)!r}.") from None
        return _bytes(found.dtype.str, found)


def _add_row_routes(api: APIRouter, queries: ModelQueries) -> None:
    @api.post("/items")
    def items(body: Body) -> Response:
        return _bytes("f8", queries.items(_numbers(body, "i4")))

    @api.post("/codes")
    def codes(body: Body) -> Response:
        return _bytes("f4", *queries.codes(_numbers(body, "i4")))

    @api.post("/neighbours")
    def neighbours(body: Body, k: int) -> Response:
        code = _numbers(body, "f4", queries.n_components)
        rows, distances = queries.neighbours(code, k)
        return Response(_raw("i4", rows) + _raw("f4", distances), media_type=OCTETS)


def _add_model_routes(api: APIRouter, queries: ModelQueries) -> None:
    @api.post("/encode")
    def encode(body: Body, n: Count, condition: int | None = None) -> Response:
        x = _numbers(body, "f8", n, queries.n_features)
        return _bytes("f4", *queries.encode(x, condition))

    @api.post("/decode")
    def decode(
        body: Body, n: Count, condition: int | None = None, seed: Seed | None = None
    ) -> Response:
        z = _numbers(body, "f4", n, queries.n_components)
        return _bytes("f8", queries.decode(z, condition, seed))

    @api.post("/impute")
    def impute(body: Body, condition: int | None = None) -> Response:
        x = _numbers(body, "f8", queries.n_features)
        values, std = queries.impute(x, condition)
        return _bytes("f8", *((values,) if std is None else (values, std)))


async def _read(request: Request) -> bytearray:
    """Return the body of a request, up to a limit that does not rely on Content-Length."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REQUEST:
            raise HTTPException(413, f"expected at most {MAX_REQUEST:,} bytes; send fewer rows.")
    return body


Body = Annotated[bytearray, Depends(_read)]
Count = Annotated[int, Query(ge=1)]
Seed = Annotated[int, Query(ge=0, lt=2**32)]
OCTETS = "application/octet-stream"


def _numbers(body: bytearray, dtype: str, *shape: int) -> Array:
    """Return the numbers of a body; one-dimensional and of any length without a shape."""
    kind = np.dtype(f"<{dtype}")
    shape = shape or (len(body) // kind.itemsize,)
    n_bytes = math.prod(shape) * kind.itemsize
    if len(body) != n_bytes or not n_bytes:
        sizes = " x ".join(map(str, shape))
        raise ValueError(
            f"expected {sizes} numbers of {kind.name}, {n_bytes:,} bytes, got {len(body):,}."
        )
    return np.frombuffer(body, kind).reshape(shape)


def _raw(dtype: str, array: Array) -> bytes:
    return np.asarray(array, np.dtype(dtype).newbyteorder("<")).tobytes()


def _bytes(dtype: str, *arrays: Array) -> Response:
    """Return arrays as little-endian bytes, one after another."""
    return Response(b"".join(_raw(dtype, a) for a in arrays), media_type=OCTETS)


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")


class Guard:
    """ASGI middleware that checks the Host header, as `make_app`, and adds security headers."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app, host = self.app, Headers(scope=scope).get("host", "").lower()
        if self.hosts is not None and host not in self.hosts:
            reason = "unknown host name; use the address that `isthmus studio` printed."
            app = _refusal(400, reason)
        await app(scope, receive, send_with_headers)


def _token_check(token: str, source: Any) -> Callable[..., None]:
    """Return a dependency that requires the token in a header or a query parameter."""

    def check(given: str = source) -> None:
        if not secrets.compare_digest(given.encode(), token.encode()):
            message = "invalid token; open the address that `isthmus studio` printed."
            raise HTTPException(401, message)

    return check


def _refusal(status: int, reason: object) -> JSONResponse:
    return JSONResponse({"detail": one_line(reason)}, status)


def _client_error(request: Request, error: Exception) -> Response:
    return _refusal(422, error)


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _refusal(422, f"{first['loc'][-1]}: {first['msg']}")


def _disconnected(request: Request, error: Exception) -> Response:
    return Response()
