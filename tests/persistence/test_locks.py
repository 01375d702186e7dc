"""Locks: never two holders, and asking whether a lock is held never disturbs."""

import subprocess
import sys
import time

import pytest

from isthmus.persistence.locks import LOCK, exclusive, exclusive_folder, is_locked, turn

# Each process takes the lock again and again, and appends to a file when it enters and leaves.
CONTENDER = """
import os, sys, time
from pathlib import Path
from isthmus.persistence.locks import LOCK, exclusive, is_locked

folder, seconds, asks = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "asks"
journal = os.open(folder / "journal", os.O_WRONLY | os.O_APPEND)
end = time.monotonic() + seconds
held = 0
while time.monotonic() < end:
    if asks:
        held += is_locked(folder)
        continue
    try:
        with exclusive(folder / LOCK, "busy"):
            os.write(journal, b"+")
            held += 1
            os.write(journal, b"-")
    except ValueError:
        pass
print(held)
"""


def contend(folder, seconds, n, n_asking):
    (folder / "journal").touch()
    words = [sys.executable, "-c", CONTENDER, str(folder), str(seconds)]
    kinds = ["takes"] * n + ["asks"] * n_asking
    processes = [subprocess.Popen([*words, kind], stdout=subprocess.PIPE) for kind in kinds]
    counts = [int(process.communicate()[0]) for process in processes]
    assert sum(counts[:n]) > 1
    journal = (folder / "journal").read_bytes()
    assert journal == b"+-" * (len(journal) // 2)  # never two holders
    assert len(journal) == 2 * sum(counts[:n])


def test_contending_processes_hold_the_lock_one_at_a_time(tmp_path):
    contend(tmp_path, 0.5, n=4, n_asking=2)


@pytest.mark.slow
def test_many_contending_processes_hold_the_lock_one_at_a_time(tmp_path):
    contend(tmp_path, 20.0, n=12, n_asking=4)


def test_a_process_that_asks_does_not_take_the_lock(tmp_path):
    with exclusive(tmp_path / LOCK, "busy"):
        assert is_locked(tmp_path)
    asking = "import sys; from isthmus.persistence.locks import is_locked\n"
    asking += (
        "from pathlib import Path\nprint(flush=True)\nwhile True: is_locked(Path(sys.argv[1]))"
    )
    words = [sys.executable, "-c", asking, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        try:
            for _ in range(200):
                with exclusive(tmp_path / LOCK, "refused because another process asked"):
                    pass
        finally:
            process.kill()


def test_a_lock_file_left_by_a_killed_process_is_no_lock(tmp_path):
    (tmp_path / LOCK).touch()
    assert not is_locked(tmp_path)
    with exclusive(tmp_path / LOCK, "busy"):
        assert is_locked(tmp_path)
    assert not (tmp_path / LOCK).exists()


def test_a_lock_of_a_folder_that_was_made_again_stays(tmp_path):
    folder = tmp_path / "run"
    with exclusive_folder(folder):
        (folder / LOCK).unlink()
        folder.rmdir()
        folder.mkdir()
        second = exclusive(folder / LOCK, "busy")
        second.__enter__()
    assert is_locked(folder)
    second.__exit__(None, None, None)
    assert not is_locked(folder)


def test_a_lock_file_that_is_a_link_is_refused(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("content")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(precious)
    folder = exclusive_folder(tmp_path / "run")
    with pytest.raises(ValueError, match=r"run/\.lock: expected a lock file, found a link"), folder:
        pass
    assert not is_locked(tmp_path / "run")
    assert precious.read_text() == "content"


def test_a_lock_is_busy_until_it_is_released(tmp_path):
    with exclusive(tmp_path / LOCK, "busy"), pytest.raises(ValueError, match="busy"):
        exclusive(tmp_path / LOCK, "busy", wait=0).__enter__()
    with exclusive(tmp_path / LOCK, "busy", wait=0):
        pass


def test_writers_of_a_folder_take_turns(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.persistence.locks.WAIT_FOR_TURN", 0.05)
    with turn(tmp_path):
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="another process has been writing"), turn(tmp_path):
            pass
        assert time.monotonic() - start < 5
    with turn(tmp_path), turn(tmp_path.parent):
        pass
