"""The studio: a browser app for one run, as an exported page or served by Python."""

from isthmus.studio.bundle import Bundle
from isthmus.studio.page import write_page

__all__ = ["Bundle", "write_page"]
