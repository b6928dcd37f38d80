"""Fashion-MNIST, x = (u8 + U) / 256, latent 10: held-out nats against seconds, with nothing tuned.

Held-out log p(x) by 200 importance samples on the first 1,000 test images; seconds from the call of
``fit`` to its return. Each fit runs in a process that has imported the library and nothing else.
"refined" is the same bound, its samples drawn from a normal fitted to each image's posterior
instead of the encoder's: what the encoder misses of the model's log p(x). "deep" has a larger
encoder and a decoder of four layers, the last one of width 1,024; against overfitting a fifth
of the values is hidden from the encoder, and weights decay. "per pixel" has the default networks,
and a noise level for each pixel in place of one for all.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any

import numpy as np

from nelbo import VariationalAutoencoder
from nelbo.training import VALIDATED

from ._common import images, kept, machine, report, timed

HEAD = (
    "network",
    "asked s",
    "took s",
    "target nats",
    "nats",
    "s.e.",
    "refined",
    "beta",
    "steps",
    "images/s",
)
TARGETS: list[tuple[str, float | None, int]] = [
    ("residual", 0.5, 424),
    ("residual", 5, 550),
    ("residual", 60, 660),
    ("per pixel", 60, 700),
    ("conv", 60, 620),
    ("deep", 175, 650),
    ("deep", None, 700),
]
OPTIONS: dict[str, dict[str, Any]] = {
    "residual": {},
    "per pixel": {"variance": "per_feature"},
    "conv": {"network": "conv"},
    "deep": {
        "hidden": (512, 512),
        "decoder_hidden": (512, 512, 512, 1024),
        "objective": "elbo",
        "objective_options": {"corruption": 0.2},
        "weight_decay": 0.15,
    },
}


def main() -> None:
    """Run every row in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--one", nargs=2, metavar=("NETWORK", "SECONDS"), help="fit once; SECONDS may be none"
    )
    parser.add_argument(
        "--rows", type=int, nargs="+", help="which to run, from 0; others stay as they are"
    )
    parser.add_argument(
        "--repeats", type=int, default=1, help="runs of each row; the median by nats is reported"
    )
    options = parser.parse_args()
    if options.one:
        limit = None if options.one[1] == "none" else float(options.one[1])
        print("ROW", *fit_once(options.one[0], limit), sep="\t")
        return
    before, rows = machine(), []
    earlier = kept("fashion", HEAD, cells=2)
    for number, (network, seconds, target) in enumerate(TARGETS):
        if options.rows is not None and number not in options.rows:
            rows += [tuple(earlier[network, seconds])] if (network, seconds) in earlier else []
            continue
        found = sorted(
            (run(network, seconds) for _ in range(options.repeats)), key=lambda row: row[1]
        )
        took, nats, error, refined, beta, steps, rate = found[len(found) // 2]
        rows.append(
            (network, seconds, took, target, nats, error, refined, beta, int(steps), int(rate))
        )
        print(*rows[-1], flush=True)
    report("fashion", HEAD, rows, before, repeats=options.repeats)


def run(network: str, seconds: float | None) -> list[float]:
    """Fit once in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.fashion", "--one", network, str(seconds).lower()]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    fields = next(line for line in output.splitlines() if line.startswith("ROW")).split("\t")[1:]
    return [float(field) for field in fields]


def fit_once(network: str, seconds: float | None) -> tuple[Any, ...]:
    """Fit with no option but the latent dimension, the network and the time limit, if any."""
    train, test = images("fashion_mnist")
    model = VariationalAutoencoder(10, max_seconds=seconds, random_state=0, **OPTIONS[network])
    _, took = timed(lambda: model.fit(train))
    model.set_params(score_samples_k=200)
    nats = model.score_samples(test[:1000])
    refined = model.log_likelihood(test[:1000], "importance", 200, proposal="refined").mean
    last = model.history_.records[-1]
    trained = model.history_.records[-1].seconds
    held = min(VALIDATED, len(train) // 10)
    rate = last.epoch * (len(train) - held) / max(trained, 1e-9)
    return (
        took,
        nats.mean(),
        nats.std() / len(nats) ** 0.5,
        refined,
        np.sqrt(np.mean(model.noise_variance_)),
        last.step,
        rate,
    )


if __name__ == "__main__":
    main()
