"""Completion, tested in real shells; shells that are not installed are skipped."""

import contextlib
import os
import pty
import shutil
import subprocess
import time

import pytest

from isthmus.cli import main
from isthmus.cli._parser import COMMANDS
from isthmus.data.datasets import known_datasets
from isthmus.models.specs import PRIORS, SPECS

pytest.importorskip("shtab")


def shell(name):
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a script per shell, and a file and a folder to complete."""
    folder = tmp_path_factory.mktemp("completion")
    for name, file in (("bash", "script.bash"), ("fish", "script.fish"), ("zsh", "_isthmus")):
        with (folder / file).open("w") as out, contextlib.redirect_stdout(out):
            assert main(["completion", name]) == 0
    (folder / "my-run").mkdir()
    (folder / "my-table.csv").touch()
    return folder


def in_bash(folder, line):
    script = f"""
source script.bash
COMP_WORDS=({" ".join(word or "''" for word in line.split(" "))})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_shtab_isthmus
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return run(["bash", "-c", script], folder)


def in_fish(folder, line):
    script = f"source script.fish; complete -C '{line}' | string split -f 1 \\t"
    return [word.rstrip("/") for word in run(["fish", "--no-config", "-c", script], folder)]


def run(command, folder):
    environ = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder / ".data")}
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, encoding="utf-8", timeout=20
    )
    assert not done.stderr
    return done.stdout.split()


LINES = [
    ("isthmus ", set(COMMANDS)),
    ("isthmus compl", {"completion"}),
    ("isthmus fit dig", {"digits"}),
    ("isthmus fit ", {*known_datasets(), "my-run", "my-table.csv"}),
    ("isthmus fit digits --model ", set(SPECS)),
    ("isthmus fit digits --prior ", set(PRIORS)),
    ("isthmus fit digits --check", {"--checkpoint-every"}),
    ("isthmus fit digits --out m", {"my-run"}),
    ("isthmus info my", {"my-run"}),
    ("isthmus evaluate my-run my", {"my-run", "my-table.csv"}),
    ("isthmus map my-run digits --method ", {"auto", "pca", "umap"}),
    ("isthmus completion ", {"bash", "zsh", "fish"}),
]


@pytest.mark.parametrize(("line", "words"), LINES)
@pytest.mark.parametrize(
    "ask",
    [pytest.param(in_bash, marks=shell("bash")), pytest.param(in_fish, marks=shell("fish"))],
)
def test_words_are_completed(folder, ask, line, words):
    found = [word for word in ask(folder, line) if not word.startswith(("script.", "_isthmus"))]
    assert set(found) == words


class Zsh:
    """An interactive zsh on a pseudo-terminal."""

    def __init__(self, folder):
        ours, theirs = pty.openpty()
        environ = {"PATH": os.environ["PATH"], "TERM": "dumb", "ZDOTDIR": str(folder)}
        self.process = subprocess.Popen(
            ["zsh", "-f", "-i"],
            cwd=folder,
            env=environ | {"HOME": str(folder), "COLUMNS": "200"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.file = ours
        self.ask(
            "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; print re''ady\n", "ready"
        )

    def ask(self, keys, *words):
        """Press keys; return what appears, once all words have, or after some seconds."""
        os.write(self.file, keys.encode())
        seen, end = "", time.monotonic() + 10
        os.set_blocking(self.file, False)
        while time.monotonic() < end and not all(word in seen for word in words):
            try:
                seen += os.read(self.file, 65536).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.01)
        return seen


@shell("zsh")
def test_words_are_completed_in_zsh(folder):
    zsh = Zsh(folder)
    try:
        for line, words in LINES:
            seen = zsh.ask(f"{line}\t\t", *words)
            assert all(word in seen for word in words), (line, seen)
            zsh.ask("\x15\n")  # delete the line
    finally:
        zsh.process.kill()
        zsh.process.wait()
        os.close(zsh.file)


def test_another_shell_is_one_line(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
