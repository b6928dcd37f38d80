r"""Grey values: normal noise, seen through a grid of bins."""

from __future__ import annotations

__all__ = ["DiscretizedGaussian"]

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from .. import distributions
from .base import VARIANCE_FLOOR
from .noise import Noise
from .shared import SharedVariance


class DiscretizedGaussian(SharedVariance):
    r"""Grey values: a Gaussian's probability of the bin that holds x (after Salimans et al., 2017).

    .. math:: p(x_i \mid z) = \Phi\Bigl(\frac{u_i - h_i}{\beta}\Bigr) - \Phi\Bigl(\frac{l_i -
        h_i}{\beta}\Bigr), \qquad [l_i, u_i) \ni x_i, \qquad u_i = l_i + \text{width}

    The lowest bin reaches down to minus infinity and the highest one up to infinity, so that the
    probabilities of all values sum to 1: log p(x) is that of 8-bit data themselves, at most 0, and
    no noise is added to them. With the default grid, the k-th of 256 values is x = (k + 1/2) / 256.
    In a picture's black background h may be far below them all; the mean of p(x|z) is not h but
    E[x], within the grid.

    Arguments:
        shape: The shape of one example.
        variance: :math:`\beta^2` of the Gaussian before rounding: as for `Gaussian`.
        bins: How many values there are.
        low: The lower edge of the lowest bin, a number or one for each feature.
        width: The width of every bin, likewise; None is ``1 / bins``.
        floor: The smallest value a learned :math:`\beta^2` may take.

    Raises:
        ValueError: A fixed variance, the floor or the width is not positive, or there are less than
            two bins.
    """

    takes = "bytes"
    density = False
    measure = "probability"
    low: Tensor
    width: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        variance: Literal["learned", "per_feature"] | float | Tensor = "learned",
        bins: int = 256,
        low: float | Tensor = 0.0,
        width: float | Tensor | None = None,
        floor: float = VARIANCE_FLOOR,
    ) -> None:
        super().__init__(shape, variance, floor)
        if bins < 2:
            raise ValueError(f"bins must be at least 2, got {bins}.")
        self.bins = bins
        for name, value in (("low", low), ("width", 1 / bins if width is None else width)):
            edge = torch.as_tensor(value, dtype=torch.float64)
            if not bool(edge.isfinite().all()) or (name == "width" and not bool((edge > 0).all())):
                raise ValueError(
                    f"{name} must be finite, and the width of bins positive, got {value}."
                )
            if edge.ndim and tuple(edge.shape) != self.shape:
                raise ValueError(
                    f"{name} has shape {tuple(edge.shape)}, but one example has shape {self.shape}."
                )
            # units of the data, not something learned
            self.register_buffer(name, edge, persistent=False)
        self.exact = (*self.exact, "low", "width")

    def forward(self, h: Tensor) -> distributions.DiscretizedNormal:
        """Map means h, of shape (*batch, *shape), to p(x|z)."""
        return distributions.DiscretizedNormal(
            h, self.scale(h), self.low, self.width, self.bins, len(self.shape)
        )

    def noise(self) -> Noise:
        """Return the noise before rounding."""
        return Noise(self.kind, "discretised Gaussian", self.variance.detach())

    def squared_residual(self, p: Distribution, x: Tensor) -> Tensor:
        r"""Return E[(y - h)^2 | y in the bin of x] for :math:`y \sim \mathcal{N}(h, \beta^2)`.

        Raises:
            TypeError: p is not what `forward` returns.
        """
        if not isinstance(p, distributions.DiscretizedNormal):
            raise TypeError(
                f"p must be a DiscretizedNormal, got {type(p).__name__}. Pass what the head "
                "returns."
            )
        return p.expected_square(x)
