"""Names in data, and of files, are printed without what a terminal would obey."""

import logging
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from isthmus._messages import one_line, printable, python_command, say, shell_quote
from isthmus.cli import main
from isthmus.cli._console import print_columns, print_summary, print_table
from isthmus.cli._parser import NO_READER, _printable_messages

ESC = "\x1b[31m\x1b]0;title\x07"
HOSTILE = {
    "escape": "\x1b[2J",
    "csi in one byte": "\x9b31m",
    "delete": "a\x7f",
    "carriage return": "a\rb",
    "line": "a\nisthmus: all is well",
    "other line breaks": "a\x85b\u2028c\u2029d",
    "bidi": "a\u202eb\u2066c\u200fd",
    "zero width": "a\u200bb\ufeffc\u2060d",
    "filler": "a\u3164b\u115fc",
    "surrogate": "a\udcffb",
    "tag": "a\U000e0041b",
}


def assert_printable(text):
    assert [line for line in text.split("\n") if printable(line) != line] == []


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_escaped_wherever_it_is_printed(text, capsys):
    say(text)
    say(text, error=True)
    print_table(text, {text: text})
    print_columns(text, {text: False}, [[text]])
    out, err = capsys.readouterr()
    assert_printable(out)
    assert_printable(err)
    assert out.startswith(f"{printable(text)}\n")
    assert err == f"{printable(text)}\n"
    assert_printable(one_line(text))


@pytest.mark.parametrize("text", ["β = 4, 日本語 🙂 é\u0301", "a b", "\\x1b", ""])
def test_other_text_is_printed_as_it_is(text):
    assert printable(text) == text
    assert printable(printable("\x1b")) == printable("\x1b")


