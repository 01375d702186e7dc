"""Extract a model's features from batches of columns: Arrow, pandas or mappings of arrays."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import did_you_mean
from isthmus.data.column import as_saved
from isthmus.data.columns import Columns
from isthmus.data.frames import is_frame
from isthmus.data.table_options import TableOptions

__all__ = ["FeatureColumns", "MediaOptions", "number_rows"]

Array = NDArray[Any]


class MediaOptions(NamedTuple):
    """How images and audio become the examples of a model; see `isthmus.data.load`."""

    shape: tuple[int, ...] | None = None
    rate: int | None = None
    resize: bool = False


@dataclass(frozen=True)
class FeatureColumns:
    """The columns of a batch that are features of a model, and those to keep beside the output.

    Features are found by the names in `columns` if the model was fitted on a table; they are one
    `column` of lists; or they are all columns that are neither kept nor dropped. `options` state
    how cells of text are read.

    Examples
    --------
    >>> batch = {"id": np.array([7, 8]), "x": np.array([1.0, 2.0]), "y": np.array([3.0, 4.0])}
    >>> features = FeatureColumns(2, keep=("id",))
    >>> features.rows(batch)
    array([[1., 3.],
           [2., 4.]])
    """

    n_features: int
    columns: Columns | None = None
    column: str | None = None
    keep: Sequence[str] = ()
    media: MediaOptions = field(default_factory=MediaOptions)
    options: TableOptions = field(default_factory=TableOptions)

    @classmethod
    def for_model(
        cls,
        model: Any,
        column: str | None = None,
        keep: Sequence[str] = (),
        options: TableOptions | None = None,
    ) -> Self:
        """Return the feature columns of a fitted isthmus model."""
        columns, options = model.columns_, options or TableOptions()
        if columns is not None:
            columns = columns.updated(options)
        return cls(model.n_features_in_, columns, column, tuple(keep), options=options)

    @property
    def encoding(self) -> Columns | None:
        """The columns by whose names features are found, if the model was fitted on a table."""
        return self.columns if self.column is None else None

    def names(self, found: Sequence[Any]) -> list[Any]:
        """Return the feature names among the columns found; a ValueError if one is missing."""
        one = [] if self.column is None else [self.column]
        for name in (*self.keep, *one):
            if name not in found:
                raise ValueError(
                    f"there is no column {name!r}; columns: {_listed(found)}."
                    f"{did_you_mean(name, map(str, found))}"
                )
        if self.encoding is not None:
            known, present = [*self.encoding.names], {*found}
            if missing := [str(name) for name in known if name not in present]:
                raise ValueError(f"columns the model was fitted on are missing: {_listed(missing)}")
            return known
        is_feature = self.options.is_selected
        return one or [name for name in found if name not in self.keep and is_feature(name)]

    def check_width(self, found: Sequence[Any]) -> None:
        """Raise a ValueError if columns of one number each are not as many as the features."""
        names = self.names(found)
        if self.encoding is None and len(names) != self.n_features:
            raise ValueError(self._wrong_width(len(names), names))

    def _wrong_width(self, width: int, names: Sequence[Any]) -> str:
        return (
            f"expected rows of {self.n_features} numbers, as in fit, got {width} in the columns "
            f"{_listed(names)}; --keep excludes columns, --column selects one of lists."
        )

    def rows(self, batch: Any) -> Array:
        """Return the features of a batch of any type as an array (n, n_features)."""
        names = self.names(_names(batch))
        if self.encoding is not None:
            return self.encoding.to_numbers(_frame(batch, names))
        parts = [_values(name, batch[name]) for name in names]
        lists = next((n for n, part in zip(names, parts, strict=True) if part.ndim > 1), None)
        if lists is not None and len(parts) > 1:
            raise ValueError(
                f"column {lists!r} holds lists, but the features are the columns {_listed(names)}; "
                f"select one column with --column {lists}."
            )
        if parts and not len(parts[0]):
            return np.zeros((0, self.n_features), np.result_type(*parts))
        width = len(parts) if lists is None else int(np.prod(parts[0].shape[1:]))
        if width != self.n_features:
            raise ValueError(self._wrong_width(width, names))
        return (parts[0] if len(parts) == 1 else np.stack(parts, 1)).reshape(-1, width)

    def kept(self, batch: Any) -> dict[str, Any]:
        """Return the columns to keep, by name."""
        return {name: batch[name] for name in self.keep}


def number_rows(table: Any, names: Sequence[str]) -> Array:
    """Return columns of numbers of an Arrow table as rows, or the rows in one column of lists.

    Bytes in lists are pixels, which stand for [0, 1] and stay bytes; bytes in columns of their own
    are whole numbers.
    """
    if not names:
        raise ValueError("expected columns of numbers besides the label, found none.")
    if len(names) > 1 and any(table.schema.field(name).type.num_fields for name in names):
        raise ValueError("expected columns of numbers or one column of lists, got both.")
    parts = [_values(name, table.column(name)) for name in names]
    rows = parts[0] if len(parts) == 1 and parts[0].ndim > 1 else np.stack(parts, 1)
    are_pixels = len(names) == 1 and rows[:1].size > 1
    return rows.astype(np.float32) if rows.dtype == np.uint8 and not are_pixels else rows


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")


def _names(batch: Any) -> list[Any]:
    is_keyed = isinstance(batch, Mapping) or is_frame(batch)
    return [as_saved(name) for name in (batch if is_keyed else batch.schema.names)]


def _frame(batch: Any, names: Sequence[Any]) -> Any:
    """Return columns as a pandas data frame."""
    if is_frame(batch):
        wanted = {*names}
        return batch[[name for name in batch.columns if as_saved(name) in wanted]]
    if isinstance(batch, Mapping):
        return importlib.import_module("pandas").DataFrame({name: batch[name] for name in names})
    return batch.select(names).to_pandas()


def _values(name: Any, column: Any) -> Array:
    """Return a column as an array of numbers (n, ...)."""
    values = _unpacked(name, column) if hasattr(column, "null_count") else np.asarray(column)
    if values.dtype == object and len(values) and np.ndim(values[0]):  # lists in a data frame
        try:
            values = np.stack([*map(np.asarray, values)])
        except ValueError:
            raise ValueError(f"column {name!r} holds lists of different lengths.") from None
    if values.dtype.kind not in "biuf":
        first = f", such as {values[0]!r}" if len(values) else ""
        raise ValueError(
            f"column {name!r} does not hold numbers{first}; exclude it with --keep (--label "
            "in fit) or drop it."
        )
    return values


def _unpacked(name: Any, column: Any) -> Array:
    """Return an Arrow column as an array; lists of one length, nested or not, become rows."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    array, shape = column, [len(column)]
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    while pa.types.is_nested(array.type) or isinstance(array, pa.ExtensionArray):
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
            continue
        lengths = pc.unique(pc.list_value_length(array)).to_pylist() if len(array) else [0]
        if len(lengths) != 1 or lengths[0] is None:
            raise ValueError(f"column {name!r} holds lists of different lengths or missing ones.")
        array, shape = array.flatten(), [*shape, lengths[0]]
    return array.to_numpy(zero_copy_only=False).reshape(shape)
