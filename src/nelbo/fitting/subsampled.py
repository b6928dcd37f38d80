r"""Mixtures of factor analysers of many small samples of the rows, averaged: nothing is trained.

.. math::
    p(x) = \frac{1}{M} \sum_{m=1}^M \sum_k \pi_{mk} \, \mathcal{N}(x \mid \mu_{mk}, C_{mk}),
    \qquad C_{mk} = \frac{S_{mk} + s \, \Sigma K^{-2/D}}{n_{mk} + s}

Anomalies among the rows must not make themselves probable. So the rows farthest from the bulk are
left out, which one normal finds by concentration steps (Rousseeuw & Van Driessen, 1999). Each
mixture is fitted by EM to a few hundred of the others: anomalies that are many enough to form a
cluster are few in so small a sample, as in isolation forests (Liu et al., 2008), and the prior
around :math:`\Sigma`, the covariance of all rows, lets few rows have no narrow cluster. There those
left out count as if they lay at the edge of the bulk, so that tails are not cut off and no row,
however far out, counts for more. The average is better than its members (Ormoneit & Tresp, 1996),
and is a VAE: see `nelbo.start.clustered`.
"""

from __future__ import annotations

__all__ = ["Subsamples", "fit_subsamples"]

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import Values
from ..data.known import KnownRows
from ..fitted import Fitted, linear
from ..fitted.state import asked
from ..linear import MixtureOfFactorAnalysers, moments, ppca
from ..linear.expectation import ExpectationMaximisation
from ..options import Options
from ..recipe import Choice, Entries
from ..start import clustered
from ..training import History
from ..training.history import Record
from . import clusters
from .fit import rows_of
from .prepare import Prepared, afresh


