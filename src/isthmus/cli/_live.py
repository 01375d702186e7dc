"""What the studio shows, live or as a page: the rows, and where the page is written."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus.cli._run_data import find_rows
from isthmus.data import Dataset
from isthmus.persistence.run_folder import read_config
from isthmus.report import REPORT, link_live

__all__ = ["rows_to_show", "write_live"]

PAGE = "studio.html"
PAGE_ROWS = 5000


def rows_to_show(arguments: argparse.Namespace) -> tuple[Dataset | None, str | None]:
    """Return the data to show, or why there are none: a run can be shown without its own data.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no run, or the data given on the command line cannot be read.
    """
    if getattr(arguments, "no_data", False):
        return None, "omitted by --no-data"
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
    """Write a run as a page that runs its model in the browser, and print its path.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    dataset : Dataset, optional
    missing : str, optional
        Why there is no dataset.
    out : Path, optional
        The page; by default studio.html in the run's folder, to which its report then links.
    rows : int
        Maximum number of rows in the page.
    """
    from isthmus.studio import Bundle, write_page  # only when a page is written

    out = folder / PAGE if out is None else out
    if missing is not None:  # the reason, with a path of this machine, stays in the terminal
        missing = "This run is shown without its data: samples and sliders need none."
    page = write_page(Bundle.of([folder], dataset, missing=missing, most_rows=rows), out)
    files = [page] if page == out else [p for p in out.rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files) / 2**20
    print(f"written to {page}, {size:.1f} MB: open it in a browser")
    if (folder / REPORT).is_file() and page.parent.resolve() == folder.resolve():
        link_live(folder / REPORT, page.name)
    return page
