r"""log p(x) by an adaptive grid over z, for one or two latent dimensions.

The midpoint rule on cells that are halved until nothing changes. Cells are dropped that hold no
mass: where neither log p(x, z) nor what it might reach, judged by its variation over neighbouring
cells, comes near the largest value. For a smooth integrand the midpoint rule converges faster than
any power of the cell, once cells are narrower than peaks, and of one width.

The mass of an outlier may lie far out in the prior's tail. So rings of wider cells are laid around
the first grid until

.. math:: \log p(x, z) \le \log p(z) + \max_{x'} \log p(x' \mid z)

says that there is nothing beyond.
"""

from __future__ import annotations

__all__ = ["Quadrature", "quadrature"]

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ..distributions import Normal01, draw
from ..threads import products
from ..vae import VAE
from ..watching import pieces
from .examples import Examples
from .judging import rows_at_once
from .result import Cost, LogLikelihood, from_numbers, rounded


@dataclass(frozen=True)
class Quadrature:
    """How fine the grid is.

    Attributes:
        most_dimensions: Latent dimensions that a grid can cover.
        reach: Half the width of the first grid for a standard normal prior: what lies outside
            weighs e^-50 of it.
        rings: Rings around the first grid, at most.
        growth: How many times wider each ring makes the grid, and its own cells: six rings reach to
            |z| = 40,960.
        first: Cells along each axis of the first grid, for one and two dimensions.
        negligible: Nats below the largest value at which a cell is dropped.
        converged: Change of log p(x) by halving all cells at which a row is done; float32 cannot do
            better than 1e-5.
        unresolved: Change, beyond rounding, from which on the error is called infinite.
        deepest: Halvings, at most.
        most_cells: Cells of one row, at most.
        usual: Cells that a row takes, about, with one and two dimensions.
        cheap: Multiplications of weights for one row up to which a grid is cheap: a fraction of a
            second on one core. Beyond that sampling, which takes a few hundred decodes, is.
    """

    most_dimensions: int = 2
    reach: float = 10.0
    rings: int = 6
    growth: int = 4
    first: tuple[int, int] = (1024, 96)
    negligible: float = 30.0
    converged: float = 1e-7
    unresolved: float = 0.01
    deepest: int = 20
    most_cells: int = 2**20
    usual: tuple[int, int] = (4_000, 30_000)
    cheap: float = 1e9

    def is_cheap(self, vae: VAE) -> bool:
        """Return whether a grid over z is worth its decodes, by their number and what one costs."""
        d = vae.latent_dim
        if d > self.most_dimensions:
            return False
        return self.usual[d - 1] * products(vae.decoder, vae.shape) <= self.cheap


def quadrature(vae: VAE, x: Examples, memory: int) -> LogLikelihood:
    """Integrate p(x, z) over z for each row;
    what the last halving changed is given as standard error.

    A row has an infinite error if its peaks are too narrow to be resolved, its mass may lie beyond
    all rings, or log p(x) is so large that rounding shows.

    Raises:
        ValueError: More than two latent dimensions.
    """
    begun = time.perf_counter()
    settings = Quadrature()
    if vae.latent_dim > settings.most_dimensions:
        raise ValueError(
            f'method="quadrature" is for at most {settings.most_dimensions} latent dimensions, and '
            f'this model has {vae.latent_dim}. Use method="ais" or "importance".'
        )
    grid = _Grid(vae, x, memory, settings)
    values, errors = zip(
        *(grid.integrate(row) for row in pieces(range(len(x)), "quadrature")), strict=True
    )
    cost = Cost(decodes=grid.decodes, seconds=time.perf_counter() - begun)
    value, error = torch.tensor([values, errors], dtype=torch.float64)
    return from_numbers(value, rounded(error, value, x.dtype), "quadrature", cost)


