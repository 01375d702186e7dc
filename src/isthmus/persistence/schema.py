"""Types and bounds of the entries in config.json and other saved JSON, which are untrusted.

`isthmus.estimators.restoring` compares the sizes with the tensors afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from isthmus._messages import one_line
from isthmus.data.columns import Columns
from isthmus.data.datasets import MAX_PATH_LENGTH
from isthmus.data.layout import LAYOUTS
from isthmus.data.limits import MAX_COLUMNS
from isthmus.data.table_options import TableOptions
from isthmus.models.params import params_of

__all__ = [
    "MAX_EPOCHS",
    "check_checkpoint",
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
MAX_STEPS = 2**53
MAX_NAME = 10_000  # characters
MAX_WORD = 100
MAX_FINDINGS = 100
MAX_LIKELIHOODS = 5000  # different ones in a table; each is a module
MAX_ENTRIES = 1000  # of one record of a history, and callbacks of a run
MAX_PROCESSES = 100_000
SCALINGS = ("standard", "global", "none")
Scalar = str | int | float | bool
Rule = tuple[Callable[[Any], Any], str]  # whether a value is valid, and what is expected, in words


def check_config(config: Any) -> dict[str, Any]:
    """Return a configuration with defaults for missing entries.

    Raises
    ------
    ValueError
        Names the first invalid entry; the caller adds the path.
    """
    _require(isinstance(config, dict), "the whole", "a dictionary", config)
    optional: dict[str, Any] = {"data": {}, "held_out": {}, "versions": {}, "isthmus": "unknown"}
    config = optional | {"findings": None} | config  # None: the model was not checked
    sections = ("params", "fitted", "data", "held_out", "versions")
    _check(config, {"estimator": (_is_name, "a name"), "isthmus": (_is_name, "a version")})
    _check(config, dict.fromkeys(sections, (_is_dict, "a dictionary")))
    versions = {"python": "unknown", "torch": "unknown"} | config["versions"]
    _check(versions, dict.fromkeys(versions, (_is_name, "a version")), "versions.")
    held_out = dict.fromkeys(config["held_out"], (_is_scalar, "a number"))
    _check(config["held_out"], held_out, "held_out.")
    _check(config["data"], DATA, "data.")
    findings = config["findings"]
    few = findings is None or (
        isinstance(findings, list)
        and len(findings) <= MAX_FINDINGS
        and all(map(_is_dict, findings))
    )
    _require(few, "findings", f"at most {MAX_FINDINGS} dictionaries", findings)
    return config | {"versions": versions, "fitted": _fitted(config["fitted"])}


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
                valid = _is_likelihood(one) if name == "likelihood" else len(one) <= MAX_WORD
                _require(valid, name, "a word", one)


def check_history(records: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the records of a history; raise a ValueError at the first invalid one."""
    kept: list[dict[str, Any]] = []
    for number, record in enumerate(records, start=1):
        _require(number <= MAX_EPOCHS, "history", f"at most {MAX_EPOCHS} epochs", "more")
        valid = _is_dict(record) and len(record) <= MAX_ENTRIES
        _require(valid, f"line {number}", "a dictionary of numbers", record)
        for name, value in record.items():
            if not _is_number(value):
                _require(False, f"line {number}, {name}", "a number", value)
        kept.append(record)
    return kept


def check_checkpoint(facts: Any) -> dict[str, Any]:
    """Return the facts of a checkpoint; raise a ValueError at the first invalid entry.

    `isthmus.training.snapshot.check_snapshot` compares them with the trainer afterwards.
    """
    _require(_is_dict(facts), "the facts", "a dictionary", facts)
    for name in CHECKPOINT:
        _require(name in facts, name, "an entry", None)
    _check(facts, CHECKPOINT)
    epoch, history = facts["epoch"], check_history(facts["history"])
    for number, record in enumerate(history, start=1):
        is_next = record.get("epoch") == number and all(map(math.isfinite, record.values()))
        _require(is_next, f"history, line {number}", f"finite numbers of epoch {number}", record)
    _require(len(history) == epoch - 1, "history", f"{epoch - 1} epochs", len(history))
    _require(facts["best_epoch"] < epoch, "best_epoch", f"less than {epoch}", facts["best_epoch"])
    _require(facts["batch"] <= facts["rows"], "rows", "at least one per batch", facts["rows"])
    _require(len(facts["callbacks"]) <= MAX_ENTRIES, "callbacks", "fewer", len(facts["callbacks"]))
    _check(facts["callbacks"], dict.fromkeys(facts["callbacks"], DICTIONARY), "callbacks.")
    about = facts["about"]
    _check(about, RUN, "about.")
    _check(about["params"], dict.fromkeys(about["params"], SETTING), "about.params.")
    _check(about["versions"], dict.fromkeys(about["versions"], (_is_name, "a version")), "about.")
    _check(about["rows"], ROWS, "about.rows.")
    if "validation" in about["rows"]:
        _check(about["rows"], {"validation": DICTIONARY}, "about.rows.")
        _check(about["rows"]["validation"], ROWS, "about.rows.validation.")
    return facts


