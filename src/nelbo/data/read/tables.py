"""A .parquet file -> float array (n, d) and column names, by way of pyarrow."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from nelbo.data.conditions import Conditions, by_name, places_of
from nelbo.data.read.arrays import PackedError, check_packed
from nelbo.data.read.frames import cells_of, from_frame
from nelbo.data.read.reading import Note, Reading
from nelbo.data.warned import listed

__all__ = ["parquet_columns", "parquet_frame", "read_parquet"]

Table = tuple[npt.NDArray[Any], tuple[str, ...] | None, tuple[Note, ...], Conditions | None]


def _pyarrow(module: str, path: Path) -> Any:
    """Return a module of pyarrow, or say how to install it."""
    try:
        return importlib.import_module(f"pyarrow.{module}")
    except ImportError:
        raise ImportError(
            f'{path} needs pyarrow. Install it with: pip install "nelbo[table]"'
        ) from None


def read_parquet(path: Path, reading: Reading) -> Table:
    """Read a .parquet file of numbers.

    An index column that pandas stored is left out, if no other is asked for.

    Raises:
        ValueError: Not a parquet file, no rows, or a column that is not of numbers (column and
            value named).
    """
    table, notes = parquet_frame(path, reading)
    if reading.condition is None:
        return *from_frame(table, str(path)), notes, None
    given, places = _conditions(path, table, reading.condition)
    rest = table.drop_columns([table.column_names[place] for place in places])
    return *from_frame(rest, str(path)), notes, given


def parquet_frame(path: Path, reading: Reading) -> tuple[Any, tuple[Note, ...]]:
    """Read a .parquet file whose columns may hold anything.

    Returns:
        A table of pyarrow, and what was decided.

    Raises:
        ValueError: Not a parquet file, or no rows.
    """
    table = _read(path)
    index = [name for name in _stored_index(table) if name in table.column_names]
    notes: tuple[Note, ...] = ()
    if reading.index_column is not None:
        index = _asked(path, reading.index_column, table.column_names)
    elif index:
        left_out = f"{path}: left out {listed(list(map(repr, index)))}"
        text = f"{left_out}, the index that pandas stored; index_column='none' keeps it."
        notes = (Note(text, False),)
    table = table.drop_columns(index)
    if table.num_rows == 0 or table.num_columns == 0:
        raise ValueError(
            f"{path} is empty: it has {table.num_rows} rows of {table.num_columns} columns. Write "
            "the data again."
        )
    return table, notes


def parquet_columns(path: Path, reading: Reading) -> Conditions:
    """Read nothing but the columns that rows are conditioned on.

    Raises:
        ValueError: One is missing, or a cell is.
    """
    return _conditions(path, _read(path), reading.condition or ())[0]


def _conditions(path: Path, table: Any, names: Sequence[str]) -> tuple[Conditions, list[int]]:
    """Return the columns that rows are conditioned on, and their places."""
    labels = table.column_names
    places = places_of(names, labels, len(labels), str(path))
    return Conditions.of(by_name(names, places, labels, cells_of(table, places))), places


def _read(path: Path) -> Any:
    """Return what a .parquet file holds."""
    parquet = _pyarrow("parquet", path)
    try:
        # as one file, since of a data set pyarrow reads folder names such as year=2020 as columns
        with parquet.ParquetFile(path) as file:
            check_packed(
                path, path.stat().st_size, 8 * file.metadata.num_rows * file.metadata.num_columns
            )
            return file.read()
    except PackedError:
        raise
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{path} is not a readable .parquet file ({' '.join(str(error).split())}). Write it "
            "again."
        ) from error


def _asked(path: Path, asked: str | int, names: list[str]) -> list[str]:
    """Return the column that is to be left out, if one is."""
    if asked == "none":
        return []
    if asked in names:
        return [str(asked)]
    if str(asked).isdigit() and int(asked) < len(names):
        return [names[int(asked)]]
    known = f"0 to {len(names) - 1}, or {listed(list(map(repr, names)))}"
    raise ValueError(f"{path} has no column {asked!r} to leave out. Pass one of {known}, or none.")


def _stored_index(table: Any) -> list[str]:
    """Return the columns that pandas noted as the index, if what it noted can be read at all."""
    try:
        stored = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
    except (ValueError, RecursionError):
        return []
    if not isinstance(stored, dict):
        return []
    found = stored.get("index_columns")
    if not isinstance(found, list):
        return []
    return [name for name in found if isinstance(name, str)]
