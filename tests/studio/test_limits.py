"""Tests of the limits of the live server: bytes, connections and seconds of a client."""

import contextlib
import gzip
import itertools
import logging
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from isthmus.studio import connections, server

TOKEN = "secret"  # as of serve_live
BUILT = b"x" * 2**20  # the app: a large file without data


class Queries:
    """Queries of a model that copies; decoding waits for `go`."""

    runs, n_features, n_components = (Path("run"),), 4, 2

    def __init__(self):
        self.go, self.at_work, self.most = threading.Event(), 0, 0
        self.go.set()

    def manifest(self):
        return {"model": "copy"}

    def records(self):
        return []

    def array(self, name):
        return np.zeros(2**24, np.uint8)

    def encode(self, x, condition=None):
        return np.zeros((len(x), 2)), np.zeros((len(x), 2))

    def decode(self, z, condition=None, seed=None):
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        self.go.wait(20)
        self.at_work -= 1
        return np.zeros((len(z), 4))


def refusal(answer):
    """Return status and text of a response, which must be the only one, and of one line."""
    assert answer.count(b"HTTP/1.1 ") == 1
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert "connection: close" in head.lower()
    assert "\n" not in body
    assert "Traceback" not in body
    return int(head.split()[1]), body


@pytest.fixture(scope="module")
def served(serve_live):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "app_file", lambda name: BUILT)
        yield serve_live(Queries())


@pytest.fixture
def live(served, caplog):
    """The server, which must have printed nothing, and be there for others in the end."""
    yield served
    served.queries.go.set()
    assert served.answers()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("piece", [b"a: b\r\n" * 1000, b"a" * 6000, b"a" * 500, b" a\r\n" * 999])
@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nx: y\r\n"])
def test_headers_without_end_are_refused_early(live, piece, first):
    began = time.process_time()
    answer, sent = live.ask(first, itertools.repeat(piece, 2**26 // len(piece)))
    assert time.process_time() - began < 1
    assert sent < 2**24  # what fits into the buffers of the operating system
    assert refusal(answer)[0] in (400, 431)


def test_large_headers_are_refused(live):
    large = "x" * connections.MAX_HEADERS
    for lines in (("/", f"a: {large}"), (f"/{large}",), ("/", *(f"a{i}: b" for i in range(9999)))):
        status, text = refusal(live.ask(live.request(*lines))[0])
        assert (status, "at most 32,768 bytes of headers" in text) == (431, True)
    fits = live.request("/api/manifest", "Connection: close", "Cookie: " + "x" * 2**14)
    assert live.ask(fits)[0].startswith(b"HTTP/1.1 200")


def test_large_trailers_of_a_body_are_refused(live):
    head = live.request("/api/encode?n=1", "Transfer-Encoding: chunked", method="POST")
    for endless in (b"0\r\n" + b"a: b\r\n" * 9999, b"a" * 99_999, b"1;x=" + b"y" * 99_999):
        assert refusal(live.ask(head + endless)[0])[0] in (400, 431)


PIECE = bytes(2**16)
BODIES = {  # of 640 MB
    "Content-Length: 640000000": PIECE,
    "Transfer-Encoding: chunked": b"10000\r\n" + PIECE + b"\r\n",
}


@pytest.mark.parametrize("length", BODIES)
@pytest.mark.parametrize(
    ("token", "host", "status"), [("", None, 401), ("x", None, 401), (TOKEN, "x", 400)]
)
def test_bodies_without_token_are_not_read(live, length, token, host, status):
    head = live.request("/api/encode?n=1", length, method="POST", token=token, host=host)
    answer, sent = live.ask(head, itertools.repeat(BODIES[length], 10_000))
    assert refusal(answer)[0] == status
    assert sent < 2**24


@pytest.mark.parametrize("length", BODIES)
def test_large_bodies_are_refused(live, monkeypatch, length):
    monkeypatch.setattr(server, "MAX_REQUEST", 2**18)
    head = live.request("/api/encode?n=1", length, method="POST")
    answer, sent = live.ask(head, itertools.repeat(BODIES[length], 10_000))
    status, text = refusal(answer)
    assert (status, "expected at most 262,144 bytes" in text) == (413, True)
    assert sent < 2**24


def test_a_body_that_is_longer_than_it_says_is_another_request(live):
    head = live.request("/api/encode?n=1", "Content-Length: 32", method="POST")
    answer, _ = live.ask(head + bytes(32) + b"\0" * 100)
    first, second = answer.split(b"HTTP/1.1 ")[1:]
    assert (first[:3], second[:3]) == (b"200", b"400")


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "9" * 30, "", "1, 2"])
def test_invalid_lengths_are_refused(live, length):
    head = live.request("/api/encode?n=1", f"Content-Length: {length}", method="POST")
    assert refusal(live.ask(head)[0])[0] in (400, 413)


