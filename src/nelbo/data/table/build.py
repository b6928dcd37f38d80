"""Cells -> a data frame of the library, and of the types, that another one had."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.table.cells import Form, as_objects, emptied
from nelbo.data.table.column import Column

__all__ = ["LIBRARIES", "frame_of", "library_of", "objects_of", "side_by_side", "words_of"]

Array = npt.NDArray[Any]
LIBRARIES = ("pandas", "polars", "pyarrow")
"""The libraries whose frames can be written."""


def library_of(X: Any) -> str:
    """Return the name of the library that a frame is of; of any other, pandas."""
    name = type(X).__module__.partition(".")[0]
    return name if name in LIBRARIES else "pandas"


def frame_of(
    columns: Sequence[Column], cells: Sequence[Array], library: str, index: Any = None
) -> Any:
    """Return a data frame.

    Arguments:
        columns: What each column is.
        cells: Its cells, as `Column.decode` returned them.
        library: "pandas", "polars" or "pyarrow".
        index: The index of a frame of pandas.

    Raises:
        ImportError: The library is not installed.
    """
    module = _imported(library)
    values = [_in_form(one, column) for one, column in zip(cells, columns, strict=True)]
    makers = {"pandas": _pandas, "polars": _polars, "pyarrow": _pyarrow}
    series = [
        makers[library](module, one, column) for one, column in zip(values, columns, strict=True)
    ]
    names = [column.name for column in columns]
    if library == "pyarrow":
        return module.table(series, names=names)
    if library == "polars":
        return module.DataFrame(dict(zip(names, series, strict=True)))
    found = module.concat(series, axis=1) if series else module.DataFrame()
    found.columns = names
    if index is not None:
        found.index = index
    return found


def _imported(library: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError:
        raise ImportError(
            f"A frame of {library} needs {library}. Install it with: pip install {library}"
        ) from None


def side_by_side(
    array: Array, names: Sequence[Any], of: str, library: str, index: Any = None
) -> Any:
    """Return a frame of numbers, one column for each level of another column.

    Arguments:
        array: Numbers (n, k).
        names: The k levels: of a frame of pandas they are the columns as they are, of others in
            words.
        of: The name of the column whose levels they are, which the columns of pandas take.
        library: "pandas", "polars" or "pyarrow".
        index: The index of a frame of pandas.

    Raises:
        ImportError: The library is not installed.
    """
    module = _imported(library)
    if library == "pandas":
        return module.DataFrame(array, index=index, columns=module.Index(names, name=of))
    columns = {str(name): array[:, place] for place, name in enumerate(names)}
    if library == "polars":
        return module.DataFrame(columns)
    return module.table(columns)


def objects_of(column: Column, cells: Array) -> tuple[Any, ...]:
    """Return cells that are there, as `Column.decode` returned them, as Python's own objects: text,
    true and false, dates, and numbers, which are whole where all of them are.
    """
    found = _typed(cells, _gone(cells), column.form).tolist()
    if column.form == "number" and all(number.is_integer() for number in found):
        found = [int(number) for number in found]
    return tuple(found)


def words_of(column: Column, cells: Array, digits: int = 6) -> Array:
    """Return cells, as `Column.decode` returned them, as text; None where one is missing.

    Arguments:
        column: What the column is.
        cells: Its cells.
        digits: Of a number whose decimals differ, so many digits.
    """
    gone = _gone(cells)
    values = _typed(cells, gone, column.form)
    if values.dtype.kind == "m":
        values = np.array([str(step) for step in values.tolist()], dtype=object)
    if values.dtype.kind == "f" and not getattr(column, "levels", ()):
        decimals = getattr(column, "decimals", None)
        values = as_objects([_in_digits(value, decimals, digits) for value in values.tolist()])
    return emptied(as_objects(_written(values, column).tolist()), gone)


def _in_digits(value: float, decimals: int | None, digits: int) -> str:
    """Return a number with its decimals, or, where it has others, with so many digits."""
    if decimals is None or abs(value - round(value, decimals)) > 1e-9 * abs(value):
        return f"{value:.{digits}g}"
    return f"{value:.{decimals}f}"


def _in_form(cells: Array, column: Column) -> Array:
    """Return cells as numpy has their form; with the mark of missing ones, where it is a number."""
    gone = _gone(cells)
    found = _typed(cells, gone, column.form)
    if found.dtype.kind == "f" and column.missing and not isinstance(column.missing[0], str):
        found = np.where(gone, column.missing[0], found)
    return found


def _gone(cells: Array) -> npt.NDArray[np.bool_]:
    """Return which cells are missing."""
    if cells.dtype.kind == "O":
        return np.array([cell is None for cell in cells], dtype=np.bool_)
    return np.isnan(cells)


def _typed(cells: Array, gone: npt.NDArray[np.bool_], form: Form) -> Array:
    """Return float64 as booleans, dates or durations."""
    whole = np.where(gone, 0, cells)
    if form == "truth":
        found = whole.astype(np.bool_)
        return emptied(found, gone) if gone.any() else found
    if form == "date":
        dates = np.round(whole * 86_400e6).astype(np.int64).astype("datetime64[us]")
        dates[gone] = np.datetime64("NaT")
        return dates
    if form == "duration":
        steps = np.round(whole * 1e6).astype(np.int64).astype("timedelta64[us]")
        steps[gone] = np.timedelta64("NaT")
        return steps
    return cells


def _is_text(dtype: str) -> bool:
    """Return whether a column of a type holds text."""
    return re.search(r"^(str|object|string|String|large_string|Utf8)", dtype) is not None


def _words(values: Array, column: Column) -> Array:
    """Return cells as text, as a column of text has them, with the mark of missing ones."""
    words = _written(values, column)
    if not column.missing:
        return words
    return np.where(_gone(words), as_objects(column.missing[:1]), words)


def _written(values: Array, column: Column) -> Array:
    """Return cells as text, None where one is missing."""
    if values.dtype.kind == "O":
        return values
    if values.dtype.kind == "M":
        return emptied(np.datetime_as_string(values, unit="auto"), np.isnat(values))
    decimals = getattr(column, "decimals", None)
    levels = getattr(column, "levels", ())
    if levels and all(float(level).is_integer() for level in levels):
        decimals = 0
    return as_objects([_number(value, decimals) for value in values.tolist()])


def _number(value: Any, decimals: int | None) -> str | None:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, bool) or decimals is None:
        return str(value)
    return f"{value:.{decimals}f}"


def _pandas(pandas: Any, values: Array, column: Column) -> Any:
    dtype = column.dtype
    if dtype == "category":
        return _pandas_categories(pandas, values, column)
    if _is_text(dtype) and column.form != "truth":
        values = _words(values, column)
    series = pandas.Series(values)
    if re.match(r"u?int\d+$", dtype) and series.isna().any():
        return series
    if dtype == "bool" and series.dtype != bool:
        return series
    if dtype == "datetime.date":
        return series.dt.date
    if series.dtype.kind == "M" and "," in dtype:
        series = series.dt.tz_localize("UTC")
    return _cast(series, dtype)


def _pandas_categories(pandas: Any, values: Array, column: Column) -> Any:
    levels = list(getattr(column, "levels", ())) or None
    if values.dtype.kind == "f" and levels and all(float(v).is_integer() for v in levels):
        levels = [int(level) for level in levels]
    kind = pandas.CategoricalDtype(levels, ordered=column.kind == "ordinal")
    return pandas.Series(pandas.Categorical(values, dtype=kind))


def _cast(series: Any, dtype: str) -> Any:
    """Return a series of pandas in a type, by its name; as it is where the name is of another."""
    try:
        return series.astype(dtype)
    except (TypeError, ValueError):
        return series


def _polars(polars: Any, values: Array, column: Column) -> Any:
    label, dtype = column.dtype.partition("(")[0], column.dtype
    if _is_text(dtype):
        values = _words(values, column)
    series = polars.Series(values, nan_to_null=True)
    if label == "Enum":
        return series.cast(polars.Enum([str(v) for v in getattr(column, "levels", ())]))
    if label in ("Datetime", "Duration"):
        unit = re.search(r"time_unit='(\w+)'", dtype)
        made = series.cast(getattr(polars, label)(unit[1] if unit else "us"))
        zone = re.search(r"time_zone='([^']+)'", dtype)
        return made.dt.replace_time_zone("UTC").dt.convert_time_zone(zone[1]) if zone else made
    kind = getattr(polars, label, None)
    return series if kind is None else series.cast(kind)


def _pyarrow(pyarrow: Any, values: Array, column: Column) -> Any:
    dtype = column.dtype
    if _is_text(dtype):
        values = _words(values, column)
    if dtype.startswith("dictionary"):
        return _arrow_categories(pyarrow, values, column)
    array = pyarrow.array(values, from_pandas=True)
    zoned = re.match(r"timestamp\[(\w+)(, tz=(.+))?\]", dtype)
    if zoned:
        return array.cast(pyarrow.timestamp(zoned[1], zoned[3]))
    try:
        return array.cast(pyarrow.type_for_alias(_alias(dtype)), safe=False)
    except (ValueError, TypeError):
        return array


def _arrow_categories(pyarrow: Any, values: Array, column: Column) -> Any:
    """Return cells as pyarrow holds categories."""
    levels = getattr(column, "levels", ())
    place = {level: number for number, level in enumerate(levels)}
    of_type = re.match(r"dictionary<values=(\w+), indices=(\w+), ordered=(\d)", column.dtype)
    words, numbers, ordered = of_type.groups() if of_type else ("string", "int32", "0")
    return pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([place.get(value) for value in values.tolist()], numbers),
        pyarrow.array(levels, words),
        ordered=ordered == "1",
    )


def _alias(dtype: str) -> str:
    """Return the name by which pyarrow finds a type that it printed."""
    return dtype.lower().replace("date32[day]", "date32").replace("date64[ms]", "date64")
