"""How runs are shown in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from isthmus.runs import Run

__all__ = ["number_text", "print_summary", "print_table"]


def print_summary(run: Run, data: str) -> None:
    """Print the test numbers of a finished run, where it is, and what to do next.

    Parameters
    ----------
    run : Run
    data : str
        The data as they are named on the command line.
    """
    estimator: Any = run.estimator
    console = Console(highlight=False, soft_wrap=True)
    if run.summary:
        print_table(f"{type(estimator).__name__} on held-out rows", run.summary)
    console.print(f"stopped after {estimator.n_iter_} epochs ({estimator.stopped_}); ", end="")
    console.print(f"weights of epoch {estimator.best_epoch_}")
    folder = escape(str(run.folder))
    console.print(f"\nrun     {folder}")
    console.print(f"report  {escape(str(run.report))}\n")
    console.print("next:")
    console.print(f"  isthmus studio {folder}")
    console.print(f"  isthmus info {folder}")
    console.print(f"  isthmus evaluate {folder} {escape(data)}")
    console.print(f"  python -c \"import isthmus; print(isthmus.load('{folder}'))\"")


def print_table(title: str, rows: dict[str, Any]) -> None:
    """Print names and values as a table."""
    table = Table(title=escape(title), title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    for name, value in rows.items():
        table.add_row(escape(name), escape(number_text(value)))
    Console(highlight=False).print(table)


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
