"""Crash-safe state on disk: a folder is wholly the old one, wholly the new one, or refused by name.

A checkpoint is JSON and safetensors; nothing in it is ever executed (no pickle, no class paths):

    config.json          what to build: plain JSON, pretty, keys sorted
    model.safetensors    the numbers: dtypes and shapes as given
    manifest.json        format, kind, schema version; size and sha256 of every file, and its own
    README.md, ...       further texts, if passed

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
import functools
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from .. import __version__
from ..whole import sync

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


@dataclass(frozen=True)
class Form:
    """What a folder of nelbo's is made of: the names of its files, and what its manifest says."""

    format: str = "nelbo"
    version: int = 1
    """The version of the schema; a folder of a newer one is refused."""
    config: str = "config.json"
    tensors: str = "model.safetensors"
    manifest: str = "manifest.json"


@functools.cache
def host() -> str:
    """Return a word that stands for this machine."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class CheckpointError(ValueError):
    """A folder is absent, damaged, foreign, newer than this nelbo, or may not be overwritten."""


class CheckpointWriteError(OSError):
    """The system refused a write (full disk, no permission); what was there is untouched."""

    @classmethod
    def of(cls, error: OSError, message: str) -> CheckpointWriteError:
        """Return a message about a system's error that keeps its errno."""
        refused = cls(message)
        refused.errno = error.errno
        return refused


def _damaged(what: str) -> CheckpointError:
    """Return the error for a damaged folder, with its cure."""
    return CheckpointError(f"{what}; restore it from a copy, or fit and save again.")


def _absent(where: str) -> CheckpointError:
    """Return the error for a file that is not there: without its manifest a folder is no run."""
    if not where.endswith(Form.manifest):
        return _damaged(f"{where} is missing")
    return CheckpointError(
        f"{where} is missing: this is no folder that nelbo wrote, or a damaged one. Name the "
        "folder that fit wrote, or restore the file from a copy."
    )


def _changed(where: str) -> CheckpointError:
    """Return the error for a file that is not the one the manifest lists."""
    return _damaged(f"{where} was changed after it was written (its sha256 differs)")


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

    Arguments:
        path: The folder to make. A symbolic link is followed, and stays a link.
        config: Plain JSON values under string keys; tuples become lists, NaN and infinities are
            refused.
        tensors: Any shapes, dtypes, strides and devices; stored contiguous, read back on the CPU.
        kind: What the folder holds; `read_folder` must ask for the same.
        overwrite: Whether to replace an existing checkpoint.
        extra_text: Further files, name -> text, stored as UTF-8.

    Raises:
        CheckpointError: `path` is a file, or a non-empty folder that may not be replaced.
        CheckpointWriteError: The system refused (errno says why); nothing was changed.
        TypeError, ValueError: An argument cannot be stored.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"config is a {type(config).__name__}; expected a dict.")
    _check_json(config, "config")
    files = {Form.config: _json_bytes(config), Form.tensors: _tensor_bytes(tensors)}
    for name, text in (extra_text or {}).items():
        if not _is_plain(name) or name in (Form.config, Form.tensors, Form.manifest):
            raise ValueError(
                f"extra_text has the name {name!r}; expected a plain file name, not ours."
            )
        files[name] = text.encode()
    files[Form.manifest] = _manifest_bytes(files, kind)
    try:
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        recover(target)
        check_replaceable(target, overwrite)
        _write_and_swap(target, files, overwrite)
    except OSError as error:
        cure = "check the path and its permissions"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            cure = "free some space"
        size = sum(map(len, files.values()))
        raise CheckpointWriteError.of(
            error,
            f"could not write {size:,} bytes to {os.fspath(path)}: {_reason(error)}. Nothing was "
            f"lost: what was there before is unchanged; {cure}, or choose another path.",
        ) from error


