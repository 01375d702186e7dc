"""Types and bounds of the entries in config.json and other saved JSON, which are untrusted.

`isthmus.estimators.restoring` compares the sizes with the tensors afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from isthmus._messages import one_line
from isthmus.data.columns import Columns
from isthmus.data.datasets import MAX_PATH_LENGTH
from isthmus.data.limits import MAX_COLUMNS
from isthmus.models.params import params_of

__all__ = [
    "check_config",
    "check_history",
    "check_params",
    "check_scalars",
    "check_settings",
    "check_training_log",
]

MAX_INT = 2**31  # for sizes and counts
MAX_NUMBERS = 2**40  # in one example
MAX_AXES = 8
MAX_LAYERS = 1000
MAX_EPOCHS = 1_000_000
MAX_NAME = 10_000  # characters
MAX_WORD = 100
MAX_LIKELIHOODS = 5000  # different ones in a table; each is a module
RECORDED = frozenset({"epoch", "loss", "valid_loss", "reconstruction", "kl", "penalty"})
SCALINGS = ("standard", "global", "none")
Scalar = str | int | float | bool


def check_config(config: Any) -> dict[str, Any]:
    """Return a configuration with defaults for missing entries.

    Raises
    ------
    ValueError
        Names the first invalid entry; the caller adds the path.
    """
    _require(isinstance(config, dict), "the whole", "a dictionary", config)
    optional: dict[str, Any] = {"data": {}, "held_out": {}, "versions": {}, "isthmus": "unknown"}
    config = optional | config
    _require(
        isinstance(config.get("estimator"), str), "estimator", "a name", config.get("estimator")
    )
    for name in ("params", "fitted", "data", "held_out", "versions"):
        value = config.get(name)
        _require(isinstance(value, dict), name, "a dictionary", value)
    _require(isinstance(config["isthmus"], str), "isthmus", "a version", config["isthmus"])
    config["versions"] = {"python": "unknown", "torch": "unknown"} | config["versions"]
    for name, value in config["versions"].items():
        _require(_is_name(value), f"versions.{name}", "a version", value)
    for name, value in config["held_out"].items():
        _require(_is_scalar(value), f"held_out.{name}", "a number", value)
    _check_data(config["data"])
    return config | {"fitted": _fitted(config["fitted"])}


def check_params(params: dict[str, Any], cls: type) -> None:
    """Raise a ValueError if a setting is larger than in any real model.

    `isthmus.models.params.check_fields` checks types and choices afterwards.
    """
    known = params_of(cls)
    for name, value in params.items():
        values = value if isinstance(value, list) else [value]
        _require(len(values) <= MAX_LAYERS, name, f"at most {MAX_LAYERS} numbers", value)
        for one in values:
            if known[name].is_tuple or isinstance(one, int):
                most = 2**64 if name == "random_state" else MAX_INT
                _require(_is_int(one, -MAX_INT, most) or isinstance(one, bool), name, "less", one)
            elif isinstance(one, float):
                _require(math.isfinite(one), name, "a finite number", one)
            elif isinstance(one, str):
                _require(name == "likelihood" or len(one) <= MAX_WORD, name, "a word", one)


def check_history(records: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the records of a history; raise a ValueError at the first invalid one."""
    kept = []
    for number, record in enumerate(records, start=1):
        _require(number <= MAX_EPOCHS, "history", f"at most {MAX_EPOCHS} epochs", number)
        _require(isinstance(record, dict), f"line {number}", "a dictionary", record)
        for name in RECORDED & set(record):
            _require(_is_number(record[name]), f"line {number}, {name}", "a number", record[name])
        kept.append(record)
    return kept


def check_training_log(facts: Any) -> dict[str, Any]:
    """Return the header of a training log; raise a ValueError at the first invalid entry."""
    _require(isinstance(facts, dict), "the facts", "a dictionary", facts)
    _require(_is_int(facts.get("format")), "format", "a number", facts.get("format"))
    _require(_is_name(facts.get("estimator")), "estimator", "a name", facts.get("estimator"))
    for name in ("params", "data"):
        _require(isinstance(facts.get(name), dict), name, "a dictionary", facts.get(name))
    for name, value in facts["params"].items():
        _require(_is_setting(value), f"params.{name}", "a setting", value)
    name, shape = facts["data"].get("name"), facts["data"].get("shape")
    _require(_is_name(name), "data.name", "a name", name)
    _require(_is_shape(shape), "data.shape", "a shape", shape)
    epochs, started = facts.get("epochs"), facts.get("started")
    _require(epochs is None or _is_int(epochs), "epochs", "a number of epochs", epochs)
    _require(_is_number(started) and math.isfinite(started), "started", "a time", started)
    return facts


def check_settings(settings: Any, known: dict[str, Any]) -> None:
    """Raise a ValueError if saved settings have unknown names or other types than the defaults.

    Parameters
    ----------
    settings : object
        Parsed JSON.
    known : dict
        Default values by name.
    """
    _require(
        isinstance(settings, dict) and set(settings) <= set(known), "settings", "known ones", ""
    )
    for name, value in settings.items():
        default = known[name]
        if isinstance(default, int) and not isinstance(default, bool):
            _require(_is_int(value, 0), name, "a whole number", value)
        elif isinstance(default, str):
            _require(_is_name(value), name, "a word", value)
        else:
            valid = value is None or _is_int(value, 0, 2**63)
            _require(valid, name, "a whole number or null", value)


