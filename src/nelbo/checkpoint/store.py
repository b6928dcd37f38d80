"""Where a fit in progress keeps its state, so that it survives a kill.

A fit may train several times, one phase after the other. The folder holds the state of the phase
under way, and what came of those that are finished:

    config.json          fingerprint, phase, state, earlier (name -> state), complete
    model.safetensors    tensors of the phase under way, and of earlier ones as "earlier.PHASE.NAME"

A resumed fit goes through all its phases again: those that are finished return their result at
once, so that everything decided between them is decided again, with the same outcome. The state of
a complete fit is kept, too, until its model is saved.
"""

from __future__ import annotations

__all__ = ["Folder", "check_free", "exists"]

import contextlib
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from .folder import (
    CheckpointError,
    check_replaceable,
    read_folder,
    recover,
    remove_folder,
    write_folder,
)
from .lock import locked

State = tuple[dict[str, Any], dict[str, Tensor]]


class Folder:
    """The state of one fit in a folder.

    The folder, and each of its phases, is a `nelbo.training.Store`. As a context manager it keeps
    other fits away, and raises at once what would otherwise come to light after hours: that the
    folder cannot be written, holds something else, or belongs to another fit.

    Arguments:
        path: The folder, made when there is something to save.
        fingerprint: What identifies the fit (its configuration and data). A state with another
            fingerprint is refused, unless its fit is complete; then it is replaced.
    """

    kind = "training state"
    """What the folder is written as."""

    def __init__(self, path: str | os.PathLike[str], fingerprint: str) -> None:
        self.path = os.fspath(path)
        self.fingerprint = fingerprint
        self.complete = False
        self._stack = contextlib.ExitStack()
        self._done: dict[str, State] = {}
        self._going: tuple[str, State] | None = None
        self._opened = False

    def __enter__(self) -> Folder:
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self.path))
            check_replaceable(Path(os.path.realpath(self.path)), overwrite=True)
            self._open()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def phase(self, name: str = "training") -> Phase:
        """Return where a phase of the fit keeps its state; the first is called "training"."""
        return Phase(self, name)

    def load(self) -> State | None:
        """Return the state of the first phase, or None where there is none.

        Raises:
            CheckpointError: The folder is damaged, or holds the state of another run.
        """
        return self.phase().load()

    def save(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Replace the state of the first phase, all or nothing.

        Raises:
            CheckpointError: The folder holds something else than a run's state.
            CheckpointWriteError: The system refused; the last state is unchanged.
        """
        self.phase().save(config, tensors)

    def finish(self) -> None:
        """Mark the fit as complete, with the results of all its phases.

        Raises:
            CheckpointError, CheckpointWriteError: As `save`.
        """
        if self._done and not self.complete:
            name, state = list(self._done.items())[-1]
            self._write(name, *state, complete=True)
            self.complete = True

    def clear(self) -> None:
        """Remove the state, once the result of the fit is kept elsewhere.

        Files that others put into the folder stay.

        Raises:
            CheckpointError: It is damaged, another run's, or in use by another fit.
        """
        with locked(self.path):
            self._opened = False
            if self._open():
                remove_folder(self.path)

    def refuse(self, why: str) -> CheckpointError:
        """Return the error for a state that cannot be resumed."""
        return CheckpointError(
            f"{self.path}: {why}. Restore it from a copy, or delete the folder to start anew."
        )

    @property
    def threads(self) -> int | None:
        """The number of threads that the fit began with, where there is a state that says so."""
        states = [*self._done.values()]
        if self._going is not None:
            states.append(self._going[1])
        for config, _ in states:
            count = config.get("threads")
            if type(count) is int and 0 < count < 4096:  # which no machine has
                return count
        return None

    def _open(self) -> bool:
        """Take up what the folder holds; return whether it is the state of this fit."""
        if self._opened:
            return bool(self._done or self._going)
        if not exists(self.path):
            self._opened = True
            return False
        config, tensors = read_folder(self.path, kind=self.kind)
        mine = config.get("fingerprint") == self.fingerprint
        if not mine and config.get("complete") is not True:
            raise CheckpointError(
                f"{self.path} holds the state of a run with other data or options. Repeat those to "
                "resume it, or delete the folder to start anew."
            )
        self._opened = True
        if not mine:
            return False
        self._take(config, tensors)
        return True

    def _take(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Sort what was read by phase."""
        complete, phase, states = config.get("complete"), config.get("phase"), config.get("earlier")
        own: Any = config.get("state")
        if (
            not isinstance(complete, bool)
            or not isinstance(phase, str)
            or not isinstance(states, dict)
        ):
            raise self.refuse(
                "config.json is not a training state: complete, phase or earlier is missing or odd"
            )
        if not all(isinstance(state, dict) for state in (own, *states.values())) or phase in states:
            raise self.refuse("config.json is not a training state: its states are odd")
        for name, state in states.items():
            prefix = _prefix(name)
            keys = [key for key in tensors if key.startswith(prefix)]
            self._done[name] = (state, {key.removeprefix(prefix): tensors.pop(key) for key in keys})
        self.complete = complete
        if own.get("finished") is True:
            self._done[phase] = (own, tensors)
        else:
            self._going = (phase, (own, tensors))

    def _load(self, name: str) -> State | None:
        """Return the state of a phase, finished or under way."""
        self._open()
        if self._going is not None and self._going[0] == name:
            (_, state), self._going = self._going, None  # handed on once: it is large
            return state
        return self._done.get(name)

    def _save(self, name: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Replace the state of a phase."""
        self.complete = False
        if config.get("finished") is True:
            self._done[name] = (config, tensors)
        self._write(name, config, tensors)

    def _write(
        self, name: str, config: dict[str, Any], tensors: dict[str, Tensor], complete: bool = False
    ) -> None:
        """Write the state of a phase, with those of all finished ones."""
        earlier = {other: state for other, state in self._done.items() if other != name}
        whole = {
            "fingerprint": self.fingerprint,
            "phase": name,
            "state": config,
            "earlier": {other: state[0] for other, state in earlier.items()},
            "complete": complete,
        }
        named = {
            _prefix(other) + key: value
            for other, state in earlier.items()
            for key, value in state[1].items()
        }
        write_folder(self.path, whole, tensors | named, kind=self.kind, overwrite=True)


def _prefix(phase: str) -> str:
    """Return what precedes the names of an earlier phase's tensors."""
    return f"earlier.{phase}."


class Phase:
    """One training of a fit that has several: a `nelbo.training.Store`.

    Arguments:
        folder: The fit's folder.
        name: The training's name.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self.name = folder, name

    def load(self) -> State | None:
        """Return the state of this phase, or None where there is none.

        Raises:
            CheckpointError: The folder is damaged, or holds the state of another run.
        """
        return self.folder._load(self.name)

    def save(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Replace the state, all or nothing; the results of earlier phases are kept beside it.

        Raises:
            CheckpointError: The folder holds something else than a run's state.
            CheckpointWriteError: The system refused; the last state is unchanged.
        """
        self.folder._save(self.name, config, tensors)

    def refuse(self, why: str) -> CheckpointError:
        """Return the error for a state that cannot be resumed."""
        return self.folder.refuse(f"{self.name}: {why}")


def exists(path: str | os.PathLike[str]) -> bool:
    """Return whether there is something in a folder.

    What a killed writer has set aside is put back first.
    """
    target = Path(os.path.realpath(path))
    folder = recover(target)
    if os.path.lexists(target):
        folder = target
    try:
        return folder is not None and (not folder.is_dir() or any(folder.iterdir()))
    except OSError:
        return True


def check_free(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Raise at once what `write_folder` would raise later, after hours of training.

    Raises:
        CheckpointError: It is a file, or a folder that may not be replaced.
        PermissionError, NotADirectoryError: No folder can be made there.
    """
    target = Path(os.path.realpath(path))
    check_replaceable(target, overwrite)
    parent = next(folder for folder in target.parents if os.path.lexists(folder))
    if not parent.is_dir():
        raise NotADirectoryError(
            f"{parent} is a file, so {os.fspath(path)} cannot be made there; choose another path."
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(
            f"{parent} is not writable, so {os.fspath(path)} cannot be made; choose another path."
        )
