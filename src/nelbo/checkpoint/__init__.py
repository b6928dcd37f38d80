"""Crash-safe state on disk: JSON, safetensors and checksums; nothing in a file is ever executed."""

from __future__ import annotations

from .folder import CheckpointError, CheckpointWriteError, read_folder, remove_folder, write_folder
from .lock import locked
from .store import Folder, check_free, exists

__all__ = [
    "CheckpointError",
    "CheckpointWriteError",
    "Folder",
    "check_free",
    "exists",
    "locked",
    "read_folder",
    "remove_folder",
    "write_folder",
]
