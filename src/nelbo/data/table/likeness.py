"""What text looks like that is neither: dates and numbers in writings that are not read."""

from __future__ import annotations

__all__ = ["likeness"]

import re
from collections.abc import Callable, Iterable

from nelbo.data.read.written import is_written_number

DATES = re.compile(
    r"\d{1,4}([./-])\d{1,2}(\1\d{1,4})?([ T]\d{1,2}:\d\d.*)?"  # 31.01.2020, 1/31/20 9:30, 2020-01
    r"|\d{1,2}[. -]{0,2}[^\W\d_]{3,9}[., -]{0,2}\d{2,4}"  # 31 January 2020, 31-Jan-20
    r"|[^\W\d_]{3,9}\.? \d{1,2},? \d{4}"  # Jan 31, 2020
)
TIMES = re.compile(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?( ?[AaPp]\.?[Mm]\.?)?")


def likeness(words: Iterable[str], most: float = 0.9) -> str:
    """Return what is to be done with words that look like something else than text; empty where
    they do not.

    Arguments:
        words: The different words of a column.
        most: The share of them that looks alike.
    """
    found = [word.strip() for word in words]
    if all(word.isdigit() for word in found):
        return ""  # codes
    for fits, said in _LOOKS:
        if sum(map(fits, found)) >= most * len(found):
            return said
    return ""


def _is_date(word: str) -> bool:
    return DATES.fullmatch(word) is not None


def _is_time(word: str) -> bool:
    return TIMES.fullmatch(word) is not None


_LOOKS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (_is_time, "they look like times, which are read as numbers of hours or seconds"),
    (is_written_number, "they look like numbers, which are read without signs and units"),
    (_is_date, "they look like dates, which are read as 2020-01-31 or 2020-01-31 12:30"),
)
