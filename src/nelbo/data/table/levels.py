"""Columns of levels: categories, ordered or not, and true and false."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.table.build import objects_of, words_of
from nelbo.data.table.cells import Cells, Mark, as_objects, emptied, told
from nelbo.data.table.column import Column, Unknown
from nelbo.data.warned import listed, warn

__all__ = ["Levels"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Levels(Column):
    """A column with some levels, each of which becomes its index.

    Attributes:
        levels: The levels, in order: text or numbers; those of "bernoulli" are two.
    """

    kinds = frozenset({"bernoulli", "categorical", "ordinal"})
    levels: tuple[Mark, ...]

    def __post_init__(self) -> None:
        if len(set(self.levels)) < max(2, len(self.levels)):
            raise ValueError(
                f"column {self.name!r} of kind {self.kind!r} needs at least two levels, each once, "
                f"got {list(self.levels)}. Give it others, or another kind."
            )
        if self.kind == "bernoulli" and len(self.levels) != 2:
            raise ValueError(
                f"column {self.name!r} of kind 'bernoulli' needs two levels, got "
                f"{len(self.levels)}. Make it 'categorical'."
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The levels as text, as the table writes them."""
        every = np.arange(len(self.levels), dtype=np.float64)
        return tuple(map(str, words_of(self, self.decode(every))))

    @property
    def cells(self) -> tuple[Any, ...]:
        """The levels as the cells of a frame: text, numbers, or true and false."""
        every = np.arange(len(self.levels), dtype=np.float64)
        return objects_of(self, self.decode(every))

    @property
    def of_model(self) -> dict[str, Any]:
        """The kind, its options, and how many levels there are."""
        if self.kind == "bernoulli":
            return {"kind": self.kind, **self.options}
        return {"kind": self.kind, "levels": len(self.levels), **self.options}

    @cached_property
    def _indices(self) -> Mapping[Any, int]:
        """The index of each level, and of text also without the blanks around it."""
        found: dict[Any, int] = {}
        for index, level in enumerate(self.levels):
            if isinstance(level, str):
                found.setdefault(level.strip(), index)
        return found | {level: index for index, level in enumerate(self.levels)}

    def encode(self, cells: Cells, unknown: Unknown) -> Array:
        """Return the index of each level.

        A number between or beyond ordered numbers becomes the nearest of them, which is told.
        """
        if cells.form != "text" and self.kind == "ordinal":
            return self._nearest(cells)
        index = self._indices
        words = cells.values.tolist()
        known = {word: self._index_of(word, index) for word in dict.fromkeys(words)}
        found = np.array([known[word] for word in words], dtype=np.float64)
        odd = np.isnan(found) & cells.there
        if odd.any() and unknown == "error":
            self._refuse(words[int(odd.argmax())], int(odd.argmax()), int(odd.sum()))
        return found

    def check(self, numbers: Array) -> None:
        """Refuse numbers that are no index of a level."""
        known = (numbers >= 0) & (numbers < len(self.levels)) & (numbers == np.floor(numbers))
        odd = ~(np.isnan(numbers) | known)
        if odd.any():
            row = int(odd.argmax())
            raise ValueError(
                f"column {self.name!r} must hold the index of a level, 0 to "
                f"{len(self.levels) - 1}, but row {row} (counting from 0) holds "
                f"{told(float(numbers[row]))}. Pass a data frame, whose levels are found by name."
            )

    @staticmethod
    def _index_of(word: Any, index: Mapping[Any, int]) -> float:
        if isinstance(word, str) and word not in index:
            word = word.strip()
        return float(index.get(word, np.nan))

    def _nearest(self, cells: Cells) -> Array:
        """Return the index of the nearest of ordered numbers."""
        numbers = np.array(self.levels, dtype=np.float64)
        middles = (numbers[1:] + numbers[:-1]) / 2
        values = cells.values
        found = np.where(np.isnan(values), np.nan, np.searchsorted(middles, values))
        there = ~np.isnan(found)
        odd = np.zeros(len(values), dtype=np.bool_)
        odd[there] = numbers[found[there].astype(np.intp)] != values[there]
        if odd.any():
            row = int(odd.argmax())
            warn(
                f"column {self.name!r} holds {told(float(values[row]))} in row {row} (counting "
                f"from 0), which is none of its {len(numbers)} levels ({told(float(numbers[0]))} "
                f"to {told(float(numbers[-1]))}): {int(odd.sum()):,} cells are read as the nearest."
            )
        return found

    def _refuse(self, word: Any, row: int, count: int) -> None:
        levels = listed([repr(level) for level in self.levels])
        raise ValueError(
            f"column {self.name!r} holds {word!r} in row {row} (counting from 0), which was not "
            f"among the {len(self.levels)} categories of the rows fitted ({levels}); {count:,} "
            'such cells in all. Mend them, or read them as missing (unknown="missing").'
        )

    def rounded(self, numbers: Array) -> Array:
        """Return indices of levels; of a share of "bernoulli" that of the more probable one."""
        found: Array = np.clip(np.round(numbers), 0, len(self.levels) - 1)
        return found

    def decode(self, numbers: Array) -> Array:
        """Return the levels, of numbers and of true and false as float64."""
        index = np.where(np.isnan(numbers), 0, numbers).astype(np.intp)
        if self.form == "text":
            return emptied(as_objects(self.levels)[index], np.isnan(numbers))
        values = np.array(self.levels, dtype=np.float64)
        return np.where(np.isnan(numbers), np.nan, values[index])
