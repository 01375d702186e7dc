"""What config.json may say: every entry's type and bounds, checked before a model is made of it.

Whether the sizes it asks for are true is seen later, from the tensors
(`isthmus.estimators.model_io`).
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

MOST = 2**31  # of any one size or count
MOST_NUMBERS = 2**40  # in one example
MOST_AXES = 8
MOST_LAYERS = 1000
MOST_EPOCHS = 1_000_000
LONGEST_NAME = 10_000  # characters
LONGEST_WORD = 100
MOST_KINDS = 5000  # of columns in a table; each is a part of the model
RECORDED = frozenset({"epoch", "loss", "valid_loss", "reconstruction", "kl", "penalty"})
SCALINGS = ("standard", "global", "none")
Scalar = str | int | float | bool


def check_config(config: Any) -> dict[str, Any]:
    """Return a configuration whose entries are all there, and of the types and bounds they have.

    Raises
    ------
    ValueError
        That names the first entry that is not; no path, which the caller knows.
    """
    _need(isinstance(config, dict), "the whole", "a dictionary", config)
    optional: dict[str, Any] = {"data": {}, "held_out": {}, "versions": {}, "isthmus": "unknown"}
    config = optional | config
    _need(isinstance(config.get("estimator"), str), "estimator", "a name", config.get("estimator"))
    for name in ("params", "fitted", "data", "held_out", "versions"):
        value = config.get(name)
        _need(isinstance(value, dict), name, "a dictionary", value)
    _need(isinstance(config["isthmus"], str), "isthmus", "a version", config["isthmus"])
    config["versions"] = {"python": "unknown", "torch": "unknown"} | config["versions"]
    for name, value in config["versions"].items():
        _need(_is_name(value), f"versions.{name}", "a version", value)
    for name, value in config["held_out"].items():
        _need(_is_scalar(value), f"held_out.{name}", "a number", value)
    _check_data(config["data"])
    return config | {"fitted": _fitted(config["fitted"])}


def check_params(params: dict[str, Any], cls: type) -> None:
    """Raise a ValueError where a setting is larger than any model is.

    Types and choices are checked by `isthmus.models.params.check_fields`, when there is an
    estimator.
    """
    known = params_of(cls)
    for name, value in params.items():
        values = value if isinstance(value, list) else [value]
        _need(len(values) <= MOST_LAYERS, name, f"at most {MOST_LAYERS} numbers", value)
        for one in values:
            if known[name].is_tuple or isinstance(one, int):
                most = 2**64 if name == "random_state" else MOST
                _need(_is_int(one, -MOST, most) or isinstance(one, bool), name, "less", one)
            elif isinstance(one, float):
                _need(math.isfinite(one), name, "a finite number", one)
            elif isinstance(one, str):
                _need(name == "likelihood" or len(one) <= LONGEST_WORD, name, "a word", one)


def check_history(records: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the records of a history; a ValueError at the first that is none."""
    kept = []
    for number, record in enumerate(records, start=1):
        _need(number <= MOST_EPOCHS, "history", f"at most {MOST_EPOCHS} epochs", number)
        _need(isinstance(record, dict), f"line {number}", "a dictionary", record)
        for name in RECORDED & set(record):
            _need(_is_number(record[name]), f"line {number}, {name}", "a number", record[name])
        kept.append(record)
    return kept


def check_training_log(facts: Any) -> dict[str, Any]:
    """Return what a journal says of its run; a ValueError that names the first wrong entry."""
    _need(isinstance(facts, dict), "the facts", "a dictionary", facts)
    _need(_is_int(facts.get("format")), "format", "a number", facts.get("format"))
    _need(_is_name(facts.get("estimator")), "estimator", "a name", facts.get("estimator"))
    for name in ("params", "data"):
        _need(isinstance(facts.get(name), dict), name, "a dictionary", facts.get(name))
    for name, value in facts["params"].items():
        _need(_is_setting(value), f"params.{name}", "a setting", value)
    name, shape = facts["data"].get("name"), facts["data"].get("shape")
    _need(_is_name(name), "data.name", "a name", name)
    _need(_is_shape(shape), "data.shape", "a shape", shape)
    epochs, started = facts.get("epochs"), facts.get("started")
    _need(epochs is None or _is_int(epochs), "epochs", "a number of epochs", epochs)
    _need(_is_number(started) and math.isfinite(started), "started", "a time", started)
    return facts


def check_settings(settings: Any, known: dict[str, Any]) -> None:
    """Raise a ValueError where saved settings are not those known, or of other types.

    Parameters
    ----------
    settings : object
        As it was read.
    known : dict
        Defaults by name; a setting whose default is a whole number must be one.
    """
    _need(isinstance(settings, dict) and set(settings) <= set(known), "settings", "known ones", "")
    for name, value in settings.items():
        default = known[name]
        if isinstance(default, int) and not isinstance(default, bool):
            _need(_is_int(value, 0), name, "a whole number", value)
        elif isinstance(default, str):
            _need(_is_name(value), name, "a word", value)
        else:
            whole = value is None or _is_int(value, 0, 2**63)
            _need(whole, name, "a whole number or none", value)


