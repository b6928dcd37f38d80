"""Crash-safe state on disk: a folder is wholly the old one, wholly the new one, or refused by name.

A checkpoint is JSON and safetensors; nothing in it is ever executed (no pickle, no class paths):

    config.json          what to build: plain JSON, pretty, keys sorted
    model.safetensors    the numbers: dtypes and shapes as given
    manifest.json        format, kind, schema version; size and sha256 of every file, and its own
    sha256 README.md, ...       further texts, if passed

*Writing* prepares a hidden sibling, because only a rename is done all at once by a file system:

    write and fsync .new   ->   rename RUN -> .old   ->   rename .new -> RUN   ->   remove .old

A crash before the first rename leaves the old folder, one after the second the new. Between the
two, RUN is missing while *both* siblings exist, which happens at no other time: `.old` is then put
back (or read where it lies, if its writer lives). `.old` without `.new` is a left-over of a
finished write.

*Reading* takes each file into memory once, checks size and digest of those bytes, and only then
parses them. A digest finds damage and careless edits; it is no signature against someone who
recomputes it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from .. import __version__

__all__ = [
    "CheckpointError",
    "CheckpointWriteError",
    "check_replaceable",
    "host",
    "is_alive",
    "read_folder",
    "recover",
    "remove_folder",
    "write_folder",
]

PathLike = str | os.PathLike[str]
FORMAT = "nelbo"
SCHEMA_VERSION = 1
CONFIG, TENSORS, MANIFEST = "config.json", "model.safetensors", "manifest.json"

# no write lasts a day: older siblings are left-overs, whoever made them
_STALE_SECONDS = 24 * 3600.0
_CURE = "restore it from a copy, or fit and save again."
_LARGEST_MANIFEST = 2**24
_CHANGED_SIZE = "changed after it was written (it is larger)"
_CHANGED = "changed after it was written (its sha256 differs)"
# how often an operation yields to another process that is replacing the same folder
_ATTEMPTS = 100
_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def host() -> str:
    """Return a word that stands for this machine."""
    return _HOST


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class CheckpointError(ValueError):
    """A folder that is refused: absent, damaged, foreign, newer than this nelbo, or not to be
    overwritten.
    """


class CheckpointWriteError(OSError):
    """A write that the system refused (full disk, no permission); what was there before is
    untouched.
    """


def write_folder(
    path: PathLike,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    kind: str = "model",
    overwrite: bool = False,
    extra_text: Mapping[str, str] | None = None,
) -> None:
    """Write a checkpoint folder, all of it or nothing; missing parent directories are made.

    Overwriting replaces only a folder that nelbo wrote (or an empty one). Files in it that its
    manifest does not list, such as notes put there by hand, move along to the new folder.

    Args:
        path: the folder to make. A symbolic link is followed, and stays a link.
        config: plain JSON values under string keys; tuples become lists, NaN and infinities are
            refused.
        tensors: any shapes, dtypes, strides and devices; stored contiguous, read back on the CPU.
        kind: what the folder holds; `read_folder` must ask for the same.
        overwrite: replace an existing checkpoint.
        extra_text: further files, name -> text, stored as UTF-8.

    Raises:
        CheckpointError: `path` is a file, or a non-empty folder that may not be replaced.
        CheckpointWriteError: the system refused (errno says why); nothing was changed.
        TypeError, ValueError: an argument cannot be stored.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"config is a {type(config).__name__}; expected a dict.")
    _check_json(config, "config")
    files = {CONFIG: _json_bytes(config), TENSORS: _tensor_bytes(tensors)}
    for name, text in (extra_text or {}).items():
        if not _is_plain(name) or name in (CONFIG, TENSORS, MANIFEST):
            raise ValueError(
                f"extra_text has the name {name!r}; expected a plain file name, not ours."
            )
        files[name] = text.encode()
    files[MANIFEST] = _manifest_bytes(files, kind)
    try:
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        recover(target)
        check_replaceable(target, overwrite)
        _write_and_swap(target, files, overwrite)
    except OSError as error:
        reason = error.strerror or str(error).replace("\n", " ")
        cure = "free some space" if error.errno in _FULL else "check the path and its permissions"
        refused = CheckpointWriteError(
            f"could not write {sum(map(len, files.values())):,} bytes to {os.fspath(path)}: "
            f"{reason}. "
            f"Nothing was lost: what was there before is unchanged; {cure}, or choose another path."
        )
        refused.errno = error.errno
        raise refused from error


