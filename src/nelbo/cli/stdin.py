"""DATA from standard input: ``-`` in place of a file's name."""

from __future__ import annotations

__all__ = ["NAME", "STANDARD_INPUT", "as_file", "read"]

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .reading import Data

STANDARD_INPUT = "-"
"""What users write for it."""
NAME = "standard input"
"""What messages call it."""


def read(read_file: Callable[[str, str], Data]) -> Data:
    """Read what stands on standard input: CSV, or the bytes of an .npy, .npz or .parquet file.

    Arguments:
        read_file: Returns data that have passed all checks, given the file they are in and their
            name for messages.

    Raises:
        ValueError: It is closed, empty, or cannot be read.
    """
    import dataclasses

    with as_file(STANDARD_INPUT) as path:
        data = read_file(path, NAME)
    notes = tuple(note.replace(path, NAME) for note in data.notes)
    return dataclasses.replace(data, notes=notes)


@contextlib.contextmanager
def as_file(data: str) -> Iterator[str]:
    """Yield the name of a file that holds DATA, for who reads it twice: of standard input a copy,
    else its own. Errors and warnings call the copy standard input.

    Arguments:
        data: DATA.

    Raises:
        ValueError: Standard input is closed or empty; or what is raised inside.
    """
    import tempfile
    import warnings
    from pathlib import Path

    if data not in (STANDARD_INPUT, NAME):
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="nelbo-") as folder:
        path = str(_kept(Path(folder)))
        said: list[warnings.WarningMessage] = []
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                yield path
        except (ValueError, ImportError) as error:
            raise type(error)(str(error).replace(path, NAME)) from error
        finally:
            for warning in said:
                told = str(warning.message).replace(path, NAME)
                warnings.warn(told, warning.category, stacklevel=3)


def _kept(folder: Path) -> Path:
    """Copy standard input to a file, which can be read more than once, and return its path."""
    import shutil

    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise ValueError(
            f"{NAME} is closed. Pass a file, or pipe data in: nelbo score RUN - < data.csv"
        )
    if sys.stdin.isatty():
        sys.stderr.write("nelbo: Reading CSV from standard input; end it with Ctrl-D.\n")
    unnamed = folder / "data"
    with unnamed.open("wb") as file:
        shutil.copyfileobj(stream, file)
    with unnamed.open("rb") as file:
        begin = file.read(8)
    if not begin:
        raise ValueError(f"{NAME} is empty. Pipe data in, as in: nelbo score RUN - < data.csv")
    return unnamed.rename(unnamed.with_suffix(_suffix(begin)))


def _suffix(begin: bytes) -> str:
    """Return the kind of a file by its first bytes; what is none of these is taken for CSV."""
    if begin.startswith(b"\x1f\x8b"):
        return ".csv.gz"
    if begin.startswith(b"\x93NUMPY"):
        return ".npy"
    if begin.startswith(b"PK\x03\x04"):
        return ".npz"
    if begin.startswith(b"PAR1"):
        return ".parquet"
    return ".csv"
