"""Dataclasses that print in a line or a short table: arrays are told by shape and range, not by all
their numbers.
"""

from __future__ import annotations

__all__ = ["Brief", "aligned", "selected"]

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

FEW = 6
"""Arrays of up to so many numbers are printed in full."""
NAMES = 4
"""Entries of a long tuple or list, such as column names, that are printed."""
ENDS = 5
"""Rows printed from either end of a long table."""


class Brief:
    """Print a dataclass by its fields, each in a few words.

    The decorator must be told not to make a repr of its own: ``@dataclass(repr=False)``.
    """

    def __repr__(self) -> str:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        told = (
            f"{field.name}={_told(getattr(self, field.name))}" for field in fields if field.repr
        )
        return f"{type(self).__name__}({', '.join(told)})"


def aligned(rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Return lines in which the cells of a table stand below each other: the first ``left`` columns
    from the left.
    """
    table = [*rows]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if j < left else cell.rjust(width)
            for j, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def selected(count: int) -> list[int | None]:
    """Return the indices of the rows of a table that are worth printing, None where some are left
    out.
    """
    if count <= 2 * ENDS + 1:
        return [*range(count)]
    return [*range(ENDS), None, *range(count - ENDS, count)]


def _told(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _array(value)
    if isinstance(value, tuple | list) and len(value) > NAMES + 1:
        shown = ", ".join(_told(part) for part in value[:NAMES])
        return f"[{shown}, … {len(value):,} in all]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_told, value))}{',' if len(value) == 1 else ''})"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def _array(value: Any) -> str:
    """Tell a numpy array or a tensor: in full where short, else by its shape and range."""
    count = math.prod(value.shape)
    if count == 0 or str(value.dtype).startswith("<U"):
        return f"<{tuple(value.shape)}>"
    if count <= FEW:
        return str(_rounded(value.tolist()))
    value = value.detach() if hasattr(value, "detach") else value
    low, high = float(value.min()), float(value.max())
    return f"<{' × '.join(f'{size:,}' for size in value.shape)}, {low:.4g} to {high:.4g}>"


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
