"""Import of optional libraries, with an error that says how to install them."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

__all__ = ["import_optional"]

#: Libraries that report their use to their makers, and the setting that stops them. It is set
#: before they are imported, unless the user has set it.
NO_REPORTS = {
    "mlflow": ("MLFLOW_DISABLE_TELEMETRY", "true"),
    "huggingface_hub": ("HF_HUB_DISABLE_TELEMETRY", "1"),
    "datasets": ("HF_HUB_DISABLE_TELEMETRY", "1"),
}


def import_optional(
    *modules: str, what: str, extra: str | None = None, instead: str = ""
) -> ModuleType:
    """Import modules and return the first; raise an ImportError that says how to install them.

    Telemetry of the libraries is turned off, unless the user has set its environment variable.

    Parameters
    ----------
    *modules : str
        Module names; dots for submodules.
    what : str
        What needs them; the beginning of the message.
    extra : str, optional
        The extra of isthmus that installs them; None if each is a package of that name.
    instead : str, optional
        An alternative, as words after "or".

    Returns
    -------
    module
        The submodule itself for a dotted name.

    Raises
    ------
    ImportError
        If a module is not installed. Errors inside an installed module pass through unchanged.

    Examples
    --------
    >>> import_optional("math", what="counting").floor(1.5)
    1
    >>> import_optional("no_such_module", extra="search", what="faiss search")
    Traceback (most recent call last):
        ...
    ImportError: faiss search needs no_such_module: pip install 'isthmus[search]'.
    """
    absent = [name.partition(".")[0] for name in modules if not _can_import(name)]
    if absent:
        package = f"'isthmus[{extra}]'" if extra else " ".join(absent)
        other = f", or {instead}" if instead else ""
        raise ImportError(f"{what} needs {' and '.join(absent)}: pip install {package}{other}.")
    return import_module(modules[0])


def _can_import(name: str) -> bool:
    package = name.partition(".")[0]
    if package in NO_REPORTS:
        os.environ.setdefault(*NO_REPORTS[package])
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the module is installed, but not one of its own dependencies
        return False
    return True
