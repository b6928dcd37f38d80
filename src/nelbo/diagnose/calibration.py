r"""Whether the noise is what the model says: residuals at posterior samples,
:math:`r = (x - f(z)) / \beta`.

If x and z come from the model, r is standard normal, independent over features, and so
:math:`\Phi(r)` is uniform: the probability integral transform (Dawid, 1984; Gneiting et al., 2007),
taken at z ~ q(z|x). Its mean square is 1 exactly where a learned :math:`\beta^2` stands at its
optimum. Values that are missing have no residual, and do not count.
"""

from __future__ import annotations

__all__ = ["Calibration", "calibration"]

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..brief import Brief
from ..data.units import Units
from ..evaluate import MEMORY, Examples, Normal, Source, encoder_source, judged, rows_at_once
from ..vae import VAE
from ..watching import pieces
from .standard_error import Estimate, jackknife, mean


@dataclass(frozen=True, repr=False)
class Calibration(Brief):
    r"""How residuals compare with the noise of the model.

    Attributes:
        dispersion: Mean of r squared: the variance of the residuals over :math:`\beta^2`; 1 where
            they agree.
        coverage: Share of values inside the central 50 % and 90 % intervals of p(x|z).
        coverage_by_feature: The same for each feature, of shape (2, D).
        pit: Share of values in each tenth of p(x|z), of shape (bins,), 0.1 each where calibrated.
        scale_by_feature: Root mean square of r of each feature, of shape (D,).
        gain: Nats per row that one :math:`\beta^2` per feature would add to E log p(x|z); None
            where the model does not have one :math:`\beta^2` for all.
        correlation: Mean square of the residuals' correlation over pairs of features, less 1/n,
            which independent ones would show; 0 if white, and None for a single feature, or where
            values are missing.
        beta, residual: Root mean square over features of :math:`\beta` and of the residuals, in the
            data's units.
    """

    dispersion: Estimate
    coverage: tuple[Estimate, Estimate]
    coverage_by_feature: Tensor
    pit: Tensor
    scale_by_feature: Tensor
    gain: float | None
    correlation: Estimate | None
    beta: float
    residual: float


def calibration(
    vae: VAE,
    x: Tensor,
    q: Normal | None = None,
    units: Units | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    samples: int = 8,
    bins: int = 10,
    features: int = 512,
    c: Tensor | None = None,
) -> Calibration:
    """Hold the residuals of x against the noise of the model.

    Arguments:
        vae: The model; its p(x|z) must be a diagonal normal.
        x: Rows of shape (n, *vae.shape), in model units; NaN is a missing value.
        q: Where z is drawn from; None is the encoder's q(z|x).
        units: Units of the data; None are the model's own.
        seed: The seed of the draws.
        memory: Bytes for intermediate results.
        samples: Draws of z for each row, at most 32.
        bins: Bins of the histogram of the probability integral transform.
        features: Features, evenly spread, whose correlations are measured, at most.
        c: Conditions (n, k), for a model of p(x|c).

    Raises:
        ValueError: p(x|z) is not Gaussian, or the rows do not fit the model.
    """
    with judged(vae, x, c) as (model, rows):
        size = math.prod(model.shape)
        step = max(1, math.ceil(size / features))
        sums = _Sums(size, bins, units)
        dispersion, coverage, some = [], [], []
        for r, std in _residuals(model, rows, q, samples, seed, memory):
            dispersion.append(r.square().nanmean((0, 2)))
            coverage.append(sums.add(r, std))
            some.append(r[0, :, ::step])
    n = len(rows)
    some_there = ~torch.cat(dispersion).isnan()
    half, most = torch.cat(coverage, 1)[:, some_there]
    square = sums.by_feature(sums.square)
    return Calibration(
        dispersion=mean(torch.cat(dispersion)[some_there]),
        coverage=(mean(half), mean(most)),
        coverage_by_feature=torch.stack([sums.by_feature(part) for part in sums.covered]),
        pit=sums.bins / sums.bins.sum(),
        scale_by_feature=square.sqrt(),
        gain=_gain(model, square, n),
        correlation=_correlation(torch.cat(some)),
        beta=math.sqrt(float(sums.by_feature(sums.beta).mean())),
        residual=math.sqrt(float(sums.by_feature(sums.residual).mean())),
    )


