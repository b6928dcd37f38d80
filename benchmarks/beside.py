"""This checkout beside an older one: what a user waits for, and what comes out.

Each figure is of a fresh process with one of the two, in turn; medians over the pairs, and ratios
are medians of the pairs' ratios. ``git worktree add /tmp/before COMMIT`` makes the older checkout.

to 424 nats    seconds of a default fit of Fashion-MNIST, latent 10, with the steps that reach 424
               held-out nats, and the nats reached: where both reach the same, the ratio of seconds
               is that of the times to 424 nats
images a second, microseconds a step    `nelbo.fit` of nets of 784-512-512-16 and 64-64-4 and back
import, help   seconds of ``from nelbo import VariationalAutoencoder`` and of ``nelbo --help``
tables         processor seconds, on one thread, of a default fit of a table of `benchmarks.tables`,
               split 0, and its held-out nats a row
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ._common import kept, machine, report
from ._versus import ROOT, arguments, median, synthetic
from .tables import TABLES

HEAD = ("what", "before", "now", "ratio", "lowest", "highest", "pairs", "nats before", "nats now")
Outcome = tuple[float, float]
"""A figure, and nats where there are any."""


def main() -> None:
    """Measure all pairs."""
    parser = arguments(__doc__, pairs=3)
    parser.add_argument("--before", type=Path, required=True, help="the older checkout")
    parser.add_argument("--only", nargs="+", choices=[*TASKS, "tables"], default=None)
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    options = parser.parse_args()
    found: dict[str, list[tuple[Outcome, Outcome]]] = {}
    chosen = options.only or [*TASKS, "tables"]
    jobs = [[name] for name in TASKS if name in chosen]
    jobs += [["table", name] for name in options.tables if "tables" in chosen]
    described = machine()
    for job in jobs:
        for _ in range(1 if options.quick else options.pairs):
            pair = (outcome(options.before.resolve(), job), outcome(ROOT, job))
            found.setdefault(" ".join(job), []).append(pair)
            print(*job, pair, flush=True)
    rows = kept("beside", HEAD) | {name: line(name, pairs) for name, pairs in found.items()}
    report("beside", HEAD, [*rows.values()], described, options.quick)


def line(name: str, pairs: list[tuple[Outcome, Outcome]]) -> tuple[Any, ...]:
    """Return the row of the table for one figure."""
    ratios = [now[0] / before[0] for before, now in pairs]
    old, new = zip(*pairs, strict=True)
    (seconds, nats), (now, reached) = (
        tuple(median(column) for column in zip(*side, strict=True)) for side in (old, new)
    )
    spread = (median(ratios), min(ratios), max(ratios))
    shown = ["" if math.isnan(value) else value for value in (nats, reached)]
    return (name, seconds, now, *spread, len(pairs), *shown)


def outcome(folder: Path, job: list[str]) -> Outcome:
    """Return what a fresh process with one checkout finds."""
    settings = {**os.environ, "PYTHONPATH": str(folder / "src")}
    settings.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    if job[0] == "table":
        settings |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    script = [sys.executable, "-m", "benchmarks.beside", "--job", *job]
    done = subprocess.run(
        script, cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{folder} failed on {job}:\n{done.stderr[-3000:]}")
    figure, nats = json.loads(done.stdout.splitlines()[-1])
    return figure, nats


def quality() -> Outcome:
    """Return the seconds of a short default fit, and its held-out nats."""
    from nelbo import VariationalAutoencoder

    from ._common import dequantised

    train, test = dequantised("fashion_mnist")
    model = VariationalAutoencoder(10, random_state=0, max_steps=40)
    began = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - began
    return seconds, float(model.score(test[:500]))


def rate(features: int, hidden: list[int], latent: int, batch: int, steps: int) -> float:
    """Return the seconds of a training step."""
    import torch

    import nelbo
    from nelbo import VAE, likelihood, networks, objective, posterior, prior

    head, q = likelihood.Gaussian((features,)), posterior.DiagonalNormal(latent)
    generator = torch.Generator().manual_seed(0)
    encoder = networks.MLP((features,), q.in_shape, tuple(hidden), "relu", generator)
    decoder = networks.MLP((latent,), head.in_shape, tuple(reversed(hidden)), "relu", generator)
    vae = VAE(prior.StandardNormal(latent), decoder, head, encoder, q)
    marks: list[tuple[int, float]] = []
    x = torch.from_numpy(synthetic(steps * batch, features))
    nelbo.fit(
        objective.ELBO(vae),
        x,
        max_steps=4 * steps,
        batch_size=batch,
        seed=0,
        callbacks=[lambda record: marks.append((record.step, time.perf_counter()))],
    )
    first = next(mark for mark in marks if mark[0] >= steps)
    return (marks[-1][1] - first[1]) / (marks[-1][0] - first[0])


def throughput() -> Outcome:
    """Return images a second."""
    return 512 / rate(784, [512, 512], 16, 512, 60), float("nan")


def overhead() -> Outcome:
    """Return microseconds a step."""
    return 1e6 * rate(64, [64], 4, 32, 1000), float("nan")


def command(*words: str) -> Outcome:
    """Return the seconds of a process, the quickest of three."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return min(seconds), float("nan")


def table(name: str) -> Outcome:
    """Return the processor seconds of a default fit of a table, and its held-out nats."""
    from .tables import fit, noised, read

    X = noised(read(name))
    began = time.process_time()
    nats, _ = fit(X, 0)
    return time.process_time() - began, float(np.float64(nats))


TASKS: dict[str, Callable[[], Outcome]] = {
    "to 424 nats": quality,
    "images a second": throughput,
    "microseconds a step": overhead,
    "import": lambda: command("-c", "from nelbo import VariationalAutoencoder"),
    "help": lambda: command("-m", "nelbo", "--help"),
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        name, *words = sys.argv[2:]
        print(json.dumps({"table": table, **TASKS}[name](*words)))
    else:
        main()
