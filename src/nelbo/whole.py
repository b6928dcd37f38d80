"""Files and folders that are wholly the old ones or wholly the new ones, never half written.

What is new is made beside the old under a hidden name, and takes its place by a rename, which a
file system does all at once. `nelbo.checkpoint` goes further: what it replaces survives a kill too.
"""

from __future__ import annotations

__all__ = ["sync", "write_file", "write_folder"]

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file, all or nothing; missing parent directories are made.

    Arguments:
        path: The file. What was there stays until all of the new one is on disk.
        write: Writes to the open file it is given.

    Raises:
        OSError: The system refused.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(path)
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Write a folder, all or nothing; missing parent directories are made.

    Arguments:
        path: The folder. One that is there is replaced, with all its files.
        fill: Puts the files into the empty folder it is given.

    Raises:
        OSError: The system refused.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = _beside(path), _beside(path)
    try:
        part.mkdir()
        fill(part)
        if path.exists():
            os.rename(path, old)
        os.rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not path.exists():
            os.rename(old, path)
        shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on disk."""
    if os.name == "nt":  # where a folder cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
