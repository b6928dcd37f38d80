"""One fit at a time in one place: a lock that ends with the process that holds it.

The lock is a file beside the folder, ``.nelbo-lock-…``, which the system locks for the process
(``flock``, or ``msvcrt.locking`` on Windows). What a killed process leaves is a file that nobody
has locked, and the next fit takes it over. Where a file system has no locks, the number of the
process in the file says whether its owner lives.
"""

from __future__ import annotations

__all__ = ["locked"]

import contextlib
import errno
import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from .folder import CheckpointError, CheckpointWriteError, host, is_alive

_held: dict[tuple[str, int, int], int] = {}
"""How often each thread of this process holds the lock of a path."""


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other fits away from a folder while the block lasts.

    A thread may lock what it has locked already.

    Raises:
        CheckpointError: Another fit is at work there; the message says which process.
        CheckpointWriteError: Nothing can be written beside the folder.
    """
    target = Path(os.path.realpath(path))
    key = (str(target), os.getpid(), threading.get_ident())
    if key in _held:
        _held[key] += 1
        try:
            yield
        finally:
            _held[key] -= 1
        return
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()
    place = target.with_name(f".nelbo-lock-{digest[:12]}")
    descriptor = _take(place, os.fspath(path))
    _held[key] = 1
    try:
        yield
    finally:
        del _held[key]
        _release(place, descriptor)


def _take(place: Path, shown: str, attempts: int = 20) -> int:
    """Return the open file that holds the lock; other fits may be removing it meanwhile."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(attempts):
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                if _locks(descriptor, shown) and _is(place, descriptor):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"{os.getpid()} {host()}\n".encode())
                    os.fsync(descriptor)  # which a full disk refuses
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its owner has just ended, and removed it
    except OSError as error:
        raise CheckpointWriteError.of(
            error,
            f"{shown} cannot be written: {error.strerror or error}. Free some space or check the "
            f"permissions of {place.parent}, or choose another path.",
        ) from error
    raise CheckpointError(
        f"{shown} is being locked and unlocked by other fits all the time. Choose another path."
    )


def _locks(descriptor: int, shown: str) -> bool:
    """Lock an open file for this process."""
    try:
        _system_lock(descriptor)
        return True
    except OSError as error:
        pid, where = _owner(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            who = "another process"
            if pid.isdigit():
                who = f"process {pid}"
            raise CheckpointError(
                f"{shown} is in use by another fit ({who}). Wait for it to end, or choose another "
                "path."
            ) from None
        if pid.isdigit() and int(pid) != os.getpid() and (where != host() or is_alive(int(pid))):
            raise CheckpointError(
                f"{shown} is in use by another fit (process {pid}, or it was; this file system has "
                "no locks). Wait for it to end, choose another path, or, if it ended long ago, "
                "delete the file .nelbo-lock-… beside it."
            ) from None
        return True


def _owner(descriptor: int) -> tuple[str, str]:
    """Return the number of the process in the file, and its machine; empty where unknown."""
    text = b""
    if hasattr(os, "pread"):
        text = os.pread(descriptor, 100, 0)
    pid, _, where = text.decode(errors="replace").strip().partition(" ")
    return pid, where


def _system_lock(descriptor: int) -> None:
    """Lock an open file, or raise OSError at once."""
    if sys.platform == "win32":
        import msvcrt

        # a byte far behind the text, since Windows lets nobody read one that is locked
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is(place: Path, descriptor: int) -> bool:
    """Return whether an open file is still the one of this name."""
    try:
        return os.path.samestat(place.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _release(place: Path, descriptor: int) -> None:
    """Remove the file and end the lock."""
    # Removed while still locked, so that whoever opens this name later opens another file.
    with contextlib.suppress(OSError):
        if sys.platform != "win32":  # which removes no open file
            place.unlink()
    os.close(descriptor)
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            place.unlink()
