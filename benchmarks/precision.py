"""bfloat16 autocast against float32: the same steps, the same seed;
held-out nats in float32 for both, and seconds.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np

from nelbo import VariationalAutoencoder

from ._common import images, machine, report, timed

HEAD = (
    "data",
    "network",
    "variance",
    "float32 nats",
    "bf16 nats",
    "difference",
    "s.e.",
    "float32 s",
    "bf16 s",
    "speed-up",
)
CASES: list[tuple[str, str, Any]] = [
    ("fashion_mnist", "residual", "learned"),
    ("mnist", "residual", "learned"),
    ("fashion_mnist", "conv", "learned"),
    ("fashion_mnist", "residual", "per_feature"),
    ("fashion_mnist", "residual", 1.0),
]


def main() -> None:
    """Fit every case twice for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    before, rows = machine(), []
    for data, network, variance in CASES:
        train, test = images(data)
        steps = options.steps // 4 if network == "conv" else options.steps
        pairs = [
            [
                fit(train, test, network, variance, steps, seed, precision)
                for precision in ("float32", "bf16")
            ]
            for seed in range(options.seeds)
        ]
        nats = np.array([[run[0] for run in pair] for pair in pairs])
        seconds = np.median([[run[1] for run in pair] for pair in pairs], axis=0)
        gap = nats[:, 1] - nats[:, 0]
        error = gap.std(ddof=1) / math.sqrt(len(gap)) if len(gap) > 1 else math.nan
        rows.append(
            (
                data,
                network,
                str(variance),
                *nats.mean(0),
                gap.mean(),
                error,
                *seconds,
                seconds[0] / seconds[1],
            )
        )
        print(*rows[-1], flush=True)
    report("precision", HEAD, rows, before, steps=options.steps, seeds=options.seeds)


def fit(
    train: np.ndarray,
    test: np.ndarray,
    network: str,
    variance: Any,
    steps: int,
    seed: int,
    precision: str,
) -> tuple[float, float]:
    """Return held-out nats (100 importance samples, 1,000 test images)
    and the seconds of training.
    """
    model = VariationalAutoencoder(
        10,
        network=network,
        variance=variance,
        max_steps=steps,
        precision=precision,
        random_state=seed,
    )
    _, seconds = timed(lambda: model.fit(train))
    return model.score(test[:1000]), seconds


if __name__ == "__main__":
    main()
