"""Dataclasses that print in a line or a short table:
arrays are shown by shape and range, not by all their numbers.
"""

from __future__ import annotations

__all__ = ["Brief", "aligned", "selected"]

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any


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
    """Return lines in which the cells of a table stand below each other:
    the first ``left`` columns from the left.
    """
    table = [*rows]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    lines = []
    for row in table:
        begin = map(str.ljust, row[:left], widths[:left])
        end = map(str.rjust, row[left:], widths[left:])
        lines.append("  ".join([*begin, *end]).rstrip())
    return lines


def selected(count: int, ends: int = 5) -> list[int | None]:
    """Return the indices of the rows of a table that are worth printing,
    None where some are left out.

    Arguments:
        count: How many rows the table has.
        ends: Rows printed from either end of a long table.
    """
    if count <= 2 * ends + 1:
        return [*range(count)]
    return [*range(ends), None, *range(count - ends, count)]


def _told(value: Any, names: int = 4) -> str:
    """Return a value in a few words:
    of a long tuple or list, such as column names, the first ``names``.
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _array(value)
    if isinstance(value, tuple | list) and len(value) > names + 1:
        shown = ", ".join(_told(part) for part in value[:names])
        return f"[{shown}, … {len(value):,} in all]"
    if isinstance(value, tuple):
        shown = ", ".join(map(_told, value))
        if len(value) == 1:
            shown += ","
        return f"({shown})"
    if isinstance(value, float):
        return f"{value:.6g}"
    return repr(value)


def _array(value: Any, few: int = 6) -> str:
    """Return a numpy array or a tensor in a few words:
    up to ``few`` numbers in full, more by shape and range.
    """
    count = math.prod(value.shape)
    if count == 0 or str(value.dtype).startswith("<U"):
        return f"<{tuple(value.shape)}>"
    if count <= few:
        return str(_rounded(value.tolist()))
    if hasattr(value, "detach"):
        value = value.detach()
    low, high = float(value.min()), float(value.max())
    return f"<{' × '.join(f'{size:,}' for size in value.shape)}, {low:.4g} to {high:.4g}>"


def _rounded(value: Any) -> Any:
    """Return the numbers of nested lists with five digits."""
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.5g}")
    return value
