"""The page of a run: one file that a person opens."""

from isthmus.report.page import REPORT, link_live, write_report

__all__ = ["REPORT", "link_live", "write_report"]
