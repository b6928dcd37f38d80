"""What the defaults of training are chosen by: held-out log p(x) after the same seconds, one choice
changed at a time.

Whole default fits with ``max_seconds``, on one thread: Fashion-MNIST, Frey faces (both as bytes),
digits and four tables, three seeds each. Every seed draws other test rows (a fifth; the first 1,000
test images of Fashion-MNIST are always the same ones). The variants take turns within a seed, so
that a machine that slows down slows all of them. A gain is a variant's nats per row minus the
default's, paired by seed, with its standard error over the seeds.

Variants that are not options of `VariationalAutoencoder` replace one function of the library while
they run.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from nelbo import VariationalAutoencoder, networks, training
from nelbo.recipe.plain import PLAIN
from nelbo.training import budget, run
from nelbo.training.budget import default_batch_size
from nelbo.training.optimisers import Muon, adamw
from nelbo.training.rate import RateSchedule, default_learning_rate

from ._common import data_file, images, kept, machine, picture, report
from .tables import noised, part, read

DATA: dict[str, tuple[int, float, float]] = {
    "fashion_mnist": (10, 2.0, 12.0),
    "frey_faces": (10, 1.0, 5.0),
    "digits": (8, 1.0, 4.0),
    "wine_red": (8, 1.0, 4.0),
    "banknote": (8, 1.0, 4.0),
    "satellite": (8, 1.0, 4.0),
    "annthyroid": (8, 1.0, 4.0),
}
"""Latent size, and few and many seconds."""
FIT = training.fit
HEAD = ("data", "seconds", "variant", "nats", "gain", "s.e.", "steps")


class Normed(nn.Module):
    """A residual network whose nonlinear path has layer normalisation before each activation."""

    def __init__(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        super().__init__()
        # of these data, only Fashion-MNIST has many rows
        many = 784 in (math.prod(inputs), math.prod(outputs))
        encodes = math.prod(inputs) > math.prod(outputs)
        widths = PLAIN.hidden_of_many if many else PLAIN.hidden
        hidden = widths.to_json()["encoder" if encodes else "decoder"]
        self.network = networks.Residual(
            inputs, outputs, hidden, generator=torch.Generator().manual_seed(0)
        )
        layers = []
        for layer in self.network.body.layers:
            layers += (
                [layer, nn.LayerNorm(layer.out_features)]
                if isinstance(layer, nn.Linear)
                else [layer]
            )
        self.network.body.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Map (*batch, *inputs) to (*batch, *outputs)."""
        h: Tensor = self.network(x)
        return h


def averaging(*args: Any, **options: Any) -> training.History:
    """Fit with a running mean of the weights over the last 500 steps or so."""
    return FIT(*args, **{"average": 2e-3, **options})


def fall(decay: float | None) -> Callable[[float | None], RateSchedule]:
    """Return what plans another fall of the rate than the default's."""
    of = RateSchedule.of
    return lambda _: of(decay)


def rate(times: float) -> Callable[[float], float]:
    """Return the default peak rate, so many times."""
    before = default_learning_rate
    return lambda steps: times * before(steps)


def replaced(*places: tuple[Any, str, Any]) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """Return a context in which some names of the library stand for something else."""

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for module, name, value in places:
                stack.enter_context(mock.patch.object(module, name, value))
            yield

    return context


@contextlib.contextmanager
def bfloat16_products() -> Iterator[None]:
    """Let float32 products round their factors to bfloat16, in oneDNN rather than by autocast."""
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before


