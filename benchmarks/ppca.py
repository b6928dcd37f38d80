"""A linear VAE
with one learned beta^2 against the closed form of probabilistic PCA (Tipping & Bishop, 1999).

MNIST and Fashion-MNIST, x = (u8 + U) / 256; log p(x) is exact on both sides, in nats per test
image.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import torch

from nelbo import VariationalAutoencoder
from nelbo.linear import moments, ppca

from ._common import RESULTS, dequantised, machine, report, timed

HEAD = (
    "data",
    "d",
    "start",
    "sigma",
    "closed form",
    "sigma error %",
    "nats",
    "closed form nats",
    "gap",
    "seconds",
    "steps",
)


def main() -> None:
    """Fit each of the eight rows from both starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latent-dims", type=int, nargs="+", default=[2, 10, 20, 50])
    parser.add_argument(
        "--steps",
        type=int,
        help="default: 6,000, and 240 for each latent dimension if that is more",
    )
    options = parser.parse_args()
    before, rows = machine(), []
    for name in ("mnist", "fashion_mnist"):
        train, test = (part.reshape(len(part), -1) for part in dequantised(name))
        mean, covariance = moments(torch.from_numpy(train))
        for d in options.latent_dims:
            exact = ppca(mean, covariance, d)
            nats, sigma = (
                float(exact.log_prob(torch.from_numpy(test)).mean()),
                float(exact.variance.sqrt()),
            )
            steps = options.steps or max(6000, 240 * d)
            for start in ("ppca", "random"):
                model = VariationalAutoencoder(
                    d,
                    network="linear",
                    init=start,
                    scale="global",
                    validation_fraction=0,
                    max_steps=steps,
                    random_state=0,
                )
                _, seconds = timed(lambda: model.fit(train))  # noqa: B023
                found, score = model.noise_variance_**0.5, model.score(test)
                rows.append(
                    (
                        name,
                        d,
                        start,
                        found,
                        sigma,
                        100 * (found / sigma - 1),
                        score,
                        nats,
                        score - nats,
                        seconds,
                        steps,
                    )
                )
                print(*rows[-1], flush=True)
    report("ppca", HEAD, kept(rows), before)


def kept(rows: list[tuple[object, ...]]) -> list[Sequence[object]]:
    """Add the rows of the last results that this run has not measured anew."""
    path = RESULTS / "ppca.json"
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    new = {tuple(row[:3]) for row in rows}
    return sorted(
        [*rows, *(row for row in old if tuple(row[:3]) not in new)],
        key=lambda row: (row[0], row[1], row[2]),
    )


if __name__ == "__main__":
    main()
