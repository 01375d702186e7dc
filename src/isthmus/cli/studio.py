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
from isthmus.cli._options import add_data_options

__all__ = ["add_parser", "run"]

PORT = 8631
LOCAL = ("127.0.0.1", "localhost", "[::1]")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    studio = subparsers.add_parser(
        "studio",
        help="look at a run in the browser: its map, sliders, samples, repair, training",
        description="Look at a run in the browser, with its model behind every picture. Runs that "
        "are being trained can be followed.",
        epilog="Examples:  isthmus studio runs/digits-vae   isthmus studio runs/   "
        "isthmus studio RUN --data photos/ --port 9000",
    )
    studio.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="folders that `isthmus fit` wrote, or a folder of such: the first one's model is "
        "shown, and the training of all",
    )
    studio.add_argument(
        "--data",
        metavar="DATA",
        help="the data to show, as for `isthmus fit` (default: what the run was fitted on)",
    )
    add_data_options(studio)
    studio.add_argument(
        "--rows",
        type=int,
        default=100_000,
        metavar="N",
        help="rows to show, at most (default: 100000)",
    )
    studio.add_argument(
        "--port",
        type=port,
        metavar="N",
        help="port (default: 8631, or a free one where it is in use)",
    )
    studio.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to answer at (default: 127.0.0.1, for this machine alone)",
    )
    studio.add_argument("--no-browser", action="store_true", help="print the address alone")


def port(text: str) -> int:
    """Return the number of a port; the parser's error for another."""
    if not 0 <= (number := int(text)) < 2**16:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to {2**16 - 1}, got {text}")
    return number


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
    from isthmus.persistence.run_folder import CONFIG, find_checkpoints
    from isthmus.training.training_log import TRAINING_LOG

    return any((folder / name).is_file() for name in (CONFIG, TRAINING_LOG)) or bool(
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
    from isthmus.cli._live import check_rows, rows_to_show
    from isthmus.persistence.run_folder import CONFIG
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