def check_scalars(values: Any, name: str) -> None:
    """Raise a ValueError if labels are not a list of strings or a list of numbers."""
    _require(isinstance(values, list) and 0 < len(values) <= MAX_EPOCHS, name, "labels", values)
    strings = sum(isinstance(v, str) for v in values)
    _require(strings in (0, len(values)), name, "strings or numbers, not both", values)
    for value in values:
        _require(_is_scalar(value) and value is not None, name, "a string or a number", value)


def _fitted(fitted: dict[str, Any]) -> dict[str, Any]:
    optional = ("columns", "feature_names_in", "context", "seed")
    fitted = dict.fromkeys(optional) | fitted
    for name in ("likelihood", "stopped", "scaling"):
        _require(isinstance(fitted.get(name), str), f"fitted.{name}", "a name", fitted.get(name))
    scaling = fitted["scaling"]
    _require(scaling in SCALINGS, "fitted.scaling", f"one of {', '.join(SCALINGS)}", scaling)
    kinds = set(fitted["likelihood"].split(","))
    short = len(kinds) <= MAX_LIKELIHOODS and all(len(kind) <= MAX_WORD for kind in kinds)
    _require(short, "fitted.likelihood", "names of likelihoods", fitted["likelihood"])
    for name in ("n_iter", "best_epoch"):
        _require(_is_int(fitted.get(name), 0), f"fitted.{name}", "an epoch", fitted.get(name))
    seed = fitted["seed"]
    _require(seed is None or _is_int(seed, 0, 2**64 - 1), "fitted.seed", "a seed", seed)
    n = _numbers_in(fitted.get("feature_shape"))
    given = fitted.get("n_features_in")
    _require(_is_int(given, 1, MAX_NUMBERS) and given == n, "fitted.n_features_in", str(n), given)
    _check_names(fitted["feature_names_in"], n)
    _check_columns(fitted["columns"], n)
    _check_context(fitted["context"])
    return fitted


def _numbers_in(shape: Any) -> int:
    _require(
        isinstance(shape, list)
        and 1 <= len(shape) <= MAX_AXES
        and all(_is_int(side, 1) for side in shape)
        and math.prod(shape) <= MAX_NUMBERS,
        "fitted.feature_shape",
        "the sides of one example",
        shape,
    )
    return math.prod(shape)


def _check_names(names: Any, n: int) -> None:
    if names is not None:
        fits = isinstance(names, list) and len(names) == n and all(map(_is_name, names))
        _require(fits, "fitted.feature_names_in", f"{n} names", names)


def _check_columns(columns: Any, n: int) -> None:
    if columns is not None:
        read = Columns.from_json(columns)
        _require(
            len(read.columns) == n <= MAX_COLUMNS, "fitted.columns", f"{n} columns", len(columns)
        )


def _check_context(context: Any) -> None:
    if context is None:
        return
    _require(isinstance(context, dict), "fitted.context", "a dictionary", context)
    classes, n = context.get("classes"), context.get("n_numbers")
    if classes is not None:
        check_scalars(classes, "fitted.context.classes")
    _require(_is_int(n, 0, MAX_COLUMNS), "fitted.context.n_numbers", "a number of columns", n)
    for name in ("shift", "scale"):
        values = context.get(name, [])
        _require(
            isinstance(values, list)
            and len(values) in (0, n)
            and all(_is_number(v) and math.isfinite(v) for v in values)
            and (name == "shift" or 0 not in values),
            f"fitted.context.{name}",
            f"{n} numbers",
            values,
        )


def _check_data(data: dict[str, Any]) -> None:
    name, rate = data.get("name"), data.get("rate")
    _require(name is None or _is_name(name), "data.name", "a name", name)
    _require(rate is None or _is_int(rate, 1), "data.rate", "samples per second", rate)
    path, size, label = (data.get(key) for key in ("source", "size", "label"))
    is_path = isinstance(path, str) and 0 < len(path) <= MAX_PATH_LENGTH
    _require(path is None or is_path, "data.source", "a path", path)
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    _require(size is None or all(map(_is_int, sides)), "data.size", "one size or two", size)
    is_label = _is_name(label) or _is_int(label, -MAX_INT)
    _require(label is None or is_label, "data.label", "a column", label)


def _is_int(value: Any, least: int = 1, most: int = MAX_INT) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63
    return isinstance(value, float)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_AXES + 1 and all(map(_is_int, value))


def _is_setting(value: Any) -> bool:
    """Whether a value can come from `params_to_json`."""
    values = value if isinstance(value, list) else [value]
    plain = len(values) <= MAX_LAYERS and all(map(_is_scalar, values))
    return plain or value == {"custom": True}


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool) or _is_number(value) or _is_name(value)


def _require(valid: Any, name: str, expected: str, got: Any) -> None:
    if not valid:
        value = one_line(repr(got) if isinstance(got, Scalar | None) else type(got).__name__)
        raise ValueError(f"{one_line(name)}: expected {expected}, got {value}")
