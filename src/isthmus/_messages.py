"""Text for people: error messages, quoting of long and of hostile text, and printing."""

from __future__ import annotations

import difflib
import os
import shlex
import sys
import unicodedata
from collections.abc import Iterable
from itertools import islice
from typing import Any, Self

__all__ = [
    "RowError",
    "as_text",
    "check_choice",
    "did_you_mean",
    "one_line",
    "printable",
    "python_command",
    "say",
    "shell_quote",
    "times_error",
]

MAX_QUOTED = 400  # characters
MAX_COMPARED = 1000  # names: comparing takes time
CONTROLS = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # controls, formats (bidi, zero width), surrogates, breaks
BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")  # letters and marks without a shape
UNSAFE_IN_QUOTES = frozenset('"$`\\!')  # within double quotes of a shell


class RowError(ValueError):
    """Rows of numbers for which a model has no result, such as values that overflow float32.

    Parameters
    ----------
    row : int
        The row to name.
    before, after : str
        The message around the number of the row.
    rows : ndarray of int
        The positions of all such rows.
    """

    def __init__(self, row: int, before: str, after: str, rows: Any) -> None:
        super().__init__(row, before, after, rows)
        self.row, self.before, self.after, self.rows = row, before, after, rows

    def __str__(self) -> str:
        return f"{self.before}{self.row}{self.after}"

    def renumbered(self, numbers: Any) -> Self:
        """Return the error for rows that have other numbers in the array of the user."""
        number = int(numbers[self.row])
        return type(self)(number, self.before, self.after, self.rows)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return " Did you mean 'vae'?" if a known name is close, else an empty string.

    Examples
    --------
    >>> did_you_mean("VEA", ["vae", "beta-vae"])
    " Did you mean 'vae'?"
    """
    by_lower = {each.lower(): each for each in islice(known, MAX_COMPARED)}
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
    words = printable(" ".join(str(text)[: 4 * MAX_QUOTED].split()))
    return words if len(words) <= MAX_QUOTED else words[: MAX_QUOTED - 1] + "…"


def times_error(what: str, dtype: object) -> str:
    """Return the message for values of a type of times."""
    return (
        f"{what} holds times ({dtype}), which models do not take: convert them to numbers, such as "
        "days since the first with (times - times.min()) / numpy.timedelta64(1, 'D'), or drop "
        "them."
    )


def printable(text: object) -> str:
    r"""Return text with everything escaped that a terminal obeys or does not show.

    These are control characters, line breaks included, marks that reverse the direction of text,
    characters without width, and bytes of file names that are not UTF-8. Names of columns,
    categories and files may contain them, to hide or fake what a command prints.

    Examples
    --------
    >>> print(printable("β \x1b[31mred\u202e"))
    β \x1b[31mred\u202e
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if _is_hidden(c) else c for c in text)


def _escaped(character: str) -> str:
    is_byte = "\udc80" <= character <= "\udcff"  # of a file name that is not UTF-8
    return f"\\x{ord(character) - 0xDC00:02x}" if is_byte else ascii(character)[1:-1]


def as_text(name: object) -> str:
    r"""Return the name of a file as text that any format holds: bytes that are not UTF-8 as \xNN.

    Examples
    --------
    >>> print(as_text("caf\udce9"))
    caf\xe9
    """
    return "".join(_escaped(c) if "\ud800" <= c <= "\udfff" else c for c in str(name))


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in CONTROLS or character in BLANK


def say(*lines: object, error: bool = False) -> None:
    """Print lines for people, each `printable`, to standard output or standard error.

    Everything that isthmus prints is printed here, or as a table by `isthmus.cli._console`.
    """
    stream = sys.stderr if error else sys.stdout
    stream.write("".join(f"{printable(line)}\n" for line in lines))
    stream.flush()


def shell_quote(*words: object) -> str:
    r"""Return words as they are typed in a shell, on one line without control characters.

    Examples
    --------
    >>> shell_quote("isthmus", "info", "my run")
    "isthmus info 'my run'"
    >>> print(shell_quote("a\x1b'b"))
    $'a\x1b\'b'
    """
    return " ".join(map(_shell_quote, map(str, words)))


def _shell_quote(word: str) -> str:
    if printable(word) == word:
        return shlex.quote(word)
    parts = []
    for c in word:
        if _is_hidden(c):
            parts += [f"\\x{byte:02x}" for byte in os.fsencode(c)]
        else:
            parts.append(f"\\{c}" if c in "\\'" else c)
    return f"$'{''.join(parts)}'"  # understood by bash, zsh and ksh


def python_command(code: str) -> str:
    r"""Return the shell command that runs a line of Python.

    Examples
    --------
    >>> python_command("print('a')"), python_command('print("a")')
    ('python -c "print(\'a\')"', 'python -c \'print("a")\'')
    """
    plain = not UNSAFE_IN_QUOTES & {*code}
    return f'python -c "{code}"' if plain else f"python -c {shell_quote(code)}"
