"""Held-out log p(x) by prior, at equal processor time: N(0, I), mixtures, pseudo-inputs and flows,
learned with the model or fitted after training.

digits     8 latents, 1,400 images to train on
fashion    Fashion-MNIST, 10 latents, 5,000 images to train on
wine_red, banknote   tables, 6 and 3 latents, 80 % of the rows to train on

Every prior gets as many steps as take the same seconds on the processor, found by short runs; what
is fitted after training comes on top of the steps of N(0, I). All else is a default but for tables,
which are trained once. At most 400 rows are scored.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from nelbo import VariationalAutoencoder

from ._common import RESULTS, images, kept, machine, report
from .tables import read

HEAD = ("data", "prior", "seed", "steps", "CPU s", "nats a row", "gain", "s.e.", "k>0.7", "what")
PRIORS: dict[str, dict[str, Any]] = {
    "standard_normal": {},
    "mixture, fitted": {"prior": "mixture"},
    "flow, fitted": {"prior": "flow", "prior_options": {"learned": False}},
    "mixture": {"prior": "mixture", "prior_options": {"components": 8}},
    "vamp": {"prior": "vamp"},
    "flow": {"prior": "flow"},
}
# what keeps few images from overfitting is the same for runs of any length, those that find the
# number of steps included
NETWORKS: dict[str, Any] = {
    "hidden": (256, 256),
    "decoder_hidden": (512, 512),
    "input_noise": 0.4,
    "weight_decay": 0.1,
}
LATENTS = {"digits": 8, "fashion": 10, "wine_red": 6, "banknote": 3}


def rows(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows to train on and rows to score."""
    if name == "digits":
        return _split(load_digits().images.astype(np.float32), 1400, seed)
    if name == "fashion":
        train, test = images("fashion_mnist")
        return train[:5000], test[:400]
    table = read(name)
    return _split(table, round(0.8 * len(table)), seed)


def _split(x: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    train, test = train_test_split(x, train_size=size, random_state=seed)
    return train, test[:400]


def fitted(
    x: np.ndarray, latents: int, steps: int, seed: int, made: dict[str, Any]
) -> tuple[VariationalAutoencoder, float]:
    """Return a model trained for so many steps, and its processor seconds."""
    begun = time.process_time()
    options = {"prior": "standard_normal", **made}
    if x.ndim == 3:
        options = {**NETWORKS, **options}
    # nothing is held against training but held-out rows: the same steps for all
    model = VariationalAutoencoder(
        latents, max_steps=steps, network="residual", random_state=seed, **options
    ).fit(x)
    return model, time.process_time() - begun


def steps_for(seconds: float, x: np.ndarray, latents: int, made: dict[str, Any]) -> int:
    """Return the number of steps that take so many seconds, by two short runs."""
    few, many = 130, 190  # the first 128 steps may have smaller batches
    times = [fitted(x, latents, count, 0, made)[1] for count in (few, many)]
    return max(few, round(seconds / max((times[1] - times[0]) / (many - few), 1e-4)))


def main() -> None:
    """Train and score each prior, keeping what is there of the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=LATENTS, default=list(LATENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=12.0, help="of each training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before, found = machine(), kept("priors", HEAD, 3)
    for seed in options.seeds:
        for name in options.only:
            measure(name, seed, options.seconds, found)
            report("priors", HEAD, list(found.values()), before, seconds=options.seconds)
    print(f"in {RESULTS}")


def measure(name: str, seed: int, seconds: float, found: dict[Any, list[Any]]) -> None:
    """Add a row for each prior on one data set."""
    x, test = rows(name, seed)
    plain: np.ndarray | None = None
    known: dict[str, int] = {}
    for prior, made in PRIORS.items():
        kind = "standard_normal" if prior.endswith(("normal", "fitted")) else prior
        try:
            if kind not in known:
                known[kind] = steps_for(seconds, x, LATENTS[name], PRIORS[kind])
            model, spent = fitted(x, LATENTS[name], known[kind], seed, made)
        except ImportError as error:
            print(f"{prior} left out: {error}", flush=True)
            continue
        scored = model.log_likelihood(test, "importance")
        values = np.asarray(scored.value)
        plain = values if plain is None else plain
        gain = values - plain
        what = str(model.recipe_.get("start", {}).get("value", ""))
        row = (
            name,
            prior,
            seed,
            known[kind],
            spent,
            float(values.mean()),
            float(gain.mean()),
            float(gain.std() / len(gain) ** 0.5),
            float(np.asarray(scored.unreliable).mean()),
            f"{model.recipe_['prior']['value']}, start {what}",
        )
        print(*row, flush=True)
        found[(name, prior, seed)] = list(row)


if __name__ == "__main__":
    main()
