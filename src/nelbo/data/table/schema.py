"""`TableSchema`: what each column of a table is, and the way from a frame to numbers and back.

    "Private", "?", 39, 2020-01-31   <->   3.0, NaN, 39.0, 18292.0

A category becomes the index of its level, a date a number of days, and what is missing NaN. It is
found once, from the training rows.
"""

from __future__ import annotations

__all__ = ["TableSchema", "absent"]

import dataclasses
import difflib
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.read.frames import check_unique, columns_of, narwhals_of
from nelbo.data.read.words import MISSING
from nelbo.data.table import toml
from nelbo.data.table.build import LIBRARIES, frame_of, library_of, words_of
from nelbo.data.table.cells import Cells, Mark
from nelbo.data.table.column import Column, Constant, LeftOut, Unknown
from nelbo.data.table.levels import Levels
from nelbo.data.table.numbers import Numbers
from nelbo.data.table.rules import Rules
from nelbo.data.warned import listed

Array = npt.NDArray[Any]
CLASSES: tuple[type[Column], ...] = (Levels, Numbers, Constant, LeftOut)


@dataclass(frozen=True, repr=False)
class TableSchema:
    """The columns of a table, each with its kind and the reason for it.

    It is immutable, has a JSON and a TOML twin, and prints as a table.

    Attributes:
        columns: All columns of the frame, in its order, those that are left out included.
        library: That of the frame: "pandas", "polars" or "pyarrow".
        missing: What stands for a missing cell, beside NaN, None, NA and NaT.

    >>> import pandas
    >>> from nelbo.data import TableSchema
    >>> frame = pandas.DataFrame({"sex": ["F", "M", "F"], "age": [39.5, None, 41.0]})
    >>> schema = TableSchema.infer(frame)
    >>> schema.encode(frame).tolist()
    [[0.0, 39.5], [1.0, nan], [0.0, 41.0]]
    >>> schema.decode(schema.encode(frame)).equals(frame)
    True
    """

    columns: tuple[Column, ...]
    library: str = "pandas"
    missing: tuple[Mark, ...] = MISSING

    def __post_init__(self) -> None:
        check_unique(self.all_names, "schema")
        if self.library not in LIBRARIES:
            raise ValueError(
                f"library must be one of {', '.join(LIBRARIES)}, got {self.library!r}."
            )

    @classmethod
    def infer(
        cls,
        frame: Any,
        *,
        given: Mapping[str, Any] | None = None,
        missing: Sequence[Mark] | None = None,
        rules: Rules = Rules(),  # noqa: B008 (frozen)
    ) -> TableSchema:
        """Find out what each column of a frame is.

        Arguments:
            frame: A data frame of pandas, polars or pyarrow.
            given: What is known already: column -> its kind, or a dict of fields of the column,
                such as ``{"zip": "categorical", "id": "left_out", "grade": {"kind": "ordinal",
                "levels": ["C", "B", "A"]}}``. A schema's own `to_dict` may be passed, too.
            missing: What stands for a missing cell, beside NaN and the like; None is
                ``("", "?", "NA", …)``.
            rules: How a kind is found.

        Raises:
            ValueError: Two columns of one name, a column that cannot be read, or of which ``given``
                says what cannot be.
            TypeError: ``frame`` is no data frame, or a column holds other objects.
        """
        named, marks = _by_name(given or {})
        if missing is None:
            missing = marks
        table = _Table(frame)
        table.check(named, "The schema")
        found = [_column(table.series(name), name, named.get(name, {}), missing, rules)
                 for name in table.names]  # fmt: skip
        return cls(tuple(found), library_of(frame), tuple(missing))

    # -- what it says

    @cached_property
    def in_model(self) -> tuple[Column, ...]:
        """The columns of the array, which are all but those left out."""
        return tuple(column for column in self.columns if column.in_model)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of the array."""
        return tuple(column.name for column in self.in_model)

    @property
    def all_names(self) -> tuple[str, ...]:
        """The names of all columns of the frame."""
        return tuple(column.name for column in self.columns)

    @property
    def left_out(self) -> dict[str, str]:
        """The columns that are left out, and why."""
        return {column.name: column.why for column in self.columns if not column.in_model}

    @property
    def continuous(self) -> npt.NDArray[np.bool_]:
        """Which columns of the array may be shifted and scaled, (d,)."""
        return np.array([column.continuous for column in self.in_model], dtype=np.bool_)

    @property
    def numbers(self) -> npt.NDArray[np.bool_]:
        """Which columns of the array are numbers, counts or amounts, (d,), and not levels."""
        return np.array([isinstance(one, Numbers) for one in self.in_model], dtype=np.bool_)

    @property
    def constants(self) -> tuple[tuple[int, float], ...]:
        """Columns of the array with one value in all rows: (place, value) each."""
        return tuple(
            (place, column.number)
            for place, column in enumerate(self.in_model)
            if isinstance(column, Constant)
        )

    @property
    def kinds(self) -> tuple[dict[str, Any], ...]:
        """Kind and options of each column of the array that varies, for `likelihood.Columns`."""
        return tuple(c.of_model for c in self.in_model if not isinstance(c, Constant))

    def __repr__(self) -> str:
        return f"TableSchema({len(self.columns)} columns)"

    def __str__(self) -> str:
        rows = [("column", "kind", "why")]
        rows += [(one.name, one.kind.replace("_", " "), _reason(one)) for one in self.columns]
        return "\n".join(_table(rows))

    # -- there and back

    def encode(self, frame: Any, unknown: Unknown = "error") -> Array:
        """Return the numbers of a frame, (n, d), float64, NaN where a cell is missing.

        Columns are matched by name, in whatever order they are; those left out may be absent.

        Arguments:
            frame: A data frame of pandas, polars or pyarrow.
            unknown: Whether a category that was not there at the fit is an "error", or "missing".

        Raises:
            ValueError: A column is absent, doubled or unknown, or holds what it cannot (the column,
                the row and the value are named).
            TypeError: ``frame`` is no data frame.
        """
        if unknown not in ("error", "missing"):
            raise ValueError(f"unknown must be 'error' or 'missing', got {unknown!r}.")
        table = _Table(frame)
        self._check_names(table)
        out = np.empty((len(table), len(self.in_model)))
        for place, column in enumerate(self.in_model):
            marks = (*self.missing, *column.missing)
            cells = Cells.of(table.series(column.name), column.name, marks, column.form)
            out[:, place] = column.encode(cells, unknown)
        return out

    def number_of(self, name: str, cell: Any) -> float:
        """Return a single cell as a number of the array: of a category its index.

        Raises:
            ValueError: There is no such column, or it cannot hold that.
        """
        (column,) = (one for one in self.in_model if one.name == name)
        return float(column.encode(Cells.single(name, cell, column.form), "error")[0])

    def check(self, array: Array) -> None:
        """Refuse an array (n, d) of numbers that the columns cannot have.

        Raises:
            ValueError: There is one; the message names its column and row.
        """
        for place, column in enumerate(self.in_model[: array.shape[1]]):
            column.check(array[:, place])

    def rounded(self, array: Array) -> Array:
        """Return numbers (n, d), such as means, as ones that the columns can have: within the range
        of the data, and rounded as they are.
        """
        parts = [one.rounded(array[..., j]) for j, one in enumerate(self.in_model)]
        return np.stack(parts, -1)

    def decode(
        self,
        array: Array,
        index: Any = None,
        library: str | None = None,
        left_out: bool = False,
        exact: bool = False,
    ) -> Any:
        """Return a frame of numbers, with the columns, types, levels and rounding of the data.

        Arguments:
            array: Numbers (n, d), as `encode` returns them; they may be means, such as shares of a
                "bernoulli", or lie beyond the range of the data: they are `rounded` first.
            index: The index of a frame of pandas.
            library: "pandas", "polars" or "pyarrow"; None is that of the frame.
            left_out: Whether columns that are left out of the model are there, and empty.
            exact: Whether the numbers are ones that the columns can have, and are left alone.

        Raises:
            ValueError: The array is of another shape.
            ImportError: The library is not installed.
        """
        array = np.asarray(array, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != len(self.in_model):
            raise ValueError(
                f"array must have shape (n, {len(self.in_model)}), one column for each of "
                f"{listed(self.names)}, got {array.shape}."
            )
        if not exact:
            array = self.rounded(array)
        columns, cells, place = [], [], 0
        for column in self.columns:
            if column.in_model:
                columns.append(column)
                cells.append(column.decode(array[:, place]))
                place += 1
            elif left_out:
                columns.append(column)
                cells.append(column.decode(array[:, 0]))
        return frame_of(columns, cells, library or self.library, index)

    def words(self, array: Array) -> npt.NDArray[Any]:
        """Return numbers (n, d) in words, as the columns write them: levels, dates, and numbers
        with the decimals of the data; None where one is missing.

        Arguments:
            array: Numbers that the columns can have; means are to be `rounded` first.
        """
        found = np.empty(array.shape, dtype=object)
        for place, column in enumerate(self.in_model):
            found[:, place] = words_of(column, column.decode(array[:, place]))
        return found

    def _check_names(self, table: _Table) -> None:
        """Refuse a frame that lacks a column, or has others."""
        odd = [name for name in table.names if name not in self.all_names]
        for name in self.names:
            if name not in table.names:
                raise ValueError(absent(name, odd, table.names))
        if odd:
            raise ValueError(
                f"X has the column {odd[0]!r}, which the rows fitted did not have. Drop "
                f"{listed([repr(name) for name in odd])}."
            )

    # -- twins

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types from which `from_dict` restores the schema."""
        return {
            "library": self.library,
            "missing": list(self.missing),
            "column": [column.to_dict() for column in self.columns],
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> TableSchema:
        """Restore what `to_dict` wrote.

        Raises:
            ValueError: A field is missing or odd.
        """
        try:
            columns = tuple(_class_of(column).from_dict(column) for column in fields["column"])
            return cls(columns, fields["library"], tuple(fields["missing"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the schema of the table is not whole ({error!r}). Write it by to_toml, or infer "
                "it from the data."
            ) from error

    def to_toml(self) -> str:
        """Return the text of a TOML file that people read and edit."""
        return toml.written(self.to_dict())

    @classmethod
    def from_toml(cls, path: str | Path) -> TableSchema:
        """Read a file that `to_toml` wrote.

        Raises:
            ValueError: It is not one.
        """
        return cls.from_dict(toml.read(path))


class _Table:
    """A frame of any library, by the names of its columns."""

    def __init__(self, frame: Any) -> None:
        labels = columns_of(frame)
        if labels is None:
            raise TypeError(
                f"X must be a data frame (pandas, polars or pyarrow), got {type(frame).__name__}. "
                "Its columns are told apart by name."
            )
        check_unique(labels, "X")
        self.names = tuple(map(str, labels))
        check_unique(self.names, "X")
        self.frame = narwhals_of(frame, "X")

    def __len__(self) -> int:
        return len(self.frame)

    def series(self, name: str) -> Any:
        """Return a column."""
        return self.frame[:, self.names.index(name)]

    def check(self, named: Mapping[str, Any], who: str) -> None:
        """Refuse what is said of a column that there is not."""
        for name in named:
            if name not in self.names:
                close = difflib.get_close_matches(name, self.names, n=1)
                hint = "".join(f" Did you mean {one!r}?" for one in close)
                raise ValueError(
                    f"{who} has a column {name!r}, which X has not.{hint} X has "
                    f"{listed([repr(one) for one in self.names])}."
                )


def absent(name: str, odd: Sequence[str], names: Sequence[str]) -> str:
    """Say that rows lack a column.

    Arguments:
        name: The column.
        odd: The columns that they have, and the rows fitted had not.
        names: All columns that they have.
    """
    close = difflib.get_close_matches(name, odd, n=1, cutoff=0.5)
    close = [one for one in odd if one.lower() == name.lower()] or close
    hint = "".join(f" Did you rename it to {one!r}?" for one in close[:1])
    if all(re.fullmatch(r"column \d+|\d+", one) for one in names):
        return (
            f"X lacks the column {name!r} of the rows fitted: its columns have no names. Write "
            "these as its first line, or give the frame the columns of the fit."
        )
    return (
        f"X lacks the column {name!r} of the rows fitted.{hint} It has "
        f"{listed([repr(one) for one in names])}. Pass that column, empty (NaN) if it is not known."
    )


def _by_name(given: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], Sequence[Mark]]:
    """Return what is known of columns by name, and what stands for missing cells."""
    marks: Sequence[Mark] = MISSING
    if isinstance(given.get("column"), list | tuple):
        marks = tuple(given.get("missing", MISSING))
        try:
            return {column["name"]: dict(column) for column in given["column"]}, marks
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("Each [[column]] of a schema needs a name.") from error
    found = {}
    for name, said in given.items():
        if not isinstance(said, str | Mapping):
            raise TypeError(
                f"The schema of column {name!r} must be a kind such as 'categorical', or a dict, "
                f"got {said!r}."
            )
        found[str(name)] = {"kind": said} if isinstance(said, str) else dict(said)
    return found, marks


def _column(
    series: Any, name: str, given: Mapping[str, Any], missing: Sequence[Mark], rules: Rules
) -> Column:
    """Return what a column is, as far as it is not known already."""
    marks = (*missing, *given.get("missing", ()))
    cells = Cells.of(series, name, marks, given.get("form"))
    found = rules(cells, name, given.get("kind"))
    if not given:
        return found
    fields = {**found.to_dict(), **_of_class(type(found), given), "dtype": found.dtype}
    return type(found).from_dict({**fields, "name": name})


def _of_class(cls: type[Column], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return fields of a column, without those that only columns of other kinds have: a file in
    which nothing but the kind was changed still holds them.
    """
    fields = {one: {field.name for field in dataclasses.fields(one)} for one in CLASSES}
    stale = set().union(*fields.values()) - fields[cls]
    if not stale & given.keys():
        return given
    return {name: value for name, value in given.items() if name not in {*stale, "why"}}


def _class_of(column: Mapping[str, Any]) -> type[Column]:
    for one in CLASSES:
        if column["kind"] in one.kinds:
            return one
    known = sorted(kind for one in CLASSES for kind in one.kinds)
    raise ValueError(
        f"column {column.get('name')!r} has the unknown kind {column['kind']!r}. Known: "
        f"{', '.join(known)}."
    )


def _reason(column: Column) -> str:
    if not column.missing:
        return column.why
    return f"{column.why}; {column.missing[0]!r} is missing"


def _table(rows: Sequence[Sequence[str]], page: int = 100) -> list[str]:
    """Return lines of a table whose last column is wrapped."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)][:-1]
    indent = sum(widths) + 2 * len(widths)
    lines = []
    for *cells, last in rows:
        head = "  ".join(map(str.ljust, cells, widths))
        wrapped = textwrap.wrap(last, max(24, page - indent)) or [""]
        lines.append(f"{head}  {wrapped[0]}".rstrip())
        lines += [" " * indent + more for more in wrapped[1:]]
    return lines
