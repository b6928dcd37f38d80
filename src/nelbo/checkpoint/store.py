"""Where a fit in progress keeps its state, so that it survives a kill.

A fit may train several times, one phase after the other. The folder holds the state of the phase
under way, and what came of those that are finished:

    config.json          fingerprint, phase, state, earlier (name -> state), complete
    model.safetensors    tensors of the phase under way; of an earlier one, "earlier.PHASE." before
    their names

A fit that is resumed goes through all its phases again: those that are finished give back at once
what they came to, so that everything decided between them is decided again, with the same result. A
fit that is complete is kept, too, until its model is saved.
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

KIND = "training state"
FIRST = "training"
EARLIER = "earlier"
MANY = 4096
"""Threads that no machine has."""

State = tuple[dict[str, Any], dict[str, Tensor]]


class Folder:
    """The state of one fit in a folder. Itself, and each of its phases, is a
    `nelbo.training.Store`.

    As a context manager it keeps other fits away, and says at once what would come to light after
    hours: that the folder cannot be written, is no state's, or is another fit's.

    Arguments:
        path: The folder, made when there is something to save.
        fingerprint: What the fit is (its configuration and data): a state with another one is
            refused, unless its fit is complete; then it is replaced.
    """

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

    def phase(self, name: str) -> Phase:
        """Return where a phase of the fit keeps its state."""
        return Phase(self, name)

    def load(self) -> State | None:
        """Return the state of the first phase, or None where there is none.

        Raises:
            CheckpointError: The folder is damaged, or holds the state of another run.
        """
        return self.phase(FIRST).load()

    def save(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Replace the state of the first phase, all or nothing.

        Raises:
            CheckpointError: The folder holds something else than a run's state.
            CheckpointWriteError: The system refused; the last state is unchanged.
        """
        self.phase(FIRST).save(config, tensors)

    def finish(self) -> None:
        """Mark the fit as complete, with all that its phases came to.

        Raises:
            CheckpointError, CheckpointWriteError: As `save`.
        """
        if self._done and not self.complete:
            name, state = list(self._done.items())[-1]
            self._write(name, *state, complete=True)
            self.complete = True

    def clear(self) -> None:
        """Remove the state, once what it is for is kept elsewhere. Files that others put there
        stay.

        Raises:
            CheckpointError: It is damaged, another run's, or in use by another fit.
        """
        with locked(self.path):
            self._opened = False
            if self._open():
                remove_folder(self.path)

    def refuse(self, why: str) -> CheckpointError:
        """Return the error that a state which cannot be gone on with is refused by."""
        return CheckpointError(
            f"{self.path}: {why}. Restore it from a copy, or delete the folder to start anew."
        )

    @property
    def threads(self) -> int | None:
        """The number of threads that the fit began with, where there is a state that says so."""
        states = [*self._done.values(), *([] if self._going is None else [self._going[1]])]
        found = [config.get("threads") for config, _ in states]
        return next(
            (n for n in found if isinstance(n, int) and not isinstance(n, bool) and 0 < n < MANY),
            None,
        )

    def _open(self) -> bool:
        """Take up what the folder holds; return whether it is the state of this fit."""
        if self._opened:
            return bool(self._done or self._going)
        if not exists(self.path):
            self._opened = True
            return False
        config, tensors = read_folder(self.path, kind=KIND)
        mine = config.get("fingerprint") == self.fingerprint
        if not mine and config.get("complete") is not True:
            raise CheckpointError(
                f"{self.path} holds the state of a run with other data or options. Repeat those to "
                "resume it, "
                "or delete the folder to start anew."
            )
        self._opened = True
        if not mine:
            return False
        self._take(config, tensors)
        return True

    def _take(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Part what was read by phase."""
        complete, phase, states = config.get("complete"), config.get("phase"), config.get(EARLIER)
        own: Any = config.get("state")
        if (
            not isinstance(complete, bool)
            or not isinstance(phase, str)
            or not isinstance(states, dict)
        ):
            raise self.refuse(
                "config.json is no state of training: complete, phase or earlier is missing or odd"
            )
        if not all(isinstance(state, dict) for state in (own, *states.values())) or phase in states:
            raise self.refuse("config.json is no state of training: its states are odd")
        for name, state in states.items():
            prefix = f"{EARLIER}.{name}."
            found = {key: tensors.pop(key) for key in list(tensors) if key.startswith(prefix)}
            self._done[name] = (
                state,
                {key.removeprefix(prefix): value for key, value in found.items()},
            )
        self.complete = complete
        if own.get("finished") is True:
            self._done[phase] = (own, tensors)
        else:
            self._going = (phase, (own, tensors))

    def _load(self, name: str) -> State | None:
        self._open()
        if self._going is not None and self._going[0] == name:
            (_, state), self._going = self._going, None  # handed on once: it is large
            return state
        return self._done.get(name)

    def _save(self, name: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.complete = False
        if config.get("finished") is True:
            self._done[name] = (config, tensors)
        self._write(name, config, tensors)

    def _write(
        self, name: str, config: dict[str, Any], tensors: dict[str, Tensor], complete: bool = False
    ) -> None:
        earlier = {other: state for other, state in self._done.items() if other != name}
        whole = {
            "fingerprint": self.fingerprint,
            "phase": name,
            "state": config,
            EARLIER: {other: state[0] for other, state in earlier.items()},
            "complete": complete,
        }
        named = {
            f"{EARLIER}.{other}.{key}": t
            for other, state in earlier.items()
            for key, t in state[1].items()
        }
        write_folder(self.path, whole, tensors | named, kind=KIND, overwrite=True)


class Phase:
    """One training of a fit that has several: a `nelbo.training.Store`.

    Arguments:
        folder: Of the fit.
        name: Of the training.
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
        """Replace the state, all or nothing; what earlier phases came to is kept beside it.

        Raises:
            CheckpointError: The folder holds something else than a run's state.
            CheckpointWriteError: The system refused; the last state is unchanged.
        """
        self.folder._save(self.name, config, tensors)

    def refuse(self, why: str) -> CheckpointError:
        """Return the error that a state which cannot be gone on with is refused by."""
        return self.folder.refuse(f"{self.name}: {why}")


def exists(path: str | os.PathLike[str]) -> bool:
    """Return whether there is something in a folder, once what a killed writer has set aside is put
    back.
    """
    target = Path(os.path.realpath(path))
    aside = recover(target)
    folder = target if os.path.lexists(target) else aside
    try:
        return folder is not None and (not folder.is_dir() or any(folder.iterdir()))
    except OSError:
        return True


def check_free(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Say at once whether `write_folder` would refuse this path later, after hours of training.

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
