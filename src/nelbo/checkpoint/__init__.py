"""Crash-safe state on disk: JSON, safetensors and checksums; nothing in a file is ever executed."""

from __future__ import annotations

from .folder import CheckpointError, CheckpointWriteError, read_folder, write_folder
from .store import Folder, check_free

__all__ = ["CheckpointError", "CheckpointWriteError", "Folder", "check_free", "read_folder", "write_folder"]
