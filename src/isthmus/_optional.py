"""Libraries of the extras: imported where they are used, asked for by name where they lack."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["import_optional"]


def import_optional(
    *modules: str, what: str, extra: str | None = None, instead: str = ""
) -> ModuleType:
    """Return the first of some modules, all imported; where one lacks, say how to get it.

    Parameters
    ----------
    *modules : str
        Names as after ``import``; submodules too.
    what : str
        What needs them, as the message begins.
    extra : str, optional
        The extra of isthmus that brings them; None where each is its own package.
    instead : str, optional
        What else the user may do, as words after "or".

    Returns
    -------
    module
        A dotted name gives the submodule itself.

    Raises
    ------
    ImportError
        One line with the ``pip install`` that helps. A module that is there and fails to import
        raises what it raises: installing it once more would not help.

    Examples
    --------
    >>> import_optional("math", what="counting").floor(1.5)
    1
    >>> import_optional("no_such_module", extra="search", what="faiss search")
    Traceback (most recent call last):
        ...
    ImportError: faiss search needs no_such_module: pip install 'isthmus[search]'.
    """
    lacking = [name.partition(".")[0] for name in modules if not _imports(name)]
    if lacking:
        wanted = f"'isthmus[{extra}]'" if extra else " ".join(lacking)
        other = f", or {instead}" if instead else ""
        raise ImportError(f"{what} needs {' and '.join(lacking)}: pip install {wanted}{other}.")
    return import_module(modules[0])


def _imports(name: str) -> bool:
    """Import a module; return False where its package is not installed."""
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name.partition(".")[0]:
            raise  # the module is there; one that it needs itself is not
        return False
    return True
