"""``isthmus studio``: runs in, a page in the browser that Python answers."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import ipaddress
import secrets
import socket
import sys
import threading
import webbrowser
from functools import partial
from pathlib import Path
from typing import Any

from isthmus._messages import one_line
from isthmus._optional import import_optional
from isthmus.commands.live import check_rows, rows_to_show
from isthmus.persistence.run_folder import CONFIG, find_checkpoints
from isthmus.training.journal import JOURNAL

__all__ = ["find_runs", "run"]

PORT = 8631
LOCAL = ("127.0.0.1", "localhost", "[::1]")


def run(arguments: argparse.Namespace) -> int:
    """Look at the runs, listen, and answer until Ctrl-C; return the exit code."""
    server = _server()
    page = importlib.import_module("isthmus.studio.page")
    page.app_file("app.js")  # which a fresh checkout lacks
    runs = find_runs(arguments.runs)
    with contextlib.closing(_listen(arguments.host, arguments.port)) as listener:
        answers = _answers(runs, arguments)
        token = secrets.token_urlsafe()
        app = server.make_app(answers, token, _hosts(listener, arguments.host))
        _announce(f"{_address(listener, arguments.host)}/?token={token}", arguments)
        server.serve(app, listener)
    return 0


def find_runs(folders: list[str]) -> list[Path]:
    """Return the folders of runs; of a folder of runs, each in it.

    Raises
    ------
    FileNotFoundError
        Where one is no folder, or there is no run in it.
    """
    found = [each for folder in folders for each in _runs_in(Path(folder))]
    return list({run.resolve(): run for run in found}.values())  # each once


def _runs_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; name one that `isthmus fit` wrote.")
    runs = [folder] if _is_run(folder) else sorted(filter(_is_run, folder.iterdir()))
    if not runs:
        raise FileNotFoundError(
            f"{folder} holds no run: expected a folder that `isthmus fit` wrote, or one of such."
        )
    return runs


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (CONFIG, JOURNAL)) or bool(
        find_checkpoints(folder)
    )


def _server() -> Any:
    import_optional("fastapi", "uvicorn", extra="studio", what="isthmus studio")
    return importlib.import_module("isthmus.studio.server")


def _answers(runs: list[Path], arguments: argparse.Namespace) -> Any:
    from isthmus.studio.answers import Answers

    return Answers(runs, partial(_bundle, runs, arguments))


def _bundle(runs: list[Path], arguments: argparse.Namespace) -> Any:
    """Look at the data with the model; without data where the run's own cannot be had."""
    from isthmus.studio.bundle import Bundle

    if not (runs[0] / CONFIG).is_file():  # it is being trained, or was broken off
        return Bundle.of(runs)
    check_rows(arguments)
    arguments.run = runs[0]
    dataset, missing = rows_to_show(arguments)
    try:
        return Bundle.of(runs, dataset, missing=missing, most_rows=arguments.rows)
    except ValueError as error:  # its own data are others by now
        if arguments.data is not None or dataset is None:
            raise
        return Bundle.of(runs, missing=one_line(error))


# ------------------------------------------------------------------------ where


def _listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens: at the port asked for, else at the usual or a free one."""
    try:
        return _bound(host, PORT if port is None else port)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        if taken and port is None:
            print(f"port {PORT} is in use; taking a free one", file=sys.stderr)
            return _bound(host, 0)
        if taken:
            raise ValueError(
                f"port {port} is in use: name another, or leave --port out for a free one."
            ) from None
        raise ValueError(
            f"cannot listen at {host}, port {PORT if port is None else port}: "
            f"{error.strerror}; name an address of this machine by --host, a port by --port."
        ) from None


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    # Else small answers wait 40 ms for an acknowledgement; asyncio sets it for its own sockets.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _hosts(listener: socket.socket, host: str) -> frozenset[str] | None:
    """Return the names under which the studio may be asked; of a foreign address any."""
    if not _is_local(host):
        return None
    port = listener.getsockname()[1]
    names = {*LOCAL, _in_url(host).lower()}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))


def _is_local(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # the name of a machine
        return False


def _address(listener: socket.socket, host: str) -> str:
    """Return the address for the browser; of all addresses of this machine, by its name."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else _in_url(host)
    return f"http://{name}:{listener.getsockname()[1]}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _announce(address: str, arguments: argparse.Namespace) -> None:
    """Print the address, and open it."""
    if not _is_local(arguments.host):
        print(
            f"warning: --host {arguments.host}: everyone on the network who has the address can "
            "see the data",
            file=sys.stderr,
        )
    print(f"studio at {address}\nCtrl-C ends it", flush=True)
    if not arguments.no_browser:  # some browsers keep who opens them waiting
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
