"""The HTTP server of the live studio, for one user on this machine; see `studio/src/live.ts`.

Every response with data requires the token from the printed address. Requests with a foreign Host
header are refused, so that other web pages cannot reach the server by DNS rebinding. Both are
checked before the body of a request is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isthmus._messages import one_line
from isthmus.data.limits import is_inside, is_regular_file
from isthmus.report import REPORT
from isthmus.studio.connections import MAX_CONNECTIONS, MAX_HEADERS, TIMEOUT, Connection
from isthmus.studio.page import app_file, shell, to_json
from isthmus.studio.queries import ModelQueries

__all__ = ["make_app", "serve", "uvicorn_config"]

Array = NDArray[Any]

MAX_REQUEST = 2**26  # bytes
MAX_ROWS = 2**16  # rows to encode or decode at once
MAX_AT_WORK = 4  # requests that are read, computed and sent at once; others wait
PART = 2**18  # bytes of a response that are sent at once
SHUTDOWN_TIMEOUT = 2  # seconds for open requests after Ctrl-C
FILES = {
    "app.js": "text/javascript; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "licences.txt": "text/plain; charset=utf-8",
}
PUBLIC = frozenset({"/", *(f"/{name}" for name in FILES)})  # contain no data, and need no token
CLOSE = {"Connection": "close"}  # of responses to requests whose body was not read
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
    app.add_middleware(Guard, token=token, hosts=hosts)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ValueError, _client_error)
    app.add_exception_handler(OSError, _file_error)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    _add_app(app, queries)
    _add_report(app, queries.runs[0] / REPORT)
    api = APIRouter(prefix="/api")
    _add_metadata_routes(api, queries)
    _add_row_routes(api, queries)
    _add_model_routes(api, queries)
    app.include_router(api)
    return app


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve the application at a listening socket until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after shutdown
        uvicorn.Server(uvicorn_config(app)).run(sockets=[listener])


def uvicorn_config(app: FastAPI) -> uvicorn.Config:
    """Return the configuration of the server, with its limits."""
    return uvicorn.Config(
        app,
        http=Connection,
        h11_max_incomplete_event_size=MAX_HEADERS,
        backlog=MAX_CONNECTIONS,
        log_level="error",  # a warning for each invalid request would flood the terminal
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )


def _add_app(app: FastAPI, queries: ModelQueries) -> None:
    @app.get("/")
    def page() -> Response:
        html = shell("isthmus studio")
        policy = {"Content-Security-Policy": SHELL_POLICY}
        return Response(html, media_type="text/html", headers=policy)

    for name in FILES:
        app.add_api_route(f"/{name}", _file(name))


def _file(name: str) -> Callable[[], Response]:
    def file() -> Response:
        return Response(app_file(name), media_type=FILES[name])

    return file


def _add_report(app: FastAPI, path: Path) -> None:
    @app.get("/report")
    def report() -> Response:
        if not is_regular_file(path) or not is_inside(path, path.parent):
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
        return Response(b"".join([_raw("i4", rows), _raw("f4", distances)]), media_type=OCTETS)


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
    try:
        async with asyncio.timeout(TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_REQUEST:
                    raise HTTPException(413, _too_large(), CLOSE)
    except TimeoutError:
        raise HTTPException(408, f"expected a body within {TIMEOUT} seconds.", CLOSE) from None
    return body


def _too_large() -> str:
    return f"expected at most {MAX_REQUEST:,} bytes; send fewer rows."


Body = Annotated[bytearray, Depends(_read)]
Count = Annotated[int, Query(ge=1, le=MAX_ROWS)]
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


def _raw(dtype: str, array: Array) -> memoryview:
    """Return the numbers of an array as little-endian bytes, without a copy if they are."""
    return np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).ravel().view("u1").data


def _bytes(dtype: str, *arrays: Array) -> Response:
    """Return arrays as little-endian bytes, one after another."""
    parts = [_raw(dtype, a) for a in arrays]
    return Response(parts[0] if len(parts) == 1 else b"".join(parts), media_type=OCTETS)


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")


class Guard:
    """ASGI middleware that checks requests before their body is read, and adds security headers.

    Only `MAX_AT_WORK` requests with a token are in memory; their responses are sent in parts, so
    that a response counts until the client has read it.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str] | None) -> None:
        self.app, self.token, self.hosts = app, token.encode(), hosts
        self.at_work = asyncio.Semaphore(MAX_AT_WORK)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def send_in_parts(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            body = memoryview(message.get("body", b""))
            while len(body) > PART:
                await send({**message, "body": bytes(body[:PART]), "more_body": True})
                await asyncio.sleep(0)  # for other requests, and to notice a lost connection
                body = body[PART:]
            await send({**message, "body": bytes(body)})

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_in_parts)
        elif scope["path"] in PUBLIC:
            await self.app(scope, receive, send_in_parts)
        else:
            async with self.at_work:
                await self.app(scope, receive, send_in_parts)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self.hosts is not None and headers.get("host", "").lower() not in self.hosts:
            reason = "unknown host name; use the address that `isthmus studio` printed."
            return _refusal(400, reason, CLOSE)
        parts = (scope["path"], scope["query_string"], *itertools.chain(*headers.raw))
        if sum(map(len, parts)) > MAX_HEADERS:
            return _refusal(431, f"expected at most {MAX_HEADERS:,} bytes of headers.", CLOSE)
        if scope["path"] not in PUBLIC and not self._has_token(scope, headers):
            reason = "invalid token; open the address that `isthmus studio` printed."
            return _refusal(401, reason, CLOSE)
        if int(headers.get("content-length", 0)) > MAX_REQUEST:
            return _refusal(413, _too_large(), CLOSE)
        return None

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        given = headers.get("x-isthmus-token", "").encode("latin-1")
        if scope["path"] == "/report":  # opened by a link
            given = QueryParams(scope["query_string"]).get("token", "").encode()
        return secrets.compare_digest(given, self.token)


def _refusal(status: int, reason: object, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": one_line(reason)}, status, headers)


def _client_error(request: Request, error: Exception) -> Response:
    return _refusal(422, error)


def _file_error(request: Request, error: Exception) -> Response:
    if isinstance(error, OSError) and error.filename is not None:
        return _refusal(422, f"{Path(os.fsdecode(error.filename)).name}: {error.strerror}")
    return _refusal(422, error)


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _refusal(422, f"{first['loc'][-1]}: {first['msg']}")


def _disconnected(request: Request, error: Exception) -> Response:
    return Response()
