"""Maximum likelihood of a mixture of factor analysers, by expectation maximisation."""

from __future__ import annotations

__all__ = ["ExpectationMaximisation", "mixture_of_factor_analysers"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .closed_form import ppca
from .covariance import moments
from .mixture import MixtureOfFactorAnalysers
from .model import LinearGaussian


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
        x: rows, shape (n, D), without missing values.
        components: K >= 1.
        latent_dim: q >= 1, the number of columns of each W_k.
        strength: how many rows the prior of each covariance counts for: an inverse Wishart around
            the covariance of all rows, divided by K^(2/D), the scale of K clusters that share its
            volume (Fraley & Raftery, 2007). 0 is maximum likelihood.
        seed: of the start.
        floor: least variance, relative to the mean feature variance of all rows (absolute where
            all variances are zero).
        starts: how many starts are tried, each with centres of its own.
        max_iter: most steps of EM.
        tol: stop when a step gains less than this many nats per row.

    Raises:
        ValueError: x is no matrix of finite numbers, has fewer rows than components, or a number
            is out of range.
    """
    how = ExpectationMaximisation(latent_dim, strength, floor, starts, max_iter, tol)
    return how(x, components, seed)


@dataclass(frozen=True)
class ExpectationMaximisation:
    """How EM is run; the other fields are the arguments of `mixture_of_factor_analysers`.

    Attributes:
        few: steps of EM that each start takes before they are compared.
    """

    latent_dim: int
    strength: float = 0.0
    floor: float = 1e-6
    starts: int = 5
    max_iter: int = 200
    tol: float = 1e-4
    few: int = 10

    @torch.no_grad()
    def __call__(self, x: Tensor, components: int, seed: int = 0) -> MixtureOfFactorAnalysers:
        """Fit a mixture to rows x (n, D), from starts of its own."""
        self._check(x, components)
        x, prior = x.double(), self._prior(x, components)
        generator = torch.Generator().manual_seed(seed)
        few = min(self.few, self.max_iter)
        tried = []
        for _ in range(min(self.starts, components)):  # one component has one start
            shares = _one_hot(_clusters(x, components, generator), components)
            tried.append(self._climbed(prior.start(x, shares), x, prior, few))
        best, _ = max(tried, key=lambda found: found[1])
        return self._climbed(best, x, prior, self.max_iter - few)[0]

    @torch.no_grad()
    def further(self, model: MixtureOfFactorAnalysers, x: Tensor) -> MixtureOfFactorAnalysers:
        """Go on from a mixture, on rows x (n, D), which may be others."""
        self._check(x, model.components)
        prior = self._prior(x, model.components)
        return self._climbed(model, x.double(), prior, self.max_iter)[0]

    def _climbed(
        self, model: MixtureOfFactorAnalysers, x: Tensor, prior: _Prior, steps: int
    ) -> tuple[MixtureOfFactorAnalysers, float]:
        """Take steps of EM while they bring something; return the model, and the height before
        the last step in nats per row.
        """
        height = -math.inf
        for _ in range(steps):
            joint, before = model.log_joint(x), height
            height = float(joint.logsumexp(1).mean()) + prior.log_density(model) / len(x)
            if height - before < self.tol:
                break
            model = prior.step(model, x, joint.softmax(1))
        return model, height

    def _prior(self, x: Tensor, components: int) -> _Prior:
        _, covariance = moments(x)
        features = len(covariance)
        typical = float(covariance.diagonal().mean())
        least = self.floor
        if typical > 0:
            least = self.floor * typical
        scale = covariance / components ** (2 / features)
        return _Prior(scale, self.strength, min(self.latent_dim, features), least)

    def _check(self, x: Tensor, components: int) -> None:
        if x.ndim != 2 or len(x) < components or components < 1:
            raise ValueError(
                f"x must have shape (n, D) with at least one row for each of {components} "
                f"components, got {tuple(x.shape)}."
            )
        if not bool(x.isfinite().all()):
            raise ValueError("x holds NaN or infinity. Remove or impute those rows first.")
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
class _Prior:
    """What a covariance is before any row is seen, and the M step that follows from it.

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

    def log_density(self, model: MixtureOfFactorAnalysers) -> float:
        """Log-density of a model's covariances under the prior, up to a constant: what EM climbs
        is this and the likelihood.
        """
        if self.strength == 0:
            return 0.0
        total = 0.0
        for part in model.parts:
            misfit = torch.linalg.solve(part.covariance, self.scale).trace()
            total -= 0.5 * self.strength * float(torch.logdet(part.covariance) + misfit)
        return total

    def start(self, x: Tensor, share: Tensor) -> MixtureOfFactorAnalysers:
        """The mixture of probabilistic PCA of rows x (n, D) shared so, (n, K)."""
        count, means, covariances = self._moments(x, share, x.mean(0).expand(share.shape[1], -1))
        parts = [self._ppca(*found) for found in zip(means, covariances, strict=True)]
        return _mixture(count, parts)

    def step(
        self, model: MixtureOfFactorAnalysers, x: Tensor, share: Tensor
    ) -> MixtureOfFactorAnalysers:
        """The M step: the model of these shares of rows, which is no worse than the last."""
        count, means, covariances = self._moments(x, share, model.means)
        parts = [
            self._part(part, mean, covariance)
            for part, mean, covariance in zip(model.parts, means, covariances, strict=True)
        ]
        return _mixture(count, parts)

    def _moments(self, x: Tensor, share: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How many rows each component has, (K,), their mean, and the covariance that best explains
        them and the prior.

        A component without rows stays where it was.
        """
        count = share.sum(0)
        nothing = 1e-9
        means = (share.T @ x + nothing * before) / (count + nothing)[:, None]
        covariances = []
        for k in range(share.shape[1]):
            centred = x - means[k]
            spread = (share[:, k, None] * centred).T @ centred
            rows = count[k] + self.strength + nothing
            covariances.append((spread + (self.strength + nothing) * self.scale) / rows)
        return count, means, torch.stack(covariances)

    def _part(self, part: LinearGaussian, mean: Tensor, covariance: Tensor) -> LinearGaussian:
        """One component after one step of EM for factor analysis, (Rubin & Thayer, 1982)."""
        if self.latent_dim >= len(mean) - 1:
            return self._ppca(mean, covariance)
        gain, _ = part.posterior_affine()
        explained = covariance @ gain.T  # E[x z^T]
        identity = torch.eye(len(gain), dtype=gain.dtype)
        second = identity - gain @ part.weight + gain @ explained  # E[z z^T]
        weight = torch.linalg.solve(second, explained.T).T
        variance = (covariance - weight @ explained.T).diagonal().clamp_min(self.least)
        return LinearGaussian(weight, mean, variance.contiguous())

    def _ppca(self, mean: Tensor, covariance: Tensor) -> LinearGaussian:
        typical = float(covariance.diagonal().mean())
        floor = self.least
        if typical > 0:
            floor = self.least / typical
        found = ppca(mean, covariance, self.latent_dim, floor=floor)
        return LinearGaussian(found.weight, mean, found.variance.expand_as(mean).contiguous())


def _mixture(count: Tensor, parts: list[LinearGaussian]) -> MixtureOfFactorAnalysers:
    """The mixture with as many rows in each part; none has less than a billionth of a row."""
    count = count.clamp_min(1e-9)
    return MixtureOfFactorAnalysers(count / count.sum(), tuple(parts))


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
