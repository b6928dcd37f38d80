"""What the benchmarks share: data, the machine's description, and where results go."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"


def images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and test images of "mnist" or "fashion_mnist", uint8, of shape (n, 28, 28)."""
    folder = os.environ.get("NELBO_DATA")
    path = Path(folder or ".") / f"{name}.npz"
    if folder is None or not path.exists():
        sys.exit(f"This benchmark needs {name}.npz in the folder that NELBO_DATA names.")
    with np.load(path) as arrays:
        return arrays["x_train"], arrays["x_test"]


def dequantised(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (u8 + U) / 256 of both parts as float32, U drawn by numpy's default_rng(0): train first, then test."""
    rng = np.random.default_rng(0)
    train, test = images(name)
    return tuple(((part + rng.random(part.shape)) / 256).astype(np.float32) for part in (train, test))  # type: ignore[return-value]


def machine() -> dict[str, Any]:
    """Describe the machine that the figures come from."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        names = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return a call's result and its wall-clock seconds."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out a Markdown table."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = [head, ["-" * w for w in widths], *cells]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def report(
    name: str, head: Sequence[str], rows: Sequence[Sequence[object]], before: dict[str, Any], **more: Any
) -> None:
    """Print a table, and keep it with the machine's description as JSON."""
    print(table(head, rows))
    RESULTS.mkdir(exist_ok=True)
    rows = [[None if isinstance(v, float) and not math.isfinite(v) else v for v in row] for row in rows]
    record = {"benchmark": name, "machine": before, "columns": list(head), "rows": [list(r) for r in rows], **more}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1, default=float, allow_nan=False) + "\n")
    print(f"written: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def _cell(value: object) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float) and abs(value) < 1
        else f"{value:.2f}"
        if isinstance(value, float)
        else str(value)
    )
