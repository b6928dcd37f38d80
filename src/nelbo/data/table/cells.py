"""The cells of one column of a data frame -> numbers or words, whatever library holds them.

    number -> itself        true, false -> 1, 0        date -> days since 1970-01-01
    text -> itself          duration -> seconds        missing -> NaN, or None among words

Text that is all numbers, all dates, or all true and false is read as such.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import numbers
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nelbo.data.read.cells import is_missing, real_numbers
from nelbo.data.read.words import is_truth, number
from nelbo.data.read.written import is_code, is_long_code

__all__ = ["Cells", "Form", "Mark", "as_objects", "emptied", "told"]

Array = npt.NDArray[Any]
Form = Literal["number", "truth", "text", "date", "duration"]
Mark = str | float
"""What stands for a missing cell."""
DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?")
"""Dates as text, as ISO 8601 has them."""


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of one column.

    Attributes:
        name: What the column is called.
        form: What the cells are.
        values: Of shape (n,): float64, NaN where a cell is missing; of text objects, None there.
        dtype: The type of the column, as its library writes it.
        levels: The categories of a categorical column, in order; None for any other.
        ordered: Whether these are said to be ordered.
        marks: What stood for missing cells, where something did and no cell was empty.
        mixed: Whether it held both text and numbers, which then are text as well.
    """

    name: str
    form: Form
    values: Array
    dtype: str
    levels: tuple[Any, ...] | None = None
    ordered: bool = False
    marks: tuple[Mark, ...] = ()
    mixed: bool = False

    @classmethod
    def of(
        cls, series: Any, name: str, marks: Sequence[Mark] = (), form: Form | None = None
    ) -> Cells:
        """Read a column.

        Arguments:
            series: The column, as narwhals has it.
            name: What it is called.
            marks: What stands for a missing cell, beside those that the library knows.
            form: What the cells must be, where that is known.

        Raises:
            ValueError: The column mixes text and numbers, holds infinity, or cells that are not of
                the form (named by column and row).
            TypeError: It holds something else than numbers, text, dates or durations.
        """
        found = _read(series, name)
        found = found._without_marks(marks)
        if form is not None:
            found = found._as(form)
        elif found.form == "text" and found.levels is None:
            found = found._parsed()
            found._check_not_mixed()
        found._check_finite()
        return found

    @classmethod
    def single(cls, name: str, cell: Any, form: Form) -> Cells:
        """Read one cell.

        Raises:
            ValueError: It cannot be had in the form.
        """
        found = _of_objects(_objects(as_objects([cell])), name, "object")._as(form)
        found._check_finite()
        return found

    @property
    def there(self) -> npt.NDArray[np.bool_]:
        """Which cells are not missing, (n,)."""
        if self.form == "text":
            return np.array([word is not None for word in self.values], dtype=np.bool_)
        found: npt.NDArray[np.bool_] = ~np.isnan(self.values)
        return found

    def _with(self, form: Form, values: Array) -> Cells:
        return dataclasses.replace(self, form=form, values=values)

    def _without_marks(self, marks: Sequence[Mark]) -> Cells:
        """Return the same cells, those that hold a mark of missing ones missing."""
        empty = not bool(self.there.all())
        if self.form == "text":
            words = {str(mark).strip() for mark in marks}
            gone = [word is not None and word.strip() in words for word in self.values]
            hit = np.array(gone, dtype=np.bool_)
            seen: tuple[Mark, ...] = tuple(dict.fromkeys(self.values[hit].tolist()))
            values = emptied(self.values, hit)
        else:
            known = [float(mark) for mark in marks if not isinstance(mark, str)]
            hit = np.isin(self.values, known)
            seen = tuple(dict.fromkeys(self.values[hit].tolist()))
            values = np.where(hit, math.nan, self.values)
        if not hit.any():
            return self
        levels = self.levels
        if levels is not None:
            levels = tuple(level for level in levels if level not in seen)
        left = () if empty else seen[:1]
        return dataclasses.replace(self, values=values, levels=levels, marks=left)

    def _parsed(self) -> Cells:
        """Return text as what all of it is: numbers, dates, or true and false."""
        words = list(dict.fromkeys(word for word in self.values if word is not None))
        if not words:
            return self
        for form, fits in _WRITTEN.items():
            if all(fits(word.strip()) for word in words):
                return self._read_as(form, words)
        return self

    def _read_as(self, form: Form, words: Sequence[str]) -> Cells:
        """Return text as numbers of a form, once all ``words`` of it fit."""
        read = dict(zip(words, _numbers(form, [word.strip() for word in words]), strict=True))
        values = np.array([read.get(word, math.nan) for word in self.values], dtype=np.float64)
        return self._with(form, values)

    def _as(self, form: Form) -> Cells:
        """Return the same cells in another form.

        Raises:
            ValueError: A cell cannot be had in it.
        """
        if self.form == form or {self.form, form} == {"number", "truth"}:
            return self._with(form, self.values)
        if self.form == "text":
            words = list(dict.fromkeys(word for word in self.values if word is not None))
            fits = _WRITTEN[form]
            if form == "number":  # what was one at the fit may be written as a code is
                fits = lambda word: not math.isnan(number(word))  # noqa: E731
            odd = next((word for word in words if not fits(word.strip())), None)
            if odd is not None:
                self._refuse(form, self.values.tolist().index(odd), odd)
            return self._read_as(form, words)
        if form == "text" and self.form in ("number", "truth"):
            words = [_word(value, self.form) for value in self.values.tolist()]
            return self._with("text", as_objects(words))
        there = self.there
        if not there.any():
            return self._with(form, np.where(there, self.values, math.nan))
        row = int(there.argmax())
        return self._refuse(form, row, f"a {self.form}")

    def _refuse(self, form: Form, row: int, got: str) -> Cells:
        raise ValueError(
            f"column {self.name!r} holds {_MANY[form]}, but row {row} (counting from 0) holds "
            f"{got!r}. Mend the value; if it stands for a missing cell, declare it so."
        )

    def _check_not_mixed(self, most: float = 0.9, marks: int = 3, many: int = 20) -> None:
        """Refuse text in a column that also holds numbers, or of which ``most`` cells, or all but
        one, are such; or where at most ``marks`` different words stand among no fewer numbers, of
        which there are more than ``many`` different ones.
        """
        if self.form != "text" or self.levels is not None:
            return
        words = [word.strip() for word in self.values if word is not None]
        if any(map(is_long_code, words)) and not any(math.isnan(number(word)) for word in words):
            return
        known = [word for word in words if _is_number(word)]
        odd = [word for word in words if not _is_number(word)]
        few = len(odd) <= (1 - most) * len(words) or (len(odd) == 1 and len(known) > 1)
        marked = len(known) >= len(odd) and len(set(known)) > many and len(set(odd)) <= marks
        if odd and (self.mixed or few or marked):
            self._refuse_mixed()

    def _refuse_mixed(self) -> None:
        """Name the first cell that is no number, and what to do."""
        row = next(i for i, w in enumerate(self.values) if w is not None and not _is_number(w))
        raise ValueError(
            f"column {self.name!r} mixes numbers and text: row {row} (counting from 0) has "
            f"{self.values[row]!r}. If that stands for a missing cell, declare it so; else make "
            "all cells numbers, or say that the column is 'categorical' or 'left_out'."
        )

    def _check_finite(self) -> None:
        if self.form == "text":
            return
        odd = np.isinf(self.values)
        if odd.any():
            raise ValueError(
                f"column {self.name!r} holds infinity in row {int(odd.argmax())} (counting from "
                "0). Drop that row, or make the cell a missing one (NaN)."
            )


