"""Text of rows and columns (.csv, .tsv, .csv.gz) -> float array (n, d) and column names.

What a file leaves open (delimiter, names, a column that only numbers the rows, marks of missing
cells) is guessed from its first rows, can be said instead, and is told: guesses that leave
something out, or may be wrong, by a `DataWarning`. Every cell is a number or missing (NaN); the
first that is neither is named by column, line and value. pyarrow does the reading.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.conditions import Conditions, by_name, places_of
from nelbo.data.read.cells import NotNumbers
from nelbo.data.read.dialect import File, Guess
from nelbo.data.read.frames import check_unique
from nelbo.data.read.lines import check_unpacked, comments_of, lines_of, rows_of, unpacked
from nelbo.data.read.reading import BLANKS, Note, Reading
from nelbo.data.read.words import is_truth, is_unnamed, is_value, number
from nelbo.data.read.written import is_code, is_long_code, plain
from nelbo.data.warned import listed

__all__ = ["csv_columns", "csv_frame", "line_of", "read_csv"]

Values = npt.NDArray[np.float64]


def read_csv(
    path: Path, reading: Reading
) -> tuple[Values, tuple[str, ...] | None, tuple[Note, ...], Conditions | None]:
    """Read a table of text.

    Returns:
        The values (n, d), missing ones NaN; the names (None without a line of them); what was
        decided; and what rows are conditioned on, where that was asked for.

    Raises:
        ValueError: A column that is not of numbers (column, line and value named), rows of unequal
            length, two columns of one name, no rows, not UTF-8.
        ImportError: pyarrow is absent.
    """
    file, columns, index = _read(path, reading)
    left_out = {j for j in index if _is_index(file, columns[j], j, reading)}
    kept = [j for j in range(file.width) if j not in left_out and j not in file.apart]
    if not kept:
        raise ValueError(f"{path} has no columns beside those that rows are conditioned on.")
    given = None
    if reading.condition is not None:
        given = _conditions(file, columns, reading.condition)
    values = np.stack([_as_numbers(file, columns[j], j) for j in kept], axis=1)
    _tell_of_cells(file)
    _tell_of_rounding(file, values, kept)
    names = _names(file, kept)
    if reading.index_column is None:
        _tell_of_numbering(file, values, kept)
    return values, names, tuple(file.notes), given


def csv_columns(path: Path, reading: Reading) -> Conditions:
    """Read nothing but the columns that rows are conditioned on.

    Raises:
        ValueError: One is missing, or a cell is.
        ImportError: pyarrow is absent.
    """
    file, columns, _ = _read(path, reading)
    return _conditions(file, columns, reading.condition or ())


def _read(path: Path, reading: Reading) -> tuple[File, list[Any], set[int]]:
    """Return what was found out about a file, its columns, and those that may number the rows."""
    arrow = _pyarrow(path)
    check_unpacked(path)
    file = Guess().of(path, reading)
    if reading.condition is not None:
        file.apart = tuple(places_of(reading.condition, file.names or (), file.width, str(path)))
    index = _index(file, reading) - {*file.apart}
    columns = _read_columns(arrow, file, index | {*file.apart})
    if len(columns[0]) == 0:
        raise ValueError(
            f"{path} is empty: it has a line of names but no rows. Write the data again."
        )
    return file, columns, index


def _conditions(file: File, columns: Sequence[Any], names: Sequence[str]) -> Conditions:
    """Return the cells of the columns that rows are conditioned on."""
    cells = (_as_cells(file, columns[j], j) for j in file.apart)
    labels = file.names or range(file.width)
    return Conditions.of(by_name(names, file.apart, labels, cells))


def csv_frame(path: Path, reading: Reading) -> tuple[Any, tuple[Note, ...]]:
    """Read a table whose columns may hold text.

    Returns:
        A table of pyarrow, each column of numbers or of text, in which missing cells are null; and
        what was decided.

    Raises:
        ValueError: Rows of unequal length, two columns of one name, no rows, not UTF-8.
        ImportError: pyarrow is absent.
    """
    pyarrow = importlib.import_module("pyarrow")
    file, columns, index = _read(path, reading)
    left_out = {j for j in index if _is_index(file, columns[j], j, reading)}
    kept = [j for j in range(file.width) if j not in left_out]
    names = _names(file, kept) or [f"column {j}" for j in kept]
    cells = [_compact(pyarrow, _as_cells(file, columns[j], j)) for j in kept]
    table = pyarrow.table(dict(zip(names, cells, strict=True)))
    _tell_of_cells(file)
    return table, tuple(file.notes)


def _compact(pyarrow: Any, cells: npt.NDArray[Any]) -> Any:
    """Return a column for pyarrow: whole numbers as such, and missing cells as null."""
    found = pyarrow.array(cells, from_pandas=True)
    if cells.dtype != np.float64:
        return found
    whole = np.isnan(cells) | ((cells == np.floor(cells)) & (np.abs(cells) < 2**53))
    if not bool(whole.all()) or found.null_count == len(found):
        return found
    return found.cast("int64")


def line_of(path: Path, reading: Reading, row: int) -> int:
    """Return the number, from 1, of the line that holds a row of values, numbered from 0."""
    file = Guess().of(path, reading)
    numbers = (line for line, _ in rows_of(path, file.delimiter) if line > file.start)
    return list(islice(numbers, row + 1))[-1]


def _pyarrow(path: Path) -> Any:
    """Return pyarrow's reader, or say how to install it."""
    try:
        return importlib.import_module("pyarrow.csv")
    except ImportError:
        raise ImportError(
            f'{path} needs pyarrow. Install it with: pip install "nelbo[table]"'
        ) from None