def read_folder(
    path: PathLike, *, kind: str = "model", attempts: int = 100
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a checkpoint folder, checking every byte of every file that its manifest lists.

    While another process overwrites the folder, the result is the old or the new state, whole.

    Arguments:
        path: The folder.
        kind: What it was written as.
        attempts: How often to read it again because another process has just replaced it.

    Returns:
        config and tensors, these on the CPU with dtypes and shapes as written.

    Raises:
        CheckpointError: It names the folder and the file at fault, what was expected, and what to
            do.
    """
    target = Path(os.path.realpath(path))
    place = _locate(target)
    for _ in range(attempts):
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
    """Remove a checkpoint folder, all at once.

    Files in it that nelbo did not write stay, in a folder of the same name.

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
        raise CheckpointWriteError.of(
            error, f"could not remove {os.fspath(path)}: {_reason(error)}. Remove it by hand."
        ) from error


def _reason(error: OSError) -> str:
    """Return why the system refused."""
    return error.strerror or str(error).replace("\n", " ")


def _check_json(value: Any, where: str) -> None:
    """Refuse, by place, what JSON would drop or change: foreign types, odd keys, NaN."""
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
    """Return JSON that is the same for the same values: pretty, keys sorted."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=dict) + "\n"
    # Lone surrogates, as in undecodable file names, have no UTF-8: only those are escaped.
    return text.encode(errors="backslashreplace")


def _tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors as a safetensors file, or refuse what it cannot hold."""
    stored = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or name == "__metadata__":  # safetensors keeps that name
            raise ValueError(f"tensors has the name {name!r}; expected another string.")
        if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.is_meta:
            raise TypeError(
                f"tensors[{name!r}] is a {type(tensor).__name__}; expected a dense torch.Tensor."
            )
        # A copy of each: safetensors refuses tensors that share storage (tied weights) or have gaps
        plain = tensor.detach().cpu().resolve_conj()
        stored[name] = plain.clone(memory_format=torch.contiguous_format)
    try:
        return safetensors.torch.save(stored)
    except (SafetensorError, KeyError, ValueError) as error:
        raise TypeError(f"tensors cannot be stored ({error}); expected other dtypes.") from error


def _manifest_bytes(files: Mapping[str, bytes], kind: str) -> bytes:
    """Return the manifest of files that are about to be written."""
    manifest = {
        "format": Form.format,
        "kind": kind,
        "schema_version": Form.version,
        "nelbo_version": __version__,
        "files": {
            name: {"sha256": _sha256(data), "bytes": len(data)} for name, data in files.items()
        },
    }
    return _signed(manifest)


def _signed(manifest: dict[str, Any]) -> bytes:
    """Return the text of a manifest with its own sha256 in it."""
    return _json_bytes(manifest | {"sha256": _sha256(_json_bytes(manifest))})


def _is_plain(name: object) -> bool:
    """Return whether a name can only mean a file directly in the folder."""
    if not isinstance(name, str) or name in ("", "."):
        return False
    return re.search(r"[/\\\0]|\.\.", name) is None


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
            f"{target} is not a nelbo folder (no {Form.manifest}); choose another path."
        )


def _own_files(folder: Path) -> set[str] | None:
    """Return the names of nelbo's files in a folder; None if it is not a folder of nelbo's."""
    try:
        manifest = _parse_json(_read_bytes(folder / Form.manifest, str(folder)), Form.manifest)
    except CheckpointError:
        return None
    if manifest.get("format") != Form.format:
        return None
    files = manifest.get("files")
    if not isinstance(files, dict):
        files = {}
    return {Form.config, Form.tensors, Form.manifest, *files}


def _write_and_swap(target: Path, files: Mapping[str, bytes], overwrite: bool) -> None:
    """Write files into a new folder, and put it in the place of the old one."""
    stem = f"{_stem(target)}{host()}-{os.getpid()}-{secrets.token_hex(4)}"
    new, old = target.with_name(stem + ".new"), target.with_name(stem + ".old")
    try:
        new.mkdir()
        for name, data in files.items():
            (new / name).write_bytes(data)
            sync(new / name)
        if target.is_dir():
            _carry_over(target, new)
        sync(new)
        _swap(new, old, target, overwrite)
        sync(target.parent)
    finally:
        _settle(new, old, target)


def _carry_over(source: Path, destination: Path) -> None:
    """Copy what is in `source` but is not nelbo's."""
    own = (_own_files(source) or set()) | {entry.name for entry in destination.iterdir()}
    for entry in (entry for entry in source.iterdir() if entry.name not in own):
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, destination / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, destination / entry.name, follow_symlinks=False)


def _swap(new: Path, old: Path, target: Path, overwrite: bool, attempts: int = 100) -> None:
    """Put `new` in the place of `target`; another process may be doing the same."""
    for _ in range(attempts):
        try:
            os.rename(new, target)  # succeeds only if `target` is missing or an empty folder
            return
        except OSError as error:
            if not overwrite or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise  # without `overwrite`: another process has just made a folder there
        # of the last round, in which another writer came in between
        shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):  # another writer has just set it aside
            os.rename(target, old)
    raise OSError(errno.EBUSY, "another process keeps replacing the folder")


def _settle(new: Path, old: Path, target: Path) -> None:
    """End a write, finished or not: put `old` back if nothing took its place, and clean up."""
    if new.exists() and old.exists() and not os.path.lexists(target):
        with contextlib.suppress(OSError):
            os.rename(old, target)
        if old.exists() and not os.path.lexists(target):
            return  # not allowed to here: keep the only copy; read_folder finds it where it is
    # `old` first, since `new` beside it is the sign that all of `old` is still wanted
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(new, ignore_errors=True)


def _stem(target: Path) -> str:
    """Return how siblings begin: with a digest, as the name itself may be as long as is allowed."""
    return f".nelbo-{_sha256(os.fsencode(target.name))[:12]}-"


