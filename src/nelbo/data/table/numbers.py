"""Columns of numbers: quantities, amounts, counts, dates and durations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.table.cells import Cells, told
from nelbo.data.table.column import Column, Unknown

__all__ = ["Numbers", "decimals_of", "parts_of_a_day"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Numbers(Column):
    """A column of numbers; what comes out is within its range, and rounded as the data are.

    Attributes:
        low, high: The least and the greatest value of the training rows.
        decimals: After how many decimals all values end; None where they do not.
        parts_of_a_day: Of times, into how many equal parts of a day all fall: 24, 1440 or 86400.
    """

    kinds = frozenset(
        {
            "gaussian",
            "heteroscedastic_gaussian",
            "student_t",
            "log_normal",
            "hurdle_log_normal",
            "poisson",
            "negative_binomial",
            "spike_and_slab",
        }
    )
    low: float | None = None
    high: float | None = None
    decimals: int | None = None
    parts_of_a_day: int | None = None

    @property
    def continuous(self) -> bool:
        """Whether values may be shifted and scaled: neither counts nor what must be positive."""
        return self.kind in ("gaussian", "heteroscedastic_gaussian", "student_t")

    def encode(self, cells: Cells, unknown: Unknown) -> Array:
        """Return the numbers themselves."""
        self.check(cells.values)
        return cells.values

    def check(self, numbers: Array) -> None:
        """Refuse numbers that the kind cannot have."""
        expects, possible = _EXPECTED.get(self.kind, ("a number", np.isfinite))
        odd = ~(np.isnan(numbers) | possible(numbers))
        if odd.any():
            row = int(odd.argmax())
            raise ValueError(
                f"column {self.name!r} is of kind {self.kind!r} and must hold {expects}, but row "
                f"{row} (counting from 0) holds {told(float(numbers[row]))}. Mend the value, or "
                "choose another kind for the column."
            )

    def decode(self, numbers: Array) -> Array:
        """Return the numbers themselves."""
        return numbers

    def rounded(self, numbers: Array) -> Array:
        """Return numbers within the range, rounded."""
        found = np.asarray(numbers, dtype=np.float64)
        if self.decimals is not None:
            found = np.round(found, self.decimals)
        if self.parts_of_a_day is not None:
            found = np.round(found * self.parts_of_a_day) / self.parts_of_a_day
        return np.clip(found, self.low, self.high)


def _is_count(numbers: Array) -> Array:
    found: Array = (numbers >= 0) & (numbers == np.floor(numbers))
    return found


_COUNT = ("a count: a whole number of at least 0", _is_count)
_EXPECTED: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "poisson": _COUNT,
    "negative_binomial": _COUNT,
    "log_normal": ("a positive number", lambda numbers: numbers > 0),
    "hurdle_log_normal": ("an amount: 0 or a positive number", lambda numbers: numbers >= 0),
}
"""What a kind expects, in words, and whether numbers are so."""


def decimals_of(values: Array, most: int = 9) -> int | None:
    """Return after how many decimals all values end, None where that is more than ``most``."""
    for decimals in range(most + 1):
        if np.allclose(np.round(values, decimals), values, rtol=1e-12, atol=1e-12):
            return decimals
    return None


def parts_of_a_day(days: Array, rounding: float = 1e-4) -> int | None:
    """Return into how many equal parts of a day all times fall: hours, minutes, seconds, or None.

    Arguments:
        days: Times, in days.
        rounding: How far from a whole part a time may be, which float64 does not hold exactly.
    """
    for parts in (24, 1440, 86_400):
        if np.allclose(days * parts, np.round(days * parts), rtol=0, atol=rounding):
            return parts
    return None
