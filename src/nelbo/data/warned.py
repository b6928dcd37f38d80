"""The warning for data that are not what they seem; it has a class, so that it can be filtered."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

__all__ = ["DataWarning", "listed", "warn"]


class DataWarning(UserWarning):
    """Something about the data makes numbers mean less, or something else, than they seem to."""


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names as people write them: "a", "a and b", or the first five "and 7 more"."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    if len(names) <= 1:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def warn(message: str) -> None:
    """Issue a `DataWarning` at the line that called the library, however many calls lie between."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "nelbo",
        "sklearn",
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, DataWarning, stacklevel=level)
