r"""Counts that vary more than their mean.

.. math::
    p(x) = \frac{\Gamma(x + r)}{\Gamma(r) \, x!} \Bigl(\frac{r}{r + \mu}\Bigr)^r
        \Bigl(\frac{\mu}{r + \mu}\Bigr)^x, \qquad r = 1 / \alpha, \qquad
        \operatorname{Var} x = \mu + \alpha \mu^2
"""

from __future__ import annotations

__all__ = ["NegativeBinomial"]

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .factorised import Factorised


class NegativeBinomial(Factorised):
    r"""Independent counts: Poisson, with a rate that is drawn from a gamma distribution.

    As the dispersion goes to 0 it is Poisson, and no digit is lost on the way. Its sum is taken in
    float64, as there.

    Arguments:
        log_mean: :math:`\log \mu`, of shape (*batch, *event).
        dispersion: :math:`\alpha > 0`; it broadcasts against ``log_mean``.
        event_dim: How many trailing dimensions make up one event.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)

    def __init__(self, log_mean: Tensor, dispersion: Tensor, event_dim: int = 1) -> None:
        self.log_mean, self.dispersion, self.event_dim = log_mean, dispersion, event_dim
        split = log_mean.ndim - event_dim
        super().__init__(log_mean.shape[:split], log_mean.shape[split:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        r"""The means :math:`\mu`, of shape (*batch, *event)."""
        return self.log_mean.exp()

    @property
    def mode(self) -> Tensor:
        r"""The most probable counts, :math:`\lfloor (1 - \alpha) \mu \rfloor` or 0."""
        return (self.mean * (1 - self.dispersion)).clamp_min(0).floor()

    @property
    def variance(self) -> Tensor:
        r""":math:`\mu + \alpha \mu^2`, of shape (*batch, *event)."""
        return self.mean * (1 + self.dispersion * self.mean)

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw counts, of shape (*sample_shape, *batch, *event)."""
        shape = torch.Size(sample_shape) + self.log_mean.shape
        size = self.dispersion.reciprocal().expand(shape).contiguous()
        gamma = torch._standard_gamma(size, generator=generator) / size
        return torch.poisson(self.mean * gamma, generator)

    def each(self, value: Tensor) -> Tensor:
        """Return the log-probability of each count, of value's and log_mean's shape."""
        x, log_mean = value.double(), self.log_mean.double()
        size = self.dispersion.double().reciprocal()
        share = softplus(log_mean - size.log(), threshold=40.0)  # log(1 + mean / size), exact
        found = _rising(size, x) - torch.lgamma(x + 1) + x * log_mean - (x + size) * share
        return found.to(self.log_mean.dtype)

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logarithms of the means; and at the first sample the gradient of log p(x) for
        them and their Fisher information (see `Likelihood.local_quadratic`).
        """
        features = self.log_mean.flatten(2)
        dispersion: Any = self.dispersion.expand(self.log_mean.shape[1:]).flatten(1)
        part = (features[0] + dispersion.log()).sigmoid()
        information = part / dispersion
        return features, x.flatten(1) * (1 - part) - information, information


def _rising(r: Tensor, x: Tensor, large: float = 100.0) -> Tensor:
    r"""Return :math:`\log \Gamma(r + x) - \log \Gamma(r) - x \log r`, in float64.

    Beyond ``large`` it is the difference of two of Stirling's series, in which nothing cancels;
    what these leave out is below rounding there.
    """
    near, far = r.clamp_max(large), r.clamp_min(large)
    exact = torch.lgamma(near + x) - torch.lgamma(near) - x * near.log()
    series = (far + x - 0.5) * torch.log1p(x / far) - x + _stirling(far + x) - _stirling(far)
    return torch.where(r > large, series, exact)


def _stirling(r: Tensor) -> Tensor:
    """Return what Stirling's formula of log Gamma(r) lacks."""
    inverse = r.reciprocal()
    square = inverse.square()
    return inverse * (1 / 12 - square * (1 / 360 - square / 1260))
