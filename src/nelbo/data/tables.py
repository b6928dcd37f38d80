"""Files of named columns (.csv, .parquet) -> float array (n, d) and column names, by way of pyarrow.

Every cell is a number or missing (NaN); the first that is neither is named by column, line and value.
"""

from __future__ import annotations

import csv
import importlib
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.frames import check_unique, from_frame

__all__ = ["read_csv", "read_parquet"]

Table = tuple[npt.NDArray[Any], tuple[str, ...] | None]

_DELIMITERS = (",", ";", "\t")
_MISSING = frozenset(["", "?", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None"])


def _pyarrow(module: str, path: Path) -> Any:
    try:
        return importlib.import_module(f"pyarrow.{module}")
    except ImportError:
        raise ImportError(f'{path} needs pyarrow. Install it with: pip install "nelbo[table]"') from None


def read_csv(path: Path) -> Table:
    """Read a .csv whose delimiter is a comma, semicolon or tab, with or without a line of names.

    Returns:
        The values (n, d) float64, missing ones NaN, and the names (None without such a line).

    Raises:
        ValueError: A column that is not of numbers (column, line and value named), rows of unequal length,
            two columns of one name, no rows, not UTF-8.
    """
    arrow = _pyarrow("csv", path)
    delimiter = _sniff(path)
    first, skip = _first_row(path, delimiter)
    header = _is_header(first)
    names = tuple(field.strip() for field in first) if header else None
    if names is not None:
        check_unique([name for name in names if name], str(path))
        names = tuple(name or f"column {j}" for j, name in enumerate(names))
    keys = [f"f{j}" for j in range(len(first))]
    try:
        table = arrow.read_csv(
            path,
            read_options=arrow.ReadOptions(skip_rows=skip if header else 0, column_names=keys),
            parse_options=arrow.ParseOptions(delimiter=delimiter),
            convert_options=arrow.ConvertOptions(
                column_types=dict.fromkeys(keys, "float64"), null_values=sorted(_MISSING)
            ),
        )
    except (
        ValueError,
        KeyError,
    ) as error:  # pyarrow's own errors are ValueErrors that name neither line nor name
        _explain(path, delimiter, first, header)
        raise ValueError(
            f"{path} cannot be read as a table: {' '.join(str(error).split())}. Write it again as plain CSV."
        ) from error
    if table.num_rows == 0:
        raise ValueError(f"{path} is empty: it has a line of names but no rows. Write the data again.")
    values = np.stack([column.to_numpy() for column in table.columns], axis=1)
    return _drop_index(path, values, names, first)


def _sniff(path: Path) -> str:
    """The delimiter that parts the first line into the most fields (quotes respected)."""
    counts = {delimiter: len(_first_row(path, delimiter)[0]) for delimiter in _DELIMITERS}
    return max(_DELIMITERS, key=counts.__getitem__)


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the line that ends each row, from 1, and its fields; blank lines are skipped."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines, delimiter=delimiter)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as a table: {error}. Write it again as plain CSV.") from error


def _first_row(path: Path, delimiter: str) -> tuple[list[str], int]:
    for line, row in _rows(path, delimiter):
        return row, line
    raise ValueError(f"{path} is empty: it has no line of text. Write the data again.")


def _is_number(field: str) -> bool:
    if field.strip() in _MISSING:
        return True
    try:
        return not math.isnan(float(field)) and "_" not in field
    except ValueError:
        return False


def _is_header(first: list[str]) -> bool:
    """A line of names holds a field that is no number, or counts 0, 1, 2, … as pandas names columns."""
    counting = [str(j) for j in range(len(first))]
    if len(first) > 2 and (first == counting or first == ["", *counting[:-1]]):
        return True
    return not all(_is_number(field) for field in first)


def _explain(path: Path, delimiter: str, first: list[str], header: bool) -> None:
    """Raise ValueError for the first cell or row that made the fast reader stop, if there is one."""
    for i, (line, row) in enumerate(_rows(path, delimiter)):
        if header and i == 0:
            continue
        if len(row) != len(first):
            raise ValueError(
                f"{path} has {len(row)} fields in line {line}, but {len(first)} in its first. "
                "Give every row the same columns."
            )
        for j, field in enumerate(row):
            if not _is_number(field):
                column = repr(first[j].strip()) if header else str(j)
                raise ValueError(
                    f"{path}: column {column} is not of numbers: line {line} has {field.strip()!r}. {_cure(field)}"
                )


def _cure(field: str) -> str:
    head, comma, tail = field.strip().lstrip("+-").partition(",")
    if comma and (head + tail).isdigit():
        return "Write decimals with a point."
    return "Drop the column, or encode it as numbers (one column per category)."


def _drop_index(path: Path, values: npt.NDArray[Any], names: tuple[str, ...] | None, first: list[str]) -> Table:
    """Leave out the unnamed column 0, 1, 2, … that pandas writes: it numbers the rows, no more."""
    indexed = names is not None and not first[0].strip() and values.shape[1] > 1
    if not indexed or names is None or not np.array_equal(values[:, 0], np.arange(len(values))):
        return values, names
    warnings.warn(
        f"{path}: left out its first column, which has no name and numbers the rows. Write it with index=False.",
        stacklevel=2,
    )
    return np.ascontiguousarray(values[:, 1:]), names[1:]


def read_parquet(path: Path) -> Table:
    """Read a .parquet file of numbers; an index column that pandas stored is left out.

    Raises:
        ValueError: Not a parquet file, no rows, or a column that is not of numbers (column and value named).
    """
    parquet = _pyarrow("parquet", path)
    try:
        # One file, not a data set: pyarrow would read columns out of folder names such as year=2020.
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{path} is not a readable .parquet file ({' '.join(str(error).split())}). Write it again."
        ) from error
    stored = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
    index = [name for name in stored.get("index_columns", []) if isinstance(name, str) and name in table.column_names]
    table = table.drop_columns(index)
    if table.num_rows == 0 or table.num_columns == 0:
        raise ValueError(
            f"{path} is empty: it has {table.num_rows} rows of {table.num_columns} columns. Write the data again."
        )
    return from_frame(table, str(path))
