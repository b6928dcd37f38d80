"""What a user waits for before anything is computed: imports, the command line's help, loading a
model, a first score.

Every figure is from fresh processes, one kind after the other in each round; medians over the
rounds. Imports count with and without `import torch`, whose time in the same round is taken off.
Loading and the first score of 100 rows are timed inside a process that has the library imported;
the second score shows what was only the first one's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from nelbo import VariationalAutoencoder

from ._common import machine, report, timed
from ._versus import PEERS, ROOT, arguments, bars, median, synthetic

USE = """
import json, sys, time
import numpy as np
from nelbo import VariationalAutoencoder
x, marks = np.load(sys.argv[2]), [time.perf_counter()]
model = VariationalAutoencoder.load(sys.argv[1])
marks.append(time.perf_counter())
for _ in range(2):
    model.score(x)
    marks.append(time.perf_counter())
print(json.dumps([b - a for a, b in zip(marks, marks[1:])]))
"""
HEAD = ("what", "seconds", "lowest", "highest", "rounds")


def main() -> None:
    """Time all rounds."""
    options = arguments(__doc__, pairs=11).parse_args()
    before, rounds = machine(), 2 if options.quick else options.pairs
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path, rows = f"{folder}/model", f"{folder}/rows.npy"
        x = synthetic(1000, 784)
        VariationalAutoencoder(10, max_steps=5, random_state=0).fit(x).save(path)
        np.save(rows, x[:100])
        for _ in range(rounds):
            for name, seconds in one_round(path, rows).items():
                found.setdefault(name, []).append(seconds)
    table = [(name, median(times), min(times), max(times), rounds) for name, times in found.items()]
    report("latency", HEAD, table, before, options.quick, runs=found)
    bars("latency", options.quick, [row[0] for row in table], [row[1] for row in table], "seconds")


def one_round(path: str, rows: str) -> dict[str, float]:
    """Run every kind of process once."""
    torch = wall([sys.executable, "-c", "import torch"])
    numpy = wall([sys.executable, "-c", "import numpy"])
    nelbo = wall([sys.executable, "-c", "import nelbo"])
    estimator = wall([sys.executable, "-c", "from nelbo import VariationalAutoencoder"])
    found = {
        "import numpy": numpy,
        "import torch": torch,
        "import nelbo": nelbo,
        "nelbo's VariationalAutoencoder": estimator,
        "nelbo's VariationalAutoencoder, less import torch": estimator - torch,
        "nelbo --help": wall([str(Path(sys.executable).with_name("nelbo")), "--help"]),
    }
    inside = subprocess.run(
        [sys.executable, "-c", USE, path, rows], check=True, capture_output=True, text=True
    )
    found |= zip(
        ("nelbo: load", "nelbo: first score", "nelbo: second score"),
        json.loads(inside.stdout),
        strict=True,
    )
    if PEERS.exists():
        peers_torch = wall([str(PEERS), "-c", "import torch"])
        found["pythae's models and trainer"] = wall(
            [str(PEERS), "-c", "import pythae.models, pythae.trainers"]
        )
        found["pythae's models and trainer, less import torch"] = (
            found["pythae's models and trainer"] - peers_torch
        )
    return found


def wall(command: list[str]) -> float:
    """Return the seconds that a process takes from start to end."""
    return timed(lambda: subprocess.run(command, check=True, capture_output=True, cwd=ROOT))[1]


if __name__ == "__main__":
    main()