def is_alive(pid: int) -> bool:
    """Return whether there is a process of this number."""
    try:
        if os.name != "nt":  # where signal 0 would end the process
            os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def recover(target: Path, stale: float = 24 * 3600.0) -> Path | None:
    """Settle what dead writers left.

    Arguments:
        target: The folder they wrote.
        stale: Seconds after which a writer is taken for dead, on whatever machine it ran: no write
            lasts a day.

    Returns:
        The folder that a living writer has set aside; None where there is none.
    """
    aside, prefix = None, _stem(target)
    with contextlib.suppress(OSError, ValueError):
        names = [name for name in os.listdir(target.parent) if name.startswith(prefix)]
        for stem in {name.removesuffix(".new").removesuffix(".old") for name in names}:
            machine, pid, _token = stem.removeprefix(prefix).split("-")
            new, old = target.with_name(stem + ".new"), target.with_name(stem + ".old")
            # the time of the rename (the mtime of `old` is as old as its contents)
            changed = max(
                (path.stat().st_ctime for path in (new, old) if path.exists()), default=0.0
            )
            dead = machine == host() and not is_alive(int(pid))
            if dead or time.time() - changed > stale:
                _settle(new, old, target)
            if new.exists() and old.exists():
                aside = old
    return aside


def _locate(target: Path) -> tuple[Path, int]:
    """Return the folder that holds the state of `target` now, and which it is (0: none)."""
    aside = None
    if not os.path.exists(target):
        # put back, or read where it is: its writer lives, or we may not rename here
        aside = recover(target)
    for folder in (target, aside or target):
        # an inode alone is soon used again; a rename sets the ctime
        with contextlib.suppress(OSError):
            return folder, (found := folder.stat()).st_ino << 64 | found.st_ctime_ns
    return target, 0


def _read(
    place: tuple[Path, int], shown: str, kind: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a folder holds, after all checks."""
    folder, inode = place
    if not folder.is_dir():
        found = ("no such folder", "is a file")[inode != 0]
        raise CheckpointError(
            f"{shown}: {found}; check the path, expected a folder that nelbo wrote."
        )
    listed = _read_manifest(folder, shown, kind)
    files = {name: _read_bytes(folder / name, shown, entry or {}) for name, entry in listed.items()}
    config = _parse_json(files[Form.config], f"{shown}: {Form.config}")
    try:
        tensors = safetensors.torch.load(files[Form.tensors])
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _damaged(f"{shown}: {Form.tensors} is not a safetensors file ({error})") from error
    return config, tensors


def _read_manifest(folder: Path, shown: str, kind: str) -> dict[str, Any]:
    """Return the checked table of files: name -> {"sha256", "bytes"}."""
    where = f"{shown}: {Form.manifest}"
    raw = _read_bytes(folder / Form.manifest, shown)
    manifest = _parse_json(raw, where)
    _check_format(manifest, where)
    listed = manifest.get("files")
    if not isinstance(listed, dict) or not {Form.config, Form.tensors} <= listed.keys():
        raise _damaged(f"{where} does not list {Form.config} and {Form.tensors}")
    for name in listed:
        if not _is_plain(name) or name == Form.manifest:
            raise _damaged(f"{where} lists {name!r}; expected plain file names")
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    if raw != _signed(body) or manifest.get("schema_version") != Form.version:
        raise _changed(where)
    if (found := manifest.get("kind")) != kind:
        raise CheckpointError(f"{shown} holds a {found!r}, expected a {kind!r}; check the path.")
    return listed


def _check_format(manifest: Mapping[str, Any], where: str) -> None:
    """Refuse what another program wrote, or a newer nelbo."""
    if (found := manifest.get("format")) != Form.format:
        raise CheckpointError(
            f"{where} has the format {found!r}, expected {Form.format!r}: not a nelbo folder."
        )
    version = manifest.get("schema_version")
    if isinstance(version, int) and version > Form.version:
        raise CheckpointError(
            f"{where}: written by a newer nelbo (schema {version}); upgrade nelbo."
        )


def _read_bytes(path: Path, shown: str, entry: Any = None, most: int = 2**24) -> bytes:
    """Return the bytes of one regular file, if they are those that the manifest promises.

    Arguments:
        path: The file.
        shown: The folder, as the user named it.
        entry: What the manifest says of the file; None for the manifest itself.
        most: Bytes to read at most of a file whose size is not known.
    """
    where = f"{shown}: {path.name}"
    size, digest = None, None
    if isinstance(entry, dict):
        size, digest = entry.get("bytes"), entry.get("sha256")
    if isinstance(size, int):
        most = size
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited on for ever
            raise _damaged(f"{where} is not a regular file")
        if entry is not None and found.st_size < most:
            raise _damaged(f"{where} is truncated: {found.st_size} bytes, expected {size}")
        if found.st_size > most:  # not read: it may not fit into memory
            raise _damaged(
                f"{where} was changed after it was written (it is larger): {found.st_size} bytes, "
                f"expected {most}"
            )
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError as error:
        raise _absent(where) from error
    except OSError as error:
        raise _damaged(f"{where} cannot be read ({error.strerror})") from error
    if entry is not None and (len(data), _sha256(data)) != (size, digest):
        raise _changed(where)
    return data


def _parse_json(data: bytes, where: str) -> dict[str, Any]:
    """Return a JSON object, or refuse what is none."""
    try:
        value = json.loads(data.decode())
        if not isinstance(value, dict):
            raise _damaged(f"{where} holds a {type(value).__name__}, expected a JSON object")
        _check_json(value, "it")  # Python takes NaN, and 1e999 for infinity
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise _damaged(f"{where} is not valid JSON ({error})") from error
    return value
