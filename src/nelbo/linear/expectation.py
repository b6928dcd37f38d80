"""Maximum likelihood of a mixture of factor analysers, by expectation maximisation."""

from __future__ import annotations

__all__ = ["ExpectationMaximisation", "mixture_of_factor_analysers"]

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .mixture import MixtureOfFactorAnalysers
from .model import LinearGaussian
from .seen import Complete, Incomplete, seen

Rows = Complete | Incomplete


def mixture_of_factor_analysers(
    x: Tensor,
    components: int,
    latent_dim: int,
    *,
    strength: float = 0.0,
    seed: int = 0,
    floor: float = 1e-6,
    starts: int = 5,
    max_iter: int = 200,
    tol: float = 1e-4,
) -> MixtureOfFactorAnalysers:
    """Mixture of factor analysers of rows x (Ghahramani & Hinton, 1996; McLachlan & Peel, 2000).

    EM starts at clusters found by k-means, each with its probabilistic PCA; of several such starts
    it goes on from the one that is best after few steps (Biernacki et al., 2003). The E step shares
    each row between the components; the M step moves shares and means to their optimum, and W_k
    and Psi_k by a step of EM for factor analysis (Rubin & Thayer, 1982), or, where `latent_dim`
    leaves no more than one direction to the noise, to the covariance of the cluster itself.

    Args:
        x: rows, shape (n, D); a missing value is NaN, and is summed over (Ghahramani & Jordan,
            1994).
        components: K >= 1.
        latent_dim: q >= 1, the number of columns of each W_k.
        strength: how many rows the prior of each covariance counts for: an inverse Wishart around
            what clusters have in common, their mean covariance. At first that is the covariance of
            all rows divided by K^(2/D), the scale of K clusters that share its volume (Fraley &
            Raftery, 2007), then that of the clusters found so far. 0 is maximum likelihood.
        seed: of the start.
        floor: least variance, relative to the mean feature variance of all rows (absolute where
            all variances are zero).
        starts: how many starts are tried, each with centres of its own.
        max_iter: most steps of EM.
        tol: stop when a step gains less than this many nats per row.

    Raises:
        ValueError: x is no matrix of numbers, holds infinity, has fewer rows than components, or a
            number is out of range.
    """
    how = ExpectationMaximisation(latent_dim, strength, floor, starts, max_iter, tol)
    return how(x, components, seed)


@dataclass(frozen=True)
class ExpectationMaximisation:
    """How EM is run; the other fields are the arguments of `mixture_of_factor_analysers`.

    Attributes:
        few: steps of EM that each start takes before they are compared, and that are taken between
            one prior and the next.
        rounds: how often the prior is found anew from the clusters.
        scale: the covariance (D, D) that the prior stays around; None is what clusters have in
            common. Around the covariance of many rows, divided by K^(2/D), few rows cannot have a
            narrow cluster of their own.
    """

    latent_dim: int
    strength: float = 0.0
    floor: float = 1e-6
    starts: int = 5
    max_iter: int = 200
    tol: float = 1e-4
    few: int = 10
    rounds: int = 3
    scale: Tensor | None = None

    @torch.no_grad()
    def __call__(self, x: Tensor, components: int, seed: int = 0) -> MixtureOfFactorAnalysers:
        """Fit a mixture to rows x (n, D), from starts of its own."""
        self._check(x, components)
        rows = seen(x)
        step = _Step.first(self, rows, components)
        generator = torch.Generator().manual_seed(seed)
        few, filled = min(self.few, self.max_iter), rows.filled()
        tried = []
        for _ in range(min(self.starts, components)):  # one component has one start
            shares = _one_hot(_clusters(filled, components, generator), components)
            tried.append(self._climbed(step.start(rows, shares), rows, step, few))
        best, _ = max(tried, key=lambda found: found[1])
        return self._finished(best, rows, step)

    @torch.no_grad()
    def further(self, model: MixtureOfFactorAnalysers, x: Tensor) -> MixtureOfFactorAnalysers:
        """Go on from a mixture, on rows x (n, D), which may be others."""
        self._check(x, model.components)
        rows = seen(x)
        return self._finished(_Parts.of(model), rows, _Step.first(self, rows, model.components))

    def _finished(self, parts: _Parts, x: Rows, step: _Step) -> MixtureOfFactorAnalysers:
        """Climb to the top, with the prior that clusters have in common, or the one given."""
        if self.scale is not None:
            return self._climbed(parts, x, step, self.max_iter)[0].mixture()
        if self.strength > 0:
            for _ in range(self.rounds - 1):
                parts, _ = self._climbed(parts, x, step.around(parts, x), self.few)
        parts, _ = self._climbed(parts, x, step.around(parts, x), self.max_iter)
        return parts.mixture()

    def _climbed(self, parts: _Parts, x: Rows, step: _Step, most: int) -> tuple[_Parts, float]:
        """Take steps of EM while they bring something; return the components, and the height
        before the last step in nats per row.
        """
        height = -math.inf
        for _ in range(most):
            joint, before = parts.log_joint(x), height
            height = float(joint.logsumexp(1).mean()) + step.log_density(parts) / len(x)
            if height - before < self.tol:
                break
            parts = step(parts, x, joint.softmax(1))
        return parts, height

    def _check(self, x: Tensor, components: int) -> None:
        if x.ndim != 2 or len(x) < components or components < 1:
            raise ValueError(
                f"x must have shape (n, D) with at least one row for each of {components} "
                f"components, got {tuple(x.shape)}."
            )
        if bool(x.isinf().any()):
            raise ValueError("x holds infinity. Remove those rows first.")
        for name, value, least in (
            ("latent_dim", self.latent_dim, 1),
            ("starts", self.starts, 1),
            ("max_iter", self.max_iter, 1),
            ("strength", self.strength, 0),
        ):
            if not value >= least:
                raise ValueError(f"{name} must be at least {least}, got {value}.")
        if not self.floor > 0:
            raise ValueError(f"floor must be positive, got {self.floor}.")


