"""Single cells of text: which of them are numbers, and which are missing."""

from __future__ import annotations

import math
import re

__all__ = [
    "MISSING",
    "OF_SCHEMAS",
    "is_decimal",
    "is_thousands",
    "is_truth",
    "is_unnamed",
    "is_value",
    "number",
]

MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
"""What usually stands for a missing cell."""
OF_SCHEMAS = ("n/a", "<NA>")
"""Those of them that are left in columns of text, where a schema says whether they are missing: to
older ones they are categories.
"""


def is_value(text: str) -> bool:
    """Return whether a field is a number or missing, in any of the ways that are read."""
    text = text.strip()
    if text in MISSING or is_truth(text) or is_thousands(text) or is_decimal(text):
        return True
    return not math.isnan(number(text))


def number(text: str) -> float:
    """Return the number that a field is, NaN where it is not one."""
    if "_" in text:  # which Python takes for a separator
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan


def is_truth(text: str) -> bool:
    """Return whether a field is true or false."""
    return text.lower() in ("true", "false")


def is_thousands(text: str) -> bool:
    """Return whether a field is a number with commas between thousands."""
    return re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", text) is not None


def is_decimal(text: str) -> bool:
    """Return whether a field is a number with a comma for its decimal point."""
    return re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", text) is not None


def is_unnamed(name: str) -> bool:
    """Return whether a name is empty, or what pandas writes for an empty one."""
    return re.fullmatch(r"(Unnamed: \d+(_level_\d+)?)?", name) is not None