_MANY: dict[Form, str] = {
    "number": "numbers",
    "truth": "true and false",
    "text": "text",
    "date": "dates",
    "duration": "durations",
}


def as_objects(cells: Sequence[Any]) -> Array:
    """Return cells as an array of Python objects, (n,)."""
    found = np.empty(len(cells), dtype=object)
    found[:] = cells
    return found


def emptied(cells: Array, gone: npt.NDArray[np.bool_]) -> Array:
    """Return cells as Python objects, None where they are ``gone``."""
    found = cells.astype(object)
    found[gone] = None
    return found


def _is_number(word: str) -> bool:
    """Return whether text is a number, and no code such as 007 or one of twenty digits."""
    if re.match(r"[+-]?0\d", word) or is_code(word):
        return False
    return not math.isnan(number(word))


_WRITTEN: dict[Form, Callable[[str], bool]] = {
    "truth": is_truth,
    "number": _is_number,
    "date": lambda word: DATE.fullmatch(word) is not None,
    "duration": lambda word: False,
}
"""Which text is of each form."""


def _numbers(form: Form, words: Sequence[str]) -> list[float]:
    """Return the numbers that text of a form stands for."""
    if form == "truth":
        return [float(word.lower() == "true") for word in words]
    if form == "number":
        return [number(word) for word in words]
    days: list[float] = _days(np.array(words, dtype="datetime64[us]")).tolist()
    return days


