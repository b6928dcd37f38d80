"""Burda et al. (2016), MNIST binarised anew at every visit, one stochastic layer of 50, or two of
100 and 50: nats per test image.

Their nets: 784-200-200-50 and back, 784-200-200-100-100-100-50 and back, tanh, Bernoulli. Theirs
took 3,280 passes over the data; here Muon takes a fixed number of passes with a cosine, and no
choice is made on test images. IWAE-50 begins with the weights of IWAE-5, whose passes count (they
cost less). Test images are binarised once, log p(x) is the bound of 5,000 importance samples, as
theirs.

"vamp" and "flow" are priors of the net of one layer, beside the figures for N(0, I). Two layers
leave the last 2,000 training images out, and their bound of 50 samples goes to
``burda2016_curve.json``, with the passes and the seconds. ``--state DIR`` keeps the state of a run,
which goes on from there when it is started again; ``--seconds`` ends the passes of a row early, the
cosine with them.

With a GPU, two layers and the learned prior took these, one after the other in each line:
``--only "iwae5, two layers" --seconds 120 --batch 600 --rate 1e-2``, then
``--only "iwae50, two layers" --seconds 190 --batch 600 --rate 3e-3 --test 10000``;
``--only "iwae5, vamp" --seconds 70``, then
``--only "iwae50, vamp" --seconds 80 --batch 300 --rate 3e-3 --test 10000``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nelbo import VAE, diagnose, distributions, evaluate, fit, objective, prior
from nelbo.checkpoint.store import Folder
from nelbo.data import as_rows
from nelbo.training.precision import resolve_device

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
from ._two_layers import Resampled, two_layer_net

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
    "on",
    "images",
    "k>0.7",
)


@dataclass(frozen=True)
class Row:
    """How a row is trained, and what its authors reached.

    Attributes:
        samples: K.
        theirs: Nats per test image in the paper.
        passes: Passes over the training images.
        rate: The peak learning rate.
        batch: Images in a step.
        start: The row whose weights it begins with.
        layers: Stochastic layers.
        kept: Of the K samples those that gradients flow through, drawn by their weights; None is
            all.
        prior: Of one layer: "standard_normal", "vamp" with 500 pseudo-inputs, or "flow".
    """

    samples: int
    theirs: float
    passes: int
    rate: float
    batch: int
    start: str | None = None
    layers: int = 1
    kept: int | None = None
    prior: str = "standard_normal"

    def net(self, train: Tensor) -> VAE:
        """Return the net with fresh weights; what it starts from is read off training images."""
        mean, generator = train.float().mean(0) / 255, torch.Generator().manual_seed(1)
        if self.layers == 2:
            return two_layer_net(mean)
        if self.prior == "flow":
            return burda_net(50, mean, prior.Flow(50, generator=generator))
        if self.prior == "vamp":
            vae = burda_net(50, mean, prior.Vamp(50, (784,), 500, generator))
            vae.prior.start_at_rows((train > 127).float())
            return vae
        return burda_net(50, mean)


ROWS = {
    "vae": Row(1, 86.76, 200, 8e-3, 300),
    "iwae5": Row(5, 85.54, 120, 8e-3, 300),
    "iwae50": Row(50, 84.78, 22, 2e-3, 100, "iwae5"),
    "iwae5, vamp": Row(5, 85.54, 120, 8e-3, 300, prior="vamp"),
    "iwae50, vamp": Row(50, 84.78, 22, 2e-3, 100, "iwae5, vamp", kept=6, prior="vamp"),
    "iwae5, flow": Row(5, 85.54, 120, 8e-3, 300, prior="flow"),
    "iwae50, flow": Row(50, 84.78, 22, 2e-3, 100, "iwae5, flow", kept=6, prior="flow"),
    "iwae5, two layers": Row(5, 83.89, 100, 8e-3, 300, layers=2),
    "iwae50, two layers": Row(50, 82.90, 40, 2e-3, 100, "iwae5, two layers", 2, kept=6),
}
HELD_OUT = 2000
"""Training images, the last ones, that two layers are not trained on: they show how far it is."""


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=ROWS, help="one row")
    parser.add_argument("--passes", type=int, help="instead of each row's own")
    parser.add_argument("--batch", type=int, help="instead of each row's own")
    parser.add_argument("--optimizer", default="muon", choices=("muon", "adamw"))
    parser.add_argument("--rate", type=float, help="peak learning rate, instead of each row's own")
    parser.add_argument("--seconds", type=float, help="a limit instead of the row's passes")
    parser.add_argument("--images", type=int, help="training images, the first so many")
    parser.add_argument("--test", type=int, default=2000, help="test images")
    parser.add_argument("--samples", type=int, default=5000, help="importance samples for each")
    parser.add_argument("--gradient", default="dreg", help="iwae or dreg, where K is above 1")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: a GPU if any")
    parser.add_argument(
        "--weights", type=Path, default=RESULTS.parent / "weights", help="where trained weights go"
    )
    parser.add_argument("--state", type=Path, help="where the state of training is kept")
    parser.add_argument(
        "--scratch", action="store_true", help="begin every row with random weights"
    )
    parser.add_argument("--judge", action="store_true", help="judge weights that are there already")
    parser.add_argument("--trial", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    options.device = resolve_device(options.device)
    keep_memory()
    before = machine()
    for name in [options.only] if options.only else ROWS:
        row = run(name, options)
        print(*row, flush=True)
        if not options.trial:
            # read again: another row may have come in from another process
            found = {**kept("burda2016", HEAD), name: list(row)}
            report("burda2016", HEAD, [found[key] for key in ROWS if key in found], before)


def run(name: str, options: argparse.Namespace) -> tuple[Any, ...]:
    """Train one row and judge it."""
    row = ROWS[name]
    train, test = (torch.from_numpy(part).flatten(1) for part in images("mnist"))
    train = train[: options.images]
    vae = row.net(train)
    weights = options.weights / f"{name}.safetensors"
    before = 0
    if row.start is not None and not options.scratch:
        start = options.weights / f"{row.start}.safetensors"
        before = round(load_weights(start, vae)["passes"])
    if options.judge:
        facts = load_weights(weights, vae)
    else:
        facts = trained(name, vae, train, before, options)
        save_weights(weights, vae, **facts)
    grey = test[: options.test].float() / 255
    x = torch.bernoulli(grey, generator=torch.Generator().manual_seed(1))
    vae.to(options.device)
    found = evaluate.log_likelihood(vae, x, "importance", options.samples)
    return (
        name,
        row.samples,
        round(facts["passes"]),
        before,
        row.theirs,
        -found.mean,
        found.mean_standard_error,
        float(evaluate.elbo(vae, x).mean()),
        diagnose.active_units(vae, (test.float() / 255).to(vae.device)).count,
        facts["wall"],
        facts["cpu"],
        place(vae.device),
        len(x),
        float(found.unreliable.double().mean()),
    )


def place(device: torch.device) -> str:
    """Return where a row was computed."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} thread(s)"


