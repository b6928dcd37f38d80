"""How the seconds of a step, of an epoch and of the start grow with rows, features, latent
dimensions and batch size.

One of the four grows, the others stay at 20,000 rows, 128 features, 16 latents and batches of 512;
hidden layers are 512-512. A step is timed in `nelbo.fit` with what it does between steps, an epoch
is a step times the steps of an epoch, and the start is `VariationalAutoencoder.fit` with one step:
checks, split, scaling, closed-form start, first validation. Medians of the repeats. The exponent is
the slope of log seconds against log size, over all sizes and over the larger half of them.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch

from nelbo import VariationalAutoencoder

from ._common import machine, picture, report, timed
from ._nelbo import speed
from ._versus import arguments, median, synthetic

BASE = {"rows": 20_000, "features": 128, "latents": 16, "batch": 512}
SIZES = {
    "rows": [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000],
    "features": [8, 32, 128, 512, 1024, 3072],
    "latents": [2, 4, 8, 16, 32, 64, 128, 256],
    "batch": [32, 64, 128, 256, 512, 1024, 2048],
}
TIMED = ("step", "epoch", "start")
HEAD = ("grows", "size", "s/step", "s/epoch", "start s", "images/s", "repeats")


def main() -> None:
    """Grow one size after the other."""
    options = arguments(__doc__, pairs=3).parse_args()
    before, rows, repeats = machine(), [], 1 if options.quick else options.pairs
    steps = 5 if options.quick else 60
    for name, sizes in SIZES.items():
        for size in sizes[: 3 if options.quick else None]:
            found = [measure({**BASE, name: size}, steps, seed) for seed in range(repeats)]
            values = [median(one[key] for one in found) for key in TIMED]
            rows.append((name, size, *values, {**BASE, name: size}["batch"] / values[0], repeats))
            print(*rows[-1], flush=True)
    slopes = {name: exponents([row for row in rows if row[0] == name]) for name in SIZES}
    for name, found in slopes.items():
        print(name, *(f"{key}: {a:.2f}, larger half {b:.2f};" for key, (a, b) in found.items()))
    report("scaling", HEAD, rows, before, options.quick, base=BASE, exponents=slopes)
    draw(options.quick, rows, slopes)


def measure(size: dict[str, int], steps: int, seed: int) -> dict[str, float]:
    """Return the seconds of a step, an epoch and a start."""
    x = synthetic(size["rows"], size["features"], seed)
    job = {
        "hidden": [512, 512],
        "latent": size["latents"],
        "batch": min(size["batch"], size["rows"]),
        "seed": seed,
    }
    job |= {"warmup": 0, "steps": steps}
    speed({**job, "steps": 3}, torch.from_numpy(x))
    step = speed(job, torch.from_numpy(x))["seconds_per_step"]
    model = VariationalAutoencoder(
        size["latents"], max_steps=1, batch_size=job["batch"], random_state=seed
    )
    with warnings.catch_warnings():
        # more latents than directions: the noise may reach its floor
        warnings.simplefilter("ignore", UserWarning)
        _, start = timed(lambda: model.fit(x))
    return {"step": step, "epoch": step * math.ceil(size["rows"] / job["batch"]), "start": start}


def exponents(rows: list[tuple[Any, ...]]) -> dict[str, tuple[float, float]]:
    """Return the slopes over all sizes and over the larger half."""
    size = np.log([row[1] for row in rows])
    half = len(rows) // 2
    found = {}
    for column, key in enumerate(TIMED, start=2):
        seconds = np.log([row[column] for row in rows])
        found[key] = (slope(size, seconds), slope(size[half:], seconds[half:]))
    return found


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Return the slope of the straight line of least squares."""
    return float(np.polyfit(x, y, 1)[0])


def draw(
    quick: bool, rows: list[tuple[Any, ...]], slopes: dict[str, dict[str, tuple[float, float]]]
) -> None:
    """Show the three times against each of the four sizes."""
    with picture("scaling", quick, columns=len(SIZES)) as all_axes:
        for axes, name in zip(all_axes, SIZES, strict=True):
            mine = [row for row in rows if row[0] == name]
            for column, key in enumerate(TIMED, start=2):
                label = f"{key}, exponent {slopes[name][key][1]:.2f}"
                axes.loglog(
                    [row[1] for row in mine], [row[column] for row in mine], "o-", label=label
                )
            axes.set(xlabel=name, ylabel="seconds")
            axes.legend()


if __name__ == "__main__":
    main()
