"""Gradients of the objectives:
their signal beside their noise, and what it is worth in held-out nats.

MNIST, binarised once; 784-200-200-20-200-200-784, tanh, Bernoulli. First, a model trained by 400
steps of the ELBO is held still, and each objective's gradient on the same 20 images is drawn 100
times: signal to noise is |mean| / standard deviation of a weight, and the median over the weights
is shown, for the encoder and for the decoder. (Of 100 draws of pure noise it would be 0.07.)
Second, fresh models train for the same time, then for the same number of steps, and 400 test images
are judged by 500 importance samples each. Time is that of the processor, which a busy machine
stretches less than the clock's: the number of steps that it buys is measured first.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from torch import Tensor

from nelbo import VAE, evaluate, fit, objective

from ._common import burda_net, images, machine, report, table

HEAD = ("objective", "samples", "groups", "encoder", "decoder", "CPU ms")
HELD_OUT = ("objective", "samples", "steps", "CPU s", "log p(x)", "s.e.", "ELBO")
KINDS = {1: 1, 8: 4, 64: 8}  # draws of z in all, and in how many groups
TRAINED = (("ELBO", 1), ("STL", 1), ("IWAE", 5), ("DReG", 5))
LATENT = 20
PROBE = 100
"""Steps from which the time of one is measured."""


def main() -> None:
    """Measure both and write them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=12.0, help="of training, for the first held-out rows"
    )
    parser.add_argument("--steps", type=int, default=400, help="of training, for the others")
    parser.add_argument("--draws", type=int, default=100, help="gradients of each kind")
    parser.add_argument("--trial", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    before = machine()
    train, test = (binary(part, seed) for seed, part in enumerate(images("mnist")))
    vae = burda_net(LATENT, train.mean(0))
    train_for(objective.ELBO(vae), train, options.steps)
    rows = [
        signal(make(name, vae, total, groups), train[:20], options.draws)
        for name in ("IWAE", "DReG", "STL", "MIWAE", "PIWAE")
        for total, groups in KINDS.items()
    ]
    print(table(HEAD, rows), flush=True)
    judged = []
    for name, samples in TRAINED:
        kind = getattr(objective, name)
        cost = train_for(kind(burda_net(LATENT, train.mean(0)), samples), train, PROBE) / PROBE
        for steps in (round(options.seconds / cost), options.steps):
            judged.append(
                held_out(kind(burda_net(LATENT, train.mean(0)), samples), train, test[:400], steps)
            )
    judged.sort(key=lambda row: row[2] == options.steps)
    print(table(HELD_OUT, judged))
    if not options.trial:
        report("gradients", HEAD, rows, before, held_out={"columns": HELD_OUT, "rows": judged})


def binary(part: Any, seed: int) -> Tensor:
    """Draw zeros and ones with the intensities as probabilities, once."""
    generator = torch.Generator().manual_seed(seed)
    return torch.bernoulli(torch.from_numpy(part).float().flatten(1) / 255, generator=generator)


def make(name: str, vae: VAE, draws: int, groups: int) -> objective.Objective:
    """Return an objective that draws so many z in all."""
    kind = getattr(objective, name)
    made: objective.Objective = (
        kind(vae, draws // groups, groups) if name in ("MIWAE", "PIWAE") else kind(vae, draws)
    )
    return made


def signal(loss: objective.Objective, x: Tensor, draws: int) -> tuple[Any, ...]:
    """Return the median ratio of signal to noise over the encoder's weights and the decoder's,
    and ms per gradient.
    """
    parts = {"encoder": loss.vae.encoder, "decoder": loss.vae.decoder}
    moments = {name: [torch.zeros(()), torch.zeros(())] for name in parts}
    begun = time.process_time()
    for seed in range(draws):
        loss.zero_grad()
        loss(x, torch.Generator().manual_seed(seed)).mean().backward()
        for name, part in parts.items():
            flat = torch.cat(
                [p.grad.flatten() for p in part.parameters() if p.grad is not None]
            ).double()
            moments[name] = [
                moments[name][0] + flat / draws,
                moments[name][1] + flat.square() / draws,
            ]
    spent = 1e3 * (time.process_time() - begun) / draws
    found = []
    for mean, square in moments.values():
        std = (square - mean.square()).clamp_min(0).sqrt()
        alive = std > 1e-12  # weights of pixels that are never on have no gradient at all
        found.append(float((mean.abs()[alive] / std[alive]).median()))
    return type(loss).__name__, loss.samples, loss.groups, *found, spent


def train_for(loss: objective.Objective, train: Tensor, steps: int) -> float:
    """Train, and return the processor's seconds."""
    begun = time.process_time()
    fit(loss, train, max_steps=steps, batch_size=100, precision="float32")
    return time.process_time() - begun


def held_out(loss: objective.Objective, train: Tensor, test: Tensor, steps: int) -> tuple[Any, ...]:
    """Train a fresh model and judge it."""
    spent = train_for(loss, train, steps)
    found = evaluate.log_likelihood(loss.vae, test, "importance", 500)
    bound = float(evaluate.elbo(loss.vae, test).mean())
    return (
        type(loss).__name__,
        loss.samples,
        steps,
        spent,
        found.mean,
        found.mean_standard_error,
        bound,
    )


if __name__ == "__main__":
    main()