class _Grid:
    """Cells over the latent space,
    in groups (g, 2^d, d) of the neighbours that share a parent twice as wide.

    Arguments:
        vae: The model.
        x: The examples.
        memory: Bytes for intermediate results.
        settings: How fine the grid is.
    """

    def __init__(self, vae: VAE, x: Examples, memory: int, settings: Quadrature) -> None:
        self.vae = vae
        self.x = x
        self.settings = settings
        self.piece = rows_at_once(vae, x, 1, memory)
        self.decodes = 0
        self.reach = self._reach()
        self.rounding = torch.finfo(x.dtype).eps
        d = vae.latent_dim
        count = settings.first[d - 1]
        self.width = 2 * self.reach / count
        axis = (
            torch.arange(count, device=x.device, dtype=torch.float64) + 0.5
        ) * self.width - self.reach
        cells = torch.cartesian_prod(*[axis] * d).reshape([count // 2, 2] * d + [d])
        self.first = cells.permute(*range(0, 2 * d, 2), *range(1, 2 * d, 2), 2 * d).reshape(
            -1, 2**d, d
        )
        corners = torch.cartesian_prod(
            *[torch.tensor([-0.25, 0.25], dtype=torch.float64, device=x.device)] * d
        )
        self.corners = corners.reshape(-1, d)
        self.ceilings: dict[tuple[int, bytes], Tensor] = {}

    def integrate(self, row: int) -> tuple[float, float]:
        """Return log p(x) of one row and what the last halving changed."""
        settings = self.settings
        cells, width, height, whole = self.start(row)
        previous = change = math.nan
        for _ in range(settings.deepest):
            value = float((height + cells.shape[2] * width.log()[:, None]).logsumexp((0, 1)))
            change = abs(value - previous)
            rounding = self.rounding * abs(value)
            if change < max(settings.converged, 100 * self.rounding, rounding):
                break
            if not whole or not math.isfinite(value):
                break
            high, low = height.amax(1), height.amin(1)
            hopeful = high + 2 * (high - low) >= high.max() - settings.negligible
            cells, width, height = cells[hopeful], width[hopeful], height[hopeful]
            # The widest are halved first, until all are of one width; only then does a change tell
            # of convergence.
            widest = width == width.max()
            if int(widest.sum()) * len(self.corners) ** 2 > settings.most_cells:
                change = math.inf
                break
            previous = math.nan
            if bool(widest.all()):
                previous = value
            halves = (
                cells[widest][:, :, None] + width[widest][:, None, None, None] * self.corners
            ).flatten(0, 1)
            narrow = (width[widest] / 2).repeat_interleave(len(self.corners))
            cells = torch.cat([cells[~widest], halves])
            width = torch.cat([width[~widest], narrow])
            height = torch.cat([height[~widest], self.height(row, halves)])
        if whole and change < max(settings.unresolved, rounding):
            return value, change
        return value, math.inf

    def start(self, row: int) -> tuple[Tensor, Tensor, Tensor, bool]:
        """Return the first cells of one row, a width for each group, heights, and whether all its
        mass is in them.
        """
        cells = [self.first]
        widths = [self.width]
        heights = [self.height(row, self.first)]
        whole = False
        for index in range(1, self.settings.rings + 1):
            ring, ceiling = self.ring(row, index)
            highest = max(float(height.max()) for height in heights)
            possible = ceiling >= highest - self.settings.negligible
            whole = not bool(possible.any())
            if whole:
                break
            cells.append(ring[possible])
            widths.append(self.width * self.settings.growth**index)
            heights.append(self.height(row, cells[-1]))
        width = torch.cat(
            [torch.full_like(c[:, 0, 0], w) for c, w in zip(cells, widths, strict=True)]
        )
        return torch.cat(cells), width, torch.cat(heights), whole

    def ring(self, row: int, index: int) -> tuple[Tensor, Tensor]:
        """Return the cells of a ring, and the most that log p(x, z) can be in each group whatever
        the values of a row are, of shape (g,).

        That is the same for all rows in which the same values are missing and with the same
        conditions.
        """
        kind = (index, self.kind(row))
        growth = self.settings.growth
        outer = self.first.abs().amax((1, 2)) > self.reach / growth
        ring = growth**index * self.first[outer]
        if kind not in self.ceilings:
            # the corner where a prior that falls outwards is largest
            nearest = ring - 0.5 * (growth**index * self.width) * ring.sign()
            self.decodes += nearest[..., 0].numel()
            parts = [
                self.ceiling(row, z.to(self.x.dtype))
                for z in nearest.flatten(0, 1).split(self.piece)
            ]
            self.ceilings[kind] = torch.cat(parts).double().view(ring.shape[:2]).amax(1)
        return ring, self.ceilings[kind]

    def kind(self, row: int) -> bytes:
        """Return which values of a row are missing, and its conditions, as a key."""
        example = self.x[row]
        key: bytes = example.x.isnan().cpu().numpy().tobytes()
        if example.c is not None:
            key += example.c.cpu().numpy().tobytes()
        return key

    def ceiling(self, row: int, z: Tensor) -> Tensor:
        """Return the largest log p(x, z) over all x, of shape (n,): that of a density is at its
        mode, and that of a probability is at most 0.
        """
        example = self.x[row]
        p = example.decode(self.vae, z)
        try:
            likely = p.mode
        except NotImplementedError:
            likely = p.mean
        likely = likely.masked_fill(example.x.isnan(), math.nan)
        most: Tensor = p.log_prob(likely).clamp_min(0.0) + example.prior(self.vae)().log_prob(z)
        return most.nan_to_num(-math.inf)

    def height(self, row: int, cells: Tensor) -> Tensor:
        """Return log p(x, z) in the middle of each cell (g, 2^d, d), of shape (g, 2^d), float64."""
        self.decodes += cells[..., 0].numel()
        x, p = self.x[row], Normal01(cells)
        pieces = cells.flatten(0, 1).split(self.piece)
        parts = [x.terms(self.vae, z.to(x.dtype), p).log_joint.double() for z in pieces]
        return torch.cat(parts).nan_to_num(-math.inf, math.inf, -math.inf).view(cells.shape[:2])

    def _reach(self) -> float:
        """Return half the width of the first grid: further than any prior has mass."""
        prior = self.x.prior(self.vae)
        if prior.standard:
            return self.settings.reach
        generator, p = torch.Generator(self.x.device).manual_seed(0), prior()
        count = math.ceil(4096 / math.prod(p.batch_shape))
        return 2.0 * float(draw(p, (count,), generator, gradients=False).abs().max())
