r"""What every posterior answers, so that nobody has to ask for its class."""

from __future__ import annotations

__all__ = ["SMALLEST_STD", "Posterior"]

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)

from ..distributions import is_independent_normal
from ..linear import LinearGaussian

SMALLEST_STD = 1e-6
"""The least standard deviation of q(z|x), where the prior's is 1;
only examples far from all data reach it.
"""


class Posterior(nn.Module, abc.ABC):
    r"""Abstract posterior head: only `forward` must be written.

    What it returns may map standard normal noise u to z and back, by ``from_noise(u)`` and
    ``to_noise(z)``: then each row's draws belong to the row, whatever stands beside it, at no
    further cost.

    Attributes:
        in_shape: What the encoder must output for one example.
    """

    in_shape: tuple[int, ...]

    starts_linear: ClassVar[bool] = False
    """Whether an affine encoder can make q(z|x) the posterior of a linear model: `start_at`."""

    @abc.abstractmethod
    def forward(self, h: Tensor) -> Distribution:
        """Map features h, of shape (*batch, *in_shape), to q(z|x),
        with event shape (latent_dim,).
        """

    @classmethod
    def fewest(cls, options: Mapping[str, Any]) -> int:
        """Return the fewest latent dimensions that it can have with these options."""
        return 1

    def start_at(self, model: LinearGaussian) -> tuple[Tensor, Tensor]:
        """Return the affine encoder that makes q(z|x)
        as near to a linear model's posterior as can be.

        Returns:
            Weight (features, D) and bias (features,), with as many features as in_shape has.

        Raises:
            NotImplementedError: There is none (see ``starts_linear``).
        """
        raise NotImplementedError(f"{type(self).__name__} has no linear model to start at.")

    def as_normal(self, q: Distribution) -> tuple[Tensor, Tensor] | None:
        """Return the mean (n, latent_dim) of a normal q(z|x), and its standard deviations, of the
        same shape, or lower triangle (n, latent_dim, latent_dim); None where q is no normal.

        Arguments:
            q: q(z|x) of n rows, as `forward` returned it.
        """
        shape = q.batch_shape + q.event_shape
        if is_independent_normal(q):
            return q.loc, q.stddev
        if isinstance(q, Independent) and isinstance(q.base_dist, Normal):
            return q.base_dist.loc.expand(shape), q.base_dist.scale.expand(shape)
        if isinstance(q, MultivariateNormal | LowRankMultivariateNormal):
            return q.loc.expand(shape), q.scale_tril.expand(*shape, shape[-1])
        return None
