"""A linear VAE with one learned beta^2 against the closed form of probabilistic PCA (Tipping & Bishop, 1999).

MNIST and Fashion-MNIST, x = (u8 + U) / 256; log p(x) is exact on both sides, in nats per test image.
"""

from __future__ import annotations

import argparse

import torch

from nelbo import VariationalAutoencoder
from nelbo.linear_gaussian import moments, ppca

from ._common import dequantised, machine, report, timed

HEAD = ("data", "d", "start", "sigma", "closed form", "sigma error %", "nats", "closed form nats", "gap", "seconds")


def main() -> None:
    """Fit each of the eight rows from both starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latent-dims", type=int, nargs="+", default=[2, 10, 20, 50])
    parser.add_argument("--steps", type=int, default=6000)
    options = parser.parse_args()
    before, rows = machine(), []
    for name in ("mnist", "fashion_mnist"):
        train, test = (part.reshape(len(part), -1) for part in dequantised(name))
        mean, covariance = moments(torch.from_numpy(train))
        for d in options.latent_dims:
            exact = ppca(mean, covariance, d)
            nats, sigma = float(exact.log_prob(torch.from_numpy(test)).mean()), float(exact.variance.sqrt())
            for start in ("ppca", "random"):
                model = VariationalAutoencoder(
                    d,
                    network="linear",
                    init=start,
                    scale="global",
                    validation_fraction=0,
                    max_steps=options.steps,
                    random_state=0,
                )
                _, seconds = timed(lambda: model.fit(train))  # noqa: B023
                found, score = model.noise_variance_**0.5, model.score(test)
                rows.append(
                    (name, d, start, found, sigma, 100 * (found / sigma - 1), score, nats, score - nats, seconds)
                )
                print(*rows[-1], flush=True)
    report("ppca", HEAD, rows, before, steps=options.steps)


if __name__ == "__main__":
    main()