def _word(value: float, form: Form) -> str | None:
    """Return a number as people write it."""
    if math.isnan(value):
        return None
    if form == "truth":
        return str(bool(value))
    return told(value)


def told(value: Any) -> str:
    """Return a value as people write it: 3, not 3.0."""
    if isinstance(value, float) and value == math.floor(value) and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


# -- from narwhals


def _read(series: Any, name: str) -> Cells:
    """Read a column by its type."""
    kind, native = series.dtype, series.to_native()
    dtype = str(getattr(native, "dtype", getattr(native, "type", kind)))
    if hasattr(native, "cat") and hasattr(native.cat, "codes"):
        return _pandas_categories(native, name, dtype)
    label = type(kind).__name__
    if label in ("Categorical", "Enum"):
        words = _objects(series.cast(_string()).to_numpy())
        ordered = bool(getattr(getattr(native, "type", None), "ordered", False))
        return Cells(name, "text", words, dtype, _categories(series, native, words), ordered)
    if label in ("Date", "Datetime"):
        return Cells(name, "date", _days(_naive(series).to_numpy()), dtype)
    if label == "Duration":
        steps = series.to_numpy().astype("timedelta64[us]")
        return Cells(name, "duration", _floats(steps) / 1e6, dtype)
    values = np.asarray(series.to_numpy())
    if values.dtype.kind == "b":
        return Cells(name, "truth", values.astype(np.float64), dtype)
    if values.dtype.kind in "iu" and len(values) and _rounds(values):
        return Cells(name, "text", as_objects([*map(str, values.tolist())]), dtype)
    if values.dtype.kind in "iuf":
        return Cells(name, "number", values.astype(np.float64), dtype)
    return _of_objects(_objects(values), name, dtype)


def _rounds(whole: Array) -> bool:
    """Return whether float64 does not hold some whole numbers, which then are names."""
    far = max(int(whole.max()), -int(whole.min()))
    return far > 2**53 and not np.array_equal(whole, whole.astype(np.float64).astype(whole.dtype))


def _categories(series: Any, native: Any, words: Array) -> tuple[str, ...]:
    """Return the categories that a column is said to have, or else those that stand in it."""
    told_by_type = getattr(series.dtype, "categories", None)
    if told_by_type is not None:
        return tuple(map(str, told_by_type))
    if getattr(native, "num_chunks", 0):
        return tuple(map(str, native.unify_dictionaries().chunk(0).dictionary.to_pylist()))
    return tuple(sorted({word for word in words if word is not None}))


def _string() -> Any:
    import narwhals as nw

    return nw.String


def _naive(series: Any) -> Any:
    """Return dates without a time zone: those of UTC."""
    if getattr(series.dtype, "time_zone", None) is None:
        return series
    return series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def _days(dates: Array) -> Array:
    """Return dates as days since 1970-01-01, NaN where one is missing."""
    return _floats(dates.astype("datetime64[us]")) / 86_400e6


