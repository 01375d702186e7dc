"""Declare settings once: default, help text and bounds.

A setting is a dataclass field created by `param`. The signatures of the estimators, the flags of
the command line and the values in `config.json` are all read from it. This module imports nothing
heavy, so that ``isthmus --help`` is fast.
"""

from __future__ import annotations

import dataclasses
import functools
import numbers
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus._messages import did_you_mean, one_line

__all__ = ["Param", "check_fields", "describe", "param", "params_of", "setting_text"]

MAX_SIZE = 2**31  # of sizes and counts, also in saved models
MAX_NUMBER = 2**63  # of other numbers: torch reads no larger integer


@dataclass(frozen=True)
class Param:
    """A setting: help text, bounds, default and type."""

    help: str
    minimum: float | None = None  # inclusive
    above: float | None = None  # exclusive
    below: float | None = None  # exclusive; see `limit` for the default
    choices: tuple[str, ...] = ()
    name: str = ""
    default: Any = None
    hint: Any = None

    @property
    def optional(self) -> bool:
        """Whether None is allowed."""
        return type(None) in _members(self.hint)

    @property
    def is_tuple(self) -> bool:
        """Whether the value is a sequence of integers."""
        return any(typing.get_origin(m) is tuple for m in _members(self.hint))

    @property
    def is_callable(self) -> bool:
        """Whether a function of the user's own is allowed."""
        return any(typing.get_origin(m) is Callable for m in _members(self.hint))

    @property
    def scalar(self) -> type:
        """The type of the value, or of each element of a sequence."""
        if self.is_tuple:
            return int
        return next(t for t in (bool, int, float, str) if t in _members(self.hint))

    @property
    def expected(self) -> str:
        """The allowed values in words, for error messages and help texts."""
        if self.choices:
            return "one of " + ", ".join(map(repr, self.choices))
        words = {int: "an integer", float: "a number", bool: "True or False", str: "a string"}
        text = "a sequence of integers" if self.is_tuple else words[self.scalar]
        limits = [
            f"{word} {_limit_text(limit)}"
            for word, limit in (
                ("of at least", self.minimum),
                ("above", self.above),
                ("below", self.below),
            )
            if limit is not None
        ]
        text = " ".join([text, " and ".join(limits)]).strip()
        return f"{text} or None" if self.optional else text

    def read(self, text: str) -> Any:
        """Return the value that a word of the command line stands for; a ValueError if none does.

        Examples
        --------
        >>> from isthmus.models.specs import VAE
        >>> params = params_of(VAE)
        >>> params["hidden"].read("400x200"), params["hidden"].read("none")
        ((400, 200), ())
        >>> params["epochs"].read("none"), params["binarize"].read("yes")
        (None, True)
        """
        word = text.strip().lower()
        if self.is_tuple:
            return _read_widths(word)
        if self.optional and word == "none":
            return None
        if self.scalar is bool:
            return _WORDS_OF_BOOL[word]
        return self.scalar(text)

    @property
    def limit(self) -> float:
        """The exclusive upper bound: without a declared one, what tensors can hold."""
        if self.below is not None:
            return self.below
        return MAX_SIZE if self.scalar is int else MAX_NUMBER

    def accepts(self, value: Any) -> bool:
        """Whether `value` has the right type and lies within the bounds."""
        if value is None:
            return self.optional
        if self.is_callable and callable(value):
            return True
        if self.is_tuple:
            iterable = isinstance(value, Iterable) and not isinstance(value, str | Mapping)
            return iterable and all(self._accepts_one(v) for v in value)
        return self._accepts_one(value)

    def _accepts_one(self, value: Any) -> bool:
        if self.choices:
            return isinstance(value, str) and value in self.choices
        if self.scalar is str:
            return isinstance(value, str)
        if self.scalar is bool or isinstance(value, bool):
            return self.scalar is bool and isinstance(value, bool)
        kind = numbers.Integral if self.scalar is int else numbers.Real
        return isinstance(value, kind) and self._within(value)

    def _within(self, value: Any) -> bool:
        return (
            value == value
            and (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and -self.limit < value < self.limit
        )


_WORDS_OF_BOOL = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NO_LAYERS = "none"


def _read_widths(word: str) -> tuple[int, ...]:
    """Read the widths of layers; as 400x200, and also with other marks between them."""
    if word in (NO_LAYERS, "()", ""):
        return ()
    return tuple(map(int, re.split(r"[x×*, ]+", word.strip("()[], "))))


def setting_text(value: Any) -> str:
    """Return a setting as a person reads it, and as the command line takes it.

    Examples
    --------
    >>> [setting_text(value) for value in (0.001, (400, 200), (), None, "auto", {"size": 64})]
    ['0.001', '400x200', 'none', 'none', 'auto', 'size: 64']
    """
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {setting_text(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        are_sizes = all(isinstance(each, numbers.Integral) for each in value)
        return ("x" if are_sizes else ", ").join(map(setting_text, value)) or NO_LAYERS
    return str(value)


def _limit_text(limit: float) -> str:
    """Return a bound in words: 2^64 for a power of two that would have many digits."""
    exponent = int(limit).bit_length() - 1
    return f"2^{exponent}" if exponent > 20 and limit == 2**exponent else f"{limit:g}"


def _members(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def param(default: Any, help: str, **bounds: Any) -> Any:
    """Declare a setting.

    Parameters
    ----------
    default : object
        Immutable.
    help : str
        One sentence for the documentation and the command line.
    **bounds : object
        `minimum`, `above`, `below` for numbers, `choices` for strings.

    Returns
    -------
    dataclasses.Field
        For the body of a keyword-only dataclass.
    """
    return dataclasses.field(default=default, metadata={"param": Param(help, **bounds)})


def params_of(cls: type) -> dict[str, Param]:
    """Return the settings of a class by name, in order of declaration."""
    return dict(_params_of(cls))


@functools.cache  # evaluating type hints takes 15 ms per class
def _params_of(cls: type) -> dict[str, Param]:
    hints = typing.get_type_hints(cls)
    return {
        f.name: dataclasses.replace(
            f.metadata["param"], name=f.name, default=f.default, hint=hints[f.name]
        )
        for f in dataclasses.fields(cls)
        if f.init and "param" in f.metadata
    }


def check_fields(obj: Any) -> None:
    """Raise a ValueError that names the first invalid setting.

    Examples
    --------
    >>> from isthmus.models.specs import VAE
    >>> check_fields(VAE(n_components=0))
    Traceback (most recent call last):
    ...
    ValueError: VAE: n_components must be an integer of at least 1 or None, got 0.
    """
    for name, p in params_of(type(obj)).items():
        value = getattr(obj, name)
        if not p.accepts(value):
            hint = did_you_mean(value, p.choices)
            each: Any = value if isinstance(value, list | tuple) else [value]
            large = [isinstance(v, numbers.Real) and v >= p.limit for v in each]  # type: ignore[operator]
            if p.below is None and any(large):
                hint = f" It must be below {_limit_text(p.limit)}."
            if p.is_tuple:
                hint += f" Write {name}=(400, 200) for two layers, {name}=(400,) for one."
            got = one_line(repr(value))
            raise ValueError(f"{type(obj).__name__}: {name} must be {p.expected}, got {got}.{hint}")


def describe(cls: type) -> str:
    """Return the "Parameters" section of a NumPy-style docstring, from the declarations."""
    lines = ["Parameters", "----------"]
    for p in params_of(cls).values():
        lines += [f"{p.name} : {p.expected}, default={p.default!r}", f"    {p.help}"]
    return "\n".join(lines)