@dataclass(frozen=True)
class _Parts:
    """The components of a mixture side by side, as EM works on them.

    Attributes:
        count: how many rows each has, or their share, (K,).
        mean: b, (K, D).
        covariance: W W^T + Psi, (K, D, D).
        weight: W, (K, D, q).
    """

    count: Tensor
    mean: Tensor
    covariance: Tensor
    weight: Tensor

    @classmethod
    def of(cls, model: MixtureOfFactorAnalysers) -> _Parts:
        """Those of a mixture whose components have as many columns each."""
        weight = torch.stack([part.weight for part in model.parts])
        return cls(model.share, model.means, model.covariances, weight)

    def mixture(self) -> MixtureOfFactorAnalysers:
        """The mixture of these components."""
        noise = self.covariance - self.weight @ self.weight.mT
        parts = tuple(
            LinearGaussian(weight, mean, variance.diagonal().clone())
            for weight, mean, variance in zip(self.weight, self.mean, noise, strict=True)
        )
        return MixtureOfFactorAnalysers(self.share, parts)

    @property
    def share(self) -> Tensor:
        """pi, (K,): no component has less than a billionth of a row."""
        count = self.count.clamp_min(1e-9)
        return count / count.sum()

    def log_joint(self, x: Rows) -> Tensor:
        """`log p(x, k)` of n rows, (n, K)."""
        return x.log_joint(self.share, self.mean, self.covariance)


