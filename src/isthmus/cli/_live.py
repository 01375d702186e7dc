"""What the studio shows, live or as a page: which rows, and where the page is written."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus.cli._contact_sheet import find_rows
from isthmus.data import Dataset
from isthmus.persistence.run_folder import read_config
from isthmus.report import REPORT, link_live

__all__ = ["PAGE", "PAGE_ROWS", "check_rows", "rows_to_show", "write_live"]

PAGE = "studio.html"
PAGE_ROWS = 5000


def check_rows(arguments: argparse.Namespace) -> None:
    """Raise a ValueError where --rows asks for fewer than a map can show."""
    if arguments.rows < 2:
        raise ValueError(f"--rows must be at least 2, got {arguments.rows}.")


def rows_to_show(arguments: argparse.Namespace) -> tuple[Dataset | None, str | None]:
    """Return the data that were named or that the run was fitted on, or why there are none.

    A run can be looked at without its data; what was named by the user must be there.

    Raises
    ------
    FileNotFoundError, ValueError
        Where there is no run, or data that were named cannot be read.
    """
    if getattr(arguments, "no_data", False):
        return None, "left out, as asked"
    run = Path(arguments.run)
    options = {name: getattr(arguments, name) for name in ("data_home", "size", "label")}
    if arguments.data is not None:
        return find_rows(run, arguments.data, **options), None
    read_config(run)
    try:
        return find_rows(run, **options), None
    except (ValueError, OSError) as error:
        return None, str(error)


def write_live(
    folder: Path,
    dataset: Dataset | None,
    missing: str | None = None,
    out: Path | None = None,
    rows: int = PAGE_ROWS,
) -> Path:
    """Write a run as a page that runs its model in the browser, say where, and link it.

    Parameters
    ----------
    folder : Path
        Of the run.
    dataset : Dataset, optional
    missing : str, optional
        Why there is none.
    out : Path, optional
        The page; by default `PAGE` in the run's folder, to which its report then has a button.
    rows : int
        Rows in the page, at most.
    """
    from isthmus.studio import Bundle, write_page  # not before a page is asked for

    out = folder / PAGE if out is None else out
    if missing is not None:  # why, with a path of this machine, was said in the terminal
        missing = "This run is shown without its data: samples and sliders need none."
    page = write_page(Bundle.of([folder], dataset, missing=missing, most_rows=rows), out)
    files = [page] if page == out else [p for p in out.rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files) / 2**20
    print(f"written to {page}, {size:.1f} MB: open it in a browser")
    if (folder / REPORT).is_file() and page.parent.resolve() == folder.resolve():
        link_live(folder / REPORT, page.name)
    return page
