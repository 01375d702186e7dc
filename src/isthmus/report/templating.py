"""Jinja templates that ship with the package."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

__all__ = ["template"]


def template(package: str, name: str) -> Any:
    """Return a Jinja template of a package.

    All values are escaped, since file names and labels are untrusted. Missing variables raise.
    """
    source = resources.files(package).joinpath(name).read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(source)
