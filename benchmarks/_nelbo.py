"""nelbo as a contestant,
run as ``python -m benchmarks._nelbo FOLDER`` like the modules of benchmarks/peers.

"quality": `VariationalAutoencoder(latent, **options).fit(train)`, and log p(x) of the fitted model
with its own beta^2; with ``bytes`` it is given the 8-bit images that the training rows were made
from, and adds the noise itself. "speed": `nelbo.fit` of the job's net, by the seconds between two
of its records.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch

import nelbo
from nelbo import (
    VAE,
    VariationalAutoencoder,
    likelihood,
    networks,
    objective,
    posterior,
    prior,
    training,
)
from nelbo.training import Record
from nelbo.training.fast.direct import Direct

from ._common import product_rate, timed, training_products
from .peers._contest import IMAGES, SAMPLES, log_likelihood, peak_bytes, read, write


class InUnits:
    """What the shared estimate needs of a nelbo model."""

    def __init__(self, vae: VAE) -> None:
        self.vae = vae

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q = self.vae.encode(x.view(-1, *self.vae.shape))
        return q.mean, q.stddev

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.vae.decode(z).mean.flatten(1)


def quality(job: dict[str, Any], train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """Fit, and estimate log p(x) as for all contestants, and on demand by the library itself."""
    if job.get("bytes"):
        train = np.load(f"{job['data']}/bytes.npy")
    model = VariationalAutoencoder(job["latent"], random_state=job["seed"], **job["options"])
    _, seconds = timed(lambda: model.fit(train))
    found: dict[str, Any] = {
        "seconds": seconds,
        "steps": model.history_.records[-1].step,
        "peak_bytes": peak_bytes(),
    }
    if job.get("judge", True):
        x = model.schema_.to_model(test[:IMAGES], noise="hash").float()
        nats = log_likelihood(
            InUnits(model.model_), float(model.model_.likelihood.variance), x.flatten(1)
        )
        nats -= model.schema_.log_scale_sum
        error = float(nats.std()) / math.sqrt(len(nats))
        found |= {"nats": float(nats.mean()), "error": error, "beta": model.noise_variance_**0.5}
        if job.get("own"):
            own = model.log_likelihood(test[:IMAGES], "importance", SAMPLES)
            found |= {
                "own_nats": float(own.value.mean()),
                "own_error": float(own.standard_error.square().mean().sqrt()),
            }
    return found


def speed(job: dict[str, Any], x: torch.Tensor, rates: bool = False) -> dict[str, Any]:
    """Time ``steps`` steps after at least ``warmup``, and what else a user waits for between them.

    ``without`` leaves out one of the things that make it quick: "direct" gradients, or "keeping"
    freed memory.
    """
    without = job.get("without")
    if without == "direct":
        Direct.of = classmethod(lambda *_: None)
    if without == "keeping":
        training.run.keep_freed_memory = lambda: None
    features, hidden, latent, batch = x.shape[1], job["hidden"], job["latent"], job["batch"]
    vae = net(features, hidden, latent, job.get("sigmoid", False))
    marks: list[tuple[int, float]] = []

    def mark(record: Record) -> None:
        marks.append((record.step, time.perf_counter()))

    products = training_products(features, hidden, latent, batch)
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16} if rates else {}
    before = {name: product_rate(products, dtype) for name, dtype in dtypes.items()}
    nelbo.fit(
        objective.ELBO(vae),
        x,
        max_steps=job["warmup"] + job["steps"],
        batch_size=batch,
        seed=job["seed"],
        precision=job.get("precision", "auto"),
        callbacks=[mark],
    )
    after = {name: product_rate(products, dtype) for name, dtype in dtypes.items()}
    first = next(one for one in marks if one[0] >= job["warmup"])
    found: dict[str, Any] = {name: (before[name] + after[name]) / 2 for name in dtypes}
    return {**found, "seconds_per_step": (marks[-1][1] - first[1]) / (marks[-1][0] - first[0])}


def net(features: int, hidden: list[int], latent: int, sigmoid: bool) -> VAE:
    """features-hidden-latent-hidden-features with ReLU, one learned beta^2,
    and perhaps a sigmoid at the end.
    """
    head, q = likelihood.Gaussian((features,)), posterior.DiagonalNormal(latent)
    generator = torch.Generator().manual_seed(0)
    encoder = networks.MLP((features,), q.in_shape, tuple(hidden), "relu", generator)
    decoder = networks.MLP((latent,), head.in_shape, tuple(reversed(hidden)), "relu", generator)
    last = torch.nn.Sequential(decoder, torch.nn.Sigmoid()) if sigmoid else decoder
    return VAE(prior.StandardNormal(latent), last, head, encoder, q)


def main() -> None:
    job, train, test = read()
    if job["task"] == "quality":
        result = quality(job, train, test)
    else:
        x = torch.from_numpy(train.reshape(len(train), -1))
        result = speed(job, x, rates=job.get("rates", False)) | {"peak_bytes": peak_bytes()}
    write(**result, imports_bytes=job["imports_bytes"], version=nelbo.__version__)


if __name__ == "__main__":
    main()
