"""Linear models that share the rows between them: a mixture, every answer exact and in float64.

k ~ pi,    z | k ~ N(0, I),    x | z, k ~ N(W_k z + b_k, Psi_k),
p(x) = sum_k pi_k N(x | b_k, W_k W_k^T + Psi_k),    Psi_k diagonal
"""

from __future__ import annotations

__all__ = ["MixtureOfFactorAnalysers"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..brief import Brief
from .model import CHUNK_ELEMENTS, LinearGaussian


@dataclass(frozen=True, eq=False, repr=False)
class MixtureOfFactorAnalysers(Brief):
    """A mixture of factor analysers (Ghahramani & Hinton, 1996), each of them a `LinearGaussian`.

    Each component has its own directions W_k, and its own noise for each feature: near a thin
    cluster noise is small across it and large along it.

    Args:
        share: pi, the share of the rows of each component, shape (K,), float64, positive, with
            sum 1.
        parts: the K components, with as many features each.

    Raises:
        ValueError: there is no component, features or numbers disagree, or the shares are none.
    """

    share: Tensor
    parts: tuple[LinearGaussian, ...]

    def __post_init__(self) -> None:
        if not self.parts or self.share.shape != (len(self.parts),):
            raise ValueError(
                f"share must have shape (K,) for K components, K at least 1, got "
                f"{tuple(self.share.shape)} for {len(self.parts)} components."
            )
        features = {len(part.bias) for part in self.parts}
        if len(features) > 1:
            raise ValueError(f"Components must have as many features each, got {sorted(features)}.")
        if not bool((self.share > 0).all()) or abs(float(self.share.sum()) - 1) > 1e-6:
            raise ValueError(f"share must be positive and sum to 1, got {self.share.tolist()}.")

    @classmethod
    def average(
        cls, models: Sequence[MixtureOfFactorAnalysers], weights: Sequence[float] | None = None
    ) -> MixtureOfFactorAnalysers:
        """The mixture whose density is the mean of others': where EM ends depends on its start, and
        the mean is better than nearly all of them (Ormoneit & Tresp, 1996).

        Args:
            models: at least one, of as many features each.
            weights: how much each counts, positive; None is as much for each.
        """
        counts = torch.ones(len(models), dtype=torch.float64)
        if weights is not None:
            counts = torch.tensor(weights, dtype=torch.float64)
        counts = counts / counts.sum()
        share = torch.cat([w * model.share for w, model in zip(counts, models, strict=True)])
        return cls(share, tuple(part for model in models for part in model.parts))

    @property
    def components(self) -> int:
        """K, the number of components."""
        return len(self.parts)

    @property
    def means(self) -> Tensor:
        """b of each component, shape (K, D)."""
        return torch.stack([part.bias for part in self.parts])

    @property
    def covariances(self) -> Tensor:
        """`W W^T + Psi` of each component, shape (K, D, D)."""
        return torch.stack([part.covariance for part in self.parts])

    def log_joint(self, x: Tensor) -> Tensor:
        """`log p(x, k)` of each row of x (n, D) and each component: shape (n, K), nats, float64.

        A missing value is NaN, and is left out.
        """
        each = torch.stack([part.log_prob(x) for part in self.parts], 1)
        return each + self.share.log()

    def log_prob(self, x: Tensor) -> Tensor:
        """`log p(x)` of each row of x (n, D): shape (n,), nats, float64.

        A missing value is NaN: of a row with such, this is the marginal density of the others.
        """
        return self.log_joint(x).logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """`p(k | x)` of each row of x (n, D): shape (n, K)."""
        return self.log_joint(x).softmax(1)

    def conditionals(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`log p(x_j | x_-j)` of each value given the others of its row, and `E[x_j | x_-j]`.

        With the precision `P` of a component, x_j given the others is normal with the variance
        `1 / P_jj` around `x_j - (P (x - b))_j / P_jj`; the others alone say which component.

        Args:
            x: rows, shape (n, D), without missing values.

        Returns:
            Nats, and means in units of x: both (n, D), float64.
        """
        x = x.double()
        precision = torch.linalg.inv(self.covariances)
        diagonal = precision.diagonal(dim1=1, dim2=2)  # (K, D)
        wide = len(diagonal) * x.shape[1]
        nats, means = [], []
        for rows in x.split(max(1, CHUNK_ELEMENTS // wide)):
            residual = rows[:, None] - self.means  # (n, K, D)
            slope = torch.einsum("nkd,kde->nke", residual, precision)
            own = 0.5 * (diagonal.log() - slope.square() / diagonal - math.log(2 * math.pi))
            joint = self.log_joint(rows)
            others = joint[..., None] - own  # log p(x_-j, k)
            nats.append(joint.logsumexp(1)[:, None] - others.logsumexp(1))
            mean = rows[:, None] - slope / diagonal
            means.append((others.softmax(1) * mean).sum(1))
        return torch.cat(nats), torch.cat(means)

    def predictive(self, x: Tensor, strength: float, most: float = 3.0) -> MixtureOfFactorAnalysers:
        r"""The mixture whose components are as wide as what is known of them says.

        Given n rows, and a prior of its covariance that counts for so many more, the next row of a
        component is Student-t (Gelman et al., 2013, section 3.6), of which this is the normal with
        the same moments: n_k and strength sum to nu, and the covariance grows by

        .. math:: \frac{\nu + 1}{\nu - D - 1}

        Args:
            x: the rows that it was fitted to, (n, D). Each counts by the share of its values that
                are there.
            strength: how many rows the prior of each covariance counts for.
            most: the factor that no component exceeds, where rows are few.
        """
        there = (~x.isnan()).double().mean(1)
        counts = (self.responsibilities(x) * there[:, None]).sum(0) + strength
        free = (counts - x.shape[1] - 1).clamp_min(1e-9)
        factors = ((counts + 1) / free).clamp_max(most)
        parts = tuple(
            LinearGaussian(factor.sqrt() * part.weight, part.bias, factor * part.variance)
            for factor, part in zip(factors, self.parts, strict=True)
        )
        return MixtureOfFactorAnalysers(self.share, parts)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n rows, shape (n, D), float64."""
        chosen = torch.multinomial(self.share, n, replacement=True, generator=generator)
        drawn = self.share.new_empty(n, len(self.parts[0].bias))
        for k, part in enumerate(self.parts):
            mine = chosen == k
            drawn[mine] = part.sample(int(mine.sum()), generator)
        return drawn
