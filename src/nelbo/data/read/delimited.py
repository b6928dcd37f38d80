"""Text of rows and columns (.csv, .tsv, .csv.gz) -> float array (n, d) and column names, by way of
pyarrow.

What a file leaves open (delimiter, names, a column that only numbers the rows, marks of missing
cells) is guessed from its first rows, can be said instead, and is told: guesses that leave
something out, or may be wrong, by a `DataWarning`. Every cell is a number or missing (NaN); the
first that is neither is named by column, line and value.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import importlib
import lzma
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from nelbo.data.read.arrays import check_packed
from nelbo.data.read.frames import check_unique
from nelbo.data.warned import listed

__all__ = ["MISSING", "Note", "Reading", "line_of", "read_csv"]

Values = npt.NDArray[np.float64]

DELIMITERS = (",", ";", "\t", "|")
WORDS = {"tab": "\t", "\\t": "\t", "blanks": " "}
BLANKS = " "
"""The delimiter that stands for any number of blanks."""
MISSING = ("", "?", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None")
COMMENT = "#"
LOOKED_AT = 50
"""Rows from which delimiter and names are guessed."""
FEWEST_NAMES = 3
"""Numbers in a line that may be names: of fewer nobody can tell."""
FEW_ROWS = 5
"""With fewer, numbers in the first line are a row unless they could hardly be."""
NUMBERING = 10
"""Rows from which on a column 0, 1, 2, ... is taken for their numbers."""
ORDER = ("first", "second")
TRUTH = {"true": 1.0, "false": 0.0}
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
DECIMALS = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
UNNAMED = re.compile(r"(Unnamed: \d+(_level_\d+)?)?")
"""What pandas calls a column without a name, once it was read and written again."""
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


class Note(NamedTuple):
    """What was decided about a file, in words, and whether that may be wrong, and so is a
    warning.
    """

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
        missing: What stands for missing cells beside the usual marks (`MISSING`).
    """

    header: bool | None = None
    index_column: str | int | None = None
    delimiter: str | None = None
    missing: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "delimiter", WORDS.get(self.delimiter or "", self.delimiter))
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in "\"'\r\n"):
            raise ValueError(
                "delimiter must be one character such as ';', or 'tab' or 'blanks', got "
                f"{self.delimiter!r}."
            )


@dataclass
class _File:
    """A file, and what was found out about it so far."""

    path: Path
    delimiter: str = ","
    marks: tuple[str, ...] = MISSING
    names: tuple[str, ...] | None = None
    width: int = 0
    start: int = 0
    """Lines before the first row of values."""
    notes: list[Note] = field(default_factory=list)
    seen: dict[str, list[str]] = field(default_factory=dict)
    """What was decided about some columns, and which."""

    def tell(self, text: str, loud: bool = True) -> None:
        """Note what was decided; ``loud`` where it may be wrong."""
        self.notes.append(Note(f"{self.path}: {text}", loud))

    def column(self, j: int) -> str:
        """Name a column for people."""
        return (
            f"column {j}"
            if self.names is None or not self.names[j]
            else f"column {self.names[j]!r}"
        )


def read_csv(
    path: Path, reading: Reading
) -> tuple[Values, tuple[str, ...] | None, tuple[Note, ...]]:
    """Read a table of text.

    Returns:
        The values (n, d), missing ones NaN; the names (None without a line of them); and what was
        decided.

    Raises:
        ValueError: A column that is not of numbers (column, line and value named), rows of unequal
            length, two columns of one name, no rows, not UTF-8.
        ImportError: pyarrow is absent.
    """
    arrow = _pyarrow(path)
    _check_unpacked(path)
    file = _File(path, marks=(*MISSING, *_words(reading.missing)))
    _find_dialect(file, reading)
    index = _asked_index(file, reading)
    if reading.index_column is None and file.names is not None:
        index = set(
            range(
                min(
                    next(
                        (j for j, name in enumerate(file.names) if name and not _is_unnamed(name)),
                        0,
                    ),
                    2,
                )
            )
        )
    columns = _read_columns(arrow, file, index)
    if len(columns[0]) == 0:
        raise ValueError(
            f"{path} is empty: it has a line of names but no rows. Write the data again."
        )
    kept = [
        j
        for j in range(file.width)
        if j not in index or not _is_index(file, columns[j], j, reading)
    ]
    values = np.stack([_as_numbers(file, columns[j], j) for j in kept], axis=1)
    for text, places in file.seen.items():
        file.tell(text.format(listed(places)), loud=False)
    names = file.names
    if names is not None:
        names = tuple(f"column {j}" if _is_unnamed(names[j]) else names[j] for j in kept)
        check_unique(names, str(path))
    if reading.index_column is None:
        _tell_of_numbering(file, values, kept)
    return values, names, tuple(file.notes)