def read_folder(path: PathLike, *, kind: str = "model") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a checkpoint folder of this `kind`, checking every byte of every file that its manifest
    lists.

    Returns (config, tensors), tensors on the CPU with dtypes and shapes as written. While another
    process overwrites the folder, the result is the old or the new state, whole.

    Raises:
        CheckpointError: names the folder and the file at fault, what was expected, and what to do.
    """
    target = Path(os.path.realpath(path))
    place = _locate(target)
    for _ in range(_ATTEMPTS):
        try:
            return _read(place, os.fspath(path), kind)
        except CheckpointError:
            before, place = place, _locate(target)
            if place == before:  # else it was replaced under our eyes: read again
                raise
    raise CheckpointError(
        f"{os.fspath(path)} keeps being replaced by another process; try again later."
    )


def remove_folder(path: PathLike) -> None:
    """Remove a checkpoint folder, all at once; files in it that nelbo did not write stay, in a
    folder of that name.

    Raises:
        CheckpointError: It is not a folder that nelbo wrote.
        CheckpointWriteError: The system refused.
    """
    target = Path(os.path.realpath(path))
    try:
        recover(target)
        check_replaceable(target, overwrite=True)
        if target.is_dir():
            _write_and_swap(target, {}, overwrite=True)
            with contextlib.suppress(OSError):  # it is not empty: others' files are in it
                target.rmdir()
    except OSError as error:
        reason = error.strerror or str(error).replace("\n", " ")
        refused = CheckpointWriteError(
            f"could not remove {os.fspath(path)}: {reason}. Remove it by hand."
        )
        refused.errno = error.errno
        raise refused from error


def _check_json(value: Any, where: str) -> None:
    """Refuse, by place, what JSON would drop or change: foreign types, keys that are not strings,
    NaN.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}; expected only strings as keys.")
            _check_json(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_json(item, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(
            f"{where} is {value}, which JSON cannot hold; expected a finite number or None."
        )
    elif value is not None and not isinstance(value, str | int | float):
        raise TypeError(
            f"{where} is a {type(value).__name__}; expected dict, list, str, number, bool or None."
        )


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=dict) + "\n"
    # Lone surrogates, as in undecodable file names, have no UTF-8: those alone are escaped, as JSON
    # has it.
    return text.encode(errors="backslashreplace")


def _tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    stored = {}
    for name, tensor in tensors.items():
        # which safetensors keeps for itself
        if not isinstance(name, str) or name == "__metadata__":
            raise ValueError(f"tensors has the name {name!r}; expected another string.")
        if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.is_meta:
            raise TypeError(
                f"tensors[{name!r}] is a {type(tensor).__name__}; expected a dense torch.Tensor."
            )
        # A fresh copy each: safetensors refuses tensors that share storage (tied weights) or have
        # gaps.
        stored[name] = (
            tensor.detach().cpu().resolve_conj().clone(memory_format=torch.contiguous_format)
        )
    try:
        return safetensors.torch.save(stored)
    except (SafetensorError, KeyError, ValueError) as error:
        raise TypeError(f"tensors cannot be stored ({error}); expected other dtypes.") from error


def _manifest_bytes(files: Mapping[str, bytes], kind: str) -> bytes:
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "schema_version": SCHEMA_VERSION,
        "nelbo_version": __version__,
        "files": {
            name: {"sha256": _sha256(data), "bytes": len(data)} for name, data in files.items()
        },
    }
    return _json_bytes(manifest | {"sha256": _sha256(_json_bytes(manifest))})


def _is_plain(name: object) -> bool:  # that is, can only mean a file directly in the folder
    return (
        isinstance(name, str) and name not in ("", ".") and re.search(r"[/\\\0]|\.\.", name) is None
    )


