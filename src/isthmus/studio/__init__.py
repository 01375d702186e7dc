"""The studio: a run in the browser, as a page of its own or served by Python."""

from isthmus.studio.bundle import Bundle
from isthmus.studio.page import write_page

__all__ = ["Bundle", "write_page"]
