"""The door: what a user passed becomes `Values`, numbers in one array, or one line that says which
cell is wrong. A value that is missing is NaN, and passes where missing values are allowed.

Arrays, torch tensors, data frames and lists come in; what goes out may share memory with what came
in, and is never written to by this package. Whatever holds `Values` need not check them again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from nelbo.brief import Brief
from nelbo.data.conditions import Conditions
from nelbo.data.moments import chunks, has_missing
from nelbo.data.read.cells import model_dtype, place, real_numbers, refuse_text
from nelbo.data.read.frames import from_frame, narwhals_of
from nelbo.data.read.sequences import from_sequence, from_tensor

if TYPE_CHECKING:
    from nelbo.data.table import TableSchema
    from nelbo.data.table.column import Unknown

__all__ = ["Values", "is_frame", "model_dtype", "place", "real_numbers", "validate_array"]

Array = npt.NDArray[Any]
Columns = tuple[str, ...] | None


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Values(Brief):
    """What a user passed, once it is checked to be numbers: finite, or missing (NaN) where such may
    be.

    It is immutable, and so is any part of it.

    Making one is the only place where values are checked: functions that take data accept one and
    look no further.

    Attributes:
        array: (n, d), or images, contiguous: uint8, float32 or float64.
        columns: Names of the d columns, or None.
        conditions: What each row is conditioned on; None where p(x) is no p(x|c).
        table: What the columns are, where they are of different kinds; None where all are numbers.
    """

    array: Array
    columns: Columns
    conditions: Conditions | None = field(default=None, repr=False)
    table: TableSchema | None = field(default=None, repr=False)

    def __init__(
        self,
        X: Any,
        *,
        name: str = "X",
        columns: Iterable[str] | None = None,
        c: Any = None,
        missing: bool = False,
    ) -> None:
        """Check X, see `validate_array`, and the conditions c, as `Conditions.of` takes them."""
        raw, found = _as_array(X, name)
        names = found
        if columns is not None:
            names = tuple(map(str, columns))
        _check_axes(raw, name)
        names = _fitting(names, raw, name)
        array = _as_numbers(raw, name, names)
        check_finite(array, name, names, missing)
        self._set(array, names, _conditions(c, array))

    @classmethod
    def of(
        cls,
        X: Any,
        *,
        name: str = "X",
        columns: Iterable[str] | None = None,
        c: Any = None,
        missing: bool = False,
    ) -> Values:
        """Return X as it is where it is checked already, else check it.

        Arguments:
            X: Values, or whatever `validate_array` takes.
            name: What errors call it.
            columns: Names of the columns, which take the place of those that X brings.
            c: Conditions, which take the place of those that X brings.
            missing: Whether values may be missing: NaN, None, pd.NA, NaT or masked.
        """
        if not isinstance(X, Values):
            return cls(X, name=name, columns=columns, c=c, missing=missing)
        if columns is None and c is None:
            return X
        names, given = X.columns, X.conditions
        if columns is not None:
            names = _fitting(tuple(map(str, columns)), X.array, name)
        if c is not None:
            given = _conditions(c, X.array)
        return cls._checked(X.array, names, given, X.table)

    @classmethod
    def of_table(
        cls,
        frame: Any,
        table: TableSchema,
        *,
        c: Any = None,
        unknown: Unknown = "error",
        missing: bool = True,
    ) -> Values:
        """Return the rows of a data frame whose columns are of different kinds.

        Arguments:
            frame: The data frame.
            table: What its columns are.
            c: What each row is conditioned on.
            unknown: Whether a category that was not there at the fit is an "error", or "missing".
            missing: Whether values may be missing.

        Raises:
            ValueError: The frame does not fit, as `TableSchema.encode` says; it has no rows; or
                values are missing; or all columns are left out.
        """
        if not len(narwhals_of(frame, "X")):
            raise ValueError(
                f"X: found array with 0 sample(s) (shape=(0, {len(table.all_names)})) while a "
                "minimum of 1 is required. Pass at least one row."
            )
        if not table.names:
            why = "; ".join(f"{column}: {reason}" for column, reason in table.left_out.items())
            raise ValueError(
                f"X has no column that a model can learn from ({why}). Pass others as well, or say "
                "what they are by schema=."
            )
        return cls.of_codes(table.encode(frame, unknown), table, c=c, missing=missing)

    @classmethod
    def of_codes(
        cls, array: Array, table: TableSchema, *, c: Any = None, missing: bool = True
    ) -> Values:
        """Return rows (n, d) as `TableSchema.encode` makes them of a frame.

        Raises:
            ValueError: There are no rows, or values are missing where none may be.
        """
        _check_axes(array, "X")
        check_finite(array, "X", table.names, missing)
        return cls._checked(array, table.names, _conditions(c, array), table)

    def _set(
        self,
        array: Array,
        columns: Columns,
        conditions: Conditions | None,
        table: TableSchema | None = None,
    ) -> None:
        """Set the fields of an immutable value while it is made."""
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "conditions", conditions)
        object.__setattr__(self, "table", table)

    @classmethod
    def _checked(
        cls,
        array: Array,
        columns: Columns,
        conditions: Conditions | None,
        table: TableSchema | None = None,
    ) -> Values:
        """Return values that have been checked."""
        found = cls.__new__(cls)
        found._set(array, columns, conditions, table)
        return found

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The array's: uint8, float32 or float64."""
        return self.array.dtype

    @cached_property
    def incomplete(self) -> bool:
        """Whether any value is missing."""
        return self.array.dtype.kind == "f" and has_missing(self.array)

    @property
    def lacking(self) -> npt.NDArray[np.bool_]:
        """Which rows lack a value, (n,)."""
        if not self.incomplete:
            return np.zeros(len(self), dtype=np.bool_)
        return np.asarray(np.isnan(self.array.reshape(len(self), -1)).any(1), dtype=np.bool_)

    def __getitem__(self, rows: Any) -> Values:
        """Some of the rows: a slice, a mask, or their numbers."""
        given = self.conditions and self.conditions[rows]
        array = np.ascontiguousarray(self.array[rows])
        return self._checked(array, self.columns, given, self.table)

    def only(self, columns: npt.NDArray[np.bool_]) -> Values:
        """The same rows of a table, but that values are missing in all columns but those of a mask
        (d,).
        """
        array = self.array
        if array.dtype.kind != "f":
            array = array.astype(np.float32)
        array = np.where(columns, array, np.asarray(np.nan, dtype=array.dtype))
        return self._checked(array, self.columns, self.conditions)

    def in_order(self, places: Sequence[int]) -> Values:
        """The same rows of a table, with its columns in another order, by their places."""
        names = self.columns and tuple(self.columns[place] for place in places)
        array = np.ascontiguousarray(self.array[:, list(places)])
        return self._checked(array, names, self.conditions)

    def keeping(self, columns: npt.NDArray[np.bool_]) -> Values:
        """Some of the columns of a table, by a mask (d,)."""
        names = self.columns and tuple(np.array(self.columns, dtype=object)[columns])
        return self._checked(np.ascontiguousarray(self.array[:, columns]), names, self.conditions)


