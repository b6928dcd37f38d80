"""A large .parquet file -> one compact array, a part at a time: the file is never whole in memory.

Kinds are found from rows that are spread over the file; categories and ranges from all of it.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.read.frames import columns_of
from nelbo.data.table.column import Column
from nelbo.data.table.door import schema_for
from nelbo.data.table.levels import Levels
from nelbo.data.table.numbers import Numbers
from nelbo.data.table.schema import TableSchema

__all__ = ["Stream"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Stream:
    """How a large file is read.

    Attributes:
        many: With fewer rows a file is read at once.
        batch: Rows that are read together.
        seen: Rows that kinds are found from.
    """

    many: int = 500_000
    batch: int = 2**16
    seen: int = 100_000

    def is_for(self, path: str | Path) -> bool:
        """Return whether a file is a .parquet of many rows."""
        if Path(path).suffix.lower() != ".parquet" or not Path(path).is_file():
            return False
        with _opened(path) as file:
            return bool(file.metadata.num_rows >= self.many)

    def read(
        self, path: str | Path, schema: Any = "infer", unknown: str = "error"
    ) -> tuple[Array, TableSchema] | None:
        """Return the numbers of all rows, (n, d), float32, and what the columns are.

        Arguments:
            path: The file.
            schema: As `nelbo.VariationalAutoencoder` takes it.
            unknown: Whether a category that a schema which was passed does not know is an "error",
                or "missing".

        Returns:
            Both; None where all columns are to be numbers.

        Raises:
            ValueError: The file does not fit the schema.
        """
        known = schema_for(self._spread(path), schema)
        if known is None:
            return None
        if not isinstance(schema, TableSchema):
            known = self._widened(known, path)
        with _opened(path) as file:
            out = np.empty((file.metadata.num_rows, len(known.names)), dtype=np.float32)
        start = 0
        for part in self._parts(path):
            numbers = known.encode(part, unknown)
            out[start : start + len(numbers)] = numbers
            start += len(numbers)
        return out, known

    def _parts(self, path: str | Path) -> Iterator[Any]:
        pyarrow = importlib.import_module("pyarrow")
        with _opened(path) as file:
            for batch in file.iter_batches(self.batch):
                yield pyarrow.Table.from_batches([batch])

    def _spread(self, path: str | Path) -> Any:
        """Return rows that are spread evenly over the file."""
        pyarrow = importlib.import_module("pyarrow")
        with _opened(path) as file:
            step = max(1, file.metadata.num_rows // self.seen)
        return pyarrow.concat_tables(
            part.take(np.arange(0, len(part), step)) for part in self._parts(path)
        )

    def _widened(self, schema: TableSchema, path: str | Path) -> TableSchema:
        """Return the schema with all categories and the whole range of the file."""
        columns = {column.name: column for column in schema.columns}
        for part in self._parts(path):
            for name in columns_of(part) or ():
                columns[name] = _wider(columns[name], part[name], schema.missing)
        return dataclasses.replace(schema, columns=tuple(columns.values()))


def _opened(path: str | Path) -> Any:
    return importlib.import_module("pyarrow.parquet").ParquetFile(path)


def _wider(column: Column, cells: Any, missing: tuple[Any, ...]) -> Column:
    """Return a column that has the categories, or the range, of further cells, too."""
    if isinstance(column, Levels) and column.form == "text" and column.kind == "categorical":
        words = {str(word) for word in cells.unique().to_pylist() if word is not None}
        new = sorted(words - {*column.levels} - {*map(str, (*missing, *column.missing))})
        return dataclasses.replace(column, levels=(*column.levels, *new)) if new else column
    if isinstance(column, Numbers) and column.form == "number":
        ends = importlib.import_module("pyarrow.compute").min_max(cells).as_py()
        known = [end for end in (column.low, column.high, *ends.values()) if end is not None]
        low, high = float(min(known)), float(max(known))
        return dataclasses.replace(column, low=low, high=high)
    return column
