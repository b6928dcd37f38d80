"""X -> a finite, contiguous array of float32, float64 or uint8, or one line that says which cell is wrong.

Arrays, torch tensors, data frames and lists come in; what goes out may share memory with what came in, and is
never written to by this package.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nelbo.data.cells import model_dtype, place, real_numbers, refuse_text
from nelbo.data.frames import from_frame
from nelbo.data.scaling import chunks

__all__ = ["is_frame", "model_dtype", "place", "real_numbers", "validate_array", "with_columns"]

Array = npt.NDArray[Any]
Columns = tuple[str, ...] | None


def validate_array(X: Any, *, name: str = "X", columns: Iterable[str] | None = None) -> Array:
    """Return X as a contiguous numeric array with its values checked.

    Arguments:
        X: Numpy array, torch tensor (any device), pandas, polars or pyarrow table, or nested list:
            rows (n, d), images (n, h, w), (n, h, w, c) or (n, c, h, w).
        name: What errors call it.
        columns: Names of the d columns, for errors; a data frame brings its own.

    Returns:
        uint8, float32 and float64 as they are; bool and float16 as float32; all else as float64.

    Raises:
        TypeError: Sparse, not an array at all, or cells that are not numbers.
        ValueError: Text, complex numbers, NaN or inf (row and column named), nothing at all, not 2 to 4 axes.
    """
    return with_columns(X, name=name, columns=columns)[0]


def with_columns(X: Any, *, name: str = "X", columns: Iterable[str] | None = None) -> tuple[Array, Columns]:
    """`validate_array`, together with the column names: those given, or those of a data frame, or None."""
    raw, found = _as_array(X, name)
    names = found if columns is None else tuple(map(str, columns))
    _check_axes(raw, name)
    if raw.ndim != 2:
        names = None
    elif names is not None and len(names) != raw.shape[1]:
        raise ValueError(
            f"{name} has {raw.shape[1]} columns, but {len(names)} column names were given. Name each column once."
        )
    array = _as_numbers(raw, name, names)
    _check_finite(array, name, names)
    return array, names


# -- from what users have to an array of something


def is_frame(X: Any) -> bool:
    """Whether X is a table with named columns (pandas, polars, pyarrow, …)."""
    return hasattr(X, "columns") and not isinstance(X, np.ndarray | torch.Tensor)


def _as_array(X: Any, name: str) -> tuple[Array, Columns]:
    if isinstance(X, torch.Tensor):
        return _from_tensor(X, name), None
    if np.ma.isMaskedArray(X):
        return _from_masked(X), None
    if isinstance(X, np.ndarray):
        return np.asarray(X), None
    if hasattr(X, "tocsr"):
        raise TypeError(
            f"Sparse data was passed as {name}, but dense data is required. "
            f"Use {name}.toarray() to convert to a dense numpy array."
        )
    if is_frame(X):
        return from_frame(X, name)
    return _from_sequence(X, name), None


def _from_tensor(X: torch.Tensor, name: str) -> Array:
    if X.layout != torch.strided:
        raise TypeError(f"Sparse data was passed as {name}, but dense data is required. Use {name}.to_dense().")
    if X.is_quantized:
        raise TypeError(f"{name} is a quantized tensor, but plain numbers are required. Use {name}.dequantize().")
    X = X.detach().cpu().resolve_conj().resolve_neg()
    if X.is_floating_point() and X.dtype not in (torch.float32, torch.float64):
        X = X.float()  # bfloat16 and the 8-bit floats have no numpy type
    return X.numpy()


def _from_masked(X: Any) -> Array:
    """A masked cell is a missing value, so it is reported as the NaN that it stands for."""
    return np.asarray(X.astype(np.float64).filled(np.nan) if np.ma.is_masked(X) else X.data)


def _from_sequence(X: Any, name: str) -> Array:
    if isinstance(X, str | bytes | Path):
        raise TypeError(
            f"{name} must be an array of numbers, got {X!r}. Read files and built-in data with nelbo.data.load."
        )
    if X is None or isinstance(X, dict | set | frozenset):
        raise TypeError(
            f"{name} must be an array of numbers of shape (n, d), got {type(X).__name__}. Pass np.asarray(...)."
        )
    try:
        array = np.asarray(X)
        if array.dtype.kind in "US" and isinstance(X, list | tuple):
            array = np.array(X, dtype=object)  # numpy turned the numbers beside the text into text, too
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} is not a rectangular array of numbers ({_line(error)}). Give every row the same length."
        ) from None
    if array.ndim == 0 and array.dtype.kind == "O":
        raise TypeError(
            f"{name} must be an array of numbers of shape (n, d), got {type(X).__name__}. Pass np.asarray(...)."
        )
    return array


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _check_axes(array: Array, name: str) -> None:
    if array.ndim == 1 and array.dtype.names:
        raise ValueError(
            f"{name} is a structured array with fields {', '.join(array.dtype.names)}, but plain numbers "
            "are required. "
            "Use numpy.lib.recfunctions.structured_to_unstructured."
        )
    if array.ndim < 2:
        what = "scalar array" if array.ndim == 0 else "1D array"
        raise ValueError(
            f"Expected 2D array, got {what} instead: {name} has shape {array.shape}. "
            "Reshape your data either using "
            "array.reshape(-1, 1) if it has a single feature or array.reshape(1, -1) if it contains a "
            "single sample."
        )
    if array.ndim > 4:
        raise ValueError(
            f"Found array with dim {array.ndim}: {name} has shape {array.shape}, expected (n, d), (n, h, "
            "w), (n, h, w, c) "
            "or (n, c, h, w). Flatten it with X.reshape(len(X), -1)."
        )
    if array.shape[0] == 0:
        raise ValueError(
            f"{name}: found array with 0 sample(s) (shape={array.shape}) while a minimum of 1 is required. "
            "Pass at least one row."
        )
    if array.size == 0:
        raise ValueError(
            f"{name}: found array with 0 feature(s) (shape={array.shape}) while a minimum of 1 is required. "
            "Pass at least one column."
        )


# -- from an array of something to numbers


def _as_numbers(array: Array, name: str, columns: Columns) -> Array:
    kind = array.dtype.kind
    if kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} has dtype {array.dtype}. "
            "Pass real and imaginary parts as columns of their own."
        )
    if kind in "US":
        refuse_text(array.flat[0].item(), place((0,) * array.ndim, columns), name)
    if kind == "O":
        return real_numbers(array, name, columns)
    if kind not in "biuf":
        raise ValueError(
            f"{name} has dtype {array.dtype}, but numbers are required. Convert it with {name}.astype(float)."
        )
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes inf, and is reported as such
        return np.ascontiguousarray(array, dtype=model_dtype(array.dtype))


def _check_finite(array: Array, name: str, columns: Columns) -> None:
    if array.dtype.kind != "f":
        return
    width = array[0].size
    first, count = None, 0
    for rows in chunks(len(array), width):
        finite = np.isfinite(array[rows])
        if finite.all():
            continue
        if first is None:
            index = np.argwhere(~finite)[0]
            first = (rows.start + int(index[0]), *(int(i) for i in index[1:]))
        count += int(finite.size - np.count_nonzero(finite))
    if first is not None:
        what = "NaN" if np.isnan(array[first]) else "inf"
        raise ValueError(
            f"{name} contains {what}: first at {place(first, columns)}, {count} NaN or inf in all (counting "
            "from 0). "
            "Drop those rows or fill them in, as by sklearn.impute.SimpleImputer."
        )
