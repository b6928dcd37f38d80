"""Lines and rows of a file of text, packed or not."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO

from nelbo.data.read.arrays import check_packed
from nelbo.data.read.reading import BLANKS

__all__ = [
    "COMMENT",
    "check_unpacked",
    "comments_of",
    "fields_of",
    "lines_of",
    "rows_of",
    "unpacked",
]

COMMENT = "#"
"""What begins a line that is not read."""


def unpacked(path: Path) -> BinaryIO:
    """Open a file, packed or not, for its bytes."""
    stream: BinaryIO = (_unpacker(path) or open)(path, "rb")
    return stream


def check_unpacked(path: Path) -> None:
    """Refuse a packed file that is damaged or would unpack to too much, before any of it is kept.

    Raises:
        ValueError: It is damaged.
        PackedError: It would unpack to more than is allowed.
    """
    if _unpacker(path) is None:
        return
    packed, size = path.stat().st_size, 0
    try:
        with unpacked(path) as stream:
            while part := stream.read(2**20):
                size += len(part)
                check_packed(path, packed, size, whole=False)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}). Pack it again.") from error


def lines_of(path: Path) -> Iterator[str]:
    """Yield lines as they are; comments become blank lines, so that line numbers stay."""
    try:
        with _opened(path) as stream:
            for place, line in enumerate(stream, 1):
                if "\0" in line:
                    raise ValueError(
                        f"{path} holds a zero byte in line {place}, which text does not. Write it "
                        "again as CSV, in UTF-8."
                    )
                if line.lstrip().startswith(COMMENT):
                    line = "\n"
                yield line
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} {_no_text(path)}") from error
    except (EOFError, lzma.LZMAError) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}). Pack it again.") from error


def rows_of(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line that ends each row, from 1, and its fields; no blank lines."""
    if delimiter == BLANKS:
        yield from ((i, line.split()) for i, line in enumerate(lines_of(path), 1) if line.strip())
        return
    reader = csv.reader(lines_of(path), delimiter=delimiter, skipinitialspace=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        if "field limit" in str(error):
            raise ValueError(
                f"{path} has a cell of more than {csv.field_size_limit():,} characters in line "
                f"{reader.line_num}. Leave such a column out of the file; or a quotation mark is "
                "not closed."
            ) from error
        raise ValueError(
            f"{path} cannot be read as a table: {error}. Write it again as plain CSV."
        ) from error


def fields_of(line: str, delimiter: str) -> list[str]:
    """Return the fields of one line."""
    if delimiter == BLANKS:
        return line.split()
    return next(csv.reader([line], delimiter=delimiter), [])


def comments_of(path: Path) -> list[str]:
    """Return the comments before the first row, without their marks."""
    found = []
    with _opened(path) as stream:
        for line in stream:
            text = line.strip()
            if text and not text.startswith(COMMENT):
                break
            if text:
                found.append(text.lstrip(COMMENT).strip())
    return found


BEGINS = {
    b"\xff\xfe": "is UTF-16 text, not UTF-8. Save it as UTF-8.",
    b"\xfe\xff": "is UTF-16 text, not UTF-8. Save it as UTF-8.",
    b"\x1f\x8b": "is packed by gzip, which its name does not say. Let it end in .csv.gz.",
    b"PK\x03\x04": "is a workbook or a zip archive, not text. Save the table as CSV, in UTF-8.",
    b"PAR1": "is a Parquet file, which its name does not say. Let it end in .parquet.",
}
"""What files that are no UTF-8 text begin with, and what to say of them."""


def _no_text(path: Path) -> str:
    """Say why a file is no UTF-8 text, and what to do."""
    with unpacked(path) as stream:
        start = stream.read(4)
        for begin, said in BEGINS.items():
            if start.startswith(begin):
                return said
        stream.seek(0)
        for place, line in enumerate(stream, 1):
            try:
                line.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                odd = line[error.start : error.start + 1]
                sign = odd.decode("cp1252", errors="replace")
                return (
                    f"is not UTF-8 text: line {place} holds the byte 0x{odd.hex().upper()}, which "
                    f"is {sign!r} in Windows-1252. Save it as UTF-8, or run: iconv -f WINDOWS-1252 "
                    f"-t UTF-8 {path.name} > utf8.csv"
                )
    return "is not UTF-8 text. Save it as UTF-8."


@contextmanager
def _opened(path: Path) -> Iterator[TextIOWrapper]:
    """Open a file, packed or not, for its text."""
    with unpacked(path) as stream:
        yield TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _unpacker(path: Path) -> Callable[..., Any] | None:
    """Return what opens a packed file; None for all others."""
    match path.suffix.lower():
        case ".gz":
            return gzip.open
        case ".bz2":
            return bz2.open
        case ".xz":
            return lzma.open
    return None