def line_of(path: Path, reading: Reading, row: int) -> int:
    """Return the number, from 1, of the line that holds a row of values, numbered from 0."""
    file = _File(path)
    _find_dialect(file, reading)
    numbers = (line for line, _ in _rows(path, file.delimiter) if line > file.start)
    return list(islice(numbers, row + 1))[-1]


def _words(given: str | Sequence[str] | None) -> Sequence[str]:
    return [given] if isinstance(given, str) else given or []


def _is_unnamed(name: str) -> bool:
    return UNNAMED.fullmatch(name) is not None


def _pyarrow(path: Path) -> Any:
    try:
        return importlib.import_module("pyarrow.csv")
    except ImportError:
        raise ImportError(
            f'{path} needs pyarrow. Install it with: pip install "nelbo[table]"'
        ) from None


# -- lines and rows


def _unpacked(path: Path) -> BinaryIO:
    stream: BinaryIO = _OPENERS.get(path.suffix.lower(), open)(path, "rb")
    return stream


def _check_unpacked(path: Path) -> None:
    """Refuse, before any of it is kept, a packed file that is damaged or would unpack to more than
    is allowed.
    """
    if path.suffix.lower() not in _OPENERS:
        return
    packed, unpacked = path.stat().st_size, 0
    try:
        with _unpacked(path) as stream:
            while part := stream.read(2**20):
                unpacked += len(part)
                check_packed(path, packed, unpacked, whole=False)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}). Pack it again.") from error


