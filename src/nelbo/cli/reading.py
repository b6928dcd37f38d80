"""The options that say how DATA is read, where its files leave that open, and what is read; every
command that takes DATA has them.
"""

from __future__ import annotations

__all__ = ["Data", "ReadOptions"]

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from ..data import Values

READING = Parameter(group=Group("Reading DATA", sort_key=9))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What is None is found out from the files, and told."""

    header: Annotated[bool | None, READING] = None
    """Whether the first line of a .csv holds names."""
    index_column: Annotated[str | None, READING] = None
    """Name or place (from 0) of a column of a table to leave out; none keeps all."""
    delimiter: Annotated[str | None, READING] = None
    """What separates the fields of a .csv: one character, tab, or blanks (any number)."""
    missing: Annotated[str | None, READING] = None
    """What stands for missing cells of a .csv, beside the usual marks, separated by commas: -999 or
    unknown,-.
    """
    resize: Annotated[str | None, READING] = None
    """Size, such as 28x28 (height by width), that the pictures of a folder are resized to."""

    def arguments(self) -> dict[str, Any]:
        """Return them as `nelbo.data.load` takes them.

        Raises:
            ValueError: The size cannot be read.
        """
        found = re.fullmatch(r"(\d+) *[xX×,] *(\d+)", self.resize or "1x1")
        if found is None:
            raise ValueError(f"--resize must be HEIGHTxWIDTH, such as 28x28, got {self.resize!r}.")
        return {
            "header": self.header,
            "index_column": self.index_column,
            "delimiter": self.delimiter,
            "missing": None if self.missing is None else self.missing.split(","),
            "resize": None if self.resize is None else (int(found[1]), int(found[2])),
        }


@dataclass(frozen=True)
class Data:
    """DATA, once it is read and seen to be finite numbers.

    Attributes:
        values: The rows.
        files: Of a folder of pictures, the name of each.
        notes: What was decided about the files, in words.
    """

    values: Values
    files: tuple[str, ...] | None
    notes: tuple[str, ...]