@dataclass(frozen=True)
class _Step:
    """The M step, with what a covariance is before any row is seen.

    Attributes:
        scale: the covariance that the prior is around, (D, D).
        strength: how many rows it counts for.
        latent_dim: columns of each W.
        least: least variance, in squared units of x.
    """

    scale: Tensor
    strength: float
    latent_dim: int
    least: float

    @classmethod
    def first(cls, how: ExpectationMaximisation, x: Rows, components: int) -> _Step:
        """The step before anything is known of the clusters."""
        _, covariance = x.moments
        features = len(covariance)
        typical = float(covariance.diagonal().mean())
        least = how.floor
        if typical > 0:
            least = how.floor * typical
        scale = how.scale
        if scale is None:
            scale = covariance / components ** (2 / features)
        return cls(scale, how.strength, max(1, min(how.latent_dim, features - 1)), least)

    def around(self, parts: _Parts, x: Rows) -> _Step:
        """The step whose prior is around the mean covariance of the clusters of rows."""
        free = dataclasses.replace(self, strength=0.0)
        count, _, covariances = free._moments(x, parts.log_joint(x).softmax(1), parts)
        scale = (count[:, None, None] * covariances).sum(0) / count.sum()
        return dataclasses.replace(self, scale=scale)

    def log_density(self, parts: _Parts) -> float:
        """Log-density of the covariances under the prior, up to a constant: what EM climbs is this
        and the likelihood.
        """
        if self.strength == 0:
            return 0.0
        scale = self.scale.expand_as(parts.covariance)  # as many components as columns: no vectors
        misfit = torch.linalg.solve(parts.covariance, scale).diagonal(dim1=1, dim2=2).sum()
        return -0.5 * self.strength * float(torch.logdet(parts.covariance).sum() + misfit)

    def start(self, x: Rows, share: Tensor) -> _Parts:
        """Probabilistic PCA of rows shared so, (n, K)."""
        components = share.shape[1]
        mean, covariance = x.moments
        covariance = covariance + self.least * torch.eye(len(mean)).to(covariance)
        normal = _Parts(
            share.sum(0),
            mean.expand(components, -1),
            covariance.expand(components, -1, -1),
            covariance.new_zeros(components, len(mean), 1),
        )
        return self._ppca(*self._moments(x, share, normal))

    def __call__(self, parts: _Parts, x: Rows, share: Tensor) -> _Parts:
        """Return the components of these shares of rows, which are no worse than the last."""
        count, mean, covariance = self._moments(x, share, parts)
        features = mean.shape[1]
        if self.latent_dim >= features - 1:
            return self._ppca(count, mean, covariance)
        gain = torch.linalg.solve(parts.covariance, parts.weight).mT  # (K, q, D)
        explained = covariance @ gain.mT  # E[x z^T]
        identity = torch.eye(self.latent_dim, dtype=gain.dtype, device=gain.device)
        second = identity - gain @ parts.weight + gain @ explained  # E[z z^T]
        weight = torch.linalg.solve(second, explained.mT).mT
        noise = (covariance - weight @ explained.mT).diagonal(dim1=1, dim2=2)
        noise = torch.diag_embed(noise.clamp_min(self.least))
        return _Parts(count, mean, weight @ weight.mT + noise, weight)

    def _moments(self, x: Rows, share: Tensor, before: _Parts) -> tuple[Tensor, Tensor, Tensor]:
        """How many rows each component has, (K,), their mean, and the covariance that best explains
        them and the prior.

        A component without rows stays where it was; what is missing is as it was expected there.
        """
        count, nothing = share.sum(0), 1e-9
        rows = x.shared(share, before.mean, before.covariance)
        mean = (rows.total + nothing * before.mean) / (count + nothing)[:, None]
        strength = self.strength + nothing
        covariance = (strength * self.scale).repeat(len(count), 1, 1)
        rows.scatter(covariance, mean)
        return count, mean, covariance / (count + strength)[:, None, None]

    def _ppca(self, count: Tensor, mean: Tensor, covariance: Tensor) -> _Parts:
        """Probabilistic PCA of each component, its noise as great as that of the directions left
        out (Tipping & Bishop, 1999).
        """
        features = mean.shape[1]
        values, vectors = torch.linalg.eigh((covariance + covariance.mT) / 2)
        rank = min(self.latent_dim, features - 1)
        noise = values[:, : features - rank].mean(1).clamp_min(self.least)[:, None]
        excess = (values[:, features - rank :] - noise).clamp_min(0.0)
        weight = vectors[:, :, features - rank :] * excess.sqrt()[:, None]
        identity = torch.eye(features, dtype=torch.float64, device=mean.device)
        covariance = weight @ weight.mT + noise[..., None] * identity
        if rank == 0:
            weight = mean.new_zeros(*mean.shape, 1)
        return _Parts(count, mean, covariance, weight)


def _one_hot(cluster: Tensor, components: int) -> Tensor:
    return torch.nn.functional.one_hot(cluster, components).double()


def _clusters(x: Tensor, components: int, generator: torch.Generator, steps: int = 20) -> Tensor:
    """The cluster of each row by k-means, whose centres start far from each other (Arthur &
    Vassilvitskii, 2007): shape (n,).
    """
    first = int(torch.randint(len(x), (), generator=generator))
    centres = x[first : first + 1]
    nearest = (x - centres[0]).square().sum(1)
    for _ in range(components - 1):
        chosen = int(torch.multinomial(nearest.clamp_min(1e-300), 1, generator=generator))
        centres = torch.cat([centres, x[chosen : chosen + 1]])
        nearest = torch.minimum(nearest, (x - x[chosen]).square().sum(1))
    cluster = torch.cdist(x, centres).argmin(1)
    for _ in range(steps):
        share = _one_hot(cluster, components)
        count = share.sum(0)[:, None]
        centres = torch.where(count > 0, share.T @ x / count.clamp_min(1), centres)
        moved = torch.cdist(x, centres).argmin(1)
        if torch.equal(moved, cluster):
            break
        cluster = moved
    return cluster
