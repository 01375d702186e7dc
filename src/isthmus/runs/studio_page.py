"""The page of a run that executes its model in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from isthmus.data import Dataset
from isthmus.report import REPORT, link_live

__all__ = ["PAGE", "PAGE_ROWS", "StudioPage", "write_studio_page"]

PAGE = "studio.html"
PAGE_ROWS = 5000
NO_DATA = "The data of this run is not included: only the map, sliders and samples are available."


class StudioPage(NamedTuple):
    """The file to open, and the size in bytes of all files written."""

    path: Path
    n_bytes: int


def write_studio_page(
    folder: Path, dataset: Dataset | None, *, out: Path | None = None, rows: int = PAGE_ROWS
) -> StudioPage:
    """Write a page that executes the model of a run in the browser, and link it in the report.

    The page shows at most `rows` rows of the dataset, if there is one. Only a page in the folder
    of the run, as by default, is linked.
    """
    from isthmus.studio import Bundle, write_page  # takes long to import

    out = folder / PAGE if out is None else out
    page = write_page(Bundle.load([folder], dataset, no_data_reason=NO_DATA, max_rows=rows), out)
    files = [page] if page == out else [p for p in out.rglob("*") if p.is_file()]
    if (folder / REPORT).is_file() and page.parent.resolve() == folder.resolve():
        link_live(folder / REPORT, page.name)
    return StudioPage(page, sum(p.stat().st_size for p in files))