def check_training_log(facts: Any) -> dict[str, Any]:
    """Return the header of a training log; raise a ValueError at the first invalid entry."""
    _require(isinstance(facts, dict), "the facts", "a dictionary", facts)
    _check(facts, TRAINING_LOG)
    _check(facts["params"], dict.fromkeys(facts["params"], SETTING), "params.")
    shape: Rule = (_is_data_shape, "a shape")
    _check(facts["data"], {"name": (_is_name, "a name"), "shape": shape}, "data.")
    return facts


def check_settings(settings: Any, known: dict[str, Any]) -> None:
    """Raise a ValueError if saved settings have unknown names or other types than the defaults.

    `settings` is parsed JSON; `known` are the default values by name.
    """
    _require(_is_dict(settings) and set(settings) <= set(known), "settings", "known ones", "")
    for name, value in settings.items():
        default = known[name]
        if isinstance(default, str | float):
            is_word = isinstance(value, str) and len(value) <= MAX_WORD
            _require(is_word or _is_finite(value), name, "a word or a number", value)
        elif isinstance(default, int) and not isinstance(default, bool):
            _require(_is_int(value, 0), name, "a whole number", value)
        elif value is not None:
            _require(_is_int(value, 0, 2**63), name, "a whole number or null", value)


def check_scalars(values: Any, name: str) -> None:
    """Raise a ValueError if labels are not a list of strings or a list of numbers."""
    _require(isinstance(values, list) and 0 < len(values) <= MAX_EPOCHS, name, "labels", values)
    strings = sum(isinstance(v, str) for v in values)
    _require(strings in (0, len(values)), name, "strings or numbers, not both", values)
    for value in values:
        valid = value is not None and (_is_name(value) or _is_finite(value))
        _require(valid or isinstance(value, bool), name, "a string or a number", value)


def _fitted(fitted: dict[str, Any]) -> dict[str, Any]:
    """Return the entries about the fitted model, None where optional ones are missing."""
    optional = ("columns", "empty_features", "feature_names_in", "context", "seed")
    fitted = dict.fromkeys(optional) | {"channels": "first", "likelihood_reason": ""} | fitted
    _check(fitted, FITTED, "fitted.")
    n = math.prod(fitted["feature_shape"])
    has_channels = fitted["channels"] == "first" or len(fitted["feature_shape"]) > 1
    _require(has_channels, "fitted.channels", "'first' for flat rows", fitted["channels"])
    given = fitted.get("n_features_in")
    _require(_is_int(given, n, n), "fitted.n_features_in", str(n), given)
    if (names := fitted["feature_names_in"]) is not None:
        valid = isinstance(names, list) and len(names) == n and all(map(_is_name, names))
        _require(valid, "fitted.feature_names_in", f"{n} names", names)
    if (empty := fitted["empty_features"]) is not None:
        valid = isinstance(empty, list) and all(_is_int(j, 0, n - 1) for j in empty)
        _require(valid, "fitted.empty_features", f"numbers from 0 to {n - 1}", empty)
    if (columns := fitted["columns"]) is not None:
        found = len(Columns.from_json(columns).columns)
        _require(found == n <= MAX_COLUMNS, "fitted.columns", f"{n} columns", found)
    if (context := fitted["context"]) is not None:
        _check_context(context)
    return fitted


def _check_context(context: dict[str, Any]) -> None:
    """Check the encoding of conditions: classes, and the scaling of numbers."""
    classes, n = context.get("classes"), context.get("n_numbers")
    if classes is not None:
        check_scalars(classes, "fitted.context.classes")
    _require(_is_int(n, 0, MAX_COLUMNS), "fitted.context.n_numbers", "a number of columns", n)
    shares = context.get("frequencies", [])
    valid = isinstance(shares, list) and len(shares) in (0, len(classes or []))
    valid = valid and all(_is_finite(share) and 0 <= share <= 1 for share in shares)
    valid = valid and (not shares or abs(sum(shares) - 1) < 1e-6)
    _require(valid, "fitted.context.frequencies", "one share per class", shares)
    for name in ("shift", "scale"):
        values = context.get(name, [])
        valid = isinstance(values, list) and len(values) in (0, n) and all(map(_is_finite, values))
        nonzero = name == "shift" or 0 not in (values if valid else [])
        _require(valid and nonzero, f"fitted.context.{name}", f"{n} numbers", values)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_int(value: Any, least: int = 1, most: int = MAX_INT) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63
    return isinstance(value, float)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_PATH_LENGTH


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_AXES and all(map(_is_int, value))


def _is_data_shape(value: Any) -> bool:
    """Whether a value is a number of rows and the shape of one."""
    return (
        isinstance(value, list)
        and bool(value)
        and _is_int(value[0], 0, MAX_STEPS)
        and (_is_shape(value[1:]))
    )


def _is_example_shape(value: Any) -> bool:
    return _is_shape(value) and bool(value) and math.prod(value) <= MAX_NUMBERS


