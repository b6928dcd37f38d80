"""Which rows a model knows: 64 bits of each row it was fitted to.

So no row that was trained on is judged as if it were new.

A row is known by its values alone, in whatever order, layout or floating type it comes again:
values are compared as float32, or as float64 where that alone tells the rows apart. In a table of a
million rows two different ones get the same 64 bits with a probability of 3e-8.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nelbo.brief import Brief
from nelbo.data.moments import chunks
from nelbo.data.steps.dequantise import scrambled

__all__ = ["KnownRows", "Use", "row_keys"]

Keys = npt.NDArray[np.uint64]
Uses = npt.NDArray[np.uint8]
Precision = Literal["float32", "float64"]


class Use(IntEnum):
    """What a row was used for."""

    NEW = 0
    """Nothing: the model has never seen it."""
    TRAINED = 1
    """Training."""
    VALIDATED = 2
    """Choosing when to stop and which weights to keep;
    tables are trained on these rows, too, in the end.
    """
    HELD_OUT = 3
    """Held out by `nelbo fit`, to judge the model by."""


@dataclass(frozen=True, eq=False, repr=False)
class KnownRows(Brief):
    """The rows that a model was fitted to, and those that were kept from it on purpose.

    Attributes:
        keys: 64 bits of each row, ascending, of shape (n,).
        use: A `Use` of each, of shape (n,).
        precision: In which values are compared.
    """

    keys: Keys
    use: Uses
    precision: Precision

    @classmethod
    def of(cls, rows: npt.NDArray[Any], validated: npt.NDArray[np.intp] | None = None) -> KnownRows:
        """Remember the rows that a model is fitted to.

        Arguments:
            rows: All of them, (n, D).
            validated: The places of its validation rows.
        """
        precision: Precision = "float32"
        keys = row_keys(rows, precision)
        if rows.dtype == np.float64:
            finer = row_keys(rows, "float64")
            if len(np.unique(finer)) > len(np.unique(keys)):
                keys, precision = finer, "float64"
        use = np.full(len(rows), Use.TRAINED, dtype=np.uint8)
        if validated is not None:
            use[validated] = Use.VALIDATED
        return cls._sorted(keys, use, precision)

    def and_those_of(self, other: KnownRows) -> KnownRows:
        """Add the rows of an earlier fit that this one continues, if they are as precise."""
        if other.precision != self.precision:
            return self
        keys, use = np.concatenate([self.keys, other.keys]), np.concatenate([self.use, other.use])
        return self._sorted(keys, use, self.precision)

    def with_held_out(self, rows: npt.NDArray[Any]) -> KnownRows:
        """Remember rows (n, D), too, that were kept from the model to judge it by."""
        keys = np.concatenate([self.keys, row_keys(rows, self.precision)])
        use = np.concatenate([self.use, np.full(len(rows), Use.HELD_OUT, dtype=np.uint8)])
        return self._sorted(keys, use, self.precision)

    def uses(self, rows: npt.NDArray[Any]) -> Uses:
        """Return the `Use` of each of some rows (n, D).

        Of equal rows some may have been trained on and some held out. Which of those are meant, the
        others tell: where rows are known that were only trained on, and such as were only held out,
        all data were passed, and as many copies are held out as were then.
        """
        keys = row_keys(rows, self.precision)
        found = np.full(len(keys), Use.NEW, dtype=np.uint8)
        trained, validated, held = (
            self._count(keys, use) for use in (Use.TRAINED, Use.VALIDATED, Use.HELD_OUT)
        )
        found[validated > 0] = Use.VALIDATED
        found[trained > 0] = Use.TRAINED
        fitted, kept = (trained > 0) | (validated > 0), held > 0
        found[kept & ~fitted] = Use.HELD_OUT
        both = np.flatnonzero(fitted & kept)
        if len(both) == 0:
            return found
        any_fitted, any_kept = bool((fitted & ~kept).any()), bool((kept & ~fitted).any())
        if any_kept and not any_fitted:
            found[both] = Use.HELD_OUT
        elif any_kept == any_fitted:
            nth = _nth_copy(keys[both])
            copies = (trained + validated)[both]
            found[both[(nth >= copies) & (nth < copies + held[both])]] = Use.HELD_OUT
        return found

    def fitted_to(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return which rows have the values of a row that the model was fitted to.

        Arguments:
            rows: Rows (n, D), held out or not.

        Returns:
            Whether each is such a row, (n,).
        """
        known = np.unique(self.keys[self.use != Use.HELD_OUT])
        return np.isin(row_keys(rows, self.precision), known)

    def _count(self, keys: Keys, use: Use) -> npt.NDArray[np.intp]:
        """Return how many rows of this use each key stands for."""
        known = self.keys[self.use == use]
        return np.searchsorted(known, keys, "right") - np.searchsorted(known, keys, "left")

    @classmethod
    def _sorted(cls, keys: Keys, use: Uses, precision: Precision) -> KnownRows:
        """Return keys in ascending order, each with its use."""
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], use[order], precision)


def row_keys(
    rows: npt.NDArray[Any], precision: Precision = "float32", together: int = 2**20
) -> Keys:
    """Return 64 bits of each row's values: equal rows have equal keys, and 0.0 equals -0.0.

    Arguments:
        rows: Rows (n, D).
        precision: In which values are compared.
        together: How many numbers to hash at once.

    Returns:
        The keys, (n,).
    """
    flat = rows.reshape(len(rows), -1)
    words = -(-flat.shape[1] * np.dtype(precision).itemsize // 8)
    odd = scrambled(np.arange(1, words + 1, dtype=np.uint64)) | np.uint64(1)
    keys = np.empty(len(flat), dtype=np.uint64)
    for part in chunks(*flat.shape, together):
        with np.errstate(over="ignore"):
            numbers = flat[part].astype(precision) + np.zeros((), dtype=precision)  # no -0.0
        numbers[np.isnan(numbers)] = np.nan  # whatever its bits
        if precision == "float32" and numbers.shape[1] % 2:
            numbers = np.pad(numbers, ((0, 0), (0, 1)))
        bits = np.ascontiguousarray(numbers).view(np.uint64)
        # sums wrap around, so their order does not matter
        keys[part] = (bits ^ (bits >> np.uint64(29))) @ odd
    return scrambled(keys)


def _nth_copy(keys: Keys) -> npt.NDArray[np.intp]:
    """Return for each key how many equal ones come before it."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    nth = np.empty(len(keys), dtype=np.intp)
    nth[order] = np.arange(len(keys)) - np.searchsorted(ordered, ordered, "left")
    return nth
