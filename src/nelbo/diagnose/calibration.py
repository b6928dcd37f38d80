r"""Whether the noise is what the model says: residuals at posterior samples,
:math:`r = (x - f(z)) / \beta`.

If x and z come from the model, r is standard normal, independent over features, and so
:math:`\Phi(r)` is uniform: the probability integral transform (Dawid, 1984; Gneiting et al., 2007),
taken at z ~ q(z|x). Its mean square is 1 exactly where a learned :math:`\beta^2` stands at its
optimum.
"""

from __future__ import annotations

__all__ = ["LEVELS", "Calibration", "calibration"]

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..brief import Brief
from ..data.units import Units
from ..evaluate import MEMORY, Normal, from_encoder, judged, normals, row_keys, rows_at_once
from ..vae import VAE
from ..watching import pieces
from .standard_error import Estimate, jackknife, mean

SAMPLES = 8
"""Draws of z for each row."""
LEVELS = (0.5, 0.9)
"""Central intervals whose coverage is counted."""
BINS = 10
"""Bins of the histogram of the probability integral transform."""
FEATURES = 512
"""Features, evenly spread, whose correlations are measured."""


@dataclass(frozen=True, repr=False)
class Calibration(Brief):
    r"""How residuals compare with the noise of the model.

    Attributes:
        dispersion: Mean of r squared: the variance of the residuals over :math:`\beta^2`; 1 where
            they agree.
        coverage: Share of values inside the central 50 % and 90 % intervals of p(x|z).
        coverage_by_feature: The same for each feature, of shape (2, D).
        pit: Share of values in each tenth of p(x|z), of shape (10,); 0.1 each where calibrated.
        scale_by_feature: Root mean square of r of each feature, of shape (D,).
        gain: Nats per row that one :math:`\beta^2` per feature would add to E log p(x|z); None
            where the model does not have one :math:`\beta^2` for all.
        correlation: Mean square of the residuals' correlation over pairs of features, less 1/n,
            which independent ones would show; 0 if white, and None for a single feature.
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
) -> Calibration:
    """Hold the residuals of x against the noise of the model.

    Arguments:
        vae: The model; its p(x|z) must be a diagonal normal.
        x: Rows of shape (n, *vae.shape), in model units.
        q: Where z is drawn from; None is the encoder's q(z|x).
        units: Of the data; None are the model's own.
        seed: Of the draws.
        memory: Bytes for intermediate results.

    Raises:
        ValueError: p(x|z) is not Gaussian, rows that do not fit, or a q(z|x) that is no diagonal
            normal.
    """
    with judged(vae, x) as (model, rows):
        scale = torch.as_tensor(1.0 if units is None else units.scale, dtype=torch.float64)
        scale = scale.flatten() if scale.ndim else scale
        level = torch.tensor(
            [math.sqrt(2) * torch.special.erfinv(torch.tensor(p)).item() for p in LEVELS]
        )
        edges = torch.special.ndtri(torch.arange(1, BINS, dtype=torch.float64) / BINS)
        size = math.prod(model.shape)
        step = max(1, math.ceil(size / FEATURES))
        square, inside, first, beta, residual = [], [], [], 0.0, 0.0
        by_feature, covered = torch.zeros(size, dtype=torch.float64), torch.zeros(len(LEVELS), size)
        covered, bins = covered.double(), torch.zeros(BINS, dtype=torch.float64)
        for r, std in _residuals(model, rows, q, seed, memory):
            hit = r.abs() < level.to(r)[:, None, None, None]
            square.append(r.square().mean((0, 2)))
            inside.append(hit.double().mean((1, 3)))
            by_feature += r.square().mean(0).sum(0)
            covered += hit.double().mean(1).sum(1)
            bins += torch.bincount(torch.bucketize(r.flatten(), edges), minlength=BINS)
            first.append(r[0, :, ::step])
            beta += float((std * scale).square().mean((0, 2)).sum())
            residual += float((r * std * scale).square().mean((0, 2)).sum())
        n, shares = len(rows), torch.cat(inside, 1)
        by_feature /= n
        return Calibration(
            dispersion=mean(torch.cat(square)),
            coverage=(mean(shares[0]), mean(shares[1])),
            coverage_by_feature=covered / n,
            pit=bins / bins.sum(),
            scale_by_feature=by_feature.sqrt(),
            gain=_gain(model, by_feature, n),
            correlation=_correlation(torch.cat(first)),
            beta=math.sqrt(beta / n),
            residual=math.sqrt(residual / n),
        )


def _residuals(
    vae: VAE, x: Tensor, q: Normal | None, seed: int, memory: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield r and beta at samples of z, chunk by chunk, both of shape (samples, rows, D), float64,
    on the CPU.
    """
    begin = 0
    for part in pieces(x.split(rows_at_once(vae, x, SAMPLES, memory)), "residuals"):
        rows = slice(begin, begin + len(part))
        begin += len(part)
        normal = from_encoder(vae, part)[0] if q is None else q[rows]
        p = vae.decode(
            normal.from_noise(normals(row_keys(part), SAMPLES, vae.latent_dim, seed, 0, part))
        )
        r, beta = vae.likelihood.residuals(p, part), vae.likelihood.beta(p)
        if r is None or beta is None:
            raise ValueError(
                f"Residuals are held against Gaussian noise, but p(x|z) is {type(p).__name__}."
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
    """Return the mean squared correlation of residuals (n, features) over pairs, less what
    independence shows.
    """
    features = r.shape[1]
    if features < 2 or len(r) < 3:
        return None

    def statistic(rows: Tensor) -> float:
        centred = r[rows] - r[rows].mean(0)
        unit = centred / centred.norm(dim=0).clamp_min(1e-300)
        # The sum of squares of (features, features) correlations is that of the smaller Gram
        # matrix.
        gram = unit.T @ unit if features < len(rows) else unit @ unit.T
        off = float(gram.square().sum()) - features
        return off / (features * (features - 1)) - 1 / (len(rows) - 1)

    return jackknife(statistic, len(r))
