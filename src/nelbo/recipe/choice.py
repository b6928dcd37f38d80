"""One decision with its reason, and many of them by name, as they are printed and saved."""

from __future__ import annotations

__all__ = ["ASKED", "Choice", "Entries", "Entry"]

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")
Entry = dict[str, Any]
"""``{"value": what, "reason": why}``, of JSON types."""
ASKED = "As asked."


@dataclass(frozen=True)
class Choice(Generic[Value]):
    """What was decided.

    Attributes:
        value: What.
        reason: Why, in a sentence.
    """

    value: Value
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Entries(Mapping[str, Entry]):
    """Decisions by name; prints as a table of name, value and reason.

    Attributes:
        entries: ``{"value": what, "reason": why}`` for each name.
    """

    entries: Mapping[str, Entry]

    def __getitem__(self, name: str) -> Entry:
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __or__(self, other: Mapping[str, Entry]) -> Entries:
        return Entries({**self.entries, **other})

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={entry['value']!r}" for name, entry in self.items())
        return f"{type(self).__name__}({told})"

    def rows(self) -> list[tuple[str, str, str]]:
        """Return name, value and reason of each decision, in words."""
        return [(name, _told(entry["value"]), entry["reason"]) for name, entry in self.items()]

    def __str__(self) -> str:
        cells = {name: _told(entry["value"]) for name, entry in self.items()}
        left = max(map(len, cells), default=0)
        middle = min(28, max(map(len, cells.values()), default=0))
        lines: list[str] = []
        for name, entry in self.items():
            lines += _row(name.ljust(left), cells[name], entry["reason"], middle)
        return "\n".join(lines)


def _row(name: str, value: str, reason: str, width: int, page: int = 100) -> list[str]:
    """Return the lines of one decision: a long value pushes its reason to the next line.

    Arguments:
        name: Of the decision.
        value: What was decided.
        reason: Why.
        width: Of the column of values.
        page: Of the whole table.
    """
    indent = " " * (len(name) + width + 4)
    lines = textwrap.wrap(reason, max(20, page - len(indent)))
    if len(value) > width:
        wide = page - len(name) - 2
        values = textwrap.wrap(value, wide, subsequent_indent=" " * (len(name) + 2)) or [""]
        return [f"{name}  {values[0]}", *values[1:], *(indent + line for line in lines)]
    head, *rest = lines or [""]
    return [f"{name}  {value.ljust(width)}  {head}".rstrip(), *(indent + line for line in rest)]


def _told(value: Any) -> str:
    """Return a value in a few words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_told(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return "-".join(map(str, value)) if all(isinstance(v, int) for v in value) else _list(value)
    if isinstance(value, bool):
        return {True: "yes", False: "no"}[value]
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _list(values: list[Any] | tuple[Any, ...]) -> str:
    return ", ".join(map(_told, values))