def check_scalars(values: Any, name: str) -> None:
    """Raise a ValueError where labels are no list of texts, or of numbers."""
    _need(isinstance(values, list) and 0 < len(values) <= MOST_EPOCHS, name, "labels", values)
    texts = sum(isinstance(v, str) for v in values)
    _need(texts in (0, len(values)), name, "texts or numbers, not both", values)
    for value in values:
        _need(_is_scalar(value) and value is not None, name, "a text or a number", value)


def _fitted(fitted: dict[str, Any]) -> dict[str, Any]:
    optional = ("columns", "feature_names_in", "context", "seed")
    fitted = dict.fromkeys(optional) | fitted
    for name in ("likelihood", "stopped", "scaling"):
        _need(isinstance(fitted.get(name), str), f"fitted.{name}", "a name", fitted.get(name))
    scaling = fitted["scaling"]
    _need(scaling in SCALINGS, "fitted.scaling", f"one of {', '.join(SCALINGS)}", scaling)
    kinds = set(fitted["likelihood"].split(","))
    short = len(kinds) <= MOST_KINDS and all(len(kind) <= LONGEST_WORD for kind in kinds)
    _need(short, "fitted.likelihood", "names of likelihoods", fitted["likelihood"])
    for name in ("n_iter", "best_epoch"):
        _need(_is_int(fitted.get(name), 0), f"fitted.{name}", "an epoch", fitted.get(name))
    seed = fitted["seed"]
    _need(seed is None or _is_int(seed, 0, 2**64 - 1), "fitted.seed", "a seed", seed)
    n = _numbers_in(fitted.get("feature_shape"))
    given = fitted.get("n_features_in")
    _need(_is_int(given, 1, MOST_NUMBERS) and given == n, "fitted.n_features_in", str(n), given)
    _check_names(fitted["feature_names_in"], n)
    _check_columns(fitted["columns"], n)
    _check_context(fitted["context"])
    return fitted


def _numbers_in(shape: Any) -> int:
    _need(
        isinstance(shape, list)
        and 1 <= len(shape) <= MOST_AXES
        and all(_is_int(side, 1) for side in shape)
        and math.prod(shape) <= MOST_NUMBERS,
        "fitted.feature_shape",
        "the sides of one example",
        shape,
    )
    return math.prod(shape)


def _check_names(names: Any, n: int) -> None:
    if names is not None:
        fits = isinstance(names, list) and len(names) == n and all(map(_is_name, names))
        _need(fits, "fitted.feature_names_in", f"{n} names", names)


def _check_columns(columns: Any, n: int) -> None:
    if columns is not None:
        read = Columns.from_json(columns)
        _need(len(read.columns) == n <= MAX_COLUMNS, "fitted.columns", f"{n} columns", len(columns))


def _check_context(context: Any) -> None:
    if context is None:
        return
    _need(isinstance(context, dict), "fitted.context", "a dictionary", context)
    classes, n = context.get("classes"), context.get("n_numbers")
    if classes is not None:
        check_scalars(classes, "fitted.context.classes")
    _need(_is_int(n, 0, MAX_COLUMNS), "fitted.context.n_numbers", "a number of columns", n)
    for name in ("shift", "scale"):
        values = context.get(name, [])
        _need(
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
    _need(name is None or _is_name(name), "data.name", "a name", name)
    _need(rate is None or _is_int(rate, 1), "data.rate", "samples a second", rate)
    path, size, label = (data.get(key) for key in ("source", "size", "label"))
    is_path = isinstance(path, str) and 0 < len(path) <= MAX_PATH_LENGTH
    _need(path is None or is_path, "data.source", "a path", path)
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    _need(size is None or all(map(_is_int, sides)), "data.size", "one size or two", size)
    is_label = _is_name(label) or _is_int(label, -MOST)
    _need(label is None or is_label, "data.label", "a column", label)


def _is_int(value: Any, least: int = 1, most: int = MOST) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63
    return isinstance(value, float)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MOST_AXES + 1 and all(map(_is_int, value))


def _is_setting(value: Any) -> bool:
    """Whether a value is what `params_to_json` makes of one; {"custom": true} stands for code."""
    values = value if isinstance(value, list) else [value]
    whole = len(values) <= MOST_LAYERS and all(map(_is_scalar, values))
    return whole or value == {"custom": True}


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool) or _is_number(value) or _is_name(value)


def _need(good: Any, name: str, expected: str, got: Any) -> None:
    if not good:
        said = one_line(repr(got) if isinstance(got, Scalar | None) else type(got).__name__)
        raise ValueError(f"{one_line(name)}: expected {expected}, got {said}")