@contextmanager
def _opened(path: Path) -> Iterator[TextIOWrapper]:
    with _unpacked(path) as stream:
        yield TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _lines(path: Path) -> Iterator[str]:
    """Lines as they are; comments are blank lines, so that line numbers stay."""
    try:
        with _opened(path) as stream:
            for line in stream:
                yield "\n" if line.lstrip()[:1] == COMMENT else line
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except (EOFError, lzma.LZMAError) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}). Pack it again.") from error


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the line that ends each row, from 1, and its fields; blank lines are skipped."""
    if delimiter == BLANKS:
        yield from ((i, line.split()) for i, line in enumerate(_lines(path), 1) if line.strip())
        return
    try:
        reader = csv.reader(_lines(path), delimiter=delimiter, skipinitialspace=True)
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(
            f"{path} cannot be read as a table: {error}. Write it again as plain CSV."
        ) from error


def _comments(path: Path) -> list[str]:
    """Comments before the first row, without their marks."""
    found = []
    with _opened(path) as stream:
        for line in stream:
            text = line.strip()
            if text and not text.startswith(COMMENT):
                break
            found += [text.lstrip(COMMENT).strip()] if text else []
    return found


# -- what a file leaves open


def _find_dialect(file: _File, reading: Reading) -> None:
    lines = [line for line in islice(_lines(file.path), 4 * LOOKED_AT) if line.strip()]
    if not lines:
        raise ValueError(f"{file.path} is empty: it has no line of text. Write the data again.")
    file.delimiter = reading.delimiter or _sniff(lines)
    rows = list(islice(_rows(file.path, file.delimiter), LOOKED_AT))
    if reading.delimiter is None and file.delimiter != ",":
        shown = {"\t": "tabs", BLANKS: "blanks"}.get(file.delimiter, repr(file.delimiter))
        file.tell(f"fields are separated by {shown}.", loud=False)
    comments = _comments(file.path)
    line, first = rows[0]
    others = [row for _, row in rows[1:]]
    file.width = len(first)
    header = reading.header if reading.header is not None else _is_header(file, first, others)
    if header:
        file.start, file.names = line, tuple(name.strip() for name in first)
        if _names_rows(first, others):
            file.names, file.width = ("", *file.names), file.width + 1  # as R writes names of rows
    elif comments and reading.header is None:
        told = [part.strip() for part in _fields(comments[-1], file.delimiter)]
        if len(told) == len(first) and not all(map(_is_value, told)):
            file.names = tuple(told)
            file.tell(
                f"the comment above the first row names the columns: {listed(told)}.", loud=False
            )
    if comments:
        file.tell(
            f"comments, marked by {COMMENT}, are left out ({len(comments)} above the first row).",
            loud=False,
        )
    if file.names is not None:
        check_unique([name for name in file.names if name], str(file.path))


def _names_rows(first: list[str], others: list[list[str]]) -> bool:
    """Whether rows begin with a name or number of their own, as R writes them: the line of names
    has one field less.
    """
    longer = bool(others) and all(len(row) == len(first) + 1 for row in others)
    # not just a delimiter at the end of each
    return longer and any(row[-1].strip() for row in others)


def _fields(line: str, delimiter: str) -> list[str]:
    return (
        line.split() if delimiter == BLANKS else next(csv.reader([line], delimiter=delimiter), [])
    )


def _sniff(lines: Sequence[str]) -> str:
    """The delimiter by which most fields after the first line are values; of those the one that
    makes most fields.
    """
    first, rest = lines[0], lines[1:11] or lines[:1]

    def worth(delimiter: str) -> tuple[float, int]:
        fields = [part for line in rest for part in _unquoted(line, delimiter)]
        return sum(map(_is_value, fields)) / max(1, len(fields)), len(_unquoted(first, delimiter))

    able = [delimiter for delimiter in DELIMITERS if len(_unquoted(first, delimiter)) > 1]
    if able:
        return max(able, key=worth)
    blanks = len(first.split()) > 1 and all(
        _is_value(part) for line in rest for part in line.split()
    )
    return BLANKS if blanks else ","


def _unquoted(line: str, delimiter: str) -> list[str]:
    """Fields of a line; what stands in quotes parts none (and may be of any length)."""
    text = re.sub(
        r'"[^"]*"', lambda found: found[0][1:-1].replace(delimiter, ""), line.strip("\r\n")
    )
    return text.split(delimiter)


def _is_value(text: str) -> bool:
    """Whether a field is a number or missing, in any of the ways that are read."""
    text = text.strip()
    if (
        text in MISSING
        or text.lower() in TRUTH
        or THOUSANDS.fullmatch(text)
        or DECIMALS.fullmatch(text)
    ):
        return True
    return not math.isnan(_number(text))


def _number(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def _is_header(file: _File, first: list[str], others: list[list[str]]) -> bool:
    """Whether the first line names columns: it holds text where values are below, or numbers as no
    row does.
    """
    if _names_rows(first, others):
        return True
    told = [_is_value(name) for name in first]
    if not all(told):
        if any(told) and others and len(others[0]) == len(first):
            return any(
                _is_value(below)
                for below, is_value in zip(others[0], told, strict=True)
                if not is_value
            )
        return True
    counting = [str(j) for j in range(len(first))]
    if len(first) >= FEWEST_NAMES and (first == counting or first == ["", *counting[:-1]]):
        return True
    unnamed = int(not first[0].strip())  # the first column of row numbers
    if not _are_names(first[unnamed:], [row[unnamed:] for row in others]):
        return False
    shown = f"{first[unnamed].strip()}, {first[unnamed + 1].strip()}, ..."
    file.tell(f"its first line ({shown}) is taken for names; where it is a row, say header=False.")
    return True


def _are_names(first: list[str], others: list[list[str]]) -> bool:
    """Whether numbers are names, as of wavelengths or years: they rise or fall as hardly a row
    does, apart from values.

    Apart: beyond all values below them; or, where they are whole and evenly spaced, beyond most
        that are not.
    """
    names = np.array([_number(name) for name in first])
    steps = np.diff(names)
    rows = np.array([[_number(cell) for cell in row] for row in others if len(row) == len(first)])
    if len(first) < FEWEST_NAMES or not len(rows) or not ((steps > 0).all() or (steps < 0).all()):
        return False
    moves = np.diff(rows, axis=1)
    monotone = ((moves > 0).all(1) | (moves < 0).all(1)).mean()
    whole, broken = (names == np.floor(names)).all(), (rows != np.floor(rows)) & np.isfinite(rows)
    beyond = ~((rows >= names).any(0) & (rows <= names).any(0))
    if beyond.all():
        return bool(
            (whole and broken.any() and monotone < 1) or (len(rows) >= FEW_ROWS and monotone < 0.5)
        )
    if whole and (names == np.arange(1, len(names) + 1)).all() and broken.any(0).all():
        return True
    even = np.isclose(moves, moves[:, :1], rtol=1e-6).all(1).any()
    apart = beyond.mean() > 0.5 and broken.any() and len(rows) >= FEW_ROWS
    return bool(whole and np.allclose(steps, steps[0]) and apart and not even)


# -- a column that only numbers the rows


def _asked_index(file: _File, reading: Reading) -> set[int]:
    """The place of the column that is to be left out, if one is.

    Raises:
        ValueError: There is none of that name or place.
    """
    asked = reading.index_column
    if asked is None or asked == "none":
        return set()
    if isinstance(asked, str) and file.names is not None and asked.strip() in file.names:
        return {file.names.index(asked.strip())}
    place = int(asked) if str(asked).isdigit() else -1
    if not 0 <= place < file.width:
        known = f"0 to {file.width - 1}" + (
            "" if file.names is None else f", or {listed(list(map(repr, file.names)))}"
        )
        raise ValueError(
            f"{file.path} has no column {asked!r} to leave out. Pass one of {known}, or none."
        )
    return {place}


def _is_index(file: _File, column: Any, j: int, reading: Reading) -> bool:
    """Whether the column that may be an index is left out; says so where that was not asked for."""
    if reading.index_column is not None:
        return True
    cells = column.to_pylist()
    words = [cell.strip() for cell in cells]
    numbers = [_number(word) for word in words]
    whole = all(number == math.floor(number) for number in numbers if math.isfinite(number))
    text = not any(map(_is_value, words))
    unlike = len(set(words)) == len(words)
    keep = "index_column='none' keeps it"
    if unlike and (text or (whole and all(map(math.isfinite, numbers)))):
        what = "names" if text else "numbers"
        file.tell(f"left out its {ORDER[j]} column, which has no name and {what} the rows; {keep}.")
        return True
    leave = f"index_column={j} leaves it out"
    file.tell(
        f"kept its {ORDER[j]} column, which has no name but does not number the rows; {leave}."
    )
    return False


def _tell_of_numbering(file: _File, values: Values, kept: Sequence[int]) -> None:
    """Tell of named columns that do no more than number the rows."""
    n = len(values)
    if n < NUMBERING or values.shape[1] < 2:
        return
    for place, j in enumerate(kept):
        column = values[:, place]
        if column[0] in (0, 1) and np.array_equal(column, np.arange(n) + column[0]):
            name = j if file.names is None or not file.names[j] else repr(file.names[j])
            file.tell(f"{file.column(j)} numbers the rows; index_column={name} leaves it out.")


# -- cells


def _read_columns(arrow: Any, file: _File, index: set[int]) -> list[Any]:
    """Columns of float64, or, where one of them holds something else, all of text; the index is
    always of text.
    """
    keys = [f"f{j}" for j in range(file.width)]
    types = {key: "string" if j in index else "float64" for j, key in enumerate(keys)}
    options = {
        "read_options": arrow.ReadOptions(
            skip_rows=file.start, column_names=keys, block_size=_block(file)
        ),
        "parse_options": arrow.ParseOptions(
            delimiter="," if file.delimiter == BLANKS else file.delimiter
        ),
    }
    blank = [f" {mark}" for mark in file.marks]
    marks = {"null_values": sorted({*file.marks, *blank}), "strings_can_be_null": False}
    plain = file.delimiter != BLANKS and not _comments(file.path)
    try:
        if plain:
            with _unpacked(file.path) as stream:
                return list(
                    arrow.read_csv(
                        stream,
                        convert_options=arrow.ConvertOptions(column_types=types, **marks),
                        **options,
                    ).columns
                )
    # pyarrow's own errors are ValueErrors that name neither line nor name
    except (ValueError, KeyError):
        pass
    try:
        text = arrow.ConvertOptions(column_types=dict.fromkeys(keys, "string"), null_values=[])
        return list(
            arrow.read_csv(BytesIO(_plain_text(file)), convert_options=text, **options).columns
        )
    except (ValueError, KeyError) as error:
        _explain(file)
        raise ValueError(
            f"{file.path} cannot be read as a table: {' '.join(str(error).split())}. Write it "
            "again as plain CSV."
        ) from error


def _block(file: _File) -> int:
    """Bytes that pyarrow reads at once: several rows at least."""
    longest = max((len(line) for line in islice(_lines(file.path), 3)), default=0)
    return max(2**20, 8 * longest)


def _plain_text(file: _File) -> bytes:
    """The file without comments, which pyarrow does not know, and with commas for blanks."""
    lines: Iterable[str] = _lines(file.path)
    if file.delimiter == BLANKS:
        lines = (",".join(line.split()) + "\n" for line in lines)
    return "".join(lines).encode()


def _as_numbers(file: _File, column: Any, j: int) -> Values:
    if str(column.type) == "double":
        found: Values = column.to_numpy()
        return found
    encoded = column.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if hasattr(encoded, "combine_chunks") else encoded
    words = [(word or "").strip() for word in encoded.dictionary.to_pylist()]
    numbers = _parsed(file, words, j)
    if numbers is None:
        _explain(file)
        raise ValueError(
            f"{file.path}: {file.column(j)} is not of numbers. Drop it, or encode it as numbers."
        )
    indices = encoded.indices.to_numpy(zero_copy_only=False)
    return np.array([*numbers, math.nan])[
        np.where(np.isnan(indices), len(numbers), indices).astype(np.intp)
    ]


def _parsed(file: _File, words: Sequence[str], j: int) -> list[float] | None:
    """Numbers for all the different cells of a column; None where some are none."""
    given = [word for word in words if word not in file.marks]
    if given and all(word.lower() in TRUTH for word in given):
        file.seen.setdefault("True and False are read as 1 and 0 in {}.", []).append(file.column(j))
        return [math.nan if word in file.marks else TRUTH[word.lower()] for word in words]
    replaced = ","
    commas = [word for word in given if "," in word]
    if commas and file.delimiter != ";" and all(map(THOUSANDS.fullmatch, commas)):
        file.seen.setdefault("commas part thousands in {}.", []).append(file.column(j))
        replaced = ""
    elif commas and all(map(DECIMALS.fullmatch, commas)):
        file.seen.setdefault("commas are decimal points in {}.", []).append(file.column(j))
        replaced = "."
    numbers = [
        math.nan if word in file.marks else _number(word.replace(",", replaced)) for word in words
    ]
    if any(
        math.isnan(number) and word not in file.marks
        for number, word in zip(numbers, words, strict=True)
    ):
        return None
    return numbers


def _explain(file: _File) -> None:
    """Raise ValueError for the first cell or row that is none, if there is one."""
    for i, (line, row) in enumerate(_rows(file.path, file.delimiter)):
        if file.start and i == 0:
            continue
        if len(row) != file.width:
            raise ValueError(
                f"{file.path} has {len(row)} fields in line {line}, but {file.width} in its first. "
                "Give every row the same columns."
            )
        for j, cell in enumerate(row):
            text = cell.strip()
            if not (_is_value(text) or text in file.marks):
                raise ValueError(
                    f"{file.path}: {file.column(j)} is not of numbers: line {line} has {text!r}. "
                    f"{_cure(text, file)}"
                )


def _cure(text: str, file: _File) -> str:
    if (
        file.delimiter == ","
        and len(text.split()) > 1
        and not math.isnan(_number(text.split(maxsplit=1)[0]))
    ):
        return "If blanks part the fields, say delimiter='blanks'."
    return (
        "Drop the column, or encode it as numbers (one column per category); if it stands for a "
        "missing cell, say "
        f"missing={text!r}."
    )
