"""Fixtures of the studio: exported networks, which are slow to make, and a live server."""

import contextlib
import functools
import itertools
import socket
import threading
import time

import pytest

from isthmus import export
from isthmus.applications.meta_estimator import model_digest


@pytest.fixture(scope="session", autouse=True)
def cache_exports():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("encoder", "decoder"):
            patch.setattr(export, name, _cached(getattr(export, name)))
        yield


def _cached(export):
    cache = {}

    @functools.wraps(export)
    def cached(estimator, opset=None):
        if not hasattr(estimator, "model_"):
            return export(estimator, opset)  # raises
        key = model_digest(estimator), opset
        if key not in cache:
            cache[key] = export(estimator, opset)
        return cache[key]

    return cached


TOKEN = "secret"


class Live:
    """A running server, and raw requests to it."""

    def __init__(self, queries):
        from isthmus.studio import server  # needs the extra

        self.queries = queries
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.host = f"127.0.0.1:{self.address[1]}"
        app = server.make_app(queries, TOKEN, frozenset({self.host}))
        self.server = server.uvicorn.Server(server.uvicorn_config(app))
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))

    def connect(self):
        return socket.create_connection(self.address, timeout=30)

    def request(self, path="/api/manifest", *lines, method="GET", token=TOKEN, host=None):
        lines = (f"{method} {path} HTTP/1.1", f"Host: {host or self.host}", *lines)
        if token:
            lines += (f"X-Isthmus-Token: {token}",)
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode()

    def ask(self, first, more=()):
        """Send pieces until the server closes; return the response and the bytes sent."""
        sent = 0
        with self.connect() as client:
            with contextlib.suppress(ConnectionError):
                for piece in itertools.chain([first], more):
                    client.sendall(piece)
                    sent += len(piece)
            return read_all(client), sent

    def answers(self):
        """Whether another client gets an answer."""
        return self.ask(self.request("/api/manifest", "Connection: close"))[0].endswith(b'"copy"}')

    def count(self):
        return len(self.server.server_state.connections)

    def count_at_work(self):
        """The number of connections whose request has arrived and is not answered."""
        connections = tuple(self.server.server_state.connections)
        return sum(c.cycle is not None and not c.cycle.response_complete for c in connections)

    def wait_until(self, condition):
        end = time.monotonic() + 30
        while not condition() and time.monotonic() < end:
            time.sleep(0.01)
        assert condition()


def read_all(client):
    """Return everything until the server closes the connection."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while part := client.recv(2**16):
            answer += part
    return answer


@pytest.fixture(scope="module")
def serve_live():
    """Return a function that serves queries until the tests of a module end."""
    started = []

    def serve(queries):
        live = Live(queries)
        live.thread.start()
        started.append(live)
        live.wait_until(lambda: live.server.started)
        return live

    yield serve
    for live in started:
        live.server.should_exit = True
        live.thread.join(10)
