"""Jinja templates that ship with the package."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

__all__ = ["template"]


def template(package: str, name: str, escape: Callable[[Any], str] | None = None) -> Any:
    """Return a Jinja template of a package; missing variables raise.

    File names and labels are untrusted, so all values are escaped: by `escape`, or for HTML.
    """
    source = resources.files(package).joinpath(name).read_text("utf-8")
    environment = Environment(
        autoescape=escape is None, finalize=escape, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.from_string(source)
