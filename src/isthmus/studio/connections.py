"""Limits on the connections of the live studio: their number, their headers and their seconds.

uvicorn limits the size of headers and stops reading a body that nobody has asked for. It does not
limit the time that a client may take, nor close a connection to make room for another one.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["MAX_CONNECTIONS", "MAX_HEADERS", "TIMEOUT", "Connection"]

MAX_CONNECTIONS = 100
MAX_HEADERS = 2**15  # bytes of a request line and its headers
TIMEOUT = 30  # seconds for a client to send headers, or a body, or to read a part of a response


class Connection(H11Protocol):
    """A connection that gives its client `TIMEOUT` seconds whenever it waits for it.

    If there are too many, the one that has waited longest is closed; only if the server is at work
    for all of them, the new one is refused. So idle connections cannot keep anyone out.
    """

    _since: float = 0.0
    _timer: asyncio.TimerHandle | None = None  # while the server waits for the client

    def connection_made(self, transport: Any) -> None:
        """Close another connection if there are too many."""
        super().connection_made(transport)
        self._update()
        if len(self.connections) > MAX_CONNECTIONS:
            connections = cast("set[Connection]", self.connections)
            waiting = [c for c in connections if c._timer is not None and c is not self]
            if waiting:
                oldest = min(waiting, key=lambda c: c._since)
                oldest._stop()  # it counts until the loop calls connection_lost
                oldest.transport.abort()
            else:
                self._refuse(HTTPStatus.TOO_MANY_REQUESTS, "too many connections; try again later.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stop waiting if the headers of a request are complete."""
        super().data_received(data)
        self._update()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._update()

    def pause_writing(self) -> None:
        """Wait until the client has read what was sent."""
        super().pause_writing()
        self._update()

    def resume_writing(self) -> None:
        """Go on with the response."""
        super().resume_writing()
        self._update()

    def send_400_response(self, msg: str) -> None:
        """Refuse an invalid request, or headers that are too large."""
        if len(self.conn.trailing_data[0]) > MAX_HEADERS:
            reason = f"expected at most {MAX_HEADERS:,} bytes of headers."
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, reason)
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _update(self) -> None:
        """Start or stop the clock of the client."""
        waits = self.cycle is None or self.cycle.response_complete or self.flow.write_paused
        if not waits:
            self._stop()
        elif self._timer is None:
            self._since = self.loop.time()
            self._timer = self.loop.call_later(TIMEOUT, self._give_up)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if self.transport.is_closing() or self.conn.our_state is not h11.IDLE:
            self.transport.abort()  # the client does not read
            return
        reason = f"expected a request within {TIMEOUT} seconds."
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, reason)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Send a response of one line, unless one was begun, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: text/plain\r\n"
                f"Connection: close\r\nContent-Length: {len(reason)}\r\n\r\n"
            )
            self.transport.write(f"{head}{reason}".encode())
        self.transport.close()
        self._stop()
        self._timer = self.loop.call_later(TIMEOUT, self.transport.abort)
