"""The report of a run: a self-contained HTML page."""

from isthmus.report.page import REPORT, link_live, model_of_report, write_report

__all__ = ["REPORT", "link_live", "model_of_report", "write_report"]
