"""Prepares a model and rows for judging:
precision, evaluation mode, and pieces that fit a memory budget.
"""

from __future__ import annotations

__all__ = ["MEMORY", "in_precision", "judged", "read", "rows_at_once", "rows_fitted"]

import contextlib
import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..data.rows import Rows
from ..threads import allowed, products, using, worth
from ..vae import UNCONDITIONAL, VAE
from . import row_noise
from .examples import Examples

MEMORY = 256 * 2**20
"""Default bytes for intermediate results."""


@contextlib.contextmanager
def judged(vae: VAE, x: Tensor, c: Tensor | None = None) -> Iterator[tuple[VAE, Examples]]:
    """Yield the model in the precision of x and in evaluation mode,
    and the examples on its device.

    Inside the block there are no gradients unless they are switched on again, and no autocast.
    Afterwards the model is in the mode that it was in.

    Arguments:
        vae: The model.
        x: Rows (n, *shape).
        c: Their conditions (n, k), for a model of p(x|c).

    Raises:
        TypeError: ``vae`` is not a VAE, or x is not a tensor of floats.
        ValueError: Rows have another shape than the model's, there are none, some are not finite
            (or missing, where the model takes such), or c does not fit.
    """
    _check_model(vae)
    vae.check_rows("x", x)
    _check_conditions(vae, x, c)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    # Some methods climb: gradients for z can be switched on again inside no_grad, but not inside
    # inference_mode, nor for tensors that were made in it.
    with torch.inference_mode(False), torch.no_grad():
        model = in_precision(vae, dtype)
        rows = Examples(_moved(x, model, dtype))
        if c is not None:
            rows = Examples(rows.x, _moved(c, model, dtype))
        training = model.training
        with torch.autocast(rows.device.type, enabled=False), _threads(model, rows):
            model.eval()
            try:
                yield model, rows
            finally:
                model.train(training)


def read(x: Tensor | Rows, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the rows and conditions of an evaluation, which `nelbo.data.Rows` hold together.

    Where rows are made at each visit, the noise is that of the seed 0.

    Raises:
        ValueError: There are conditions beside those of the rows.
    """
    if not isinstance(x, Rows):
        return x, c
    if c is not None:
        raise ValueError(
            "c was passed beside rows that may hold their own. Pass as_rows(x, c=c) alone."
        )
    return x.whole(torch.Generator().manual_seed(0))


def _check_conditions(vae: VAE, x: Tensor, c: Tensor | None) -> None:
    """Refuse conditions that do not fit the model or the rows."""
    if c is None:
        return
    if not vae.takes_condition:
        raise ValueError(UNCONDITIONAL)
    if len(c) != len(x):
        raise ValueError(f"c must have a row for each of the {len(x)} rows of x, got {len(c)}.")


def _moved(tensor: Tensor, model: VAE, dtype: torch.dtype) -> Tensor:
    """Return a tensor on the device of a model, not one that was made under inference_mode."""
    moved = tensor.to(model.device, dtype)
    if moved.is_inference():
        return moved.clone()
    return moved


def _check_model(vae: object) -> None:
    """Refuse what is not a VAE, and say where it holds one."""
    if isinstance(vae, VAE):
        return
    inner = {"Objective": "objective.vae", "VariationalAutoencoder": "model.model_"}
    cure = ""
    for kind in type(vae).__mro__:
        if kind.__name__ in inner:
            cure = f" Pass {inner[kind.__name__]}."
    raise TypeError(f"vae must be a nelbo.VAE, got {type(vae).__name__}.{cure}")


def _threads(vae: VAE, x: Examples) -> contextlib.AbstractContextManager[None]:
    """Use as many threads as the model is worth; a GPU needs none."""
    if x.device.type == "cpu":
        return using(threads_for(vae, x))
    return contextlib.nullcontext()


def threads_for(vae: VAE, x: Examples, decoded: int = 2**13) -> int:
    """Return how many threads the products of one piece are worth, with a block of samples a row.

    Arguments:
        vae: The model.
        x: The examples.
        decoded: Decoded rows of a piece, about, where networks are narrow; fewer rows of wide
            networks are work enough.
    """
    together = min(len(x) * row_noise.BLOCK, decoded)
    return min(allowed(), worth(together * products(vae.decoder, vae.shape)))


def in_precision(vae: VAE, dtype: torch.dtype) -> VAE:
    """Return the model itself if its weights have this dtype, else a converted copy."""
    if all(p.dtype == dtype for p in vae.parameters()):
        return vae
    return copy.deepcopy(vae).to(dtype)


def decoded_bytes(vae: VAE, x: Examples) -> int:
    """Return how many bytes one evaluation of p(x|z) keeps alive at most, measured on one z."""
    total = 0

    def add(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel()

    handles = [part.register_forward_hook(add) for part in vae.decoder.modules()]
    try:
        with torch.no_grad():
            x[:1].decode(vae, x.x.new_zeros(1, vae.latent_dim))
    finally:
        for handle in handles:
            handle.remove()
    return x.x.element_size() * (total + 4 * math.prod(vae.shape) + 8 * vae.latent_dim)


def rows_at_once(
    vae: VAE,
    x: Examples,
    samples: int,
    memory: int,
    gradients: bool = False,
    cache: int = 2**25,
) -> int:
    """Return how many rows, with this many samples each, fit the budget; at least one.

    Arguments:
        vae: The model.
        x: The examples.
        samples: Draws of z for each row that are decoded together.
        memory: The budget in bytes.
        gradients: Whether gradients for z are taken, which keeps three times as much alive.
        cache: Bytes of intermediate results beyond which larger pieces only leave the cache of a
            processor.

    Raises:
        ValueError: ``memory`` is not positive.
    """
    if memory < 1:
        raise ValueError(f"memory must be a positive number of bytes, got {memory}.")
    size = decoded_bytes(vae, x)
    if gradients:
        size *= 3
    if x.device.type == "cpu":
        memory = min(memory, cache)
    return max(1, memory // (size * samples))


def rows_fitted(vae: VAE, memory: int, most: int = 1024) -> int:
    """Return for how many rows normals are fitted together; at least one.

    Few that are left on their way to a mode then do not take as long as many.

    Arguments:
        vae: The model.
        memory: The budget in bytes, for a few matrices of each row.
        most: How many are worth it.
    """
    numbers = 8 * (vae.latent_dim + 4) ** 2
    return max(1, min(most, memory // (8 * numbers)))
