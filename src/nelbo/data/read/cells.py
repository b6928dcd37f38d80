"""Single cells: what counts as a number, where a cell is, and how to refuse one."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NotNumbers", "is_missing", "model_dtype", "place", "real_numbers", "refuse_text"]

Array = npt.NDArray[Any]
Columns = tuple[str, ...] | None


class NotNumbers(ValueError):
    """Text, or dates, where numbers are required: the columns may be of different kinds."""


def model_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that a column of `dtype` is kept in: uint8, float32 or float64."""
    if dtype == np.uint8:
        return dtype
    if dtype.kind == "b" or (dtype.kind == "f" and dtype.itemsize <= 4):
        return np.dtype(np.float32)
    return np.dtype(np.float64)


def place(index: Sequence[int], columns: Columns = None) -> str:
    """Name a cell for people: "row 3, column 'age'", or "row 3, pixel (4, 7)"; all count from 0."""
    row, *rest = (int(i) for i in index)
    if not rest:
        return f"row {row}"
    if len(rest) > 1:
        return f"row {row}, pixel ({', '.join(map(str, rest))})"
    (column,) = rest
    if columns:
        return f"row {row}, column {columns[column]!r}"
    return f"row {row}, column {column}"


def real_numbers(array: Array, name: str, columns: Columns) -> Array:
    """Turn Python objects into float64, where every cell is a real number or missing (then NaN)."""
    flat = array.ravel().tolist()
    odd = {kind for kind in set(map(type, flat)) if not _is_real(kind)}
    if not odd:
        return _floats(flat, name).reshape(array.shape)
    for i, cell in enumerate(flat):
        if type(cell) in odd:
            if not is_missing(cell):
                where = tuple(int(k) for k in np.unravel_index(i, array.shape))
                _refuse_cell(cell, place(where, columns), name)
            flat[i] = math.nan
    return _floats(flat, name).reshape(array.shape)


def _is_real(kind: type) -> bool:
    """Return whether objects of a type are real numbers."""
    return issubclass(kind, numbers.Real | Decimal | np.bool_)


def is_missing(cell: object) -> bool:
    """Return whether an object is None, or what pandas or numpy put for a missing cell."""
    return cell is None or type(cell).__name__ in ("NAType", "NaTType", "MaskedConstant")


def _floats(cells: list[Any], name: str) -> npt.NDArray[np.float64]:
    """Return cells as float64, unless an integer is too large for it."""
    try:
        return np.array([float(cell) for cell in cells], dtype=np.float64)
    except OverflowError:
        raise ValueError(
            f"{name} holds an integer beyond float64, as if inf. Divide that column by a constant "
            "first."
        ) from None


def _refuse_cell(cell: object, where: str, name: str) -> None:
    """Raise the error for a cell that is not a real number."""
    if isinstance(cell, str | bytes):
        refuse_text(cell, where, name)
    if isinstance(cell, numbers.Complex):
        raise ValueError(
            f"Complex data not supported: {name} at {where} is {cell!r}. "
            "Pass real and imaginary parts as columns of their own."
        )
    kind = type(cell).__name__
    raise TypeError(
        f"{name} at {where}: argument must be a string or a real number, not {kind!r}. Pass "
        "numbers only."
    )


def refuse_text(cell: object, where: str, name: str) -> None:
    """Raise ValueError for a cell that holds text, with the cure."""
    try:
        float(cell)  # type: ignore[arg-type]
        cure = "Convert such columns to numbers first, as by astype(float)."
    except ValueError:
        cure = (
            "Drop such columns, or encode them as numbers, as by "
            "sklearn.preprocessing.OneHotEncoder."
        )
    raise NotNumbers(f"{name} holds text where numbers are required: {where} is {cell!r}. {cure}")
