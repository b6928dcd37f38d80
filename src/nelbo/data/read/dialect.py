"""What a file of text leaves open, guessed from its first rows: delimiter, width and names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nelbo.data.read.frames import check_unique
from nelbo.data.read.lines import COMMENT, comments_of, fields_of, lines_of, rows_of
from nelbo.data.read.reading import BLANKS, Note, Reading
from nelbo.data.read.words import MISSING, OF_SCHEMAS, is_value, number
from nelbo.data.warned import listed

__all__ = ["File", "Guess"]


@dataclass
class File:
    """A file, and what was found out about it so far.

    Attributes:
        path: Where it is.
        delimiter: What separates fields.
        marks: What stands for a missing cell.
        left: What does so in columns of numbers alone.
        names: The names of the columns; None without a line of them.
        width: The number of columns.
        start: The number of lines before the first row of values.
        notes: What was decided.
        seen: What was decided about some columns, and which.
        apart: The places of columns that rows are conditioned on.
    """

    path: Path
    delimiter: str = ","
    marks: tuple[str, ...] = MISSING
    left: tuple[str, ...] = OF_SCHEMAS
    names: tuple[str, ...] | None = None
    width: int = 0
    start: int = 0
    notes: list[Note] = field(default_factory=list)
    seen: dict[str, list[str]] = field(default_factory=dict)
    apart: tuple[int, ...] = ()

    def tell(self, text: str, loud: bool = True) -> None:
        """Note what was decided; ``loud`` where it may be wrong."""
        self.notes.append(Note(f"{self.path}: {text}", loud))

    def column(self, j: int) -> str:
        """Name a column for people."""
        if self.names is None or not self.names[j]:
            return f"column {j}"
        return f"column {self.names[j]!r}"


@dataclass(frozen=True)
class Guess:
    """How the dialect of a file is guessed.

    Attributes:
        rows: The number of rows to look at.
        fewest_names: The number of numbers in a line that may be names: of fewer nobody can tell.
        few_rows: With fewer rows, numbers in the first line are a row unless they could hardly be.
    """

    rows: int = 50
    fewest_names: int = 3
    few_rows: int = 5

    def of(self, path: Path, reading: Reading) -> File:
        """Return what is found out about a file that is read in this way.

        Raises:
            ValueError: It is empty, or two columns have one name.
        """
        left = tuple(mark for mark in OF_SCHEMAS if mark not in reading.marks)
        file = File(path, marks=(*MISSING, *reading.marks), left=left)
        lines = [line for line in islice(lines_of(path), 4 * self.rows) if line.strip()]
        if not lines:
            raise ValueError(f"{path} is empty: it has no line of text. Write the data again.")
        file.delimiter = reading.delimiter or delimiter_of(lines)
        if reading.delimiter is None and file.delimiter != ",":
            shown = {"\t": "tabs", BLANKS: "blanks"}.get(file.delimiter, repr(file.delimiter))
            file.tell(f"fields are separated by {shown}.", loud=False)
        self._find_names(file, reading)
        if file.names is not None:
            check_unique([name for name in file.names if name], str(path))
        return file

    def _find_names(self, file: File, reading: Reading) -> None:
        """Find the names of the columns, in the first line or in a comment above it."""
        rows = list(islice(rows_of(file.path, file.delimiter), self.rows))
        (line, first), others = rows[0], [row for _, row in rows[1:]]
        file.width = len(first)
        comments, header = comments_of(file.path), reading.header
        if header is None and reading.condition and set(reading.condition) <= set(first):
            header = True
        if header is None:
            header = self._is_header(file, first, others)
        if header:
            _take_names(file, line, first, others)
        elif comments and reading.header is None:
            _take_comment(file, comments[-1])
        if comments:
            file.tell(
                f"comments, marked by {COMMENT}, are left out ({len(comments)} above the first "
                "row).",
                loud=False,
            )

    def _is_header(self, file: File, first: list[str], others: list[list[str]]) -> bool:
        """Return whether the first line names columns.

        It does if it holds text where values are below, or numbers as no row does.
        """
        if _names_rows(first, others):
            return True
        if not all(map(is_value, first)):
            return _is_text_above_values(first, others)
        counting = [str(j) for j in range(len(first))]
        if len(first) >= self.fewest_names and first in (counting, ["", *counting[:-1]]):
            return True
        unnamed = int(not first[0].strip())  # the first column of row numbers
        if not self._are_names(first[unnamed:], [row[unnamed:] for row in others]):
            return False
        shown = f"{first[unnamed].strip()}, {first[unnamed + 1].strip()}, ..."
        file.tell(
            f"its first line ({shown}) is taken for names; where it is a row, say header=False."
        )
        return True

    def _are_names(self, first: list[str], others: list[list[str]]) -> bool:
        """Return whether numbers are names, as of wavelengths or years.

        They rise or fall as hardly a row does, and lie apart from values: beyond all values below
        them; or, where they are whole and evenly spaced, beyond most that are not.
        """
        (names,) = _numbers([first])
        values = _numbers(row for row in others if len(row) == len(first))
        if len(names) < self.fewest_names or not len(values) or not _monotone(names[None]).all():
            return False
        return _lie_apart(names, values, len(values) >= self.few_rows)


def _lie_apart(names: npt.NDArray[np.float64], values: npt.NDArray[np.float64], many: bool) -> bool:
    """Return whether numbers (d,) that rise or fall lie apart from values (n, d), many or few."""
    whole = (names == np.floor(names)).all()
    broken = (values != np.floor(values)) & np.isfinite(values)
    beyond = ~((values >= names).any(0) & (values <= names).any(0))
    monotone = _monotone(values).mean()
    if beyond.all():
        hardly_a_row = many and monotone < 0.5
        return bool(hardly_a_row or (whole and broken.any() and monotone < 1))
    if not whole or not np.allclose(np.diff(names), names[1] - names[0]):
        return False
    if names[:2].tolist() == [1, 2] and broken.any(0).all():
        return True
    moves = np.diff(values, axis=1)
    even = np.isclose(moves, moves[:, :1], rtol=1e-6).all(1)
    return all((many, beyond.mean() > 0.5, broken.any(), not even.any()))


def delimiter_of(lines: Sequence[str]) -> str:
    """Return the delimiter by which most fields after the first line are values.

    Of several such, it is the one that makes most fields.
    """
    first, rest = lines[0], lines[1:11] or lines[:1]

    def worth(delimiter: str) -> tuple[float, int]:
        fields = [part for line in rest for part in _unquoted(line, delimiter)]
        return sum(map(is_value, fields)) / max(1, len(fields)), len(_unquoted(first, delimiter))

    able = [mark for mark in (",", ";", "\t", "|") if len(_unquoted(first, mark)) > 1]
    if able:
        return max(able, key=worth)
    if len(first.split()) > 1 and all(is_value(part) for line in rest for part in line.split()):
        return BLANKS
    return ","


def _unquoted(line: str, delimiter: str) -> list[str]:
    """Return the fields of a line; inside quotes, which may be of any length, nothing separates."""
    text = re.sub(
        r'"[^"]*"', lambda found: found[0][1:-1].replace(delimiter, ""), line.strip("\r\n")
    )
    return text.split(delimiter)


def _take_names(file: File, line: int, first: list[str], others: list[list[str]]) -> None:
    """Take the names of columns from the first line."""
    file.start, file.names = line, tuple(name.strip() for name in first)
    if _names_rows(first, others):
        file.names, file.width = ("", *file.names), file.width + 1


def _take_comment(file: File, comment: str) -> None:
    """Take the names of columns from the comment above the first row, if it holds them."""
    told = [part.strip() for part in fields_of(comment, file.delimiter)]
    if len(told) == file.width and not all(map(is_value, told)):
        file.names = tuple(told)
        file.tell(f"the comment above the first row names the columns: {listed(told)}.", loud=False)


def _names_rows(first: list[str], others: list[list[str]]) -> bool:
    """Return whether rows begin with a name or number of their own, as R writes them.

    The line of names then has one field less.
    """
    longer = bool(others) and all(len(row) == len(first) + 1 for row in others)
    # not just a delimiter at the end of each
    return longer and any(row[-1].strip() for row in others)


def _is_text_above_values(first: list[str], others: list[list[str]]) -> bool:
    """Return whether text in the first line stands above values; so it does if none are there."""
    told = [is_value(name) for name in first]
    if not any(told) and any(name in cells for name, *cells in zip(first, *others, strict=False)):
        return False  # a name is no cell of its own column
    if not any(told) or not others or len(others[0]) != len(first):
        return True
    below = zip(others[0], told, strict=True)
    return any(is_value(cell) for cell, above in below if not above)


def _numbers(rows: Iterable[Sequence[str]]) -> npt.NDArray[np.float64]:
    """Return cells as numbers, those that are not as NaN."""
    return np.array([[number(cell) for cell in row] for row in rows])


def _monotone(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which rows rise or fall all along, (n,)."""
    moves = np.diff(rows, axis=1)
    return np.asarray((moves > 0).all(1) | (moves < 0).all(1))
