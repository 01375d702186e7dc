"""How runs are shown in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from isthmus._messages import printable, python_command, say, shell_quote
from isthmus.cli._options import flag_of
from isthmus.models.params import setting_text

if TYPE_CHECKING:
    from isthmus.evaluation import Finding, Findings
    from isthmus.runs import Run

__all__ = [
    "finding_text",
    "number_text",
    "print_columns",
    "print_findings",
    "print_summary",
    "print_table",
]


MAX_WIDTH = 1000  # of a table with columns, whose cells are never cut
COLOURS = {"failure": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}


class _Console(Console):
    """A console that prints text as it is, and raises the error of a pipe without a reader."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def print_summary(run: Run, data: str) -> None:
    """Print the test numbers of a finished run, where it is, and what to do next.

    Parameters
    ----------
    run : Run
    data : str
        The data as they are named on the command line.
    """
    estimator: Any = run.estimator
    if run.summary:
        print_table(f"{type(estimator).__name__} on held-out rows", run.summary)
        say(*map(finding_text, run.findings))
    folder = shell_quote(run.folder)
    say(
        f"stopped after {estimator.n_iter_} epochs ({estimator.stopped_}); "
        f"weights of epoch {estimator.best_epoch_}",
        "",
        f"run     {run.folder}",
        f"report  {run.report}",
        "",
        "next:",
        f"  isthmus studio {folder}",
        f"  isthmus check {folder}",
        f"  isthmus info {folder}",
        f"  isthmus evaluate {folder} {data}",
        "  " + python_command(f"import isthmus; print(isthmus.load({str(run.folder)!r}))"),
    )


def finding_text(finding: Finding) -> str:
    """Return a finding on one line, with the settings to try first as flags."""
    flags = settings_as_flags(finding.remedy.settings)
    tail = f" Try {flags}." if flags else f" {finding.remedy.advice}"
    return f"{finding.severity}: {finding.verdict}{tail}".rstrip()


def print_findings(findings: Findings) -> None:
    """Print findings as a table, coloured by severity in a terminal."""
    table = Table(box=None, pad_edge=False)
    for heading in ("severity", "check", "verdict, evidence and remedy"):
        table.add_column(heading, no_wrap=heading != "verdict, evidence and remedy")
    for severity, name, sentences in findings.lines():
        style = COLOURS.get(severity, "dim")
        text = "\n".join(map(printable, sentences))
        table.add_row(Text(severity, style), printable(name), text)
    _Console().print(table)
    if findings.rows:
        say("", findings.measured_on)


def settings_as_flags(settings: Mapping[str, Any]) -> str:
    """Return settings as flags of ``isthmus fit``.

    Examples
    --------
    >>> settings_as_flags({"hidden": (64, 32), "patience": None})
    '--hidden 64x32 --patience none'
    """
    words = [(flag_of(name), setting_text(value)) for name, value in settings.items()]
    return shell_quote(*chain.from_iterable(words)) if words else ""


def print_table(title: str, rows: dict[str, Any]) -> None:
    """Print names and values as a table."""
    table = _table(title, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    for name, value in rows.items():
        table.add_row(printable(name), printable(number_text(value)))
    _Console().print(table)


def print_columns(title: str, numbers: dict[str, bool], rows: Iterable[Iterable[Any]]) -> None:
    """Print rows under the names of their columns; `numbers` says which hold numbers."""
    table = _table(title)
    for name, is_number in numbers.items():
        table.add_column(printable(name), justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*map(printable, row))
    _Console(soft_wrap=True, width=MAX_WIDTH).print(table)


def _table(title: str, **options: Any) -> Table:
    return Table(title=printable(title), title_justify="left", **options)


def number_text(value: Any) -> str:
    """Return a number with as many digits as a person reads; other things as they are.

    Examples
    --------
    >>> number_text(-1234.567), number_text(0.012345), number_text(7)
    ('-1,234.57', '0.01235', '7')
    """
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.4g}"
    return str(value)
