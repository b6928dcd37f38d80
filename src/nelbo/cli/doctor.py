"""`nelbo doctor`: what nelbo runs on, and what of it makes fits slower than they need be."""

from __future__ import annotations

__all__ = ["doctor"]

import json
import os
import platform
import shutil
from importlib import metadata
from typing import Any

from .. import __version__, spin
from .flags import Json

WITH = ("torch", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "pillow", "matplotlib")
"""Packages whose versions are told; some are optional."""
LITTLE = 2**30
"""Bytes of free disk below which it is worth a note: a run takes some megabytes, its checkpoints a
few times that.
"""
WAITING = {
    "nelbo": "brief: nelbo has set it, before torch was imported",
    "user": "as you have set it",
    "torch": "long, torch's own: torch was imported before nelbo",
}


def doctor(*, as_json: Json = False) -> None:
    """Say what nelbo runs on: versions, processors, threads and how they wait, device, precision,
    free disk.

    Parameters
    ----------
    as_json
        Print one JSON object.
    """
    found = examine()
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
        return
    rows = [
        (name.replace("_", " "), _told(value)) for name, value in found.items() if name != "notes"
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {text}" for name, text in rows]
    notes = [f"Note: {note}" for note in found["notes"]]
    print("\n".join([*lines, "", *(notes or ["Nothing to mend."])]))


def examine() -> dict[str, Any]:
    """Return what is there as JSON types, and what to say about it as ``notes``."""
    import torch

    from ..training.precision import has_bfloat16, resolve_device

    device = resolve_device("auto")
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    found: dict[str, Any] = {
        "nelbo": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in WITH},
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0,
        "threads": torch.get_num_threads(),
        "openmp": _openmp(),
        "waiting": WAITING[spin.in_force()],
        "settings": {name: os.environ[name] for name in _SETTINGS if name in os.environ},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "bfloat16": has_bfloat16(device),
        "free_disk": shutil.disk_usage(".").free,
    }
    return {**found, "notes": _notes(found)}


_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", *spin.USERS)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _openmp() -> str:
    """Return the OpenMP library that torch was built with."""
    import threadpoolctl

    loaded = [one for one in threadpoolctl.threadpool_info() if one["user_api"] == "openmp"]
    ours = [one for one in loaded if "torch" in one["filepath"]] or loaded
    return str(ours[0]["prefix"]) if ours else "unknown"


def _notes(found: dict[str, Any]) -> list[str]:
    notes = []
    if found["threads"] > found["cores"]:
        notes.append(
            f"{found['threads']} threads on {found['cores']} cores wait for each other. Set "
            "OMP_NUM_THREADS="
            f"{found['cores']}."
        )
    if found["load"] > 0.5 * found["cores"] and found["threads"] > 1:
        notes.append(
            f"Other processes are at work here (load {found['load']:g} on {found['cores']} cores), "
            "and threads that "
            "share cores with them wait for each other. OMP_NUM_THREADS=1 may be quicker."
        )
    if spin.in_force() == "torch":
        notes.append(
            "Fits beside other processes are slow: torch was imported before nelbo. Import nelbo "
            "first, or set "
            f"{' and '.join(f'{name}={value}' for name, value in spin.SHORT.items())} before "
            "Python starts."
        )
    if found["free_disk"] < LITTLE:
        notes.append(
            "Little disk is left here for runs and their checkpoints. Make room, or choose another "
            "folder."
        )
    return notes


def _told(value: Any) -> str:
    """Return a value as people read it."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={setting}" for name, setting in value.items()) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not installed"}[value]
    return f"{value / 2**30:.1f} GiB" if isinstance(value, int) and value > 2**20 else str(value)
