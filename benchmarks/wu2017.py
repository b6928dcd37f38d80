"""Wu et al. (2017): how good is a decoder? log p(x) of continuous MNIST by AIS,
trapped by bidirectional Monte Carlo.

x = (u8 + U) / 256. Their decoders: 50-1024-1024-1024-784 and 10-64-256-256-1024-784, tanh, sigmoid
at the end, one beta^2 for all pixels. The encoder is ours to choose: 1024-1024. 50,000 images
train, with new U at each visit; 10,000 were for choosing, and the test images are looked at once,
here.

AIS starts at a normal fitted to each posterior, eight times as wide, so that it can leave a mode
that is not the one.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nelbo import VAE, evaluate, fit, likelihood, networks, objective, posterior, prior

from ._common import dequantised, guess, images, kept, load_weights, machine, report, save_weights

HEAD = (
    "model",
    "theirs",
    "AIS",
    "s.e.",
    "chain s.e.",
    "BDMC gap",
    "s.e.",
    "IS K=5000",
    "IS loose by",
    "ELBO",
    "beta",
    "images",
    "trained s",
    "epochs",
    "judged s",
)
MODELS = {"vae50": (50, (1024, 1024, 1024), 991.4), "vae10": (10, (64, 256, 256, 1024), 705.4)}
ANNEALING: dict[str, Any] = {"temperatures": 1600, "leapfrogs": 4, "widen": 8.0}


class Unit(nn.Module):
    """Their decoders' last step: means between 0 and 1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> Tensor:
        """Return means of shape (*batch, 784) for z (*batch, latent_dim)."""
        return torch.sigmoid(self.network(z))


class Redrawn(objective.ELBO):
    """The ELBO of images whose U within each grey level is drawn anew at every visit."""

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the ELBO of each row of x (n, 784)."""
        if self.training:
            x = ((x * 256).floor() + torch.rand(x.shape, generator=generator)) / 256
        return super().forward(x, generator)


def main() -> None:
    """Train and judge each model, keeping what is there of the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=MODELS, help="one model")
    parser.add_argument("--seconds", type=float, default=1200, help="of training")
    parser.add_argument("--images", type=int, default=100, help="test images")
    parser.add_argument("--simulated", type=int, default=24, help="images simulated for the gap")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--temperatures", type=int, default=ANNEALING["temperatures"])
    parser.add_argument(
        "--weights", type=Path, help="a folder to keep trained weights in, and to take them from"
    )
    parser.add_argument("--no-judging", action="store_true", help="train only")
    options = parser.parse_args()
    before, found = machine(), kept("wu2017", HEAD)
    for name in [options.only] if options.only else MODELS:
        vae, trained = trained_model(name, options)
        if options.no_judging:
            continue
        found[name] = [name, MODELS[name][2], *judge(vae, options, trained)]
        settings = {"chains": options.chains, **ANNEALING, "temperatures": options.temperatures}
        report(
            "wu2017",
            HEAD,
            [found[key] for key in MODELS if key in found],
            before,
            annealing=settings,
        )


def build(name: str, mean: Tensor) -> VAE:
    """Their decoder, whose first guess of every pixel is its mean, and our encoder."""
    latent_dim, hidden, _ = MODELS[name]
    generator = torch.Generator().manual_seed(0)
    head, q = likelihood.Gaussian((784,)), posterior.DiagonalNormal(latent_dim)
    network = networks.MLP(
        (latent_dim,), (784,), hidden=hidden, activation="tanh", generator=generator
    )
    guess(network, mean, 0.01)
    encoder = networks.MLP(
        (784,), q.in_shape, hidden=(1024, 1024), activation="silu", generator=generator
    )
    return VAE(prior.StandardNormal(latent_dim), Unit(network), head, encoder, q)


def trained_model(name: str, options: argparse.Namespace) -> tuple[VAE, dict[str, float]]:
    """Train, or take what was trained."""
    train = torch.from_numpy(dequantised("mnist")[0][:50_000]).flatten(1)
    vae = build(name, train.mean(0))
    path = options.weights and options.weights / f"{name}.safetensors"
    if path and path.exists():
        return vae, load_weights(path, vae)
    begun = time.perf_counter()

    def tell(record: Any) -> None:
        if record.train is not None:
            print(
                (
                    f"{name} {record.epoch:.0f} epochs, {record.seconds:.0f} s, ELBO "
                    f"{record.train:.1f}"
                ),
                flush=True,
            )

    history = fit(
        Redrawn(vae),
        train,
        max_seconds=options.seconds,
        batch_size=256,
        precision="float32",
        callbacks=[tell],
    )
    trained = {"seconds": time.perf_counter() - begun, "epochs": history.records[-1].epoch}
    if path:
        save_weights(path, vae, **trained)
    return vae, trained


def judge(vae: VAE, options: argparse.Namespace, trained: dict[str, float]) -> list[float]:
    """Return every figure, on test images in a random order."""
    order = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))[: options.images]
    x = torch.from_numpy(dequantised("mnist")[1]).flatten(1)[order]
    begun = time.perf_counter()
    settings = {**ANNEALING, "temperatures": options.temperatures}
    plain = evaluate.log_likelihood(vae, x, "importance", 5000)
    print(
        f"importance sampling {plain.mean:.1f}, median ESS {float(plain.ess.median()):.1f}",
        flush=True,
    )
    found = evaluate.log_likelihood(vae, x, "ais", options.chains, **settings)
    print(
        f"AIS {found.mean:.1f} ± {found.mean_standard_error:.1f}, {found.cost.seconds:.0f} s",
        flush=True,
    )
    gap = evaluate.bidirectional(vae, options.simulated, options.chains, **settings)
    print(
        f"BDMC {gap.gap:.2f} ± {gap.gap_standard_error:.2f}, {gap.cost.seconds:.0f} s", flush=True
    )
    judged = time.perf_counter() - begun
    return [
        found.mean,
        found.mean_standard_error,
        float(found.standard_error.median()),
        gap.gap,
        gap.gap_standard_error,
        plain.mean,
        found.mean - plain.mean,
        float(evaluate.elbo(vae, x).mean()),
        float(vae.likelihood.variance.detach().sqrt()),  # type: ignore[union-attr,operator]
        len(x),
        trained["seconds"],
        trained["epochs"],
        judged,
    ]


if __name__ == "__main__":
    images("mnist")  # says what is missing before anything else is done
    main()
