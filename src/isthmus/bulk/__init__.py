"""Many rows: files of any length by several processes, and the batch maps of Ray and Spark.

Names are loaded when first used.
"""

from __future__ import annotations

from typing import Any

_HOMES = {
    "BatchMap": "maps",
    "Encode": "maps",
    "Job": "files",
    "Rank": "ranks",
    "Score": "maps",
    "answer_files": "files",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'isthmus.bulk' has no attribute {name!r}")
    return getattr(importlib.import_module(f"isthmus.bulk.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
