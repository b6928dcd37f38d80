"""What an evaluation of p(x|z) costs, against matrix products alone:
Fashion-MNIST, latent 10, decoder 10-512-512-784.

Importance sampling with K = 5,000 for 1,000 images, and AIS, each as floating-point operations of
the decoder's matrix products per second, beside the rate of one large product in the same run (the
median of several, before and after).
"""

from __future__ import annotations

import argparse
import itertools
import statistics

import torch

from nelbo import evaluate, spec

from ._common import dequantised, machine, report, timed

HEAD = (
    "method",
    "images",
    "samples",
    "took s",
    "GFLOP/s",
    "products GFLOP/s",
    "share",
    "microseconds per evaluation",
)
SHAPE, HIDDEN, LATENTS, SIDE = (784,), (512, 512), 10, 2048


def main() -> None:
    """Time both methods."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=5000)
    options = parser.parse_args()
    before = machine()
    vae = spec.build(
        spec.Spec(SHAPE, LATENTS, "mlp", "mlp", hidden=HIDDEN), torch.Generator().manual_seed(0)
    )
    x = torch.from_numpy(dequantised("fashion_mnist")[1][: options.images]).flatten(1)
    sizes = (LATENTS, *HIDDEN, *SHAPE)
    operations = 2 * sum(a * b for a, b in itertools.pairwise(sizes))
    evaluate.log_likelihood(vae, x[:10], "importance", 64)
    first = products()
    plain = evaluate.log_likelihood(vae, x, "importance", options.samples)
    second = products()
    few = x[: max(1, options.images // 10)]
    chains = evaluate.log_likelihood(vae, few, "ais", 16, temperatures=50)
    third = products()
    rows = []
    for found, count, samples, rate in (
        (plain, len(x), options.samples, statistics.median(first + second)),
        (chains, len(few), 16, statistics.median(second + third)),
    ):
        # A gradient for z is a second pass of the same products, so it counts as another
        # evaluation.
        evaluations = found.cost.decodes + found.cost.gradients
        speed = evaluations * operations / found.cost.seconds
        each = found.cost.seconds / evaluations * 1e6
        rows.append(
            (
                found.method,
                count,
                samples,
                found.cost.seconds,
                speed / 1e9,
                rate / 1e9,
                speed / rate,
                each,
            )
        )
    report("evaluation", HEAD, rows, before)


def products() -> list[float]:
    """Return the rates of a few large matrix products, in operations per second."""
    a, b = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    torch.mm(a, b)
    return [2 * SIDE**3 / timed(lambda: torch.mm(a, b))[1] for _ in range(7)]


if __name__ == "__main__":
    main()
