"""The page of a run: one file that a person opens."""

from isthmus.report.page import write_report

__all__ = ["write_report"]
