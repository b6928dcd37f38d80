"""NumPy's files, checked before they are read: a header may claim more than the file holds.

A packed file of a few megabytes may unpack to more than any memory holds. One that would unpack to
over a hundred times its size, and over 256 MiB, is taken for a mistake, unless the environment
variable NELBO_UNPACK_LIMIT allows as many GiB.
"""

from __future__ import annotations

__all__ = ["PackedError", "check_packed", "member", "opened"]

import math
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy


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
    inside = name
    if name not in archive.zip.namelist():
        inside = f"{name}.npy"
    info = archive.zip.getinfo(inside)
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
    variable = "NELBO_UNPACK_LIMIT"
    if unpacked <= _limit(variable, packed):
        return
    size, enough = _size(unpacked), unpacked / 2**30
    if not whole:
        size, enough = f"more than {size}", 8 * enough
    raise PackedError(
        f"{path} would unpack from {_size(packed)} to {size}, which looks like a mistake. If it is "
        f"not one, set the environment variable {variable}={math.ceil(enough)} (GiB) and try again."
    )


def _limit(variable: str, packed: int, usual: int = 2**28, ratio: int = 100) -> float:
    """Return the bytes that a file may unpack to.

    Arguments:
        variable: The environment variable that says so, in GiB.
        packed: The bytes of the file.
        usual: What any file may unpack to where the variable is not set.
        ratio: How many times its own size a file may then unpack to.
    """
    text = os.environ.get(variable)
    if text is None:
        return max(usual, ratio * packed)
    try:
        return float(text) * 2**30
    except ValueError:
        raise PackedError(f"{variable} must be a number of GiB, such as 8, got {text!r}.") from None


def _check_header(file: IO[bytes], size: int) -> None:
    """Refuse a header that claims more values than the file has bytes for."""
    version = npy.read_magic(file)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        return  # NumPy says itself whether it reads other versions
    shape, _, dtype = readers[version](file)
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
    """Return a number of bytes as people read it."""
    if count < 2**30:
        return f"{count / 2**20:.1f} MiB"
    return f"{count / 2**30:.1f} GiB"
