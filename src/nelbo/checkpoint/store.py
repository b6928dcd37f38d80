"""Where a run in progress keeps its state, so that it survives a kill."""

from __future__ import annotations

__all__ = ["Folder", "check_free"]

import os
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from .folder import CheckpointError, _check_replaceable, read_folder, write_folder

KIND = "training state"


class Folder:
    """The state of one run in a folder; a `nelbo.training.Store`.

    Arguments:
        path: The folder, made when there is something to save.
        fingerprint: What the run is (its configuration and data): a state with another one is refused.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: str) -> None:
        self.path = os.fspath(path)
        self.fingerprint = fingerprint

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Return the state saved last, or None where there is none.

        Raises:
            CheckpointError: The folder is damaged, or holds the state of another run.
        """
        if not os.path.isdir(self.path) or not os.listdir(self.path):
            return None
        config, tensors = read_folder(self.path, kind=KIND)
        if config.get("fingerprint") != self.fingerprint:
            raise CheckpointError(
                f"{self.path} holds the state of a run with other data or options. Repeat those to resume it, "
                "or delete the folder to start anew."
            )
        return config["state"], tensors

    def save(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Replace the state, all or nothing.

        Raises:
            CheckpointError: The folder holds something else than a run's state.
            CheckpointWriteError: The system refused; the last state is unchanged.
        """
        state = {"fingerprint": self.fingerprint, "state": config}
        write_folder(self.path, state, tensors, kind=KIND, overwrite=True)

    def clear(self) -> None:
        """Remove the state of a run that is finished."""
        if self.load() is not None:
            shutil.rmtree(self.path)


def check_free(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Say at once whether `write_folder` would refuse this path later, after hours of training.

    Raises:
        CheckpointError: It is a file, or a folder that may not be replaced.
        PermissionError, NotADirectoryError: No folder can be made there.
    """
    target = Path(os.path.realpath(path))
    _check_replaceable(target, overwrite)
    parent = next(folder for folder in target.parents if os.path.lexists(folder))
    if not parent.is_dir():
        raise NotADirectoryError(f"{parent} is a file, so {os.fspath(path)} cannot be made there; choose another path.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{parent} is not writable, so {os.fspath(path)} cannot be made; choose another path.")
