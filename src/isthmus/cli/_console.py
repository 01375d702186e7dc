"""How runs are shown in the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from isthmus._messages import printable, python_command, say, shell_quote
from isthmus.cli._options import flag_of

if TYPE_CHECKING:
    from isthmus.evaluation import Advice
    from isthmus.runs import Run

__all__ = ["number_text", "print_columns", "print_summary", "print_table"]


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
    from isthmus.evaluation.advice import advice

    estimator: Any = run.estimator
    if run.summary:
        print_table(f"{type(estimator).__name__} on held-out rows", run.summary)
        say(*(_advice_text(each) for each in advice(estimator, run.summary)))
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
        f"  isthmus info {folder}",
        f"  isthmus evaluate {folder} {data}",
        "  " + python_command(f"import isthmus; print(isthmus.load({str(run.folder)!r}))"),
    )


def _advice_text(advice: Advice) -> str:
    """Return a finding, and the settings to try as flags."""
    words: list[Any] = []
    for name, value in advice.settings.items():
        words += [flag_of(name), *(value if isinstance(value, tuple) else (value,))]
    return f"{advice.finding}: try {shell_quote(*words)}"


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
    _Console(soft_wrap=True).print(table)


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
