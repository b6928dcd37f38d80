"""Numbers as people and spreadsheets write them -> as Python reads them.

    1,234.50   1 234,50   1.234,50   1'234.50   $1,234.50   1234.50 €   12.5 %   (12.50)   −3

What a sign means is decided for a column as a whole: where one cell has it otherwise, the column is
text, and the cell can be named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from nelbo.data.read.words import is_decimal, is_thousands, number

__all__ = ["is_code", "is_long_code", "is_written_number", "plain"]

CURRENCIES = "$€£¥₹"
"""Signs of money."""
SIGNS = re.compile(rf"[{CURRENCIES}%,'’\u00a0\u202f\u2009 ()−]|\..*\.")
"""What a number as Python reads it does not have."""


def plain(words: Sequence[str], commas_divide: bool = True) -> tuple[list[str], list[str]]:
    """Return numbers as Python reads them, and what was decided, for people, with {} where the
    columns are to stand; words that are no numbers stay as they are.

    Arguments:
        words: The different cells of a column, none of which is missing.
        commas_divide: Whether commas may separate thousands, as they do not in a file that
            separates fields by semicolons.
    """
    if not any(map(SIGNS.search, words)):
        return [*words], []
    found = _Words([*words])
    found.replace("−", "-")
    if all(word.endswith("%") for word in found.words):
        found.change(lambda word: word[:-1].strip(), "percent signs are left out in {}.")
    for sign in CURRENCIES:
        if all(word.count(sign) == 1 for word in found.words):
            found.change(partial(_without, sign), f"{sign} is left out in {{}}.")
    if any(map(_in_parentheses, found.words)):
        found.change(_minus, "numbers in parentheses are negative in {}.")
    found.change(_without_blanks, "blanks separate thousands in {}.")
    found.change(_without_apostrophes, "apostrophes separate thousands in {}.")
    found.dots()
    found.commas(commas_divide)
    return found.words, found.told


def is_code(word: str) -> bool:
    """Return whether digits are rather a name than a number: as one they would lose zeros at their
    beginning, or, of more than 15, their last digits.
    """
    return re.fullmatch(r"[+-]?0\d+", word) is not None or is_long_code(word)


def is_long_code(word: str) -> bool:
    """Return whether digits are a whole number that a float64 does not hold."""
    return re.fullmatch(r"[+-]?\d{16,}", word) is not None and int(word) != int(float(word))


def is_written_number(word: str) -> bool:
    """Return whether a word is a number with signs or a unit, such as $5, 3 % or 10.5 cm."""
    (bare,), _ = plain([word])
    bare = re.sub(r"(?<=\d) ?[^\W\d_]{1,4}[²³]?$", "", bare)
    return number(bare) == number(bare)  # not NaN


@dataclass
class _Words:
    """The words of a column, and what was decided about them."""

    words: list[str]
    told: list[str] = field(default_factory=list)

    def replace(self, mark: str, by: str) -> None:
        self.words = [word.replace(mark, by) for word in self.words]

    def change(self, how: Callable[[str], str], told: str) -> None:
        """Write words otherwise, and tell where that makes a difference."""
        changed = [how(word) for word in self.words]
        if changed != self.words:
            self.words = changed
            self.told.append(told)

    def dots(self) -> None:
        """Leave out dots between thousands, where commas or other dots say that they are such."""
        dotted = [word for word in self.words if "." in word]
        sure = any("," in word or word.count(".") > 1 for word in dotted)
        if sure and all(re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})+(,\d*)?", word) for word in dotted):
            self.change(lambda word: word.replace(".", ""), "dots separate thousands in {}.")

    def commas(self, divide: bool) -> None:
        """Leave out commas between thousands, or write decimal commas as dots."""
        words = [word for word in self.words if "," in word]
        if divide and all(map(is_thousands, words)):
            self.change(lambda word: word.replace(",", ""), "commas separate thousands in {}.")
        elif all(map(is_decimal, words)):
            self.change(lambda word: word.replace(",", "."), "commas are decimal points in {}.")


def _without(sign: str, word: str) -> str:
    """Return a word without a sign at its beginning or end."""
    word = re.sub(rf"^([+(-]?) ?{re.escape(sign)} ?", r"\1", word)
    return re.sub(rf" ?{re.escape(sign)}(\)?)$", r"\1", word)


def _in_parentheses(word: str) -> bool:
    return re.fullmatch(r"\([\d.,]*\d[\d.,]*\)", word) is not None


def _minus(word: str) -> str:
    return re.sub(r"^\(([\d.,]+)\)$", r"-\1", word)


def _without_blanks(word: str) -> str:
    return _joined(word, "[ \u00a0\u202f\u2009]")


def _without_apostrophes(word: str) -> str:
    return _joined(word, "['’]")


def _joined(word: str, mark: str) -> str:
    """Return a number without marks between thousands; all other words as they are."""
    if re.fullmatch(rf"[+-]?\d{{1,3}}({mark}\d{{3}})+([.,]\d*)?", word):
        return re.sub(mark, "", word)
    return word
