"""Helpers for error messages: suggestions for mistyped names, and quoting of long text."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["check_choice", "did_you_mean", "one_line", "times_error"]

MAX_QUOTED = 400  # characters


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return " Did you mean 'vae'?" if a known name is close, else an empty string.

    Examples
    --------
    >>> did_you_mean("VEA", ["vae", "beta-vae"])
    " Did you mean 'vae'?"
    """
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise a ValueError if a value is not one of the choices.

    Examples
    --------
    >>> check_choice("start", "posteriors", ("prior", "posterior"))
    Traceback (most recent call last):
    ...
    ValueError: start must be 'prior' or 'posterior', got 'posteriors'. Did you mean 'posterior'?
    """
    if value not in (known := tuple(choices)):
        words = " or ".join(map(repr, known))
        raise ValueError(f"{name} must be {words}, got {value!r}.{did_you_mean(value, known)}")


def one_line(text: object) -> str:
    r"""Return text on one line, truncated if it is long, for use in a message.

    Examples
    --------
    >>> one_line("a\n  b")
    'a b'
    """
    words = " ".join(str(text)[: 4 * MAX_QUOTED].split())
    return words if len(words) <= MAX_QUOTED else words[: MAX_QUOTED - 1] + "…"


def times_error(what: str, dtype: object) -> str:
    """Return the message for values of a type of times."""
    return (
        f"{what} holds times ({dtype}), which models do not take: convert them to numbers, such as "
        "days since the first with (times - times.min()) / numpy.timedelta64(1, 'D'), or drop "
        "them."
    )