def check_replaceable(target: Path, overwrite: bool) -> None:
    """Refuse a place where no folder may be put.

    Raises:
        CheckpointError: It is a file, the current directory, or a folder that may not be replaced.
    """
    try:
        found = target.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise CheckpointError(f"{target} is a file, not a folder; choose another path.")
    with contextlib.suppress(FileNotFoundError):  # the working directory itself may be gone
        if target in (Path.cwd(), *Path.cwd().parents):
            # Replacing it would leave the user's shell in a folder that no longer exists.
            raise CheckpointError(
                f"{target} is or holds the current directory; name another, such as ./run."
            )
    if not any(target.iterdir()):
        return
    if not overwrite:
        raise CheckpointError(
            f"{target} is not empty; choose another path, or --overwrite / overwrite=True."
        )
    # (Unless it is not the folder we looked at, but one that another writer has just put there.)
    if _own_files(target) is None and target.stat().st_ino == found.st_ino:
        raise CheckpointError(
            f"{target} is not a nelbo folder (no {MANIFEST}); choose another path."
        )


def _own_files(folder: Path) -> set[str] | None:
    """Names of the files that nelbo wrote into `folder`; None if `folder` is not a nelbo folder."""
    try:
        manifest = _parse_json(_read_bytes(folder / MANIFEST, str(folder)), MANIFEST)
    except CheckpointError:
        return None
    files = manifest.get("files")
    own = {CONFIG, TENSORS, MANIFEST, *(files if isinstance(files, dict) else ())}
    return own if manifest.get("format") == FORMAT else None


def _write_and_swap(target: Path, files: Mapping[str, bytes], overwrite: bool) -> None:
    stem = f"{_stem(target)}{_HOST}-{os.getpid()}-{secrets.token_hex(4)}"
    new, old = target.with_name(stem + ".new"), target.with_name(stem + ".old")
    try:
        new.mkdir()
        for name, data in files.items():
            (new / name).write_bytes(data)
            _fsync(new / name)
        if target.is_dir():
            _carry_over(target, new)
        _fsync(new)
        _swap(new, old, target, overwrite)
        _fsync(target.parent)
    finally:
        _settle(new, old, target)


def _fsync(path: Path) -> None:
    if os.name == "nt":  # cannot do this
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _carry_over(source: Path, destination: Path) -> None:
    """Bring along what is in `source` but is not nelbo's."""
    own = (_own_files(source) or set()) | {entry.name for entry in destination.iterdir()}
    for entry in (entry for entry in source.iterdir() if entry.name not in own):
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, destination / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, destination / entry.name, follow_symlinks=False)


def _swap(new: Path, old: Path, target: Path, overwrite: bool) -> None:
    for _ in range(_ATTEMPTS):
        try:
            # all at once; succeeds only if `target` is missing or an empty folder
            os.rename(new, target)
            return
        except OSError as error:
            if not overwrite or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise  # without `overwrite`: another process has just made a folder there
        # from the last round, when another writer came in between
        shutil.rmtree(old, ignore_errors=True)
        # another writer has just set it aside: try again
        with contextlib.suppress(FileNotFoundError):
            os.rename(target, old)
    raise OSError(errno.EBUSY, "another process keeps replacing the folder")


def _settle(new: Path, old: Path, target: Path) -> None:
    """End a write, finished or not: put `old` back if nothing took its place, remove what is left
    over.
    """
    if new.exists() and old.exists() and not os.path.lexists(target):
        with contextlib.suppress(OSError):
            os.rename(old, target)
        if old.exists() and not os.path.lexists(target):
            return  # not allowed to here: keep the only copy; read_folder finds it where it is
    # `old` first: `new` beside it is the sign that `old` is still wanted, which must never be half
    # true.
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(new, ignore_errors=True)


# with a digest, so that the longest name allowed leaves room for siblings
def _stem(target: Path) -> str:
    return f".nelbo-{_sha256(os.fsencode(target.name))[:12]}-"


def is_alive(pid: int) -> bool:
    """Return whether there is a process of this number."""
    try:
        if os.name != "nt":  # where signal 0 would end the process
            os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def recover(target: Path) -> Path | None:
    """Settle what dead writers of `target` left; return the folder that a living one has set
    aside.
    """
    aside, prefix = None, _stem(target)
    with contextlib.suppress(OSError, ValueError):
        names = [name for name in os.listdir(target.parent) if name.startswith(prefix)]
        for stem in {name.removesuffix(".new").removesuffix(".old") for name in names}:
            machine, pid, _token = stem.removeprefix(prefix).split("-")
            new, old = target.with_name(stem + ".new"), target.with_name(stem + ".old")
            # ctime, since a rename sets it: the mtime of `old` is as old as its contents.
            changed = max(
                (path.stat().st_ctime for path in (new, old) if path.exists()), default=0.0
            )
            if time.time() - changed > _STALE_SECONDS or (
                machine == _HOST and not is_alive(int(pid))
            ):
                _settle(new, old, target)
            if new.exists() and old.exists():
                aside = old
    return aside


