"""A model ready to be judged: in the precision of the rows, in evaluation mode, in pieces that fit
a memory budget.
"""

from __future__ import annotations

__all__ = ["MEMORY", "Ready", "in_precision", "rows_at_once"]

import contextlib
import copy
import math

import torch
from torch import Tensor, nn

from ..threads import allowed, products, using, worth
from ..vae import VAE
from . import noise

MEMORY = 256 * 2**20
"""Default bytes for intermediate results."""
CACHE = 2**25
"""Bytes of intermediate results beyond which larger pieces only leave the processor's cache."""

PIECE = 2**13
"""Decoded rows of a piece, about, where networks are narrow; those of wide ones are work enough
with fewer.
"""


class Ready(contextlib.ExitStack):
    """Context: a model in the precision of x, in evaluation mode, without gradients or autocast.

    Arguments:
        vae: The model.
        x: Rows (n, *shape).

    Raises:
        TypeError: One is no model, or the other no tensor of floats.
        ValueError: Rows of another shape, none, or some that are not finite.
    """

    def __init__(self, vae: VAE, x: Tensor) -> None:
        super().__init__()
        if not isinstance(vae, VAE):
            inner = {"Objective": "objective.vae", "VariationalAutoencoder": "model.model_"}
            held = next(
                (inner[kind.__name__] for kind in type(vae).__mro__ if kind.__name__ in inner), None
            )
            raise TypeError(
                f"vae must be a nelbo.VAE, got {type(vae).__name__}."
                + (f" Pass {held}." if held else "")
            )
        vae.check_rows("x", x)
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        self.model = in_precision(vae, dtype)
        parameter = next(self.model.parameters(), None)
        self.x = x.to(parameter.device if parameter is not None else x.device, dtype)

    def __enter__(self) -> tuple[VAE, Tensor]:  # type: ignore[override]
        # Some methods climb: gradients for z can be switched on again in here, but not under
        # inference_mode.
        self.enter_context(torch.inference_mode(False))
        self.enter_context(torch.no_grad())
        self.x = self.x.clone() if self.x.is_inference() else self.x
        self.enter_context(torch.autocast(self.x.device.type, enabled=False))
        self.callback(self.model.train, self.model.training)
        self.model.eval()
        if self.x.device.type == "cpu":
            self.enter_context(using(threads_for(self.model, self.x)))
        return self.model, self.x


def threads_for(vae: VAE, x: Tensor) -> int:
    """Return how many threads the products of one piece are worth, if a row has a block of samples
    in it.
    """
    return min(
        allowed(), worth(min(len(x) * noise.BLOCK, PIECE) * products(vae.decoder, vae.shape))
    )


def in_precision(vae: VAE, dtype: torch.dtype) -> VAE:
    """Return the model itself if its weights have this dtype, else a converted copy."""
    if all(p.dtype == dtype for p in vae.parameters()):
        return vae
    return copy.deepcopy(vae).to(dtype)


def decoded_bytes(vae: VAE, x: Tensor) -> int:
    """Return how many bytes one evaluation of p(x|z) keeps alive at most, measured on one z."""
    total = 0

    def add(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        total += output.numel() if isinstance(output, Tensor) else 0

    handles = [part.register_forward_hook(add) for part in vae.decoder.modules()]
    try:
        with torch.no_grad():
            vae.decode(x.new_zeros(1, vae.latent_dim))
    finally:
        for handle in handles:
            handle.remove()
    return x.element_size() * (total + 4 * math.prod(vae.shape) + 8 * vae.latent_dim)


def rows_at_once(vae: VAE, x: Tensor, samples: int, memory: int, gradients: bool = False) -> int:
    """Return how many rows, with this many samples each, fit the budget; at least one.

    Raises:
        ValueError: ``memory`` is not positive.
    """
    if memory < 1:
        raise ValueError(f"memory must be a positive number of bytes, got {memory}.")
    size = decoded_bytes(vae, x) * (3 if gradients else 1)
    budget = min(memory, CACHE) if x.device.type == "cpu" else memory
    return max(1, budget // (size * samples))
