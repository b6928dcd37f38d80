r"""log p(x) by an adaptive grid over z, for one or two latent dimensions.

The midpoint rule on cells that are halved until nothing changes. Cells are dropped that hold no mass: where neither
log p(x, z) nor what it might reach, judged by its variation over neighbouring cells, comes near the largest value.
For a smooth integrand the midpoint rule converges faster than any power of the cell, once cells are narrower than
peaks.
"""

from __future__ import annotations

__all__ = ["MOST_DIMENSIONS", "quadrature"]

import math
import time

import torch
from torch import Tensor

from ..distributions import Normal01, draw
from ..vae import VAE
from .ready import rows_at_once
from .result import Cost, LogLikelihood, from_numbers

MOST_DIMENSIONS = 2
REACH = 10.0
"""Half the width of the grid, for a standard normal prior: what lies outside weighs e^-50 of it."""
FIRST = {1: 1024, 2: 96}
"""Cells along each axis of the first grid."""
NEGLIGIBLE = 30.0
"""Nats below the largest value at which a cell is dropped."""
CONVERGED = 1e-7
"""Change of log p(x) by halving all cells at which a row is done; float32 cannot do better than 1e-5."""
DEEPEST = 20
"""Halvings at most."""
MOST_CELLS = 2**20
"""Cells of one row at most."""


def quadrature(vae: VAE, x: Tensor, memory: int) -> LogLikelihood:
    """Integrate p(x, z) over z for each row; what the last halving changed is given as standard error.

    A row whose peaks are too narrow to be resolved has an infinite error.

    Raises:
        ValueError: More than two latent dimensions.
    """
    begun = time.perf_counter()
    if vae.latent_dim > MOST_DIMENSIONS:
        raise ValueError(
            f'method="quadrature" is for at most {MOST_DIMENSIONS} latent dimensions, and this model has '
            f'{vae.latent_dim}. Use method="ais" or "importance".'
        )
    grid = _Grid(vae, x, memory)
    values, errors = zip(*(grid.integrate(row) for row in range(len(x))), strict=True)
    cost = Cost(decodes=grid.decodes, seconds=time.perf_counter() - begun)
    double = {"dtype": torch.float64}
    return from_numbers(torch.tensor(values, **double), torch.tensor(errors, **double), "quadrature", cost)  # type: ignore[arg-type]


class _Grid:
    """Cells over the latent space; the first ones are decoded once for all rows."""

    def __init__(self, vae: VAE, x: Tensor, memory: int) -> None:
        self.vae, self.x = vae, x
        self.piece = rows_at_once(vae, x, 1, memory)
        self.decodes = 0
        self.reach = _reach(vae, x)
        self.converged = max(CONVERGED, 100 * torch.finfo(x.dtype).eps)
        d, count = vae.latent_dim, FIRST[vae.latent_dim]
        self.width = 2 * self.reach / count
        axis = (torch.arange(count, device=x.device, dtype=torch.float64) + 0.5) * self.width - self.reach
        self.first = torch.cartesian_prod(*[axis] * d).reshape(-1, d)
        # Neighbours share a parent twice as wide: 2^d siblings stand next to each other, as after a halving.
        index = torch.arange(count**d, device=x.device).reshape([count // 2, 2] * d)
        order = index.permute(*range(0, 2 * d, 2), *range(1, 2 * d, 2)).reshape(-1)
        self.first = self.first[order]
        corners = torch.cartesian_prod(*[torch.tensor([-0.25, 0.25], dtype=torch.float64, device=x.device)] * d)
        self.corners = corners.reshape(-1, d)

    def integrate(self, row: int) -> tuple[float, float]:
        """Return log p(x) of one row and what the last halving changed."""
        cells, width, previous, change = self.first, self.width, math.nan, math.inf
        for _ in range(DEEPEST):
            height = self.height(row, cells)
            value = float(height.logsumexp(0)) + cells.shape[1] * math.log(width)
            change = abs(value - previous)
            if change < self.converged or not math.isfinite(value):
                break
            siblings = height.reshape(-1, len(self.corners))
            high, low = siblings.amax(1), siblings.amin(1)
            hopeful = high + 2 * (high - low) > height.max() - NEGLIGIBLE
            parents = cells.reshape(-1, *self.corners.shape)[hopeful].flatten(0, 1)
            if len(parents) * len(self.corners) > MOST_CELLS:
                change = math.inf
                break
            cells, width, previous = (parents[:, None] + width * self.corners).flatten(0, 1), width / 2, value
        return value, change if change < 0.01 else math.inf

    def height(self, row: int, cells: Tensor) -> Tensor:
        """Return log p(x, z) in the middle of each cell, float64."""
        self.decodes += len(cells)
        x, p = self.x[row], Normal01(cells)
        parts = [self.vae.terms_at(x, z.to(x.dtype), p).log_joint.double() for z in cells.split(self.piece)]
        return torch.cat(parts).nan_to_num(-math.inf, math.inf, -math.inf)


def _reach(vae: VAE, x: Tensor) -> float:
    """Return half the width of the grid: further than any prior has mass."""
    prior = vae.prior()
    if isinstance(prior, Normal01):
        return REACH
    generator = torch.Generator(x.device).manual_seed(0)
    return 2.0 * float(draw(prior, (4096,), generator, gradients=False).abs().max())