def validate_array(
    X: Any, *, name: str = "X", columns: Iterable[str] | None = None, missing: bool = False
) -> Array:
    """Return X as a contiguous numeric array with its values checked.

    Arguments:
        X: Numpy array, torch tensor (any device), pandas, polars or pyarrow table, nested list,
            sparse matrix of up to 1 GiB when dense, or torch Dataset or DataLoader of known length
            (of rows (x, y) the x is read): rows (n, d), images (n, h, w), (n, h, w, c) or (n, c, h,
            w).
        name: What errors call it.
        columns: Names of the d columns, for errors; a data frame brings its own.
        missing: Whether values may be missing, which are NaN in what is returned.

    Returns:
        uint8, float32 and float64 as they are; bool and float16 as float32; all else as float64.

    Raises:
        TypeError: Not an array at all, of no known length, or cells that are not numbers.
        ValueError: Text, complex numbers, NaN or inf (row and column named), nothing at all, not 2
            to 4 axes.
    """
    return Values.of(X, name=name, columns=columns, missing=missing).array


def _conditions(c: Any, array: Array) -> Conditions | None:
    """Return the conditions of rows, one each, where there are any."""
    if c is None:
        return None
    return Conditions.of(c, len(array))


def _fitting(names: Columns, array: Array, name: str) -> Columns:
    """Return the names of the columns of a table; None for images.

    Raises:
        ValueError: There are more or fewer names than columns.
    """
    if array.ndim != 2 or names is None:
        return None
    if len(names) != array.shape[1]:
        raise ValueError(
            f"{name} has {array.shape[1]} columns, but {len(names)} column names were given. Name "
            "each column once."
        )
    return names


# -- from what users have to an array of something


def is_frame(X: Any) -> bool:
    """Whether X is a table with named columns (pandas, polars, pyarrow, …)."""
    return hasattr(X, "columns") and not isinstance(X, np.ndarray | torch.Tensor)