NOTHING = contextlib.nullcontext
LARGER = partial(default_batch_size, largest=512)
VARIANTS: dict[str, tuple[dict[str, Any], Callable[[], contextlib.AbstractContextManager[Any]]]] = {
    "default": ({}, NOTHING),
    "random start": ({"init": "random"}, NOTHING),
    "plain net": ({"network": "mlp"}, NOTHING),
    "batch 64": ({"batch_size": 64}, NOTHING),
    "batch 256 from the first step": ({"batch_size": 256}, NOTHING),
    "batches up to 512": (
        {},
        replaced((budget, "default_batch_size", LARGER)),
    ),
    "rate / 2": ({}, replaced((training.loop, "default_learning_rate", rate(0.5)))),
    "rate x 2": ({}, replaced((training.loop, "default_learning_rate", rate(2.0)))),
    "cosine": ({}, replaced((RateSchedule, "of", fall(None)))),
    "rate falls all along": ({}, replaced((RateSchedule, "of", fall(1.0)))),
    "rate falls over half": ({}, replaced((RateSchedule, "of", fall(0.5)))),
    "rate falls over a tenth": ({}, replaced((RateSchedule, "of", fall(0.1)))),
    "second moments over 100 steps": ({}, replaced((adamw, "BETAS", (0.9, 0.99)))),
    "Muon": ({}, replaced((run, "OPTIMIZERS", {"adamw": Muon}))),
    "averaged weights": ({}, replaced((training, "fit", averaging))),
    "weight decay 0.1": ({"weight_decay": 0.1}, NOTHING),
    "relu": ({"activation": "relu"}, NOTHING),
    "gelu": ({"activation": "gelu"}, NOTHING),
    "layer normalisation": ({"network": Normed, "init": "random"}, NOTHING),
    "encoder 512-512": ({"hidden": (512, 512), "decoder_hidden": (512, 512, 512)}, NOTHING),
    "encoder 128-128": ({"hidden": (128, 128), "decoder_hidden": (512, 512, 512)}, NOTHING),
    "encoder and decoder 512-512": ({"hidden": (512, 512)}, NOTHING),
    "decoder 256-512-512": ({"decoder_hidden": (256, 512, 512)}, NOTHING),
    "decoder 512-512-1024": ({"decoder_hidden": (512, 512, 1024)}, NOTHING),
    "decoder of four layers": ({"decoder_hidden": (512,) * 4}, NOTHING),
    "decoder of width 256": ({"decoder_hidden": (256,) * 3}, NOTHING),
    "float32": ({"precision": "float32"}, NOTHING),
    "float32, products in bf16": ({"precision": "float32"}, bfloat16_products),
}


def main() -> None:
    """Fit everything, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--long", action="store_true", help="the many seconds, not the few")
    parser.add_argument("--trial", action="store_true", help="write no result")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before, rows = machine(), []
    for name in options.only:
        latent, few, many = DATA[name]
        seconds = many if options.long else few
        found: dict[str, list[tuple[float, int]]] = {variant: [] for variant in options.variants}
        for seed, variant in itertools.product(range(options.seeds), options.variants):
            found[variant].append(fit(name, latent, seconds, seed, *VARIANTS[variant]))
        for variant, scores in found.items():
            gains = [a[0] - b[0] for a, b in zip(scores, found["default"], strict=True)]
            error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
            nats, steps = (statistics.mean(one[i] for one in scores) for i in (0, 1))
            rows.append((name, seconds, variant, nats, statistics.mean(gains), error, round(steps)))
            print(*rows[-1], flush=True)
    if not options.trial:
        result = "engine_long" if options.long else "engine"
        rows += [
            tuple(row)
            for key, row in kept(result, HEAD, cells=3).items()
            if key[0] not in options.only
        ]
        rows.sort(key=lambda row: list(DATA).index(row[0]))
        report(result, HEAD, rows, before, seeds=options.seeds)
        draw(result, rows)


def fit(
    name: str,
    latent: int,
    seconds: float,
    seed: int,
    options: dict[str, Any],
    context: Callable[[], contextlib.AbstractContextManager[Any]],
) -> tuple[float, int]:
    """Return the held-out nats per row of one fit, and its steps."""
    train, test = rows_of(name, seed)
    with context():
        model = VariationalAutoencoder(
            latent, max_seconds=seconds, random_state=seed, **options
        ).fit(train)
    return model.score(test[:1000]), model.history_.records[-1].step


def rows_of(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows to fit and rows to score."""
    if name == "fashion_mnist":
        return images(name)
    if name == "frey_faces":
        with np.load(data_file("frey_faces.npz")) as file:
            return part(file["x"], seed)
    return part(noised(read(name)), seed)


def draw(result: str, rows: list[tuple[Any, ...]]) -> None:
    """Show every gain as a share of what the default gains over nothing:
    nats per row, data by data.
    """
    names = list(dict.fromkeys(row[0] for row in rows))
    with picture(result, False) as axes:
        for i, name in enumerate(names):
            mine = [row for row in rows if row[0] == name and row[2] != "default"]
            axes.plot(
                [row[4] for row in mine],
                [row[2] for row in mine],
                "o",
                color=f"C{i}",
                label=name,
                alpha=0.7,
            )
        axes.axvline(0, color="0.5", zorder=0)
        axes.set_xscale("symlog", linthresh=0.1)
        axes.set_xlabel("nats per row gained over the default after the same seconds")
        axes.invert_yaxis()
        axes.tick_params(axis="y", labelsize="x-small")
        # not over the points
        axes.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)


if __name__ == "__main__":
    main()
