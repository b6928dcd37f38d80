"""What rows are conditioned on, as users hold it: named columns of labels or of numbers.

Conditions come beside the rows (an array, a data frame, a dictionary), or as columns of the same
table, from which `apart` takes them.
"""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from nelbo.brief import Brief
from nelbo.data.read.cells import is_missing
from nelbo.data.read.frames import cells_of, columns_of, without
from nelbo.data.warned import listed

__all__ = ["Conditions", "apart", "by_name", "places_of"]

Array = npt.NDArray[Any]
Columns = Sequence[str | int]


@dataclass(frozen=True, eq=False, repr=False)
class Conditions(Brief):
    """The conditions of some rows, each known: a label, which is text or a number, or a number.

    Attributes:
        names: Names of the columns; None where they have none, and their order tells them apart.
        columns: The cells of each column, of shape (n,): float64, or text.
    """

    names: tuple[str, ...] | None
    columns: tuple[Array, ...]

    @classmethod
    def of(cls, c: Any, rows: int | None = None) -> Self:
        """Return conditions from whatever holds them.

        Arguments:
            c: Conditions already; a dictionary name -> cells; a data frame; a series, a list or an
                array (n,) or (n, k); or one label or number.
            rows: The number of rows that they belong to, where that is known.

        Raises:
            ValueError: A cell is missing, or there are more or fewer than ``rows`` of them.
            TypeError: A cell is neither text nor a number.
        """
        if isinstance(c, cls):
            found = c
        else:
            names, cells = _taken(c)
            told = names or _numbered(len(cells))
            found = cls(names, tuple(map(_column, cells, told)))
        found._check(rows)
        return found

    def _check(self, rows: int | None) -> None:
        sizes = [len(column) for column in self.columns]
        if not sizes or min(sizes) == 0:
            raise ValueError("c holds no conditions. Pass one for each row.")
        if min(sizes) != max(sizes):
            raise ValueError(f"The columns of c have {sizes} cells. Give all of them as many.")
        if rows is not None and sizes[0] != rows:
            raise ValueError(
                f"c has {sizes[0]:,} rows, but X has {rows:,}. Pass one condition for each row of "
                "X, in the same order."
            )

    @property
    def called(self) -> tuple[str, ...]:
        """What the columns are called; those without names are numbered."""
        return self.names or _numbered(len(self.columns))

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, rows: Any) -> Conditions:
        """Return those of some of the rows: a slice, a mask, or their numbers."""
        return Conditions(self.names, tuple(column[rows] for column in self.columns))

    def repeated(self, count: int) -> Conditions:
        """Return a single condition as that of ``count`` rows."""
        return Conditions(self.names, tuple(np.repeat(column, count) for column in self.columns))


def apart(X: Any, columns: Columns | None, c: Any = None) -> tuple[Any, Any]:
    """Return rows without the columns that they are conditioned on, and the cells of these.

    Arguments:
        X: A table: a data frame, or whatever is an array (n, d).
        columns: Names of columns, or their places from 0; None where there are none.
        c: Conditions that came beside X, which then is returned as it is.

    Raises:
        ValueError: X has no such column, or is no table.
    """
    if columns is None or c is not None:
        return X, c
    if getattr(X, "conditions", None) is not None:
        return X, None  # rows that were read with their conditions apart
    labels = columns_of(X)
    if labels is not None:
        places = places_of(columns, labels, len(labels))
        return without(X, places), by_name(columns, places, labels, cells_of(X, places))
    table = _as_table(X)
    places = places_of(columns, (), table.shape[1])
    cells = [_dense(table[:, place]) for place in places]
    rest = [j for j in range(table.shape[1]) if j not in places]
    return table[:, rest], by_name(columns, places, range(table.shape[1]), cells)


def places_of(columns: Columns, labels: Sequence[Any], width: int, where: str = "X") -> list[int]:
    """Return the places of columns by name, or by place.

    Arguments:
        columns: Names, or places, which count from the end where they are negative.
        labels: The names that there are; empty where columns have none.
        width: How many columns there are.
        where: What errors call the table.

    Raises:
        ValueError: There is no such column.
    """
    found: list[int] = []
    for column in columns:
        if column in labels and isinstance(column, str):
            found.append([*labels].index(column))
        elif not _is_place(column):
            raise ValueError(_unknown(column, labels, where))
        elif -width <= int(column) < width:
            found.append(int(column) % width)
        else:
            raise ValueError(
                f"{where} has no column {column} to condition on, but 0 to {width - 1}. Pass one "
                "of these, or conditions beside the rows."
            )
    return found


def _is_place(column: object) -> bool:
    """Return whether a column is told by its place: a number, or text that is one."""
    if isinstance(column, str):
        return column.removeprefix("-").isdecimal()
    return isinstance(column, numbers.Integral)


