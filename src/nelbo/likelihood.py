r"""Likelihoods :math:`p(x \mid z)`: heads that turn decoder features into a distribution over x.

The decoder's output is unbounded: no sigmoid or tanh stands between it and a Gaussian mean.
"""

from __future__ import annotations

__all__ = ["Bernoulli", "DiscretizedGaussian", "Gaussian", "HeteroscedasticGaussian", "Likelihood"]

import abc
import math
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from . import distributions

VARIANCE_FLOOR = 1e-6
"""Default floor of a learned variance, for data scaled to unit variance: a relative 0.1 % of its
standard deviation.
"""


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


class SharedVariance(Likelihood):
    r"""Abstract likelihood whose noise has one :math:`\beta^2` for every z, fixed or learned.

    A learned :math:`\beta^2` (Dai & Wipf, 2019; Rybkin et al., 2021) is the parameter
    ``log_variance``. `nelbo.fit` moves it by its closed-form step, which needs no tuning.

    Arguments:
        shape: The shape of one example.
        variance: ``"learned"`` is one number for all features, ``"per_feature"`` one for each
            feature, and a float (or a tensor that broadcasts to ``shape``) is a fixed
            :math:`\beta^2`, in the square of the data's units.
        floor: The smallest value a learned :math:`\beta^2` may take.

    Raises:
        ValueError: A fixed variance or the floor is not positive, the word is unknown, or ``shape``
            is ().
    """

    log_variance: Tensor
    exact: tuple[str, ...] = ()
    """Buffers kept in float64 whatever the module is cast to: rounded ones would be another
    model.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        variance: Literal["learned", "per_feature"] | float | Tensor = "learned",
        floor: float = VARIANCE_FLOOR,
    ) -> None:
        super().__init__()
        self.shape = self.in_shape = _of_values(shape)
        if not floor > 0:
            raise ValueError(f"floor must be a positive variance, got {floor}.")
        self.floor = floor
        self.learned = isinstance(variance, str)
        if isinstance(variance, str):
            if variance not in ("learned", "per_feature"):
                raise ValueError(
                    'variance must be "learned", "per_feature" or a positive number, got '
                    f"{variance!r}."
                )
            size = self.shape if variance == "per_feature" else ()
            self.log_variance = nn.Parameter(torch.zeros(size))
        else:
            fixed = torch.as_tensor(variance, dtype=torch.float64)
            if not bool(((fixed > 0) & fixed.isfinite()).all()):
                raise ValueError(
                    f"variance is beta^2 and must be positive and finite, got {variance}."
                )
            if fixed.ndim and tuple(fixed.shape) != self.shape:
                raise ValueError(
                    f"variance has shape {tuple(fixed.shape)}, but one example has shape "
                    f"{self.shape}."
                )
            self.register_buffer("log_variance", fixed.log())
            self.exact = ("log_variance",)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move with the module, but keep exact buffers in float64."""
        kept = {name: getattr(self, name) for name in self.exact}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in kept.items():
            if getattr(self, name).device.type != "mps":  # which has no float64
                setattr(self, name, value.to(getattr(self, name).device))
        return self

    @property
    def variance(self) -> Tensor:
        r""":math:`\beta^2`, of shape () or ``shape``."""
        return self.log_variance.exp()

    def at_floor(self) -> Tensor:
        """Return which learned variances stand at the floor, a boolean tensor of the variance's
        shape.
        """
        floor = math.log(self.floor)
        return self.log_variance.detach().double() <= floor + 1e-6 * max(1.0, abs(floor))

    def scale(self, h: Tensor) -> Tensor:
        r""":math:`\beta` in the precision of h."""
        return (0.5 * self.log_variance).exp().to(h.dtype)

    @abc.abstractmethod
    def squared_residual(self, p: Distribution, x: Tensor) -> Tensor:
        r"""Return what :math:`\beta^2` must be the mean of, one number per value: the E step of EM.

        Arguments:
            p: p(x|z), as `forward` returned it.
            x: Data, of shape (*batch, *shape).
        """


class Gaussian(SharedVariance):
    r""":math:`p(x \mid z) = \mathcal{N}(x \mid h, \beta^2 I)`, with :math:`\beta^2` fixed or
    learned.

    Its closed form is the mean squared residual of the training data.

    Arguments:
        shape: The shape of one example.
        variance: ``"learned"`` is one number for all features, ``"per_feature"`` one for each
            feature, and a float (or a tensor that broadcasts to ``shape``) is a fixed
            :math:`\beta^2`, in the square of the data's units.
        floor: The smallest value a learned :math:`\beta^2` may take. Reaching it warns.

    Raises:
        ValueError: A fixed variance or the floor is not positive, the word is unknown, or ``shape``
            is ().
    """

    def forward(self, h: Tensor) -> distributions.DiagonalNormal:
        """Map means h, of shape (*batch, *shape), to p(x|z)."""
        return distributions.DiagonalNormal(h, self.scale(h), len(self.shape))

    def squared_residual(self, p: Distribution, x: Tensor) -> Tensor:
        """Return (x - h)^2."""
        return (x - p.mean).square()


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


class HeteroscedasticGaussian(Likelihood):
    r""":math:`p(x \mid z) = \mathcal{N}(x \mid f(z), \operatorname{diag} \beta^2(z))`, both read
    from the decoder.

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
        self.shape = _of_values(shape)
        self.in_shape = (2 * shape[0], *shape[1:])
        self.floor = floor

    def forward(self, h: Tensor) -> distributions.DiagonalNormal:
        """Map features h, of shape (*batch, 2 * shape[0], *shape[1:]), to p(x|z)."""
        loc, raw = h.chunk(2, dim=-len(self.shape))
        raw = raw.contiguous()  # softplus of values with gaps between them takes ten times as long
        return distributions.DiagonalNormal(loc, softplus(raw) + self.floor**0.5, len(self.shape))


class Bernoulli(Likelihood):
    r""":math:`p(x \mid z) = \prod_i p_i^{x_i} (1 - p_i)^{1 - x_i}` for binary x; the decoder
    outputs logits.

    Arguments:
        shape: The shape of one example.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = self.in_shape = _of_values(shape)

    def forward(self, h: Tensor) -> distributions.Bernoulli:
        """Map logits h, of shape (*batch, *shape), to p(x|z)."""
        return distributions.Bernoulli(h, len(self.shape))


def _of_values(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one example, if that has axes: sums over none would be sums over all
    examples.
    """
    if not shape:
        raise ValueError(
            "shape must have at least one axis, got (). An example of a single number has shape "
            "(1,)."
        )
    return tuple(shape)
