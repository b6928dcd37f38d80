"""How a file of rows is to be read, and what was decided about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["BLANKS", "Note", "Reading"]

BLANKS = " "
"""The delimiter that stands for any number of blanks."""


class Note(NamedTuple):
    """What was decided about a file, in words; it is loud, a warning, where that may be wrong."""

    text: str
    loud: bool


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a file of text is to be read; None is found out from the file.

    Attributes:
        header: Whether the first line holds names.
        index_column: Name or place (from 0) of a column to leave out, as it only numbers or names
            the rows; "none" keeps every column.
        delimiter: One character between fields, or "tab"; "blanks" is any number of them.
        missing: What stands for missing cells beside the usual marks (`words.MISSING`).
        condition: Names or places of the columns, or names of the arrays, that rows are conditioned
            on, which may hold text.
    """

    header: bool | None = None
    index_column: str | int | None = None
    delimiter: str | None = None
    missing: str | Sequence[str] | None = None
    condition: Sequence[str] | None = None

    def __post_init__(self) -> None:
        words = {"tab": "\t", "\\t": "\t", "blanks": BLANKS}
        delimiter = words.get(self.delimiter or "", self.delimiter)
        if delimiter is not None and (len(delimiter) != 1 or delimiter in "\"'\r\n"):
            raise ValueError(
                f"delimiter must be one character such as ';', or 'tab' or 'blanks', got "
                f"{delimiter!r}."
            )
        object.__setattr__(self, "delimiter", delimiter)

    @property
    def marks(self) -> Sequence[str]:
        """The further words that stand for missing cells."""
        if isinstance(self.missing, str):
            return [self.missing]
        return self.missing or []