def _is_size(value: Any) -> bool:
    return all(map(_is_int, value if isinstance(value, list) and len(value) == 2 else [value]))


def _is_table_options(value: Any) -> bool:
    try:
        TableOptions.from_json(value)
    except ValueError:
        return False
    return True


def _is_likelihood(value: Any) -> bool:
    kinds = set(value.split(",")) if isinstance(value, str) else set()
    return 0 < len(kinds) <= MAX_LIKELIHOODS and all(len(kind) <= MAX_WORD for kind in kinds)


def _is_setting(value: Any) -> bool:
    """Whether a value can come from `params_to_json`."""
    values = value if isinstance(value, list) else [value]
    plain = len(values) <= MAX_LAYERS and all(map(_is_scalar, values))
    return plain or value == {"custom": True}


def _is_readers(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= MAX_PROCESSES


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool) or _is_number(value) or _is_name(value)


def _optional(rule: Callable[[Any], Any]) -> Callable[[Any], bool]:
    return lambda value: value is None or bool(rule(value))


DATA: dict[str, Rule] = {
    "name": (_optional(_is_name), "a name"),
    "rate": (_optional(_is_int), "samples per second"),
    "source": (_optional(_is_path), "a path"),
    "size": (_optional(_is_size), "one size or two"),
    "label": (_optional(lambda v: _is_name(v) or _is_int(v, -MAX_INT)), "a column"),
    "table": (_optional(_is_table_options), "how a table was read"),
    "shape": (_optional(_is_data_shape), "a shape"),
}
FITTED: dict[str, Rule] = {
    "likelihood": (_is_likelihood, "names of likelihoods"),
    "likelihood_reason": (_is_name, "a text"),
    "stopped": (_is_name, "a name"),
    "scaling": (lambda v: v in SCALINGS, f"one of {', '.join(SCALINGS)}"),
    "n_iter": (lambda v: _is_int(v, 0), "an epoch"),
    "best_epoch": (lambda v: _is_int(v, 0), "an epoch"),
    "seed": (_optional(lambda v: _is_int(v, 0, 2**64 - 1)), "a seed"),
    "feature_shape": (_is_example_shape, "the sides of one example"),
    "channels": (lambda v: v in LAYOUTS, f"one of {', '.join(LAYOUTS)}"),
    "context": (_optional(_is_dict), "a dictionary"),
}
TRAINING_LOG: dict[str, Rule] = {
    "format": (_is_int, "a number"),
    "estimator": (_is_name, "a name"),
    "params": (_is_dict, "a dictionary"),
    "data": (_is_dict, "a dictionary"),
    "epochs": (_optional(_is_int), "a number of epochs"),
    "started": (_is_finite, "a time"),
}
DICTIONARY: Rule = (_is_dict, "a dictionary")
SETTING: Rule = (_is_setting, "a setting")
CHECKPOINT: dict[str, Rule] = {
    "epoch": (lambda v: _is_int(v, 1, MAX_EPOCHS + 1), "an epoch"),
    "batch": (lambda v: _is_int(v, 0, MAX_STEPS), "a number of batches"),
    "rows": (lambda v: _is_int(v, 0, MAX_STEPS), "a number of rows"),
    "readers": (_is_readers, "a list with one entry for each process"),
    "seconds": (lambda v: _is_finite(v) and v >= 0, "seconds"),
    "step": (lambda v: _is_int(v, 0, MAX_STEPS), "a number of steps"),
    "most_rows": (_optional(_is_int), "a number of rows"),
    "best_epoch": (lambda v: _is_int(v, 0), "an epoch"),
    "best_loss": (_optional(_is_finite), "a finite number"),
    "history": (lambda v: isinstance(v, list), "a list"),
    "callbacks": DICTIONARY,
    "about": DICTIONARY,
}
RUN: dict[str, Rule] = {
    "estimator": (_is_name, "a name"),
    "params": DICTIONARY,
    "seed": (lambda v: _is_int(v, 0, 2**64 - 1), "a seed"),
    "rows": DICTIONARY,
    "versions": DICTIONARY,
    "epochs_before": (_optional(lambda v: _is_int(v, 0)), "a number of epochs"),
}
ROWS: dict[str, Rule] = {
    "shape": (_is_data_shape, "a shape"),
    "dtype": (_is_name, "a type"),
    "sha256": (_is_name, "a checksum"),
}


def _check(entries: Mapping[str, Any], rules: Mapping[str, Rule], prefix: str = "") -> None:
    """Raise a ValueError at the first invalid entry; a missing one counts as None."""
    for name, (is_valid, expected) in rules.items():
        value = entries.get(name)
        _require(is_valid(value), f"{prefix}{name}", expected, value)


def _require(valid: Any, name: str, expected: str, got: Any) -> None:
    if not valid:
        value = one_line(repr(got) if isinstance(got, Scalar | None) else type(got).__name__)
        raise ValueError(f"{one_line(name)}: expected {expected}, got {value}")