def _locate(target: Path) -> tuple[Path, int]:
    """The folder that holds the state of `target` now, and which it is (0 if there is none)."""
    # Put back by recover; or else, if its writer lives or we may not rename here, read where it is.
    aside = None if os.path.exists(target) else recover(target)
    for folder in (target, aside or target):
        # an inode alone is soon used again; a rename sets the ctime
        with contextlib.suppress(OSError):
            return folder, (found := folder.stat()).st_ino << 64 | found.st_ctime_ns
    return target, 0


def _read(
    place: tuple[Path, int], shown: str, kind: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    folder, inode = place
    if not folder.is_dir():
        found = "is a file" if inode else "no such folder"
        raise CheckpointError(
            f"{shown}: {found}; check the path, expected a folder that nelbo wrote."
        )
    listed = _read_manifest(folder, shown, kind)
    files = {name: _read_bytes(folder / name, shown, entry or {}) for name, entry in listed.items()}
    config = _parse_json(files[CONFIG], f"{shown}: {CONFIG}")
    try:
        tensors = safetensors.torch.load(files[TENSORS])
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{shown}: {TENSORS} is not a safetensors file ({error}); {_CURE}"
        ) from error
    return config, tensors


def _read_manifest(folder: Path, shown: str, kind: str) -> dict[str, Any]:
    """The checked table of files: name -> {"sha256", "bytes"}."""
    where = f"{shown}: {MANIFEST}"
    raw = _read_bytes(folder / MANIFEST, shown)
    manifest = _parse_json(raw, where)
    if (found := manifest.get("format")) != FORMAT:
        raise CheckpointError(
            f"{where} has the format {found!r}, expected {FORMAT!r}: not a nelbo folder."
        )
    version = manifest.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise CheckpointError(
            f"{where}: written by a newer nelbo (schema {version}); upgrade nelbo."
        )
    listed = manifest.get("files")
    if not isinstance(listed, dict) or not {CONFIG, TENSORS} <= listed.keys():
        raise CheckpointError(f"{where} does not list {CONFIG} and {TENSORS}; {_CURE}")
    for name in listed:
        if not _is_plain(name) or name == MANIFEST:
            raise CheckpointError(f"{where} lists {name!r}; expected plain file names; {_CURE}")
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    whole = _json_bytes(body | {"sha256": _sha256(_json_bytes(body))})
    if raw != whole or version != SCHEMA_VERSION:
        raise CheckpointError(f"{where} was {_CHANGED}; {_CURE}")
    if (found := manifest.get("kind")) != kind:
        raise CheckpointError(f"{shown} holds a {found!r}, expected a {kind!r}; check the path.")
    return listed


def _read_bytes(path: Path, shown: str, entry: Any = None) -> bytes:
    """The bytes of one regular file, if they are those that the manifest's `entry` promises."""
    where = f"{shown}: {path.name}"
    size, digest = (
        (entry.get("bytes"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
    )
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited on for ever
            raise CheckpointError(f"{where} is not a regular file; {_CURE}")
        most = size if isinstance(size, int) else _LARGEST_MANIFEST
        if entry is not None and found.st_size < most:
            raise CheckpointError(
                f"{where} is truncated: {found.st_size} bytes, expected {size}; {_CURE}"
            )
        if found.st_size > most:  # not read: it may not fit into memory
            raise CheckpointError(
                f"{where} was {_CHANGED_SIZE}: {found.st_size} bytes, expected {most}; {_CURE}"
            )
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        reason = (
            "is missing" if error.errno == errno.ENOENT else f"cannot be read ({error.strerror})"
        )
        raise CheckpointError(f"{where} {reason}; {_CURE}") from error
    if entry is not None and (len(data), _sha256(data)) != (size, digest):
        raise CheckpointError(f"{where} was {_CHANGED}; {_CURE}")
    return data


def _parse_json(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data.decode())
        if not isinstance(value, dict):
            raise CheckpointError(
                f"{where} holds a {type(value).__name__}, expected a JSON object; {_CURE}"
            )
        _check_json(value, "it")  # Python takes NaN, and 1e999 for infinity
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} is not valid JSON ({error}); {_CURE}") from error
    return value
