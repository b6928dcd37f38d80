r"""Values whose chance to be missing depends on themselves: missing not at random.

With :math:`s_i` whether value i is there and :math:`P(s_i = 1 \mid x_i) = \sigma(w_i x_i + b_i)`,

.. math::
    \log p(x_O, s) = \sum_{i \in O} \bigl(\log p(x_i) + \log \sigma(w_i x_i + b_i)\bigr)
        + \sum_{i \notin O} \log \int p(x_i) \, \sigma(-w_i x_i - b_i) \, dx_i

(Ipsen et al., 2021). The integral over one normal value is done by Gauss-Hermite quadrature, so
that no value is drawn.
"""

from __future__ import annotations

__all__ = ["SelfMasked"]

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from .factorised import Factorised
from .normal import DiagonalNormal


class SelfMasked(Factorised):
    """Independent normals and whether each is there; a missing value is NaN.

    Mean, variance and draws are those of the values alone, whether there or not.

    Arguments:
        inner: The distribution of the values.
        weight: w, of the event's shape.
        bias: b, of the event's shape.
        nodes: Nodes of the quadrature: with 16, its error is below 1e-4 nats for slopes of up to
            five a standard deviation of the noise.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)
    has_rsample = True

    def __init__(
        self, inner: DiagonalNormal, weight: Tensor, bias: Tensor, nodes: int = 16
    ) -> None:
        self.inner, self.weight, self.bias, self.nodes = inner, weight, bias, nodes
        self.event_dim = inner.event_dim
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean of the values, of shape (*batch, *event)."""
        return self.inner.mean

    @property
    def mode(self) -> Tensor:
        """The mode of the values, equal to the mean."""
        return self.inner.mean

    @property
    def variance(self) -> Tensor:
        """The variance of the values, of shape (*batch, *event)."""
        return self.inner.variance

    def rsample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw values, of shape (*sample_shape, *batch, *event)."""
        return self.inner.rsample(sample_shape, generator)

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Like `rsample`, without gradients."""
        return self.inner.rsample(sample_shape, generator)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of what is there, and of which that is, in nats."""
        return self.log_prob_of_observed(value)

    def each(self, value: Tensor) -> Tensor:
        """Return the log-density of each value, and of its being there."""
        return self.inner.each(value) + logsigmoid(self.weight * value + self.bias)

    def each_observed(self, value: Tensor) -> Tensor:
        """Return what `each` does, and of a missing value the logarithm of its chance to be so."""
        gone = value.isnan()
        return torch.where(gone, self.log_absent(), self.each(value.nan_to_num(0.0)))

    def log_absent(self) -> Tensor:
        """Return the logarithm of each value's chance to be missing, (*batch, *event)."""
        x, log_weight = self._nodes()
        return (logsigmoid(-self.weight * x - self.bias) + log_weight).logsumexp(0)

    def given(self, value: Tensor) -> Distribution:
        """Return the distribution of what is missing, given that it is."""
        return _Absent(self, value)

    def _nodes(self) -> tuple[Tensor, Tensor]:
        """Return nodes of each value, (nodes, *batch, *event), and the logarithms of their weights,
        which broadcast to it.
        """
        nodes, weights = np.polynomial.hermite_e.hermegauss(self.nodes)
        like: dict[str, Any] = {"dtype": self.inner.loc.dtype, "device": self.inner.loc.device}
        u = torch.tensor(nodes, **like)
        log_weight = torch.tensor(np.log(weights) - 0.5 * math.log(2 * math.pi), **like)
        shape = (-1, *[1] * self.inner.loc.ndim)
        return self.inner.loc + self.inner.scale * u.reshape(shape), log_weight.reshape(shape)


class _Absent(Distribution):
    """Values given that those that are NaN in ``value`` are missing, and the others there."""

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)
    has_rsample = False

    def __init__(self, p: SelfMasked, value: Tensor, candidates: int = 32) -> None:
        self.p, self.value, self.candidates = p, value, candidates
        super().__init__(p.batch_shape, p.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean of each value, which is itself where it is there."""
        return self._moments()[0]

    @property
    def mode(self) -> Tensor:
        """The node with the greatest density."""
        x, log_weight = self._tilted()
        best: Tensor = x.gather(0, log_weight.expand(x.shape).argmax(0, keepdim=True))[0]
        return torch.where(self.value.isnan(), best, self.value)

    @property
    def variance(self) -> Tensor:
        """The variance of each value, 0 where it is there."""
        return self._moments()[1]

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw values: one of some candidates, by their chance to be missing."""
        drawn = self.p.inner.rsample((self.candidates, *sample_shape), generator)
        chance = torch.sigmoid(-self.p.weight * drawn - self.p.bias) + 1e-30
        share = chance.movedim(0, -1).reshape(-1, self.candidates)
        which = torch.multinomial(share, 1, generator=generator).reshape(1, *drawn.shape[1:])
        return torch.where(self.value.isnan(), drawn.gather(0, which)[0], self.value)

    def _tilted(self) -> tuple[Tensor, Tensor]:
        """Return nodes and the logarithms of their weights, given that values are missing."""
        x, log_weight = self.p._nodes()
        chance = logsigmoid(-self.p.weight * x - self.p.bias)
        return x, (chance + log_weight).log_softmax(0)

    def _moments(self) -> tuple[Tensor, Tensor]:
        x, log_weight = self._tilted()
        weight = log_weight.exp()
        mean = (weight * x).sum(0)
        variance = (weight * (x - mean).square()).sum(0)
        gone = self.value.isnan()
        return torch.where(gone, mean, self.value), torch.where(gone, variance, 0.0)
