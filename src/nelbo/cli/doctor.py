"""`nelbo doctor`: what nelbo runs on, and what makes fits slower there than they need be."""

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


def doctor(*, as_json: Json = False) -> None:
    """Say what nelbo runs on.

    That is versions, processors, threads and how they wait, device, precision, and free disk.
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
    print("\n".join([*lines, "", *(notes or ["Nothing to improve."])]))


def examine() -> dict[str, Any]:
    """Return what is there as JSON types, with advice under ``notes``."""
    import torch

    from ..training.precision import has_bfloat16, resolve_device

    device = resolve_device("auto")
    name = device.type
    if name == "cuda":
        name = torch.cuda.get_device_name()
    settings = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", *spin.USERS)
    required = ("torch", "numpy", "scipy", "scikit-learn")
    optional = ("pandas", "pyarrow", "pillow", "matplotlib")
    found: dict[str, Any] = {
        "nelbo": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in (*required, *optional)},
        "system": f"{platform.system()} {platform.machine()}",
        "cores": _cores(),
        "load": _load(),
        "threads": torch.get_num_threads(),
        "openmp": _openmp(),
        "waiting": waiting(),
        "settings": {name: os.environ[name] for name in settings if name in os.environ},
        "device": name,
        "bfloat16": has_bfloat16(device),
        "free_disk": shutil.disk_usage(".").free,
    }
    return {**found, "notes": _notes(found)}


def waiting() -> str:
    """Say how long threads that have nothing to do keep their cores, and who decided that."""
    return {
        "nelbo": "brief: nelbo has set it, before torch was imported",
        "user": "as you have set it",
        "torch": "long, torch's own: torch was imported before nelbo",
    }[spin.in_force()]


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load() -> float:
    """Return how many processes want a core, on average over the last minute."""
    if hasattr(os, "getloadavg"):
        return round(os.getloadavg()[0], 2)
    return 0.0


def _version(name: str) -> str | None:
    """Return the version of a package, None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _openmp() -> str:
    """Return the OpenMP library that torch was built with."""
    import threadpoolctl

    loaded = [one for one in threadpoolctl.threadpool_info() if one["user_api"] == "openmp"]
    for one in sorted(loaded, key=lambda one: "torch" not in one["filepath"]):
        return str(one["prefix"])
    return "unknown"


def _notes(found: dict[str, Any], little: int = 2**30) -> list[str]:
    """Say what may be improved.

    Arguments:
        found: What is there.
        little: Bytes of free disk below which it is worth a note: a run takes some megabytes, its
            checkpoints a few times that.
    """
    notes = []
    if found["threads"] > found["cores"]:
        notes.append(
            f"{found['threads']} threads on {found['cores']} cores wait for each other. Set "
            f"OMP_NUM_THREADS={found['cores']}."
        )
    if found["load"] > 0.5 * found["cores"] and found["threads"] > 1:
        notes.append(
            f"Other processes are at work here (load {found['load']:g} on {found['cores']} cores), "
            "and threads that share cores with them wait for each other. OMP_NUM_THREADS=1 may be "
            "quicker."
        )
    if spin.in_force() == "torch":
        settings = " and ".join(f"{name}={value}" for name, value in spin.SHORT.items())
        notes.append(
            "Fits beside other processes are slow: torch was imported before nelbo. Import nelbo "
            f"first, or set {settings} before Python starts."
        )
    if found["free_disk"] < little:
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
    if isinstance(value, int) and value > 2**20:
        return f"{value / 2**30:.1f} GiB"
    return str(value)
