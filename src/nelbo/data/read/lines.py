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
            for line in stream:
                if line.lstrip().startswith(COMMENT):
                    line = "\n"
                yield line
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except (EOFError, lzma.LZMAError) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}). Pack it again.") from error


def rows_of(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line that ends each row, from 1, and its fields; no blank lines."""
    if delimiter == BLANKS:
        yield from ((i, line.split()) for i, line in enumerate(lines_of(path), 1) if line.strip())
        return
    try:
        reader = csv.reader(lines_of(path), delimiter=delimiter, skipinitialspace=True)
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
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
