r"""Likelihoods :math:`p(x \mid z)`: heads that turn decoder features into a distribution over x.

The decoder's output is unbounded: no sigmoid or tanh stands between it and a Gaussian mean.
"""

from __future__ import annotations

__all__ = ["Bernoulli", "Gaussian", "HeteroscedasticGaussian", "Likelihood"]

import abc
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from . import distributions

VARIANCE_FLOOR = 1e-6
"""Default floor of a learned variance, for data scaled to unit variance: a relative 0.1 % of its standard deviation."""


class Likelihood(nn.Module, abc.ABC):
    r"""Abstract likelihood head.

    Attributes:
        shape: The shape of one example x.
        in_shape: What the decoder must output for one example.
    """

    shape: tuple[int, ...]
    in_shape: tuple[int, ...]

    @abc.abstractmethod
    def forward(self, h: Tensor) -> Distribution:
        """Map features h, of shape (*batch, *in_shape), to p(x|z), with event shape ``shape``."""


class Gaussian(Likelihood):
    r""":math:`p(x \mid z) = \mathcal{N}(x \mid h, \beta^2 I)`, with :math:`\beta^2` fixed or learned.

    A learned :math:`\beta^2` (Dai & Wipf, 2019; Rybkin et al., 2021) is the parameter
    ``log_variance``. `nelbo.fit` moves it by its closed-form optimum, the mean squared residual of
    the training data, so it needs no tuning.

    Arguments:
        shape: The shape of one example.
        variance: ``"learned"`` is one number for all features, ``"per_feature"`` one for each
            feature, and a float (or a tensor that broadcasts to ``shape``) is a fixed
            :math:`\beta^2`, in the square of the data's units.
        floor: The smallest value a learned :math:`\beta^2` may take. Reaching it warns.

    Raises:
        ValueError: A fixed variance or the floor is not positive, or the word is unknown.
    """

    log_variance: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        variance: Literal["learned", "per_feature"] | float | Tensor = "learned",
        floor: float = VARIANCE_FLOOR,
    ) -> None:
        super().__init__()
        self.shape = self.in_shape = tuple(shape)
        if not floor > 0:
            raise ValueError(f"floor must be a positive variance, got {floor}.")
        self.floor = floor
        self.learned = isinstance(variance, str)
        if isinstance(variance, str):
            if variance not in ("learned", "per_feature"):
                raise ValueError(f'variance must be "learned", "per_feature" or a positive number, got {variance!r}.')
            size = self.shape if variance == "per_feature" else ()
            self.log_variance = nn.Parameter(torch.zeros(size))
        else:
            fixed = torch.as_tensor(variance, dtype=torch.float64)
            if not bool(((fixed > 0) & fixed.isfinite()).all()):
                raise ValueError(f"variance is beta^2 and must be positive and finite, got {variance}.")
            if fixed.ndim and tuple(fixed.shape) != self.shape:
                raise ValueError(f"variance has shape {tuple(fixed.shape)}, but one example has shape {self.shape}.")
            self.register_buffer("log_variance", fixed.log())

    def _apply(self, fn: Any, recurse: bool = True) -> Gaussian:
        """Move with the module, but keep a fixed variance in float64: a rounded one would be another model."""
        fixed = None if self.learned else self.log_variance
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if fixed is not None and self.log_variance.device.type != "mps":  # which has no float64
            self.log_variance = fixed.to(self.log_variance.device)
        return self

    @property
    def variance(self) -> Tensor:
        r""":math:`\beta^2`, of shape () or ``shape``."""
        return self.log_variance.exp()

    def at_floor(self) -> Tensor:
        """Return which learned variances stand at the floor, a boolean tensor of the variance's shape."""
        floor = math.log(self.floor)
        return self.log_variance.detach().double() <= floor + 1e-6 * max(1.0, abs(floor))

    def forward(self, h: Tensor) -> distributions.DiagonalNormal:
        """Map means h, of shape (*batch, *shape), to p(x|z)."""
        return distributions.DiagonalNormal(h, (0.5 * self.log_variance).exp().to(h.dtype), len(self.shape))


class HeteroscedasticGaussian(Likelihood):
    r""":math:`p(x \mid z) = \mathcal{N}(x \mid f(z), \operatorname{diag} \beta^2(z))`, both read from the decoder.

    Arguments:
        shape: The shape of one example. The decoder outputs twice its first dimension: first the
            means, then numbers that softplus maps to standard deviations.
        floor: The variance below which :math:`\beta^2(z)` cannot fall; its root is added to
            the standard deviation.
    """

    def __init__(self, shape: tuple[int, ...], floor: float = VARIANCE_FLOOR) -> None:
        super().__init__()
        if not floor > 0:
            raise ValueError(f"floor must be a positive variance, got {floor}.")
        self.shape = tuple(shape)
        self.in_shape = (2 * shape[0], *shape[1:])
        self.floor = floor

    def forward(self, h: Tensor) -> distributions.DiagonalNormal:
        """Map features h, of shape (*batch, 2 * shape[0], *shape[1:]), to p(x|z)."""
        loc, raw = h.chunk(2, dim=-len(self.shape))
        return distributions.DiagonalNormal(loc, softplus(raw) + self.floor**0.5, len(self.shape))


class Bernoulli(Likelihood):
    r""":math:`p(x \mid z) = \prod_i p_i^{x_i} (1 - p_i)^{1 - x_i}` for binary x; the decoder outputs logits.

    Arguments:
        shape: The shape of one example.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = self.in_shape = tuple(shape)

    def forward(self, h: Tensor) -> distributions.Bernoulli:
        """Map logits h, of shape (*batch, *shape), to p(x|z)."""
        return distributions.Bernoulli(h, len(self.shape))