def _floats(steps: Array) -> Array:
    """Return dates or durations as float64 in their unit, NaN where one is missing."""
    return np.where(np.isnat(steps), math.nan, steps.astype(np.int64).astype(np.float64))


def _objects(values: Array) -> Array:
    """Return cells as Python objects, None where one is missing."""
    cells = values.astype(object)
    gone = [is_missing(cell) or (isinstance(cell, float) and math.isnan(cell)) for cell in cells]
    return emptied(cells, np.array(gone, dtype=np.bool_))


def _pandas_categories(native: Any, name: str, dtype: str) -> Cells:
    """Read a categorical column of pandas, whose categories may be anything."""
    codes = np.asarray(native.cat.codes, dtype=np.intp)
    labels = _of_objects(_objects(np.asarray(native.cat.categories)), name, dtype, mixed=True)
    values = labels.values.astype(object)
    empty = None if labels.form == "text" else math.nan
    found = np.array([*values, empty], dtype=object)[codes]
    if labels.form != "text":
        found = found.astype(np.float64)
    return Cells(
        name, labels.form, found, dtype, tuple(labels.values.tolist()), bool(native.cat.ordered)
    )


def _of_objects(cells: Array, name: str, dtype: str, mixed: bool = False) -> Cells:
    """Read Python objects: all text, or all numbers, or all dates.

    Arguments:
        cells: The objects, None where a cell is missing.
        name: What the column is called.
        dtype: Its type.
        mixed: Whether objects of any kind may be taken as text.
    """
    kinds = {type(cell) for cell in cells.tolist()} - {type(None)}
    for classes, read in _READERS:
        if all(issubclass(kind, classes) for kind in kinds):
            return read(cells, name, dtype)
    if not mixed:
        _check_words_and_numbers(cells, kinds, name)
    words = as_objects([None if cell is None else told(cell) for cell in cells.tolist()])
    return Cells(name, "text", words, dtype, mixed=not mixed)


def _text_of(cells: Array, name: str, dtype: str) -> Cells:
    return Cells(name, "text", cells, dtype)


def _truths_of(cells: Array, name: str, dtype: str) -> Cells:
    return Cells(name, "truth", real_numbers(cells[:, None], "X", (name,))[:, 0], dtype)


def _numbers_of(cells: Array, name: str, dtype: str) -> Cells:
    return Cells(name, "number", real_numbers(cells[:, None], "X", (name,))[:, 0], "float64")


def _dates_of(cells: Array, name: str, dtype: str) -> Cells:
    return Cells(name, "date", _days(cells.astype("datetime64[us]")), "datetime.date")


def _durations_of(cells: Array, name: str, dtype: str) -> Cells:
    return Cells(name, "duration", _floats(cells.astype("timedelta64[us]")) / 1e6, dtype)


_REAL: tuple[type, ...] = (numbers.Real, Decimal, np.bool_)
_READERS: tuple[tuple[tuple[type, ...], Callable[[Array, str, str], Cells]], ...] = (
    ((str,), _text_of),
    ((bool, np.bool_), _truths_of),
    (_REAL, _numbers_of),
    ((datetime.date, np.datetime64), _dates_of),
    ((datetime.timedelta, np.timedelta64), _durations_of),
)
"""How Python objects are read where all of them are of some classes; the first that fit."""


def _check_words_and_numbers(cells: Array, kinds: set[type], name: str) -> None:
    """Refuse cells that are neither text nor numbers.

    Raises:
        TypeError: There is such a cell.
    """
    odd = next((kind for kind in kinds if not issubclass(kind, (str, *_REAL))), None)
    if odd is None:
        return
    row = next(i for i, cell in enumerate(cells) if type(cell) is odd)
    raise TypeError(
        f"column {name!r} holds {odd.__name__} in row {row} (counting from 0), but numbers, "
        "text, dates or durations are required. Drop the column, or convert it."
    )