def test_invalid_chunks_are_refused(live):
    for token in ("", TOKEN):
        lines = ("/api/encode?n=1", "Transfer-Encoding: chunked")
        head = live.request(*lines, method="POST", token=token)
        assert refusal(live.ask(head + b"zz\r\n")[0])[0] in (400, 401)
        both = live.request(*lines, "Content-Length: 3", method="POST", token=token)
        assert refusal(live.ask(both + b"zz\r\n")[0])[0] in (400, 401)


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHo"])
def test_a_client_has_little_time_for_its_headers(live, monkeypatch, sent):
    monkeypatch.setattr(connections, "TIMEOUT", 0.1)
    status, text = refusal(live.ask(sent)[0])
    assert (status, "expected a request within" in text) == (408, True)


def test_headers_that_drip_are_refused(live, monkeypatch):
    monkeypatch.setattr(connections, "TIMEOUT", 0.2)
    began = time.monotonic()

    def drip():
        while time.monotonic() < began + 5:
            time.sleep(0.05)
            yield b"a: b\r\n"

    assert refusal(live.ask(b"GET / HTTP/1.1\r\n", drip())[0])[0] == 408
    assert time.monotonic() < began + 3


@pytest.mark.parametrize("length", ["Content-Length: 32", "Transfer-Encoding: chunked"])
def test_a_client_has_little_time_for_its_body(live, monkeypatch, length):
    monkeypatch.setattr(server, "TIMEOUT", 0.1)
    head = live.request("/api/encode?n=1", length, method="POST")
    status, text = refusal(live.ask(head, [b"1\r\n"])[0])
    assert (status, "expected a body within" in text) == (408, True)


@pytest.mark.parametrize(("path", "token"), [("/app.js", ""), ("/api/arrays/codes", TOKEN)])
def test_a_client_that_does_not_read_is_disconnected(live, monkeypatch, path, token):
    monkeypatch.setattr(connections, "TIMEOUT", 0.1)
    with contextlib.ExitStack() as stack:
        for _ in range(2 * server.MAX_AT_WORK):
            client = stack.enter_context(live.connect())
            client.sendall(live.request(path, token=token) * 20)
        live.wait_until(lambda: live.count() == 0)


def test_half_open_connections_make_room_for_others(live, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 10)
    with contextlib.ExitStack() as stack:
        for i in range(100):
            client = stack.enter_context(live.connect())
            client.sendall(live.request() if i % 2 else b"GET / HT")
        live.wait_until(live.answers)  # not while all requests above are answered
        live.wait_until(lambda: live.count() <= 10)


def test_a_connection_is_refused_if_all_others_are_at_work(live, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 6)
    live.queries.go.clear()
    head = live.request("/api/decode?n=1", "Content-Length: 8", method="POST")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(live.connect()) for _ in range(6)]
        for client in clients:
            client.sendall(head + bytes(8))
        live.wait_until(lambda: live.count() == live.count_at_work() == 6)
        live.wait_until(lambda: live.queries.at_work == server.MAX_AT_WORK)
        assert refusal(live.ask(b"")[0])[0] == 429
        live.queries.go.set()
        for client in clients:
            assert client.recv(2**16).startswith(b"HTTP/1.1 200")
    assert live.queries.most == server.MAX_AT_WORK


def test_pipelined_requests_are_answered_one_after_another(live):
    answer, _ = live.ask(live.request() * 50 + live.request("/", "Connection: close"))
    assert answer.count(b"HTTP/1.1 200 OK") == 51
    answer, _ = live.ask(live.request(token="") * 5000)
    assert refusal(answer)[0] == 401


def test_compressed_and_nested_bodies_are_numbers_of_the_wrong_size(live):
    bomb = gzip.compress(bytes(2**22))
    for body, kind in ((bomb, "Content-Encoding: gzip"), (b"[" * 2**20, "Content-Type: text/json")):
        lines = (kind, f"Content-Length: {len(body)}", "Connection: close")
        head = live.request("/api/encode?n=1", *lines, method="POST")
        status, text = refusal(live.ask(head, [body])[0])
        assert (status, "expected 1 x 4 numbers" in text) == (422, True)


def test_web_sockets_and_other_protocols_are_not_spoken(live):
    upgrade = ("Upgrade: websocket", "Connection: Upgrade, close", "Sec-WebSocket-Version: 13")
    for path in ("/", "/api/manifest"):
        assert b"101" not in live.ask(live.request(path, *upgrade, token=""))[0][:20]
    for hello in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"):
        assert refusal(live.ask(hello)[0])[0] == 400


def test_large_responses_are_complete(live):
    answer, _ = live.ask(live.request("/api/arrays/codes", "Connection: close"))
    assert len(answer.partition(b"\r\n\r\n")[2]) == 2**24
    answer, _ = live.ask(live.request("/app.js", "Connection: close", token=""))
    assert answer.partition(b"\r\n\r\n")[2] == BUILT
