"""The data of a run: where to load them from, and how to load them again later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from isthmus._messages import one_line, shell_quote
from isthmus.data import Dataset, known_datasets
from isthmus.data.datasets import DataSource, load_with
from isthmus.data.layout import model_shape
from isthmus.data.row_ids import has_column
from isthmus.data.table_options import TableOptions
from isthmus.persistence.integrity import SUMS
from isthmus.persistence.origin import is_recorded_here
from isthmus.persistence.run_folder import WEIGHTS, read_columns, read_config

__all__ = [
    "CHANGED",
    "DataArguments",
    "as_dataset",
    "load_for_run",
    "own_source",
    "recorded_arguments",
]

MAX_BYTES_TO_COMPARE = 2**28  # of data; of larger data only the shape is compared
CHANGED = "the data differ from those the run was fitted on."


@dataclass(frozen=True)
class DataArguments:
    """The arguments of `isthmus.data.load`, for loading after everything else is checked.

    Parameters
    ----------
    source : str or path-like, or None
        A name or a path; None for the data that a run was fitted on.
    data_home, size, label, id_column, group_column, weight_column, time_column, resize : optional
        As for `isthmus.data.load`; `resize` is for data of a fitted model.
    table : TableOptions
        How to read a table.
    handle_unknown : str, optional
        As for `load_for_run`, for data of a fitted model.

    Examples
    --------
    >>> source = DataArguments("my data.csv", label="class")
    >>> source.command_line
    "'my data.csv' --label class"
    """

    source: str | Path | None
    data_home: str | Path | None = None
    size: int | tuple[int, int] | None = None
    label: str | int | None = None
    id_column: str | None = None
    group_column: str | None = None
    weight_column: str | None = None
    time_column: str | None = None
    resize: bool = False
    table: TableOptions = field(default_factory=TableOptions)
    handle_unknown: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of `load_for_run`."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "source"}

    @property
    def command_line(self) -> str:
        """The arguments and flags that name these data on the command line."""
        size = "x".join(map(str, self.size)) if isinstance(self.size, tuple) else self.size
        flags = {"--data-home": self.data_home, "--size": size, "--label": self.label}
        flags |= {"--id": self.id_column, "--groups": self.group_column}
        flags |= {"--weights": self.weight_column, "--time": self.time_column}
        words = [word for flag, v in flags.items() if v is not None for word in (flag, str(v))]
        for name, value in self.table.to_json().items():
            values = [value] if isinstance(value, str) else map(_quoted, value)
            words += [f"--{name.replace('_', '-')}", *values]
        return shell_quote(*([] if self.source is None else [self.source]), *words)


def _quoted(name: str) -> str:
    """Return a name as the command line takes it in a list."""
    return '"' + name.replace('"', '""') + '"' if {*name} & {*',"'} else name


def as_dataset(
    data: Dataset | DataArguments | str | Path, run: str | Path | None = None
) -> Dataset:
    """Return data as they are, or load them; in the form that the model of a run takes."""
    if isinstance(data, Dataset):
        return data
    arguments = data if isinstance(data, DataArguments) else DataArguments(data)
    if run is None and arguments.source is not None:
        options = {k: v for k, v in arguments.options.items() if k != "handle_unknown"}
        return load_with(arguments.source, **options)
    assert run is not None
    return load_for_run(run, arguments.source, **arguments.options)


def load_for_run(
    run: str | Path,
    data: str | Path | None = None,
    *,
    data_home: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    label: str | int | None = None,
    id_column: str | None = None,
    group_column: str | None = None,
    weight_column: str | None = None,
    time_column: str | None = None,
    resize: bool = False,
    table: TableOptions | None = None,
    handle_unknown: str | None = None,
) -> Dataset:
    """Load data in the form that the model of a run takes.

    Parameters
    ----------
    run : path-like
        A folder written by `isthmus fit`.
    data : str or path-like, optional
        A name or path, as for `isthmus.data.load`; by default the data that the run was fitted
        on, with a note if they have changed. Those of a run that was made elsewhere are read only
        if they are named here: its record could name any file.
    data_home, size, label, id_column, group_column, weight_column, time_column, resize : optional
        As for `isthmus.data.load`; without `data`, size defaults to that of the run. So do the
        columns of labels, ids, groups and weights, also for other tables that have them.
    table : TableOptions, optional
        How to read a table, in addition to the options of the run.
    handle_unknown : {"error", "missing", "flag"}, optional
        What becomes of categories that were not seen during fit, as for `isthmus.data.Columns`; by
        default what the settings of the model state.

    Raises
    ------
    ValueError
        If the run's own data are needed and their place is unknown, or nothing is there, or the
        run was not made by this user on this machine.
    """
    config = read_config(Path(run))
    record, own = config["data"], data is None
    if data is None:
        source = own_source(run, record, str((config.get(SUMS) or {}).get(WEIGHTS)))
        data, size = source.path, size or source.size
        label = source.label if label is None else label
        table = source.table.updated(table or TableOptions())
    elif label is None:
        label = _recorded(record, "label", data)
    id_column = id_column or _recorded(record, "id_column", data)
    group_column = group_column or _recorded(record, "group_column", data)
    weight_column = weight_column or _recorded(record, "weight_column", data)
    time_column = time_column or record.get("time_column")
    if not own and time_column is not None:  # the same channels
        table = TableOptions.from_json(record.get("table", {})).updated(table or TableOptions())
    columns = read_columns(run)
    if columns is not None and handle_unknown is not None:
        columns = columns.handling(handle_unknown)
    found = load_with(
        data,
        data_home=data_home,
        size=size,
        label=label,
        id_column=id_column,
        group_column=group_column,
        weight_column=weight_column,
        time_column=time_column,
        columns=columns,
        shape=model_shape(tuple(config["fitted"]["feature_shape"]), config["fitted"]["channels"]),
        rate=record.get("rate"),
        resize=resize,
        table=table,
    )
    changed = own and record.get("source") is not None and _has_changed(found, record)
    return replace(found, notes=(*found.notes, CHANGED)) if changed else found


def _recorded(record: dict[str, Any], name: str, data: str | Path) -> str | None:
    """Return the column that a run records under a name, if a table has it."""
    column = record.get(name)
    return column if column is not None and has_column(Path(data), column) else None


def recorded_arguments(run: str | Path, data: DataArguments) -> DataArguments:
    """Return data as a run recorded how to read them, at the place that `data` names if any."""
    record = read_config(Path(run))["data"]
    own = DataSource.from_record(record) or DataSource(str(record["name"]))
    options = own._asdict()
    path = options.pop("path")
    return DataArguments(data.source or path, data.data_home, **options)


def own_source(run: str | Path, record: Mapping[str, Any], model: str) -> DataSource:
    """Return the path or known name of the data in a record of a run, and how to read them.

    Every path that isthmus reads because a file names it passes through here. It is used if this
    user recorded it for this model (see `isthmus.persistence.origin`), or if it lies in the run.

    Parameters
    ----------
    run : path-like
        The run.
    record : mapping
        The description of the data in its configuration or its index.
    model : str
        Checksum of the model to which the record belongs.

    Raises
    ------
    ValueError
        If the place is unknown, was recorded elsewhere, or is empty.
    """
    own, name = DataSource.from_record(record), record.get("name")
    if own is None and name in known_datasets():
        return DataSource(str(name))
    if own is None:
        raise ValueError(
            f"{run} was fitted on {name or 'data'}, whose place was not recorded; give it by "
            "--data PATH."
        )
    if not (is_recorded_here(record, model) or _is_within(own.path, run)):
        raise ValueError(
            f"{run} records {one_line(own.path)} as its data, but not that you made it on this "
            "machine (older versions did not); to use these data, name them by --data PATH."
        )
    if not Path(own.path).exists():
        raise ValueError(
            f"the data of {run} are no longer at {one_line(own.path)}; give their place by "
            "--data PATH."
        )
    return own


def _is_within(path: Any, run: str | Path) -> bool:
    """Whether a recorded path, without its links, lies in the folder of the run."""
    try:
        return Path(path).resolve().is_relative_to(Path(run).resolve())
    except (OSError, ValueError, TypeError, RuntimeError):  # not a path
        return False


def _has_changed(data: Dataset, record: dict[str, Any]) -> bool:
    if list(data.X.shape) != record.get("shape"):
        return True
    return data.X.nbytes < MAX_BYTES_TO_COMPARE and data.sha256 != record.get("sha256")