def _as_array(X: Any, name: str) -> tuple[Array, Columns]:
    """Return the values of whatever holds them, and the names of columns."""
    if isinstance(X, torch.Tensor):
        if X.layout != torch.strided:
            X = _dense_tensor(X, name)
        return from_tensor(X, name), None
    if np.ma.isMaskedArray(X):
        return _from_masked(X), None
    if isinstance(X, np.ndarray):
        return np.asarray(X), None
    if hasattr(X, "tocsr"):
        _check_dense_size(math.prod(X.shape), X.shape, name)
        return np.asarray(X.toarray()), None
    if is_frame(X):
        return from_frame(X, name)
    return from_sequence(X, name), None


def _dense_tensor(X: torch.Tensor, name: str) -> torch.Tensor:
    """Return a sparse tensor as a dense one, or refuse it."""
    _check_dense_size(X.numel(), tuple(X.shape), name)
    return X.to_dense()


def _check_dense_size(values: int, shape: tuple[int, ...], name: str, most: int = 2**27) -> None:
    """Refuse sparse data that are too large to be made dense unasked.

    Arguments:
        values: The number of values, zeros included.
        shape: The shape of the data.
        name: What the data are called.
        most: The number of values that are made dense: 1 GiB of float64.
    """
    if values > most:
        raise ValueError(
            f"{name} is sparse, of shape {shape}, and would take {values * 8 / 2**30:.1f} GiB as a "
            f"dense array; up to {most * 8 / 2**30:g} GiB it is made dense. Give it fewer columns "
            "first, as by a step TruncatedSVD(100) or OneHotEncoder(max_categories=20) of the "
            "pipeline, or pass "
            f"{name}.astype('float32').toarray() if there is memory."
        )


def _from_masked(X: Any) -> Array:
    """A masked cell is a missing value, NaN."""
    if np.ma.is_masked(X):
        return np.asarray(X.astype(np.float64).filled(np.nan))
    return np.asarray(X.data)


def _check_axes(array: Array, name: str) -> None:
    """Refuse what is neither a table nor images."""
    if array.ndim == 1 and array.dtype.names:
        raise ValueError(
            f"{name} is a structured array with fields {', '.join(array.dtype.names)}, but plain "
            "numbers are required. Use numpy.lib.recfunctions.structured_to_unstructured."
        )
    if array.ndim < 2:
        what = ("scalar array", "1D array")[array.ndim]
        raise ValueError(
            f"Expected 2D array, got {what} instead: {name} has shape {array.shape}. "
            "Reshape your data either using "
            "array.reshape(-1, 1) if it has a single feature or array.reshape(1, -1) if it "
            "contains a "
            "single sample."
        )
    if array.ndim > 4:
        raise ValueError(
            f"Found array with dim {array.ndim}: {name} has shape {array.shape}, expected (n, d), "
            "(n, h, "
            "w), (n, h, w, c) "
            "or (n, c, h, w). Flatten it with X.reshape(len(X), -1)."
        )
    if array.shape[0] == 0:
        raise ValueError(
            f"{name}: found array with 0 sample(s) (shape={array.shape}) while a minimum of 1 is "
            "required. "
            "Pass at least one row."
        )
    if array.size == 0:
        raise ValueError(
            f"{name}: found array with 0 feature(s) (shape={array.shape}) while a minimum of 1 is "
            "required. "
            "Pass at least one column."
        )


# -- from an array of something to numbers


def _as_numbers(array: Array, name: str, columns: Columns) -> Array:
    """Return the values in the type that they are kept in."""
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
            f"{name} has dtype {array.dtype}, but numbers are required. Convert it with "
            f"{name}.astype(float)."
        )
    # a long double beyond float64 becomes inf, and is reported as such
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=model_dtype(array.dtype))


def check_finite(array: Array, name: str, columns: Columns, missing: bool = False) -> None:
    """Refuse infinities, and NaN unless values may be ``missing``, by place.

    Raises:
        ValueError: There are such.
    """
    if array.dtype.kind != "f":
        return
    width = array[0].size
    first, count = None, 0
    for rows in chunks(len(array), width):
        finite = np.isfinite(array[rows])
        if missing and not finite.all():
            finite |= np.isnan(array[rows])
        if finite.all():
            continue
        if first is None:
            index = np.argwhere(~finite)[0]
            first = (rows.start + int(index[0]), *(int(i) for i in index[1:]))
        count += int(finite.size - np.count_nonzero(finite))
    if first is not None:
        what, all_of = "inf", "NaN or inf"
        if np.isnan(array[first]):
            what = "NaN"
        if missing:
            all_of = "inf"
        raise ValueError(
            f"{name} contains {what}: first at {place(first, columns)}, {count} {all_of} in all "
            "(counting "
            "from 0). "
            "Drop those rows or fill them in, as by sklearn.impute.SimpleImputer."
        )
