"""The options that say how DATA is read, where its files leave that open, and what is read.

Every command that takes DATA has them.
"""

from __future__ import annotations

__all__ = ["Data", "ReadOptions"]

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from ..data import Values

READING = Parameter(group=Group("Reading DATA", sort_key=9))
"""Where the help of a command lists these options."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How DATA is read; what is None is found out from the files, and told."""

    header: Annotated[bool | None, READING] = None
    """Whether the first line of a .csv holds names."""
    index_column: Annotated[str | None, READING] = None
    """Name or position (counting from 0) of a column to leave out; none keeps all."""
    delimiter: Annotated[str | None, READING] = None
    """What separates the fields of a .csv: one character, tab, or blanks (any number)."""
    missing: Annotated[str | None, READING] = None
    """Further marks of missing cells in a .csv, comma-separated: -999 or unknown,-."""
    unknown: Annotated[str, READING] = "error"
    """What to make of a category that was not there at the fit: error, or missing."""
    resize: Annotated[str | None, READING] = None
    """Resize the pictures of a folder to this height and width, such as 28x28."""

    def arguments(self) -> dict[str, Any]:
        """Return them as `nelbo.data.load` takes them.

        Raises:
            ValueError: The size cannot be read.
        """
        if self.unknown not in ("error", "missing"):
            raise ValueError(f"--unknown must be error or missing, got {self.unknown!r}.")
        found: dict[str, Any] = dataclasses.asdict(self)
        del found["unknown"]
        if self.missing is not None:
            found["missing"] = self.missing.split(",")
        if self.resize is not None:
            size = re.fullmatch(r"(\d+) *[xX×,] *(\d+)", self.resize)
            if size is None:
                raise ValueError(
                    f"--resize must be HEIGHTxWIDTH, such as 28x28, got {self.resize!r}."
                )
            found["resize"] = (int(size[1]), int(size[2]))
        return found


@dataclass(frozen=True)
class Data:
    """DATA, once it is read and seen to be finite numbers.

    Attributes:
        values: The rows.
        files: The name of each picture, where DATA is a folder of them.
        notes: What was decided about the files, in words.
        places: Where each column of the values stands in DATA, where that has another order.
    """

    values: Values
    files: tuple[str, ...] | None
    notes: tuple[str, ...]
    places: tuple[int, ...] | None = None