def _unknown(column: object, labels: Sequence[Any], where: str) -> str:
    """Say that there is no column of a name, and which may be meant."""
    if not labels:
        return (
            f"{where} has no column {column!r} to condition on: its columns have no names. Pass "
            "places from 0, a table with names, or conditions beside the rows."
        )
    close = difflib.get_close_matches(str(column), map(str, labels), n=1)
    hint = "".join(f" Did you mean {name!r}?" for name in close)
    return (
        f"{where} has no column {column!r} to condition on.{hint} It has "
        f"{listed([repr(label) for label in labels])}. Pass such columns, or conditions beside the "
        "rows."
    )


def by_name(
    columns: Columns, places: Sequence[int], labels: Sequence[Any], cells: Iterable[Any]
) -> dict[str, Any]:
    """Return the cells of columns by name.

    Arguments:
        columns: Names or places of the columns.
        places: Their places.
        labels: The names of all columns, or, where they have none, their places.
        cells: Their cells.
    """
    found = {}
    for column, place, own in zip(columns, places, cells, strict=True):
        name = column
        if _is_place(column):
            name = labels[place]
        found[str(name)] = own
    return found


def _as_table(X: Any) -> Any:
    """Return an array (n, d), or what can be indexed like one."""
    if hasattr(X, "tocsc"):
        return X.tocsc()
    table = X
    if not isinstance(X, np.ndarray | torch.Tensor):
        table = np.asarray(X)
    if table.ndim != 2:
        raise ValueError(
            f"condition names columns of a table, but X has shape {tuple(table.shape)}. Pass c=, "
            "one condition for each row."
        )
    return table


def _dense(column: Any) -> Any:
    """Return a column of a sparse matrix as an array, and any other as it is."""
    if hasattr(column, "toarray"):
        return column.toarray()[:, 0]
    return column


# -- from what users have to columns of cells


def _taken(c: Any) -> tuple[tuple[str, ...] | None, list[Any]]:
    """Return names, where there are any, and the cells of each column."""
    if isinstance(c, Mapping):
        return tuple(map(str, c)), [*c.values()]
    labels = columns_of(c)
    if labels is not None:
        return tuple(map(str, labels)), cells_of(c, range(len(labels)))
    if isinstance(c, torch.Tensor):
        c = c.detach().cpu().numpy()
    array = _as_array(c)
    if array.ndim > 2:
        raise ValueError(
            f"c has shape {array.shape}, but one condition for each row is required. Pass shape "
            "(n,) or (n, k)."
        )
    if array.ndim == 2:
        return None, [*array.T]
    name = getattr(c, "name", None)
    return (None if name is None else (str(name),)), [array]


def _as_array(c: Any) -> Array:
    """Return an array in which what is missing is still seen to be."""
    if np.ma.isMaskedArray(c):
        return np.asarray(np.ma.filled(c.astype(object), None))
    if isinstance(c, list | tuple):
        return np.array(c, dtype=object)
    return np.asarray(c)


def _numbered(count: int) -> tuple[str, ...]:
    """Return what columns without names are called."""
    if count == 1:
        return ("c",)
    return tuple(f"c{j}" for j in range(count))


def _column(cells: Any, name: str) -> Array:
    """Return the cells of a column as float64 or as text; all of them are known."""
    if isinstance(cells, torch.Tensor):
        cells = cells.detach().cpu().numpy()
    array = np.atleast_1d(_as_array(cells))
    if array.ndim != 1:
        raise ValueError(f"c has {name!r} of shape {array.shape}. Pass one cell for each row.")
    if array.dtype.kind in "biuf":
        _refuse_missing(~np.isfinite(array), name)
        return array.astype(np.float64)
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind in "OS":
        return _objects(array, name)
    raise TypeError(
        f"c holds {name!r} as {array.dtype}, but labels or numbers are required. Pass text, or "
        "numbers such as years."
    )


def _objects(array: Array, name: str) -> Array:
    """Return Python objects as numbers where all are, else as text."""
    _refuse_missing(np.array([_is_unknown(cell) for cell in array], dtype=np.bool_), name)
    if all(isinstance(cell, numbers.Real | np.bool_) for cell in array):
        return np.array([float(cell) for cell in array])
    for row, cell in enumerate(array):
        if not isinstance(cell, str | bytes | numbers.Real | np.bool_):
            raise TypeError(
                f"c holds {name!r} = {cell!r} in row {row} (counting from 0), but a label or a "
                "number is required. Pass text or numbers."
            )
    return np.array([cell.decode() if isinstance(cell, bytes) else str(cell) for cell in array])


def _is_unknown(cell: object) -> bool:
    """Return whether a cell is missing, or a number that is not finite."""
    return is_missing(cell) or (isinstance(cell, float) and not np.isfinite(cell))


def _refuse_missing(gone: npt.NDArray[np.bool_], name: str) -> None:
    if gone.any():
        raise ValueError(
            f"c has no value of {name!r} in {int(gone.sum()):,} of {len(gone):,} rows, first in "
            f"row {int(gone.argmax())} (counting from 0): each condition must be known. Drop those "
            "rows, or fill them in."
        )