@dataclass(frozen=True)
class Subsamples:
    """How the mixtures are fitted: chosen on six of the twelve sets of ``docs/anomalies.md``.

    Attributes:
        members: M, the number of mixtures.
        rows: The number of rows in each sample, at most.
        share: The share of all rows in a sample, at most, so that samples of few rows differ.
        components: K, the number of components of each mixture.
        strength: What the prior of each covariance counts for, as a share of the rows in a sample.
        ridge: By what share of itself the diagonal of a covariance of all rows is raised.
        trim: The share of the rows that is left out, those farthest from the bulk.
        rounds: Concentration steps, at most.
        steps: Steps of EM, at most.
        settled: Nats per row below which a step brings nothing.
    """

    members: int = 10
    rows: int = 512
    share: float = 0.75
    components: int = 10
    strength: float = 0.1
    ridge: float = 2.5e-3
    trim: float = 0.1
    rounds: int = 20
    steps: int = 25
    settled: float = 2e-3

    def __call__(self, x: Tensor, kept: Tensor, seed: int) -> MixtureOfFactorAnalysers:
        """Return the average of mixtures fitted to samples of rows x (n, D), of those kept (n,)."""
        _, covariance = self._moments(self.drawn_in(x, kept))
        x = x[kept]
        n, columns = x.shape
        rows = max(2, min(self.rows, math.ceil(self.share * n)))
        components = max(1, min(self.components, rows // 2))
        em = ExpectationMaximisation(
            columns,
            strength=self.strength * rows,
            floor=self.ridge,
            starts=1,
            max_iter=self.steps,
            tol=self.settled,
            scale=covariance / components ** (2 / columns),
        )
        generator = torch.Generator().manual_seed(seed % 2**62)
        found = []
        for member in range(self.members):
            chosen = torch.randperm(n, generator=generator)[:rows]
            found.append(em(x[chosen], components, seed=member))
        return MixtureOfFactorAnalysers.average(found)

    def bulk(self, x: Tensor) -> Tensor:
        """Return which rows of x (n, D) are kept, (n,): all but a share ``trim`` far from them.

        One normal is fitted to the rows that were nearest to the last one, until they are the same:
        the product of its variances falls with each step.
        """
        kept = torch.ones(len(x), dtype=torch.bool)
        nearest = len(x) - int(self.trim * len(x))
        for _ in range(self.rounds):
            _, far = self._distance(x, kept)
            again = torch.zeros_like(kept)
            again[far.argsort(stable=True)[:nearest]] = True
            if torch.equal(again, kept):
                break
            kept = again
        return kept

    def drawn_in(self, x: Tensor, kept: Tensor) -> Tensor:
        """Return rows (n, D), those that are not kept moved to the edge of the kept."""
        mean, far = self._distance(x, kept)
        inward = (far[kept].max() / far).clamp(max=1).nan_to_num(1.0)
        return mean + (x - mean) * inward[:, None]

    def _distance(self, x: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean (D,) of the rows kept, and how far each row is from it in units of their
        spread, (n,).
        """
        mean, covariance = self._moments(x[kept])
        triangle = torch.linalg.cholesky(covariance)
        scaled = torch.linalg.solve_triangular(triangle, (x - mean).T, upper=False)
        return mean, scaled.square().sum(0).sqrt()

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (D,) and covariance (D, D), its diagonal raised by a share of itself.

        What does not vary gets a variance that is as nothing beside that of the others.
        """
        mean, covariance = moments(x)
        variance = covariance.diagonal()
        least = 1e-12 * float(variance.max()) or 1.0
        return mean, covariance + torch.diag(self.ridge * variance.clamp_min(least))


def fit_subsamples(
    values: Values,
    names: tuple[str, ...] | None,
    latent_dim: int,
    seed: int,
    how: Subsamples | None = None,
) -> Fitted:
    """Fit the average of mixtures to a table of numbers, and make it a VAE.

    Arguments:
        values: Complete rows of a table.
        names: The names of the columns that the model is to remember.
        latent_dim: The number of latents, whose posterior is that of probabilistic PCA.
        seed: Of the samples.
        how: How the mixtures are fitted.

    Raises:
        ValueError: There are fewer than two rows, or no column varies.
    """
    options = Options(
        latent_dim=max(1, min(latent_dim, values.shape[1])),
        network="linear",
        scale="standard",
        validation_fraction=0.0,
        random_state=seed,
    )
    how, values = how or Subsamples(), rows_of(options, values)
    # Far values set no scale: the schema is that of the bulk.
    kept = how.bulk(torch.from_numpy(values.array.astype(np.float64)))
    plan = afresh(options, values[kept.numpy()], None)
    x = plan.schema.to_model(values, noise="centre").double()
    model = how(x, kept, plan.seed)
    start = ppca(*moments(x), plan.spec.latent_dim)
    vae = clustered(model, start)
    record = Record(
        0, 0.0, 0.0, float(model.log_prob(x).mean()), None, None, None, 0.0, 0.0, 1.0, 0
    )
    return Fitted(
        vae=vae,
        schema=plan.schema,
        spec=clusters.spec_of(plan.spec, vae),
        recipe=_entries(plan, model, how),
        asked=asked(options),
        history=History([record], stopped="steps"),
        seed=plan.seed,
        kept_start=True,
        dtype="float64" if values.dtype == np.float64 else "float32",
        names=names,
        known=KnownRows.of(plan.schema.conformed(values.array), None),
        linear=linear.fit_early(plan.schema, vae, plan.values),
    )


def _entries(plan: Prepared, model: MixtureOfFactorAnalysers, how: Subsamples) -> Entries:
    """Return what was decided, and why, by name."""
    reason = "A part of the average of mixtures."
    decided: dict[str, Choice[Any]] = {
        "data": plan.recipe.data,
        "latent_dim": plan.recipe.latent_dim,
        "scale": plan.recipe.scale,
        "start": Choice(
            clusters.MIXTURE_KEPT,
            f"{how.members} mixtures, each fitted by EM to at most {how.rows} rows, are averaged, "
            f"with {model.components} components in all. The {how.trim:.0%} of the rows farthest "
            "from the bulk had no part in it.",
        ),
        "encoder": Choice("linear", "z is that of probabilistic PCA."),
        "decoder": Choice("quadratic", reason),
        "likelihood": Choice("clustered_gaussian", reason),
        "prior": Choice(f"mixture of {model.components} normals", reason),
    }
    entries = {name: {"value": c.value, "reason": c.reason} for name, c in decided.items()}
    return Entries(entries) | plan.remarks
