"""DATA whose columns are of different kinds: files of text, categories, dates and numbers."""

from __future__ import annotations

__all__ = ["Kinds", "write_frame"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..whole import write_file
from .reading import Data, ReadOptions

if TYPE_CHECKING:
    from ..data import TableSchema


@dataclass(frozen=True)
class Kinds:
    """How columns of different kinds are read.

    Attributes:
        schema: "auto", "infer", or the path of a TOML file, as --schema has it; the schema of a
            model; or None, for a model of columns that all are numbers.
        condition: Names of what rows are conditioned on.
        missing: Whether values may be missing.
    """

    schema: str | TableSchema | None = None
    condition: Sequence[str] | None = None
    missing: bool = True

    def first(self, path: str) -> bool:
        """Return whether a file is read as a frame at once, without a look whether all of it is
        numbers.
        """
        if self.schema is None:
            return False
        return self.schema != "auto" or path.lower().endswith(".parquet")

    def read(self, path: str, name: str, reading: ReadOptions) -> Data | None:
        """Read a file whose columns may be of different kinds.

        Arguments:
            path: The file.
            name: What messages call it.
            reading: How it is read.

        Returns:
            The rows; None where all columns are to be numbers, or where it is no file of a table.

        Raises:
            ValueError: It cannot be read, or does not fit the schema.
        """
        from ..data import Values
        from ..data.conditions import apart
        from ..data.read.load import load_frame
        from ..data.table.door import schema_for
        from ..data.table.stream import Stream

        if self.condition is None and reading.index_column is None and Stream().is_for(path):
            return self._streamed(path, name, reading)
        asked = {key: value for key, value in reading.arguments().items() if key != "resize"}
        found = load_frame(path, **asked)
        if found is None:
            return None
        rows, c = apart(found[0], self.condition)
        schema = schema_for(rows, self.schema)
        if schema is None:
            return None
        try:
            values = Values.of_table(
                rows, schema, c=c, unknown=reading.unknown, missing=self.missing
            )
        except ValueError as error:
            said = str(error).replace('unknown="missing"', "--unknown missing")
            raise ValueError(f"{name}: {said}") from error
        return Data(values, None, found[1])

    def _streamed(self, path: str, name: str, reading: ReadOptions) -> Data | None:
        """Read a large .parquet file a part at a time."""
        from ..data import Values
        from ..data.table.stream import Stream

        try:
            found = Stream().read(path, self.schema, reading.unknown)
        except ValueError as error:
            said = str(error).replace('unknown="missing"', "--unknown missing")
            raise ValueError(f"{name}: {said}") from error
        if found is None:
            return None
        return Data(Values.of_codes(*found, missing=self.missing), None, ())


def write_frame(out: str | None, frame: Any) -> Iterator[str]:
    """Write a table of pyarrow to a file by its suffix; return the lines of CSV where there is no
    file.
    """
    if out is None:
        return _csv(frame)
    writers = {".csv": _write_csv, ".parquet": _write_parquet}
    suffix = Path(out).suffix.lower()
    if suffix not in writers:
        raise ValueError(
            f"--out {out} must end in .csv or .parquet: the columns are of different kinds."
        )
    write_file(Path(out), lambda file: writers[suffix](file, frame))
    return iter(())


def _write_csv(file: BinaryIO, frame: Any) -> None:
    file.writelines(line.encode() for line in _csv(frame))


def _write_parquet(file: BinaryIO, frame: Any) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(frame, file)


def _csv(frame: Any, together: int = 4096) -> Iterator[str]:
    """Yield lines of CSV, some rows together; a missing cell is empty."""
    import csv
    import io

    for batch in [frame[:0], *(frame[i : i + together] for i in range(0, len(frame), together))]:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if len(batch) == 0:
            writer.writerow(frame.column_names)
        cells = [[*map(_cell, column.to_pylist())] for column in batch.columns]
        writer.writerows(zip(*cells, strict=True))
        yield text.getvalue()


def _cell(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return repr(cell)
    return str(cell)
