"""Tests of `isthmus studio`: arguments, address, data, errors and shutdown."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest

from isthmus import VAE, cli
from isthmus.cli import studio as verb
from isthmus.data import load
from isthmus.estimators import model_io
from isthmus.persistence.origin import with_code
from isthmus.persistence.run_folder import CONFIG, WEIGHTS
from isthmus.studio import server
from isthmus.studio.bundle import Bundle

FAST = {"n_components": 2, "hidden": (8,), "epochs": 2, "random_state": 0}
UNBUILT = "import isthmus.studio.page as p; p.app_file = lambda name: b''; "


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on 60 images, which are stored next to it."""
    folder = tmp_path_factory.mktemp("runs")
    np.save(folder / "images.npy", load("digits").X[:60])
    data = load(folder / "images.npy")
    model_io.save(VAE(**FAST).fit(data.X), folder / "first", data.fingerprint)
    return folder / "first"


@pytest.fixture
def served(monkeypatch):
    """Record the applications that would be served, and their addresses."""
    seen = []

    def serve(app, listener):
        seen.append((app, listener.getsockname()))

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr("isthmus.studio.page.app_file", lambda name: b"")
    return seen


def opened(*words):
    return cli.main(["studio", *map(str, words), "--no-browser"])


def error_line(capsys):
    """Return the error message, which must be one line."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_address_contains_a_new_token(run, served, capsys):
    assert [opened(run, "--port", 0), opened(run, "--port", 0)] == [0, 0]
    out = capsys.readouterr().out
    found = re.findall(r"studio at http://127\.0\.0\.1:(\d+)/\?token=([\w-]{40,})\n", out)
    assert [int(port) for port, _ in found] == [at[1] for _, at in served]
    assert len({token for _, token in found}) == 2
    assert "Ctrl-C to stop" in out


def test_browser_is_opened_by_default(run, served, monkeypatch):
    seen, called = [], threading.Event()
    monkeypatch.setattr("webbrowser.open", lambda a: (seen.append(a), called.set()))
    assert cli.main(["studio", str(run), "--port", "0"]) == 0
    assert called.wait(5)
    assert "token=" in seen[0]


def test_folder_of_runs_is_expanded_without_duplicates(run, tmp_path):
    for name in ("b", "a"):
        shutil.copytree(run, tmp_path / name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "results.csv").touch()
    found = verb.find_runs([str(run), str(tmp_path), str(tmp_path / "a")])
    assert [f.name for f in found] == ["first", "a", "b"]


def test_unfinished_runs_are_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "training.jsonl").touch()
    assert verb.find_runs([str(tmp_path)]) == [tmp_path / "a"]


def test_port_in_use(run, served, capsys, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        assert opened(run, "--port", taken) == 2
        assert f"port {taken} is in use: name another" in error_line(capsys)
        monkeypatch.setattr(verb, "PORT", taken)
        assert opened(run) == 0
        assert f"port {taken} is in use; using a free one" in capsys.readouterr().err
        ((_, at),) = served
        assert at[1] != taken


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
def test_foreign_listening_address_is_rejected(run, served, capsys, host):
    assert opened(run, "--host", host) == 2
    assert f"cannot listen at {host}" in error_line(capsys)


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_invalid_port_is_rejected(capsys, port):
    assert opened("run", "--port", port) == 2
    assert "--port" in error_line(capsys)


def test_public_address_prints_a_warning(run, served, capsys):
    assert opened(run, "--port", 0) == 0
    assert not capsys.readouterr().err
    assert opened(run, "--port", 0, "--host", "0.0.0.0") == 0
    captured = capsys.readouterr()
    assert "everyone on the network who has the address can see the data" in captured.err
    assert f"http://{socket.gethostname()}:" in captured.out


def test_accepted_host_headers():
    with socket.create_server(("127.0.0.1", 0)) as at:
        port = at.getsockname()[1]
        hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]", "127.0.0.2")}
        assert verb._hosts(at, "127.0.0.2") == hosts
        assert verb._hosts(at, "0.0.0.0") is None
        assert verb._hosts(at, "my-machine") is None


@pytest.fixture
def manifests(monkeypatch):
    """Record the bundles that are loaded."""
    made, load_bundle = [], Bundle.load

    def keep(*args, **kwargs):
        made.append(load_bundle(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(Bundle, "load", keep)
    return made


def test_moved_or_changed_data_is_reported(run, served, manifests, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(run.parent, moved)
    config = json.loads((moved / "first" / CONFIG).read_text())
    del config["sha256"]
    for path, words in ((tmp_path / "x.npy", "no longer at"), (moved / "images.npy", "shape")):
        config["data"] = with_code(config["data"] | {"source": str(path)}, "None")
        (moved / "first" / CONFIG).write_text(json.dumps(config))
        np.save(moved / "images.npy", np.zeros((9, 5, 5)))
        assert opened(moved / "first", "--port", 0) == 0
        assert words in manifests[-1].manifest["no_data_reason"]
    assert opened(run, "--port", 0) == 0
    assert manifests[-1].manifest["rows"]["n"] == 60


def test_data_option_must_fit_the_model(run, served, capsys, tmp_path):
    np.save(tmp_path / "other.npy", np.zeros((9, 5, 5)))
    for data in (tmp_path / "other.npy", tmp_path / "none.npy"):
        assert opened(run, "--data", data, "--port", 0) == 2
        assert error_line(capsys).startswith("isthmus studio: ")
    assert not served


def damaged(run, folder):
    shutil.copytree(run, folder)
    weights = folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:100])


def newer(run, folder):
    folder.mkdir()
    config = json.loads((run / CONFIG).read_text()) | {"format": 99}
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda run, folder: None, "there is no folder"),
        (lambda run, folder: folder.mkdir(), "holds no run"),
        (lambda run, folder: folder.write_text(""), "there is no folder"),
        (damaged, "damaged"),
        (newer, "newer than this isthmus"),
    ],
)
def test_invalid_run_is_rejected_in_one_line(run, served, capsys, tmp_path, make, words):
    make(run, tmp_path / "x")
    assert opened(tmp_path / "x", "--port", 0) == 2
    assert words in error_line(capsys)
    assert not served


def test_missing_fastapi_is_reported(run, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "isthmus.studio.server")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert opened(run) == 2
    assert "isthmus studio needs fastapi: pip install 'isthmus[studio]'" in error_line(capsys)


def send(host, first, piece):
    """Send a piece again and again until the server closes the connection."""
    with socket.create_connection(host.split(":"), 60) as client, suppress(ConnectionError):
        client.sendall(first.encode())
        for _ in range(2**30 // len(piece)):
            client.sendall(piece)


def attack(host, token):
    """Send headers and bodies of a gigabyte, and leave a thousand requests half-open."""
    send(host, "GET / HTTP/1.1\r\n", b"a: b\r\n" * 999)
    body = f"POST /api/codes HTTP/1.1\r\nHost: {host}\r\nX-Isthmus-Token: {token}\r\n"
    chunk = b"10000\r\n" + bytes(2**16) + b"\r\n"
    with ThreadPoolExecutor(10) as pool:
        for _ in range(5):  # four are read at a time
            pool.submit(send, host, f"{body}Transfer-Encoding: chunked\r\n\r\n", chunk)
            pool.submit(send, host, f"{body}Content-Length: {2**30}\r\n\r\n", bytes(2**16))
    with ExitStack() as stack:
        for _ in range(1000):
            client = stack.enter_context(socket.create_connection(host.split(":"), 60))
            client.sendall(b"GET / HTTP/1.1\r\nHo")


def usage(process):
    """Return the processor seconds and the peak memory in MB of a process."""
    times = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    status = Path(f"/proc/{process.pid}/status").read_text()
    kilobytes = int(re.search(r"VmHWM:\s+(\d+)", status)[1])
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK"), kilobytes / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_server_survives_an_attack_answers_and_stops_on_ctrl_c(run):
    code = UNBUILT + "from isthmus.cli import main; raise SystemExit(main())"
    words = [sys.executable, "-c", code, "studio", str(run), "--no-browser", "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as process:
        try:
            address, how = process.stdout.readline(), process.stdout.readline()
            host, token = re.search(r"http://(.+)/\?token=(\S+)", address).groups()
            before = usage(process)
            attack(host, token)
            seconds, megabytes = np.subtract(usage(process), before)
            assert (seconds < 10, megabytes < 400) == (True, True)
            client = http.client.HTTPConnection(host, timeout=30)
            for given, status in ((token, 200), ("wrong", 401)):
                client.request("GET", "/api/manifest", headers={"X-Isthmus-Token": given})
                answer = client.getresponse()
                assert (answer.status, len(answer.read()) > 0) == (status, True)
            process.send_signal(signal.SIGINT)  # with an open connection
            rest = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, how, *rest) == (0, "Ctrl-C to stop\n", "", "")