def _names(file: File, kept: Sequence[int]) -> tuple[str, ...] | None:
    """Return the names of the columns that are kept, if there are any."""
    if file.names is None:
        return None
    names = []
    for j in kept:
        name = file.names[j]
        if is_unnamed(name):
            name = f"column {j}"
        names.append(name)
    check_unique(names, str(file.path))
    return tuple(names)


# -- a column that only numbers the rows


def _index(file: File, reading: Reading) -> set[int]:
    """Return the columns that are to be left out if they only number or name the rows.

    Unless one was asked for, these are columns without names at the start: at most two.

    Raises:
        ValueError: There is none of the name or place asked for.
    """
    if reading.index_column is not None:
        return _asked_index(file, reading.index_column)
    if file.names is None:
        return set()
    named = (j for j, name in enumerate(file.names) if name and not is_unnamed(name))
    return set(range(min(next(named, 0), 2)))


def _asked_index(file: File, asked: str | int) -> set[int]:
    """Return the column of the name or place asked for; it is numbered from 0."""
    if asked == "none":
        return set()
    names = file.names or ()
    if isinstance(asked, str) and asked.strip() in names:
        return {names.index(asked.strip())}
    if str(asked).isdigit() and int(asked) < file.width:
        return {int(asked)}
    known = f"0 to {file.width - 1}"
    if names:
        known += f", or {listed(list(map(repr, names)))}"
    raise ValueError(
        f"{file.path} has no column {asked!r} to leave out. Pass one of {known}, or none."
    )


def _is_index(file: File, column: Any, j: int, reading: Reading) -> bool:
    """Return whether a column that may be an index is left out; tell unless that was asked for."""
    if reading.index_column is not None:
        return True
    place = ("first", "second")[j]
    what = _counted(column.to_pylist())
    if what:
        file.tell(
            f"left out its {place} column, which has no name and {what} the rows; "
            "index_column='none' keeps it."
        )
        return True
    file.tell(
        f"kept its {place} column, which has no name but does not number the rows; "
        f"index_column={j} leaves it out."
    )
    return False


def _counted(cells: Sequence[str]) -> str:
    """Return whether cells that are all different "names" or "numbers" rows; empty if neither."""
    words = [cell.strip() for cell in cells]
    if len(set(words)) < len(words):
        return ""
    if not any(map(is_value, words)):
        return "names"
    numbers = map(number, words)
    if all(math.isfinite(one) and one == math.floor(one) for one in numbers):
        return "numbers"
    return ""


