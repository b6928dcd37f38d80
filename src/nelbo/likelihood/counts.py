r"""Counts, of which the decoder outputs the logarithm of the mean."""

from __future__ import annotations

__all__ = ["NegativeBinomial", "Poisson"]

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from .. import distributions
from .base import Likelihood, of_values
from .noise import Noise


class Counts(Likelihood):
    """Abstract likelihood of counts.

    Arguments:
        shape: The shape of one example. The decoder outputs one h for each value.

    Raises:
        ValueError: ``shape`` is ().
    """

    takes = "counts"
    density = False
    measure = "probability"
    expects = "a count: a whole number of at least 0"

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = self.in_shape = of_values(shape)

    def possible(self, x: Tensor) -> Tensor:
        """Return which values are counts, or missing."""
        return x.isnan() | ((x >= 0) & x.isfinite() & (x == x.floor()))

    def reading(self) -> dict[str, Any]:
        """Return that a network is to read log(1 + x)."""
        return {"as": "count"}


class Poisson(Counts):
    r"""Counts whose variance is their mean :math:`\lambda = e^h`.

    Arguments:
        shape: The shape of one example. The decoder outputs one h for each value.

    Raises:
        ValueError: ``shape`` is ().
    """

    def forward(self, h: Tensor) -> distributions.Poisson:
        """Map h, of shape (*batch, *shape), to p(x|z)."""
        return distributions.Poisson(_bounded(h), len(self.shape))

    def noise(self) -> Noise:
        """Return that the variance of a count is its mean."""
        return Noise("from z", "Poisson")

    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor:
        """Return the logarithms of the mean counts, of shape ``shape``."""
        return _mean_count(x).log()


class NegativeBinomial(Counts):
    r"""Counts whose variance :math:`\mu + \alpha \mu^2` is greater than their mean
    :math:`\mu = e^h`.

    Arguments:
        shape: The shape of one example. The decoder outputs one h for each value.
        dispersion: :math:`\alpha`, the same for every z: ``"learned"`` is one number for all
            features, ``"per_feature"`` one for each, and a positive number is fixed.

    Raises:
        ValueError: ``dispersion`` is not positive, the word is unknown, or ``shape`` is ().
    """

    pace: ClassVar[float] = 4.0
    """How many times further the logarithm of the dispersion moves in a step of training than a
    weight: one number must come a long way in few steps."""
    least: ClassVar[float] = 1e-2
    """The smallest dispersion to start from."""
    raw: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        dispersion: Literal["learned", "per_feature"] | float = "learned",
    ) -> None:
        super().__init__(shape)
        self.learned = dispersion in ("learned", "per_feature")
        if self.learned:
            size = self.shape if dispersion == "per_feature" else ()
            self.raw = nn.Parameter(torch.zeros(size))
            return
        if isinstance(dispersion, bool | str) or not 0 < float(dispersion) < math.inf:
            raise ValueError(
                'dispersion must be "learned", "per_feature" or a positive number, got '
                f"{dispersion!r}."
            )
        fixed = torch.tensor(float(dispersion), dtype=torch.float64).log() / self.pace
        self.register_buffer("raw", fixed)

    @property
    def dispersion(self) -> Tensor:
        r""":math:`\alpha`, of shape () or ``shape``."""
        return (self.pace * self.raw).exp()

    def forward(self, h: Tensor) -> distributions.NegativeBinomial:
        """Map h, of shape (*batch, *shape), to p(x|z)."""
        dispersion = self.dispersion.to(h.dtype)
        return distributions.NegativeBinomial(_bounded(h), dispersion, len(self.shape))

    def noise(self) -> Noise:
        """Return that the variance of a count depends on its mean."""
        return Noise("from z", "negative binomial")

    @torch.no_grad()
    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor:
        """Take the dispersion of the counts, and return the logs of their means, like ``shape``."""
        mean = _mean_count(x)
        if self.learned:
            excess = (
                (x.double() - mean).square().nanmean(0).nan_to_num(0.0) - mean
            ) / mean.square()
            log = excess.clamp(self.least, 1 / self.least).log() / self.pace
            self.raw.copy_(log.mean() if self.raw.ndim == 0 else log)
        return mean.log()


def _mean_count(x: Tensor) -> Tensor:
    """Return the mean of each value over rows (n, *shape), in float64, as if half a count more had
    been seen: 0 has no logarithm.
    """
    there = (~x.isnan()).sum(0)
    return (x.double().nansum(0) + 0.5) / (there + 1)


def _bounded(h: Tensor, most: float = 30.0) -> Tensor:
    """Return the logarithm of a mean that is exp(h), and above exp(``most``), which no count
    reaches, goes on in a straight line: no h far from the data makes it infinite.
    """
    return torch.where(h > most, most + torch.log1p((h - most).clamp_min(0)), h)
