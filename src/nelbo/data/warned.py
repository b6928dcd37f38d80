"""The warning for data that are not what they seem, by which such warnings can be filtered."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

__all__ = ["DataWarning", "listed", "warn"]

LISTED = 5
"""Names that a message lists; of more it says how many there are."""


class DataWarning(UserWarning):
    """Something about the data makes numbers mean less, or something else, than they seem to."""


def listed(names: Sequence[str]) -> str:
    """Return some names as people write them: "'a'", "'a' and 'b'", or the first five "and 7
    more".
    """
    shown, more = list(names[:LISTED]), len(names) - LISTED
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def warn(message: str) -> None:
    """Issue a `DataWarning` at the line that called the library, however many calls lie between."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "nelbo",
        "sklearn",
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, DataWarning, stacklevel=level)
