"""NumPy's files, looked at before they are read: what a header claims is compared with what the
file holds.

A packed file of a few megabytes may unpack to more than any memory holds. One that would unpack to
over a hundred times its size, and over 256 MiB, is taken for a mistake, unless the environment
variable NELBO_UNPACK_LIMIT, in GiB, says that so much is right.
"""

from __future__ import annotations

__all__ = ["PackedError", "check_packed", "member", "opened"]

import math
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

VARIABLE = "NELBO_UNPACK_LIMIT"
"""Names how many GiB a packed file may unpack to."""
USUAL, RATIO = 2**28, 100
"""Bytes that any file may unpack to, and the ratio up to which it may be more."""


class PackedError(ValueError):
    """A file that would unpack to more than is allowed."""


def opened(file: IO[bytes]) -> Any:
    """Return the array of an open .npy, or the archive of an .npz.

    Raises:
        ValueError: The header claims more than the file holds.
    """
    start = file.read(len(npy.MAGIC_PREFIX))
    file.seek(0)
    if start == npy.MAGIC_PREFIX:
        _check_header(file, os.fstat(file.fileno()).st_size)
        file.seek(0)
    return np.load(file, allow_pickle=False)


def member(path: Path, archive: Any, name: str) -> Any:
    """Return one array of an .npz.

    Raises:
        PackedError: It would unpack to more than is allowed.
        ValueError: Its header claims more than the file holds.
    """
    known = archive.zip.namelist()
    info = archive.zip.getinfo(name if name in known else f"{name}.npy")
    check_packed(path, info.compress_size, info.file_size)
    with archive.zip.open(info) as file:
        if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
            with archive.zip.open(info) as again:
                _check_header(again, info.file_size)
    return archive[name]


def check_packed(path: Path, packed: int, unpacked: int, whole: bool = True) -> None:
    """Refuse a file that would unpack to more than is allowed.

    Arguments:
        path: The file.
        packed: Its bytes.
        unpacked: The bytes in it.
        whole: Whether these are all of them.

    Raises:
        PackedError: It would; the message says how to allow it.
    """
    text = os.environ.get(VARIABLE)
    try:
        limit = USUAL if text is None else float(text) * 2**30
    except ValueError:
        raise PackedError(f"{VARIABLE} must be a number of GiB, such as 8, got {text!r}.") from None
    if unpacked > max(limit, RATIO * packed if text is None else 0):
        raise PackedError(
            f"{path} would unpack from {_size(packed)} to "
            f"{'' if whole else 'more than '}{_size(unpacked)}, which "
            f"looks like a mistake. If it is none, set the environment variable {VARIABLE}="
            f"{math.ceil(unpacked / 2**30 * (1 if whole else 8))} (GiB) and try again."
        )


def _check_header(file: IO[bytes], size: int) -> None:
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        return  # of other versions NumPy says whether it reads them
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        return
    if any(length < 0 for length in shape):
        raise ValueError(f"its header claims the shape {shape}")
    wanted, left = math.prod(shape) * dtype.itemsize, size - file.tell()
    if wanted > left:
        raise ValueError(
            f"its header claims {dtype} values of shape {shape}, {wanted} bytes, but it holds "
            f"{left}"
        )


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
