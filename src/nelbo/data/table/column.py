"""What every column of a table answers, and the columns of which a model learns nothing."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from nelbo.data.table.cells import Cells, Form, Mark, as_objects, emptied, told

__all__ = ["Column", "Constant", "LeftOut", "Unknown"]

Array = npt.NDArray[Any]
Unknown = str
"""What becomes of a category that was not there at the fit: "error", or "missing"."""


@dataclass(frozen=True, kw_only=True)
class Column(abc.ABC):
    """One column of a table, as the training rows have it.

    It is immutable, and has a JSON twin.

    Attributes:
        name: What it is called.
        kind: The likelihood that it has, by its name in `nelbo.likelihood.KINDS`; or "constant",
            or "left_out".
        why: Why it has that kind.
        form: What its cells are: "number", "truth", "text", "date" or "duration".
        dtype: Its type, as the library of the frame writes it.
        missing: What stands for a missing cell, where that is not the frame's own way.
        options: Further options of its likelihood, such as ``{"df": 4}``.
    """

    kinds: ClassVar[frozenset[str]]
    """The kinds that such a column may have."""
    in_model: ClassVar[bool] = True
    """Whether it is a column of the array that the model sees."""

    name: str
    kind: str
    why: str = ""
    form: Form = "number"
    dtype: str = "float64"
    missing: tuple[Mark, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def continuous(self) -> bool:
        """Whether values may be shifted and scaled."""
        return False

    @property
    def labels(self) -> tuple[str, ...]:
        """What the values 0, 1, … stand for, as text; empty where a value stands for itself."""
        return ()

    @property
    def cells(self) -> tuple[Any, ...]:
        """What the values 0, 1, … stand for, as cells of a frame; empty where a value stands for
        itself.
        """
        return ()

    @property
    def of_model(self) -> dict[str, Any]:
        """The kind and its options, as `nelbo.likelihood.Columns` takes them."""
        return {"kind": self.kind, **self.options}

    @abc.abstractmethod
    def encode(self, cells: Cells, unknown: Unknown) -> Array:
        """Return cells as numbers, (n,), float64, NaN where one is missing.

        Arguments:
            cells: The cells, in the column's form.
            unknown: Whether a category that was not there at the fit is an error, or missing.

        Raises:
            ValueError: A cell is none that the column can have.
        """

    def rounded(self, numbers: Array) -> Array:
        """Return numbers (n,), such as means, as ones that the column can have: within the range of
        the data, and rounded as they are.
        """
        return numbers

    @abc.abstractmethod
    def decode(self, numbers: Array) -> Array:
        """Return numbers (n,) that the column can have as cells: float64 of what the form says, NaN
        where one is missing; of text objects, None there.
        """

    def check(self, numbers: Array) -> None:  # noqa: B027 (there is a column that has any)
        """Refuse numbers (n,) that the column cannot have; a missing one it can.

        Raises:
            ValueError: There is one; the message names it and its row.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; what is empty is left out."""
        found = {
            field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)
        }
        return {name: value for name, value in found.items() if value not in (None, [], {})}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` wrote.

        Raises:
            ValueError: A field is unknown or missing.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        odd = sorted(fields.keys() - set(known))
        if odd:
            raise ValueError(
                f"column {fields.get('name')!r} of kind {fields.get('kind')!r} has no field "
                f"{odd[0]!r}. Known: {', '.join(known)}."
            )
        return cls(**{name: _held(value) for name, value in fields.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    return value


def _held(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return value


@dataclass(frozen=True, kw_only=True)
class Constant(Column):
    """A column with one value in all rows: there is nothing to model, and any other is impossible.

    Attributes:
        value: The value: a number, or text.
    """

    kinds = frozenset({"constant"})
    value: Mark

    def encode(self, cells: Cells, unknown: Unknown) -> Array:
        """Return numbers as they are, and of text 0 for the value; other text is an error."""
        if cells.form != "text":
            return cells.values
        same = [word is None or word.strip() == str(self.value).strip() for word in cells.values]
        odd = ~np.array(same, dtype=np.bool_)
        if odd.any() and unknown == "error":
            row = int(odd.argmax())
            raise ValueError(
                f"column {self.name!r} is {self.value!r} in all rows that the model was fitted to, "
                f"but {cells.values[row]!r} in row {row} (counting from 0). Fit again on rows in "
                "which it varies, or drop it."
            )
        return np.where(cells.there & ~odd, 0.0, np.nan)

    def decode(self, numbers: Array) -> Array:
        """Return the value, but where it is missing."""
        if self.form == "text":
            return emptied(as_objects([self.value] * len(numbers)), np.isnan(numbers))
        return np.where(np.isnan(numbers), np.nan, float(self.value))

    @property
    def number(self) -> float:
        """The value as a number of the array."""
        return 0.0 if self.form == "text" else float(self.value)

    @property
    def said(self) -> str:
        """The value, for people."""
        return told(self.value)


@dataclass(frozen=True, kw_only=True)
class LeftOut(Column):
    """A column that no model can learn from: an identifier, free text, or nothing but empty."""

    kinds = frozenset({"left_out"})
    in_model = False

    def encode(self, cells: Cells, unknown: Unknown) -> Array:
        """Return that all cells are missing."""
        return np.full(len(cells.values), np.nan)

    def decode(self, numbers: Array) -> Array:
        """Return missing cells."""
        if self.form == "text":
            return np.full(len(numbers), None, dtype=object)
        return np.full(len(numbers), np.nan)
