"""How closely a model is looked at: an examination takes as long as its costliest parts."""

from __future__ import annotations

__all__ = ["Effort", "operations"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..vae import VAE


@dataclass(frozen=True)
class Effort:
    """How much is looked at.

    Attributes:
        rows: Rows, where there are as many.
        gap_rows: Rows of these whose own q* is looked for, which takes most of the time: of 128 the
            standard error of a gap of a few nats is a few tenths.
        gap_steps: Steps of Adam that look for it.
        samples: Importance samples behind each log p(x) of training and unseen rows.
        classified: Rows of each kind that a classifier learns from.
        features: Values of a row that it reads, evenly spread, at most.
    """

    rows: int = 1000
    gap_rows: int = 128
    gap_steps: int = 100
    samples: int = 100
    classified: int = 1000
    features: int = 2**20

    @classmethod
    def quick(cls, vae: VAE, budget: float = 3e11) -> Effort:
        """Return what takes a few seconds, less where a decode is expensive.

        It depends on the model alone, so that equal calls give equal answers. Verdicts are the same
        but for those that hang on few rows; standard errors are larger.

        Arguments:
            vae: The model.
            budget: Floating-point operations: two seconds of one core of 2023.
        """
        decodes = budget / max(operations(vae), 1.0)
        # a row's q* takes about 30 decodes for each step, and a gradient costs as much as two
        if decodes >= 32 * 3000:
            return cls(rows=300, gap_rows=32, classified=300, features=100)
        return cls(
            rows=120,
            gap_rows=12,
            gap_steps=20,
            samples=min(100, max(20, int(decodes / 1000))),
            classified=120,
            features=100,
        )


@torch.no_grad()
def operations(vae: VAE) -> float:
    """Return the floating-point operations of one decode: those of its products and convolutions,
    two for each weight at each place where it is used, and of the likelihood.

    torch's own counter says the same, but imports its compiler, which takes a second.

    Arguments:
        vae: The model.
    """
    head = 2.0 * (math.prod(vae.likelihood.in_shape) + _numbers(vae.likelihood))
    if vae.takes_condition:  # whose decoder wants c, too
        return head + 2.0 * _numbers(vae.decoder)
    found = [head]

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # of a strided convolution, and of a transposed one, the smaller image counts
        places = min(math.prod(image.shape[2:]) for image in (inputs[0], output))
        own = sum(weight.numel() for weight in module.parameters(recurse=False))
        found.append(2.0 * places * own)

    hooks = [part.register_forward_hook(count) for part in vae.decoder.modules()]
    vae.decoder(torch.zeros(1, vae.latent_dim, device=vae.device, dtype=vae.dtype))
    for hook in hooks:
        hook.remove()
    return sum(found)


def _numbers(module: nn.Module) -> int:
    """Return how many weights a module has."""
    return sum(weight.numel() for weight in module.parameters())