def trained(
    name: str, vae: VAE, train: Tensor, before: int, options: argparse.Namespace
) -> dict[str, float]:
    """Train the net of a row, and return its passes in all and the seconds of these."""
    row, held = ROWS[name], None
    if row.layers == 2:
        grey = train[-HELD_OUT:].float() / 255
        held = torch.bernoulli(grey, generator=torch.Generator().manual_seed(2))
        train = train[:-HELD_OUT]
    curve = Curve(name, vae, held, before, kept=not options.trial)
    limits: dict[str, Any] = {"max_epochs": options.passes or row.passes}
    if options.seconds:
        limits = {"max_seconds": options.seconds}
    with contextlib.ExitStack() as stack:
        store = None
        if options.state:
            folder = stack.enter_context(Folder(options.state / name, f"{name}, {limits}"))
            store = folder.phase()
        fit(
            _objective(row, vae, options.gradient),
            as_rows(train, step=binarise),
            batch_size=options.batch or row.batch,
            optimizer=options.optimizer,
            learning_rate=options.rate or row.rate,
            decay=None,
            precision=options.precision,
            device=options.device,
            callbacks=[curve],
            store=store,
            **limits,
        )
    return curve.facts()


def _objective(row: Row, vae: VAE, gradient: str) -> objective.Objective:
    """Return what a row maximises."""
    if row.kept is not None:
        return Resampled(vae, row.samples, row.kept)
    if row.samples == 1:
        return objective.ELBO(vae)
    return {"dreg": objective.DReG, "iwae": objective.IWAE}[gradient](vae, row.samples)


class Curve:
    """Follows a run: passes, the training bound and that of held-out images, and seconds."""

    def __init__(
        self, name: str, vae: VAE, held: Tensor | None, before: int, kept: bool = True
    ) -> None:
        self.name, self.held, self.before, self.kept = name, held, before, kept
        self.judge = objective.IWAE(vae, 50)
        self.points: list[dict[str, float | None]] = []
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def __call__(self, record: Any) -> None:
        """Take a record of `fit`."""
        self.points.append(
            {
                "passes": self.before + record.epoch,
                "train": record.train,
                "held_out": self._bound(),
                "wall": time.perf_counter() - self.wall,
                "cpu": time.process_time() - self.cpu,
            }
        )
        print(self.name, *self.points[-1].values(), flush=True)
        if self.held is not None and self.kept:
            path = RESULTS / "burda2016_curve.json"
            whole = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps({**whole, self.name: self.points}, indent=1) + "\n")

    @torch.no_grad()
    def _bound(self) -> float | None:
        """Return the bound of held-out images by 50 samples, with the same noise each time."""
        if self.held is None:
            return None
        device = self.judge.vae.device
        generator = torch.Generator(device).manual_seed(3)
        parts = [self.judge(part, generator) for part in self.held.to(device).split(100)]
        return float(torch.cat(parts).mean())

    def facts(self) -> dict[str, float]:
        """Return the passes in all, and the seconds."""
        last = self.points[-1]
        return {name: float(last[name] or 0) for name in ("passes", "wall", "cpu")}


if __name__ == "__main__":
    main()