class _Sums:
    """Sums over rows that the residuals of one piece after the other are added to.

    Arguments:
        size: Values of one row, D.
        bins: Bins of the histogram.
        units: Units of the data; None are the model's own.
    """

    levels = (0.5, 0.9)
    """Central intervals whose coverage is counted."""

    def __init__(self, size: int, bins: int, units: Units | None) -> None:
        self.scale = torch.ones(1, dtype=torch.float64)
        if units is not None:
            self.scale = torch.as_tensor(units.scale, dtype=torch.float64).flatten()
        self.limits = torch.tensor(
            [math.sqrt(2) * torch.special.erfinv(torch.tensor(p)).item() for p in self.levels]
        )
        self.edges = torch.special.ndtri(torch.arange(1, bins, dtype=torch.float64) / bins)
        self.count = torch.zeros(size, dtype=torch.float64)
        self.square = torch.zeros(size, dtype=torch.float64)
        self.covered = torch.zeros(len(self.levels), size, dtype=torch.float64)
        self.bins = torch.zeros(bins, dtype=torch.float64)
        self.beta = torch.zeros(size, dtype=torch.float64)
        self.residual = torch.zeros(size, dtype=torch.float64)

    def add(self, r: Tensor, std: Tensor) -> Tensor:
        """Add residuals r = (x - f(z)) / beta with their beta, both (samples, rows, D).

        Returns:
            The share of each row's values inside the central intervals, of shape (levels, rows).
        """
        there = ~r[0].isnan()
        hit = (r.abs() < self.limits.to(r)[:, None, None, None]).double()
        self.count += there.sum(0)
        self.square += r.square().mean(0).nansum(0)
        self.covered += hit.mean(1).sum(1)
        known = r[there.expand_as(r)]
        self.bins += torch.bincount(torch.bucketize(known, self.edges), minlength=len(self.bins))
        self.beta += torch.where(there, (std * self.scale).square().mean(0), 0.0).sum(0)
        self.residual += (r * std * self.scale).square().mean(0).nansum(0)
        return hit.mean(1).sum(2) / there.sum(1)

    def by_feature(self, total: Tensor) -> Tensor:
        """Return means over the rows that have a feature, (D,); one that none has is as the others
        are on average."""
        means = total / self.count
        return means.nan_to_num(float(means.nanmean()))


def _residuals(
    vae: VAE, x: Examples, q: Normal | None, samples: int, seed: int, memory: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield r and beta at samples of z, chunk by chunk, both of shape (samples, rows, D),
    float64, on the CPU.
    """
    index = torch.arange(len(x), device=x.device)
    for rows in pieces(index.split(rows_at_once(vae, x, samples, memory)), "residuals"):
        part = x[rows]
        source: Source
        if q is None:
            source = encoder_source(vae, part)
        else:
            source = q[rows]
        p = part.decode(vae, source.draws(part.keys(), samples, seed, 0, part.x))
        r, beta = vae.likelihood.residuals(p, part.x), vae.likelihood.beta(p)
        if r is None or beta is None:
            raise ValueError(
                "Residuals are held against Gaussian noise, which p(x|z) does not have here."
            )
        yield r.flatten(2).cpu(), beta.flatten(2).double().cpu()


def _gain(vae: VAE, square: Tensor, n: int) -> float | None:
    """Return what one beta^2 per feature would gain: half the log of the arithmetic over the
    geometric mean, times D.

    n rows show D / 2n of it where there is none; a constant feature counts as one at the floor of a
    learned variance.
    """
    noise = vae.likelihood.noise()
    if not noise.normal or noise.variance is None or noise.variance.ndim:
        return None
    square = square.clamp_min(vae.likelihood.floor / float(noise.variance))
    return float(0.5 * (square.mean().log() - square.log()).sum()) - (len(square) - 1) / (2 * n)


def _correlation(r: Tensor) -> Estimate | None:
    """Return the mean squared correlation of residuals (n, features) over pairs,
    less what independence shows; None where values are missing.
    """
    features = r.shape[1]
    if features < 2 or len(r) < 3 or bool(r.isnan().any()):
        return None

    def statistic(rows: Tensor) -> float:
        centred = r[rows] - r[rows].mean(0)
        unit = centred / centred.norm(dim=0).clamp_min(1e-300)
        # The sum of squares of (features, features) correlations is that of the smaller Gram
        # matrix.
        if features > len(rows):
            unit = unit.T
        gram = unit.T @ unit
        off = float(gram.square().sum()) - features
        return off / (features * (features - 1)) - 1 / (len(rows) - 1)

    return jackknife(statistic, len(r))
