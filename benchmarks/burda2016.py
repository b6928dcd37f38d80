"""Burda et al. (2016), MNIST binarised anew at every visit, one stochastic layer of 50:
nats per test image.

Their net: 784-200-200-50-200-200-784, tanh, Bernoulli. Theirs took 3,280 passes over the data; here
Muon takes a fixed number of passes with a cosine, and no choice is made on test images. IWAE-50
begins with the weights of IWAE-5, whose passes count (they cost less). Test images are binarised
once, log p(x) is the bound of 5,000 importance samples, as theirs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nelbo import diagnose, distributions, evaluate, fit, objective
from nelbo.data import as_rows

from ._common import (
    RESULTS,
    burda_net,
    images,
    keep_memory,
    kept,
    load_weights,
    machine,
    report,
    save_weights,
)

HEAD = (
    "objective",
    "K",
    "passes",
    "of them before",
    "theirs",
    "NLL",
    "s.e.",
    "ELBO",
    "active",
    "wall s",
    "CPU s",
    "threads",
    "k>0.7",
)
ROWS = {"vae": (1, 86.76), "iwae5": (5, 85.54), "iwae50": (50, 84.78)}
PASSES = {"vae": 200, "iwae5": 120, "iwae50": 22}
RATES = {"vae": 8e-3, "iwae5": 8e-3, "iwae50": 2e-3}
BATCHES = {"vae": 300, "iwae5": 300, "iwae50": 100}
STARTS = {"iwae50": "iwae5"}


def binarise(grey: Tensor, generator: torch.Generator) -> Tensor:
    """Draw x ~ Bernoulli(grey / 255) for bytes, with 16 random bits for each pixel."""
    bits = (
        distributions.random_bytes((*grey.shape, 2), generator, grey.device)
        .view(torch.int16)
        .squeeze(-1)
    )
    return (bits.float() + 2.0**15 + 0.5 < grey * (2.0**16 / 255)).float()


def main() -> None:
    """Train and judge each row, keeping what is there of the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=ROWS, help="one row")
    parser.add_argument("--passes", type=int, help="instead of each row's own")
    parser.add_argument("--batch", type=int, help="instead of each row's own")
    parser.add_argument("--optimizer", default="muon", choices=("muon", "adamw"))
    parser.add_argument("--rate", type=float, help="peak learning rate, instead of each row's own")
    parser.add_argument("--test", type=int, default=2000, help="test images")
    parser.add_argument("--samples", type=int, default=5000, help="importance samples for each")
    parser.add_argument("--gradient", default="dreg", help="iwae or dreg, where K is above 1")
    parser.add_argument("--precision", default="auto")
    parser.add_argument(
        "--weights", type=Path, default=RESULTS.parent / "weights", help="where trained weights go"
    )
    parser.add_argument(
        "--scratch", action="store_true", help="begin every row with random weights"
    )
    parser.add_argument("--trial", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    keep_memory()
    before, found = machine(), kept("burda2016", HEAD)
    for name in [options.only] if options.only else ROWS:
        row = run(name, options)
        print(*row, flush=True)
        found[name] = list(row)
        if not options.trial:
            report("burda2016", HEAD, [found[key] for key in ROWS if key in found], before)


def run(name: str, options: argparse.Namespace) -> tuple[Any, ...]:
    """Train one row and judge it."""
    samples, theirs = ROWS[name]
    passes = options.passes or PASSES[name]
    train, test = (torch.from_numpy(part).flatten(1) for part in images("mnist"))
    vae = burda_net(50, train.float().mean(0) / 255)
    before = 0
    if name in STARTS and not options.scratch:
        before = int(load_weights(options.weights / f"{STARTS[name]}.safetensors", vae)["passes"])
    kind = (
        objective.ELBO
        if samples == 1
        else objective.DReG
        if options.gradient == "dreg"
        else objective.IWAE
    )
    wall, cpu = time.perf_counter(), time.process_time()

    def tell(record: Any) -> None:
        if round(record.epoch) % max(1, passes // 20) == 0:
            print(
                f"pass {record.epoch:.0f} train {record.train or 0:.2f} {record.seconds:.0f} s",
                flush=True,
            )

    fit(
        kind(vae, samples),
        as_rows(train, step=binarise),
        max_epochs=passes,
        batch_size=options.batch or BATCHES[name],
        optimizer=options.optimizer,
        learning_rate=options.rate or RATES[name],
        decay=None,
        precision=options.precision,
        callbacks=[tell],
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    save_weights(options.weights / f"{name}.safetensors", vae, passes=before + passes)
    grey = test[: options.test].float() / 255
    x = torch.bernoulli(grey, generator=torch.Generator().manual_seed(1))
    found = evaluate.log_likelihood(vae, x, "importance", options.samples)
    bound = float(evaluate.elbo(vae, x).mean())
    active = diagnose.active_units(vae, test.float() / 255).count
    doubtful = float(found.unreliable.double().mean())
    threads = torch.get_num_threads()
    nll = -found.mean
    error = found.mean_standard_error
    return (
        name,
        samples,
        before + passes,
        before,
        theirs,
        nll,
        error,
        bound,
        active,
        wall,
        cpu,
        threads,
        doubtful,
    )


if __name__ == "__main__":
    main()
