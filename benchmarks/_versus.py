"""What the side-by-side benchmarks share: contestants in processes of their own, options, bars."""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ._common import picture

ROOT = Path(__file__).parent.parent
PEERS = Path(os.environ.get("NELBO_PEERS", ROOT / ".venv-peers" / "bin" / "python"))
"""The Python of the environment that `make peers` makes."""
BYTES = (
    "give nelbo the 8-bit images themselves, whose noise it adds on the clock; peers get "
    "theirs ready-made"
)


def arguments(doc: str | None, pairs: int) -> argparse.ArgumentParser:
    """Return the options that all side-by-side benchmarks have."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument(
        "--pairs",
        type=int,
        default=pairs,
        help=f"how often each comparison is made (default {pairs})",
    )
    parser.add_argument(
        "--quick", action="store_true", help="try all of it in little time; figures mean nothing"
    )
    return parser


@contextmanager
def stored(train: np.ndarray, test: np.ndarray | None = None, **more: np.ndarray) -> Iterator[str]:
    """Keep arrays in a folder for contestants to read."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/train.npy", train)
        np.save(f"{folder}/test.npy", train[:1] if test is None else test)
        for name, array in more.items():
            np.save(f"{folder}/{name}.npy", array)
        yield folder


def run(contestant: str, **job: Any) -> dict[str, Any]:
    """Run "nelbo", or a module of benchmarks/peers with the peers' Python,
    in a fresh process; return its result.
    """
    ours = contestant == "nelbo"
    if not ours and not PEERS.exists():
        sys.exit(f"{PEERS} is missing: `make peers` installs the packages to compare with.")
    python, module = (
        (sys.executable, "benchmarks._nelbo") if ours else (PEERS, f"benchmarks.peers.{contestant}")
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "job.json").write_text(json.dumps(job))
        done = subprocess.run(
            [str(python), "-m", module, folder],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{contestant} failed on {job}:\n{done.stderr[-3000:]}")
        return json.loads(Path(folder, "result.json").read_text())  # type: ignore[no-any-return]


def median(values: Iterable[float]) -> float:
    """Return the median, nan for none."""
    values = list(values)
    return statistics.median(values) if values else math.nan


def synthetic(rows: int, features: int, seed: int = 0) -> np.ndarray:
    """Return float32 rows with eight directions of structure and some noise,
    made without a second copy of them.
    """
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, features), dtype=np.float32)
    mix = random.standard_normal((8, features), dtype=np.float32)
    for part in np.array_split(x, max(1, x.size // 2**24)):
        part *= 0.3
        part += random.standard_normal((len(part), 8), dtype=np.float32) @ mix
    return x


def bars(
    name: str, quick: bool, labels: Sequence[str], values: Sequence[float], title: str
) -> None:
    """Draw one horizontal bar for each label, ours first."""
    with picture(name, quick) as axes:
        drawn = axes.barh(
            labels, values, color=["C0" if label.startswith("nelbo") else "0.7" for label in labels]
        )
        axes.bar_label(
            drawn,
            [f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" for value in values],
            padding=3,
        )
        axes.margins(x=0.2)
        axes.invert_yaxis()
        axes.set_xlabel(title)
