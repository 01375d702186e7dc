"""``isthmus studio``: explore runs in the browser."""

from __future__ import annotations

import argparse
import contextlib
import errno
import ipaddress
import secrets
import socket
import threading
from pathlib import Path
from typing import Any

from isthmus._messages import one_line, say
from isthmus._optional import import_optional
from isthmus.cli._options import command, option, other_data, switch, whole_number

__all__ = ["find_runs", "run"]

PORT = 8631
LOCAL = ("127.0.0.1", "localhost", "[::1]")


COMMAND = command(
    "explore a run in the browser: map, sliders, samples, imputation, training",
    "Explore a run in the browser, with its model behind every image. Runs that are being trained "
    "can be followed.",
    option(
        "runs RUN+: run folders written by `isthmus fit`, or a folder of runs: the first one's "
        "model is shown, and the training of all"
    ),
    *other_data("data to show, as for `isthmus fit` (default: those the run was fitted on)"),
    option("--rows N: maximum number of rows to show", type=whole_number(2), default=100_000),
    option(
        "--port N: port (default: 8631, or a free one if it is in use)",
        type=whole_number(0, 2**16 - 1),
    ),
    option(
        "--host: address to listen at (default: 127.0.0.1, for this machine only)",
        default="127.0.0.1",
    ),
    switch("--no-browser: print the address; do not open a browser"),
    examples=(
        "isthmus studio runs/digits-vae",
        "isthmus studio runs/",
        "isthmus studio RUN --data photos/ --port 9000",
    ),
)


def run(arguments: argparse.Namespace) -> int:
    """Serve the runs until Ctrl-C; return the exit code."""
    import_optional("fastapi", "uvicorn", extra="studio", what="isthmus studio")
    from isthmus.studio import page, server
    from isthmus.studio.queries import ModelQueries

    page.app_file("app.js")  # raises if the app was not built, as in a fresh checkout
    runs = find_runs(arguments.runs)
    with contextlib.closing(_listen(arguments.host, arguments.port)) as listener:
        queries = ModelQueries(runs, lambda: _bundle(runs, arguments))
        token = secrets.token_urlsafe()
        app = server.make_app(queries, token, _hosts(listener, arguments.host))
        _announce(f"{_address(listener, arguments.host)}/?token={token}", arguments)
        server.serve(app, listener)
    return 0


def find_runs(folders: list[str]) -> list[Path]:
    """Return the folders of runs, each once; a folder of runs stands for the runs in it."""
    found = [each for folder in folders for each in _runs_in(Path(folder))]
    return list({run.resolve(): run for run in found}.values())


def _runs_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; name one written by `isthmus fit`.")
    runs = [folder] if _is_run(folder) else sorted(filter(_is_run, folder.iterdir()))
    if not runs:
        raise FileNotFoundError(
            f"{folder} holds no run: expected a folder written by `isthmus fit`, or a folder of "
            "runs."
        )
    return runs


def _is_run(folder: Path) -> bool:
    from isthmus.persistence.run_folder import CONFIG, find_checkpoints
    from isthmus.training.training_log import TRAINING_LOG

    named = any((folder / name).is_file() for name in (CONFIG, TRAINING_LOG))
    return named or bool(find_checkpoints(folder))


def _bundle(runs: list[Path], arguments: argparse.Namespace) -> Any:
    """Return the first run's model with data, or without if the run's own are not available."""
    from isthmus.cli._run_data import rows_to_show
    from isthmus.persistence.run_folder import CONFIG
    from isthmus.studio.bundle import Bundle

    if not (runs[0] / CONFIG).is_file():  # training, or interrupted
        return Bundle.load(runs)
    arguments.run = runs[0]
    dataset, reason = rows_to_show(arguments)
    try:
        return Bundle.load(runs, dataset, no_data_reason=reason, max_rows=arguments.rows)
    except ValueError as error:  # the run's own data no longer fit its model
        if arguments.data is not None or dataset is None:
            raise
        return Bundle.load(runs, no_data_reason=one_line(error))


def _listen(host: str, port: int | None) -> socket.socket:
    """Return a listening socket: at the given port, else at the default or a free one."""
    wanted = PORT if port is None else port
    try:
        return _bound(host, wanted)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        if taken and port is None:
            say(f"port {PORT} is in use; using a free one", error=True)
            return _bound(host, 0)
        if taken:
            raise ValueError(
                f"port {port} is in use: name another, or omit --port to use a free one."
            ) from None
        raise ValueError(
            f"cannot listen at {host}, port {wanted}: {error.strerror}; give an address of this "
            "machine by --host, a port by --port."
        ) from None


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    # Otherwise small responses wait 40 ms; asyncio sets this option for its own sockets only.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _hosts(listener: socket.socket, host: str) -> frozenset[str] | None:
    """Return the host names to accept in requests; None, for any, unless the address is local."""
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
    except ValueError:  # a machine's name
        return False


def _address(listener: socket.socket, host: str) -> str:
    """Return the address for the browser, with this machine's name if it listens everywhere."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else _in_url(host)
    return f"http://{name}:{listener.getsockname()[1]}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _announce(address: str, arguments: argparse.Namespace) -> None:
    """Print the address, and open it in a browser."""
    if not _is_local(arguments.host):
        say(
            f"warning: --host {arguments.host}: everyone on the network who has the address can "
            "see the data",
            error=True,
        )
    say(f"studio at {address}", "Ctrl-C to stop")
    if not arguments.no_browser:  # in a thread, as some browsers block
        import webbrowser  # takes long to import

        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