def _tell_of_numbering(
    file: File, values: Values, kept: Sequence[int], fewest_rows: int = 10
) -> None:
    """Tell of named columns that do no more than number the rows.

    Arguments:
        file: The file.
        values: Its values (n, d).
        kept: The places of the columns in the file.
        fewest_rows: With fewer rows, numbers 0, 1, 2, ... may be values.
    """
    n = len(values)
    if n < fewest_rows or values.shape[1] < 2:
        return
    for place, j in enumerate(kept):
        column = values[:, place]
        if column[0] in (0, 1) and np.array_equal(column, np.arange(n) + column[0]):
            name: object = j
            if file.names is not None and file.names[j]:
                name = repr(file.names[j])
            file.tell(f"{file.column(j)} numbers the rows; index_column={name} leaves it out.")


def _tell_of_rounding(file: File, values: Values, kept: Sequence[int]) -> None:
    """Tell of whole numbers that a float64 does not hold; they are likely identifiers."""
    beyond = [
        (place, j) for place, j in enumerate(kept) if (np.abs(values[:, place]) >= 2**53).any()
    ]
    for _, j in beyond:
        rows = islice(rows_of(file.path, file.delimiter), 1000)
        hit = next(((n, r[j]) for n, r in rows if len(r) > j and is_long_code(r[j].strip())), None)
        if hit is not None:
            file.tell(
                f"{file.column(j)} holds whole numbers beyond 2^53, such as {hit[1].strip()} in "
                f"line {hit[0]}, which are rounded; if they are names, leave the column out."
            )


# -- cells


def _read_columns(arrow: Any, file: File, index: set[int]) -> list[Any]:
    """Return columns of float64, or all of text where one of them holds something else.

    An index is always of text.
    """
    keys = [f"f{j}" for j in range(file.width)]
    delimiter = file.delimiter.replace(BLANKS, ",")  # as `_plain_text` writes it
    options = {
        "read_options": arrow.ReadOptions(
            skip_rows=file.start, column_names=keys, block_size=_block(file)
        ),
        "parse_options": arrow.ParseOptions(delimiter=delimiter),
    }
    if file.delimiter != BLANKS and not comments_of(file.path):
        types = dict.fromkeys(keys, "float64") | {keys[j]: "string" for j in index}
        marks = sorted({*file.marks, *(f" {mark}" for mark in file.marks)})
        numbers = arrow.ConvertOptions(
            column_types=types, null_values=marks, strings_can_be_null=False
        )
        try:
            with unpacked(file.path) as stream:
                return list(arrow.read_csv(stream, convert_options=numbers, **options).columns)
        except (ValueError, KeyError):  # pyarrow's own, which name neither line nor column
            pass
    text = arrow.ConvertOptions(column_types=dict.fromkeys(keys, "string"), null_values=[])
    try:
        stream = BytesIO(_plain_text(file))
        return list(arrow.read_csv(stream, convert_options=text, **options).columns)
    except (ValueError, KeyError) as error:
        _check_widths(file)
        raise ValueError(
            f"{file.path} cannot be read as a table: {' '.join(str(error).split())}. Write it "
            "again as plain CSV."
        ) from error


def _block(file: File) -> int:
    """Return the bytes that pyarrow reads at once: several rows at least."""
    longest = max((len(line) for line in islice(lines_of(file.path), 3)), default=0)
    return max(2**20, 8 * longest)


def _plain_text(file: File) -> bytes:
    """Return the file without comments, which pyarrow does not know, and with commas for blanks."""
    lines: Iterable[str] = lines_of(file.path)
    if file.delimiter == BLANKS:
        lines = (",".join(line.split()) + "\n" for line in lines)
    return "".join(lines).encode()


def _as_numbers(file: File, column: Any, j: int) -> Values:
    """Return a column as float64, whatever pyarrow read it as."""
    if str(column.type) == "double":
        found: Values = column.to_numpy()
        return found
    encoded = column.combine_chunks().dictionary_encode()
    if hasattr(encoded, "combine_chunks"):
        encoded = encoded.combine_chunks()
    words = [(word or "").strip() for word in encoded.dictionary.to_pylist()]
    numbers = _parsed(file, words, j)
    if numbers is None:
        _explain(file)
        raise NotNumbers(
            f"{file.path}: {file.column(j)} is not of numbers. Drop it, or encode it as numbers."
        )
    indices = encoded.indices.to_numpy(zero_copy_only=False)
    places = np.where(np.isnan(indices), len(numbers), indices).astype(np.intp)
    return np.array([*numbers, math.nan])[places]