@pytest.mark.parametrize("text", ["[red]", "[/]", "[bold]x[/bold]", ":smile:", "a\\", "[link=x]y"])
def test_markup_in_names_is_not_interpreted(text, capsys):
    print_table(text, {text: text})
    print_columns(text, {text: False}, [[text]])
    assert capsys.readouterr().out.count(text) == 6


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("category", [UserWarning, RuntimeWarning, FutureWarning])
def test_warnings_of_any_library_are_printable(text, category, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # As Python does; pytest collects warnings instead.
        warnings.showwarning = lambda *w: sys.stderr.write(warnings.formatwarning(*w[:4]))
        with _printable_messages():
            warnings.warn(text, category, stacklevel=1)
    error = capsys.readouterr().err
    assert error
    assert_printable(error)
    assert "\nisthmus:" not in error


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_log_records_of_any_library_are_printable(text, caplog):
    with _printable_messages():
        logging.getLogger("another.library").error("column %s", text)
    logging.getLogger("another.library").error("column %s", "\x07")
    assert_printable(caplog.messages[0])
    assert caplog.messages[1] == "column \x07"  # outside of a command nothing changes


MISTAKES = {
    "command": [ESC],
    "option": ["fit", f"--{ESC}"],
    "value": ["fit", "digits", "--epochs", ESC],
    "choice": ["fit", "digits", "--model", ESC],
    "argument": ["info", "run", ESC],
    "data": ["fit", ESC],
    "run": ["info", f"no/{ESC}\udcff"],
    "query": ["search", f"no/{ESC}", "1"],
    "files": ["transform", "run", f"{ESC}*", "out"],
}


@pytest.mark.parametrize("words", MISTAKES.values(), ids=MISTAKES)
def test_error_messages_are_printable(words, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert_printable(error)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table whose names, categories and ids are hostile, in a folder with such a name."""
    folder = tmp_path_factory.mktemp(f"[red]{ESC} $(reboot) '\u202e".replace("/", ""))
    rng = np.random.default_rng(0)
    rows = [
        [f"{x:.2f}", f"{y:.2f}", ["\x1b[5mlow", "high\u202e[bold]"][i % 2], f"id\x1b[{i}\x07"]
        for i, (x, y) in enumerate(rng.normal(size=(60, 2)))
    ]
    header = ["[red]\x1b[31m", "b\u200b\x9b", "kind\x7f", "name\x1b]"]
    path = folder / f"data {ESC}.csv".replace("/", "")
    path.write_text("\n".join(",".join(row) for row in [header, *rows]))
    return path


@pytest.fixture(scope="module")
def run(table):
    settings = ["--hidden", "8", "--n-components", "2", "--epochs", "2", "--random-state", "0"]
    words = [table, "--id", "name\x1b]", "--out", table.parent / f"run{ESC}", *settings]
    assert main(["fit", *map(str, words), "--progress", "lines"]) == 0
    return table.parent / f"run{ESC}"


COMMANDS = {
    "info": ["info", "RUN"],
    "evaluate": ["evaluate", "RUN", "DATA", "--samples", 5, "--rows", 4],
    "detect": ["detect", "RUN", "DATA", "--out", "RUN/scores.csv"],
    "search": ["search", "RUN", 3],
    "transform": ["transform", "RUN", "DATA", "RUN/codes"],
    "sample": ["sample", "RUN", "--out", "RUN/rows.csv"],
    "traverse": ["traverse", "RUN", "--row", 1],
    "interpolate": ["interpolate", "RUN", 0, 1],
    "map": ["map", "RUN", "DATA"],
    "compress": ["compress", "RUN", "DATA", "--out", "RUN/codes.npz"],
    "impute": ["impute", "RUN", "DATA", "--out", "RUN/full.csv"],
    "push": ["push", "RUN", "me/x", "--dry-run", "RUN/published"],
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_commands_print_no_control_characters(words, run, table, capfd):
    words = [str(word).replace("RUN", str(run)).replace("DATA", str(table)) for word in words]
    assert main(words) in (0, 2)
    out, err = capfd.readouterr()
    assert out + err
    assert_printable(out)
    assert_printable(err)


def test_output_files_keep_exact_names(run, table, tmp_path):
    out = tmp_path / "rows.csv"
    assert main(["sample", str(run), "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert text.startswith("[red]\x1b[31m,b\u200b\x9b,kind\x7f")
    assert "\x1b[5mlow" in text


def test_fit_prints_commands_that_work_in_a_shell(tmp_path, capsys):
    folder = tmp_path / "my run's $HOME\x1b \udcff"
    estimator = SimpleNamespace(n_iter_=1, stopped_="epochs", best_epoch_=1)
    run = SimpleNamespace(
        estimator=estimator, summary={}, folder=folder, report=folder / "report.html"
    )
    print_summary(run, shell_quote("a b.csv", "--label", "c'd"))
    lines = capsys.readouterr().out.splitlines()
    assert_printable("\n".join(lines))
    for line in lines[lines.index("next:") + 1 :]:
        script = f'isthmus() {{ printf \'%s\\0\' "$@"; }}; python() {{ isthmus "$@"; }}; {line}'
        shell = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
        words = [os.fsdecode(word) for word in shell.stdout.split(b"\0")]
        if words[0] == "-c":
            assert eval(words[1].partition("load(")[2].rstrip(")")) == str(folder)
        else:
            assert words[1] == str(folder)
        if words[0] == "evaluate":
            assert words[2:5] == ["a b.csv", "--label", "c'd"]


@pytest.mark.parametrize(
    "word", ["a", "", "a b", "it's", "$(x)`y`", "a\nb", "\x1b'\\", "é\udcff", "!"]
)
def test_quoted_words_are_what_a_shell_reads(word):
    quoted = shell_quote(word)
    assert_printable(quoted)
    shell = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True)
    assert os.fsdecode(shell.stdout) == word
    assert python_command("print(1)") == 'python -c "print(1)"'


@pytest.mark.parametrize(
    "words", ["completion bash", "fit --help", "info /no/such/run 2>&1", "fit --no-such 2>&1"]
)
def test_a_reader_that_is_gone_ends_a_command_quietly(words):
    script = f"{{ sleep 0.2; {sys.executable} -m isthmus {words}; echo $? >&3; }} | true"
    found = subprocess.run(
        ["bash", "-c", f"exec 3>&1; {script}"], capture_output=True, text=True, check=False
    )
    assert found.stderr == ""
    assert int(found.stdout) in (NO_READER, 0, 2)
