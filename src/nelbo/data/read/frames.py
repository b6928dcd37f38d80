"""A table with named columns (pandas, polars, pyarrow) -> one array of numbers, by narwhals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.read.cells import NotNumbers, model_dtype, place, real_numbers

__all__ = [
    "cells_of",
    "check_unique",
    "columns_of",
    "emptied_of",
    "from_frame",
    "narwhals_of",
    "with_columns",
    "without",
]

Array = npt.NDArray[Any]


def from_frame(X: Any, name: str) -> tuple[Array, tuple[str, ...] | None]:
    """Return the values of a data frame, and the names of its columns.

    Returns:
        The values (n, d), missing ones NaN; and the names, None unless all are strings.

    Raises:
        ValueError: Two columns of one name, or a column that holds no numbers (column, row and
            value named).
        TypeError: A lazy frame, or something that merely has `.columns`.
        ImportError: narwhals is absent.
    """
    labels = _labels(X)
    check_unique(labels, name)
    frame = narwhals_of(X, name)
    names = tuple(str(label) for label in labels)
    if not names:
        return np.empty((len(frame), 0)), None
    values = _homogeneous(frame)
    if values is None:
        cells = [_column(frame[:, j], j, label, name) for j, label in enumerate(names)]
        values = np.stack(cells, axis=1, dtype=np.result_type(*cells))
    if not all(isinstance(label, str) for label in labels):
        return values, None
    return values, names


def columns_of(X: Any) -> list[Any] | None:
    """Return what a data frame calls its columns; None where X is no data frame."""
    if not hasattr(X, "columns") or isinstance(X, np.ndarray) or hasattr(X, "layout"):
        return None
    return _labels(X)


def cells_of(X: Any, places: Iterable[int]) -> list[Array]:
    """Return the cells of some columns of a data frame, as they are."""
    frame = narwhals_of(X, "X")
    return [np.asarray(frame[:, place].to_numpy()) for place in places]


def without(X: Any, places: Collection[int]) -> Any:
    """Return a data frame, of the same library, without some of its columns."""
    frame = narwhals_of(X, "X")
    rest = [j for j in range(len(_labels(X))) if j not in places]
    return frame[:, rest].to_native()


def with_columns(X: Any, like: Any, names: Collection[str]) -> Any:
    """Return a data frame with columns of another of the same library, in the order of that."""
    if columns_of(like) is None:
        return X
    frame, other = narwhals_of(X, "X"), narwhals_of(like, "X")
    added = [other[name] for name in names if name in other.columns]
    order = [name for name in other.columns if name in names or name in frame.columns]
    return frame.with_columns(*added).select(*order).to_native()


def emptied_of(X: Any, name: str) -> Any:
    """Return a data frame whose column of that name, which need not be there, holds nothing."""
    import narwhals as nw

    return narwhals_of(X, "X").with_columns(nw.lit(None).alias(name)).to_native()


def check_unique(labels: Any, name: str) -> None:
    """Raise ValueError where two columns share a name."""
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise ValueError(
            f"{name} has more than one column named {twice[0]!r}. Rename or drop the duplicates."
        )


def _labels(X: Any) -> list[Any]:
    """Return what a frame calls its columns, strings or not."""
    names = getattr(X, "column_names", None)  # pyarrow keeps the arrays themselves under .columns
    if names is not None:
        return list(names)
    if hasattr(X, "collect_schema"):
        return list(X.collect_schema().names())  # polars: .columns of a lazy frame warns
    return list(X.columns)


def narwhals_of(X: Any, name: str) -> Any:
    """Return a frame of any library behind one interface."""
    try:
        import narwhals as nw
    except ImportError:
        raise ImportError(
            f"{name} is a data frame, which needs narwhals. Install it with: pip install narwhals"
        ) from None
    if columns_of(X) is not None:
        check_unique(_labels(X), name)
    frame = nw.from_native(X, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        raise TypeError(
            f"{name} is a lazy frame, but values are required. Call {name}.collect() first."
        )
    if not isinstance(frame, nw.DataFrame):
        raise TypeError(
            f"{name} must be an array or a data frame, got {type(X).__name__}. Pass "
            f"{name}.to_numpy()."
        )
    return frame


def _homogeneous(frame: Any) -> Array | None:
    """Return the values at one go where all columns share one plain numeric type, else None."""
    kinds = frame.schema.values()
    if len(set(kinds)) > 1 or not all(kind.is_numeric() for kind in kinds):
        return None
    values: Array = frame.to_numpy()
    if values.dtype.kind not in "iuf":
        return None
    return values


def _column(series: Any, index: int, label: str, name: str) -> Array:
    """Return a column as numbers, in the type that it is kept in."""
    values: Array = np.asarray(series.to_numpy())
    if values.dtype.kind == "O":
        return _objects(values, label, name)
    if values.dtype.kind not in "biuf":
        _refuse(series, label, name)
    return values.astype(model_dtype(values.dtype), copy=False)


def _objects(values: Array, label: str, name: str) -> Array:
    """Return a column of Python objects as numbers."""
    return real_numbers(values[:, None], name, (label,))[:, 0]


def _refuse(series: Any, label: str, name: str) -> None:
    """Raise the error for a column that holds no numbers."""
    if str(series.dtype).startswith("Complex") or np.asarray(series.to_numpy()).dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} has complex column {label!r}. "
            "Pass real and imaginary parts as columns."
        )
    where, value = place((0, 0), (label,)), None
    if len(series):
        value = series[0]
    raise NotNumbers(
        f"{name} holds {series.dtype} where numbers are required: {where} is {value!r}. "
        "Drop such columns, or convert them to numbers."
    )
