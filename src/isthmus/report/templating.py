"""Pages of HTML from templates that lie in the package."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

__all__ = ["template"]


def template(package: str, name: str) -> Any:
    """Return a template of a package, to `render`.

    Everything is escaped: names of files and labels come from outside. A name that is not given
    is an error.
    """
    source = resources.files(package).joinpath(name).read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(source)