def _as_cells(file: File, column: Any, j: int) -> Values | npt.NDArray[Any]:
    """Return a column that may hold text: numbers if all are, else words; missing ones are None."""
    if str(column.type) == "double":
        return _as_numbers(file, column, j)
    words = [(word or "").strip() for word in column.to_pylist()]
    different = sorted({*words})
    numbers = None
    if not _codes(file, different, j):
        numbers = _parsed(file, different, j)
    if numbers is None:
        empty = {*file.marks} - {*file.left}
        return np.array([None if word in empty else word for word in words], dtype=object)
    known = dict(zip(different, numbers, strict=True))
    return np.array([known[word] for word in words])


def _parsed(file: File, words: Sequence[str], j: int) -> list[float] | None:
    """Return numbers for all the different cells of a column; None where some are not numbers."""
    given = [word for word in words if word not in file.marks]
    if given and all(map(is_truth, given)):
        told = ["True and False are read as 1 and 0 in {}."]
        found = {word: float(word.lower() == "true") for word in given}
    else:
        bare, told = plain(given, commas_divide=file.delimiter != ";")
        found = dict(zip(given, map(number, bare), strict=True))
    if any(map(math.isnan, found.values())):
        return None
    for text in told:
        file.seen.setdefault(text, []).append(file.column(j))
    return [found.get(word, math.nan) for word in words]


def _codes(file: File, words: Sequence[str], j: int) -> bool:
    """Return whether cells that might be numbers are codes, which are kept as text: some have zeros
    at their beginning, and all are of one length; or they are too long for a float64.
    """
    codes = [word for word in words if is_code(word)]
    long = [word for word in codes if is_long_code(word)]
    lengths = {len(word) for word in words if word not in file.marks}
    if long:
        text = f"whole numbers beyond 2^53, such as {long[0]}, are kept as text in {{}}."
    elif codes and len(lengths) == 1 and lengths.pop() > 2 and all(map(str.isdigit, codes)):
        text = f"digits with zeros before them, such as {codes[0]}, are kept as text in {{}}."
    else:
        return False
    file.seen.setdefault(text, []).append(file.column(j))
    return True


def _tell_of_cells(file: File) -> None:
    """Tell what was decided about the cells of some columns."""
    for text, places in file.seen.items():
        file.tell(text.format(listed(places)), loud=False)


def _check_widths(file: File) -> None:
    """Refuse rows of another length than the first.

    Raises:
        ValueError: There is one.
    """
    for i, (line, row) in enumerate(rows_of(file.path, file.delimiter)):
        if len(row) == file.width or (file.start and i == 0):
            continue
        cure = "Give every row the same columns."
        if i < 5:
            cure += " Delete titles above the table, and a line such as sep=; (name the delimiter "
            cure += "instead)."
        if "\n" in "".join(row):
            cure += " Perhaps a quotation mark is not closed."
        raise ValueError(
            f"{file.path} has {len(row)} fields in line {line}, but {file.width} in its first. "
            f"{cure}"
        )


def _explain(file: File) -> None:
    """Raise ValueError for the first row of another length, or the first cell that is no number."""
    _check_widths(file)
    for i, (line, row) in enumerate(rows_of(file.path, file.delimiter)):
        if file.start and i == 0:
            continue
        for j, cell in enumerate(row):
            text = cell.strip()
            if j not in file.apart and not is_value(text) and text not in file.marks:
                raise NotNumbers(
                    f"{file.path}: {file.column(j)} is not of numbers: line {line} has {text!r}. "
                    f"{_cure(text, file)}"
                )


def _cure(text: str, file: File) -> str:
    """Say what to do about a cell that is not a number."""
    parts = text.split()
    if file.delimiter == "," and len(parts) > 1 and not math.isnan(number(parts[0])):
        return "If blanks separate the fields, say delimiter='blanks'."
    return (
        "Drop the column, or encode it as numbers (one column per category); if it stands for a "
        f"missing cell, say missing={text!r}."
    )
