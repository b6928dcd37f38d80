"""Rows as they are stored, which of them are meant, and what they are to the model: looked at a
part at a time.
"""

from __future__ import annotations

__all__ = ["Rows"]

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..training import Transform

PIECE = 2**18
"""Numbers that are put through a transform at once."""


class Rows:
    """Some rows of a tensor, in model units when they are read.

    Arguments:
        stored: All rows, (n, ...), as they are kept.
        index: Which of them, int64; None is all.
        transform: What turns some of them into what the model takes; None takes them as they are.
        generator: Source of the transform's noise.
    """

    dtype = torch.float32
    device = torch.device("cpu")

    def __init__(
        self,
        stored: Tensor,
        index: Tensor | None,
        transform: Transform | None,
        generator: torch.Generator,
    ) -> None:
        self.stored, self.index, self.transform, self.generator = (
            stored,
            index,
            transform,
            generator,
        )

    def __len__(self) -> int:
        return len(self.stored) if self.index is None else len(self.index)

    @property
    def shape(self) -> tuple[int, int]:
        """Of all the rows when they are flat."""
        return len(self), math.prod(self.stored.shape[1:])

    def every(self, step: int) -> Rows:
        """Return every ``step``-th of these rows."""
        some, index = (
            (self.stored[::step], None) if self.index is None else (self.stored, self.index[::step])
        )
        return Rows(some, index, self.transform, self.generator)

    def read(self) -> Tensor:
        """Return all of them in model units."""
        return self._part(0, len(self))

    def split(self, size: int) -> Iterator[Tensor]:
        """Go through them in model units and flat, ``size`` at a time."""
        return (
            self._part(start, min(start + size, len(self))).flatten(1)
            for start in range(0, len(self), size)
        )

    def _part(self, start: int, end: int) -> Tensor:
        """Read the rows from ``start`` to before ``end``, few at a time: a transform may need much
        more memory.
        """
        few = max(1, PIECE // self.shape[1])
        first = self._piece(start, min(start + few, end))
        if start + few >= end:
            return first
        whole = first.new_empty(end - start, *first.shape[1:])
        whole[:few] = first
        for i in range(start + few, end, few):
            whole[i - start : i - start + few] = self._piece(i, min(i + few, end))
        return whole

    def _piece(self, start: int, end: int) -> Tensor:
        rows = self.stored[start:end] if self.index is None else self.stored[self.index[start:end]]
        return rows if self.transform is None else self.transform(rows, self.generator)
