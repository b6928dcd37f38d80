"""What `nelbo sample` conditions on: one condition in words, or a file of them."""

from __future__ import annotations

__all__ = ["read", "rows"]

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..data.conditions import Conditions
    from ..fitted import Fitted

MANY = 100
"""Rows that are drawn under one condition unless told."""


def rows(c: Conditions | None) -> int:
    """Return how many rows to draw where that is not said."""
    if c is None or len(c) == 1:
        return MANY
    return len(c)


def read(model: Fitted, text: str | None) -> Conditions | None:
    """Return what --condition says, and refuse what the model does not know.

    Arguments:
        model: The model.
        text: "name=value,name=value", or the name of a file; None where there is none.

    Raises:
        ValueError: It is missing, is not needed, or cannot be read.
    """
    schema = model.condition
    if schema is None and text is None:
        return None
    if schema is None:
        raise ValueError(
            "--condition is for models that were fitted with --condition, and this one was not. "
            "Leave it out."
        )
    example = ",".join(f"{name}=VALUE" for name in schema.names)
    if text is None:
        raise ValueError(
            f"--condition is missing: the model is one of p(x|c), where c is {schema}. Pass "
            f"--condition {example}, or a file with those columns."
        )
    if "=" not in text or Path(text).exists():
        return _of_file(text, schema.names)
    return _of_words(text, example)


def _of_words(text: str, example: str) -> Conditions:
    """Read one condition."""
    from ..data.conditions import Conditions

    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value) or name in found:
            raise ValueError(
                f"--condition must be {example}, each name once, or a file with those columns, got "
                f"{text!r}."
            )
        found[name] = value
    return Conditions.of(found)


def _of_file(where: str, names: tuple[str, ...]) -> Conditions:
    """Read the conditions of many rows from a table with names."""
    from ..data.read.load import read_columns

    return read_columns(where, names)
