r"""A mixture of factor analysers beside what training came to.

Rows in thin clusters, each with directions of its own, are found by EM in seconds, and hardly by a
network that starts at the principal components. Where EM ends depends on where it starts, and few
wide components say what many narrow ones do not. So mixtures of many kinds are fitted and averaged:

.. math:: p(x) = \sum_m w_m \sum_k \pi_{mk} \, \mathcal{N}(x \mid b_{mk}, C_{mk})

(Ormoneit & Tresp, 1996), with the weights w by which held-out rows are predicted best (stacking:
Smyth & Wolpert, 1999). The average is a mixture of factor analysers as well, and
`nelbo.start.clustered` makes it a VAE, whose z is that of the linear start.
"""

from __future__ import annotations

__all__ = ["MIXTURE_KEPT", "Kind", "Search", "Stack", "adopt", "going_on", "is_of", "spec_of"]

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import evaluate
from ..likelihood import VARIANCE_FLOOR
from ..linear import LinearGaussian, MixtureOfFactorAnalysers
from ..linear.expectation import ExpectationMaximisation
from ..networks.paths import name_of
from ..options import Options
from ..paired import surely_greater, trimmed_mean
from ..recipe.choice import Entry
from ..spec import Spec
from ..start import clustered
from ..vae import VAE

MIXTURE_KEPT = "mixture of factor analysers"
"""What a recipe calls the start that was kept."""

PARTS: dict[str, Any] = {
    "decoder": "quadratic",
    "likelihood": "clustered_gaussian",
    "prior": "mixture",
    "posterior": "diagonal_normal",
}
"""The parts of a VAE that has become a mixture, beside its encoder, by the names of options."""


@dataclass(frozen=True)
class Kind:
    """A kind of mixture.

    Attributes:
        components: K, its number of components.
        strength: How many rows the prior of each covariance counts for.
        factors: How many directions each component has beside its noise; None is all of them.
    """

    components: int
    strength: float = 1.0
    factors: int | None = None


@dataclass(frozen=True)
class Stack:
    """How mixtures of many kinds are averaged.

    Attributes:
        steps: Steps of EM for the weights, whose likelihood has one maximum.
        prior: Rows that a prior of equal weights counts for.
        least: The weight below which a kind is left out.
        elsewhere: The least weight of the normal of all rows, for rows that are near no cluster.
    """

    steps: int = 200
    prior: float = 1.0
    least: float = 0.01
    elsewhere: float = 0.01

    def weights(self, log_prob: Tensor) -> Tensor:
        """Return the weights (m,) that predict rows best.

        Arguments:
            log_prob: log p(x) of each row and kind, the normal of all rows first, (n, m).
        """
        kinds = log_prob.shape[1]
        weights = log_prob.new_full((kinds,), 1 / kinds)
        for _ in range(self.steps):
            share = (log_prob + weights.log()).softmax(1).sum(0)
            weights = (share + self.prior / kinds) / (len(log_prob) + self.prior)
        weights = torch.where(weights < self.least, 0.0, weights)
        weights[0] = max(float(weights[0]), self.elsewhere)
        return weights / weights.sum()

    def predicted(self, log_prob: Tensor) -> Tensor:
        """Return log p(x) of each row, (n,), by weights that were found on the other half of the
        rows.
        """
        found = log_prob.new_empty(len(log_prob))
        for half in range(2):
            weights = self.weights(log_prob[1 - half :: 2])
            found[half::2] = (log_prob[half::2] + weights.log()).logsumexp(1)
        return found


@dataclass(frozen=True)
class Search:
    """Which mixtures are fitted: found on splits of tables that no reported figure uses.

    Attributes:
        strengths: For each strength of the prior the numbers of components with all directions.
            Few components of many rows each need next to none.
        factors: How many directions components with few have, which suit tables of many columns.
        with_factors: The numbers of components with few directions.
        members: How many mixtures of a kind are averaged, each from a start of its own. The first
            alone is fitted to find the weights: the others take as long, and say the same.
        stack: How the kinds are averaged.
        rows: The number of rows that EM looks at, at most.
        work: Products that a step of EM may take, at most: a tenth of a second.
        rows_each: Rows that there are for each component, at least.
        steps: Steps of EM, at most.
        settled: Nats per row below which a step brings nothing.
        floor: The smallest variance, relative to that of a column.
        sure: The confidence that the trained network is ahead which is needed to keep it, and that
            the mixture is ahead of the linear start: two standard errors of many rows.
        judges, samples: Held-out rows that compare it with the network, at most, and importance
            samples of each.
        predictive: Whether components get the width of rows to come, rather than that of those
            seen. With it, intervals of what is missing hold what they should.
        power: Which power of the number of columns a step of EM takes, for each row.
    """

    strengths: tuple[tuple[float, tuple[int, ...]], ...] = (
        (0.1, (4, 8, 16)),
        (1.0, (4, 8, 16, 32, 64, 128)),
        (10.0, (4, 8, 16, 32, 64, 128)),
    )
    factors: int = 3
    with_factors: tuple[int, ...] = (1, 4, 8, 16)
    members: int = 2
    stack: Stack = Stack()
    rows: int = 5_000
    work: float = 2e8
    rows_each: int = 5
    steps: int = 50
    settled: float = 2e-3
    floor: float = VARIANCE_FLOOR
    sure: float = 0.9772
    judges: int = 1_000
    samples: int = 300
    predictive: bool = False
    power: int = 2

    def of_incomplete(self) -> Search:
        """Return which mixtures are fitted where values are missing: EM then takes a factorisation
        for each row and component, so there are fewer; a few values a row need a stronger prior.
        """
        return dataclasses.replace(
            self,
            strengths=((1.0, (4, 8, 16, 32)), (10.0, (4, 8, 16, 32))),
            with_factors=(),
            members=3,
            rows=2_000,
            steps=30,
            predictive=True,
            power=3,
        )

    def kinds(self, rows: int, columns: int) -> list[Kind]:
        """Return the kinds of mixtures of a table of this size, the normal first."""
        rows = min(rows, self.rows)
        most = min(rows // self.rows_each, int(self.work / (rows * columns**self.power)))
        found = [Kind(k, s) for s, components in self.strengths for k in components]
        if columns > 2 * self.factors:
            found += [Kind(k, factors=self.factors) for k in self.with_factors]
        return [Kind(1), *(kind for kind in found if kind.components <= max(1, most))]

    def how(self, kind: Kind, columns: int) -> ExpectationMaximisation:
        """Return how mixtures of a kind are fitted to rows of so many columns."""
        factors = kind.factors or columns
        return ExpectationMaximisation(
            factors, kind.strength, self.floor, 1, self.steps, self.settled
        )

    def fitted(self, kind: Kind, x: Tensor) -> MixtureOfFactorAnalysers:
        """Return the first mixture of a kind, fitted to rows x (n, D)."""
        few = _spaced(x, self.rows)
        return self._wide(self.how(kind, x.shape[1])(few, kind.components, 0), few, kind)

    def _wide(
        self, found: MixtureOfFactorAnalysers, x: Tensor, kind: Kind
    ) -> MixtureOfFactorAnalysers:
        """Return a mixture of a kind with the width that its components are to have."""
        if not self.predictive:
            return found
        return found.predictive(x, kind.strength)

    def average(
        self, first: dict[Kind, MixtureOfFactorAnalysers], weights: dict[Kind, float], x: Tensor
    ) -> MixtureOfFactorAnalysers:
        """Return the average of mixtures of some kinds, fitted to rows x (n, D): the first of each
        goes on from where it was, others have starts of their own.
        """
        x = _spaced(x, self.rows)
        found, shares = [], []
        for kind, weight in weights.items():
            em = self.how(kind, x.shape[1])
            members = [em.further(first[kind], x)]
            if kind.components > 1:
                seeds = range(1, self.members)
                members += [em(x, kind.components, seed) for seed in seeds]
            found += [self._wide(member, x, kind) for member in members]
            shares += [weight / len(members)] * len(members)
        return MixtureOfFactorAnalysers.average(found, shares)


def _spaced(x: Tensor, most: int) -> Tensor:
    """Return at most so many rows, evenly spaced."""
    return x[:: max(1, math.ceil(len(x) / most))]


def adopt(
    vae: VAE,
    trained: VAE,
    linear: LinearGaussian,
    rows: tuple[Tensor, Tensor, Tensor],
    search: Search = Search(),
) -> dict[str, Entry]:
    """Make a VAE the one with the p(x) of a mixture, unless what was trained is clearly ahead of it
    on held-out rows, or the linear start is not behind.

    Arguments:
        vae: The model that may become a mixture.
        trained: What training came to; it may have another prior.
        linear: The linear model that says what z is.
        rows: Training rows (n, D), those held out, and all of them, in model units.
        search: How the mixture is found.

    Returns:
        Entries of the recipe, what was kept and why; none where the model stays what it was.
    """
    x, held, everything = rows
    missing = bool(x.isnan().any())
    if missing:
        search = search.of_incomplete()
    held = _spaced(held, search.judges)
    kinds = search.kinds(*x.shape)
    first = {kind: search.fitted(kind, x) for kind in kinds}
    each = torch.stack([found.log_prob(held.double()) for found in first.values()], 1)
    mixture = search.stack.predicted(each)
    if not surely_greater(mixture, linear.log_prob(held.double()), search.sure):
        return {}
    method = evaluate.plain_method(trained)
    network = evaluate.log_likelihood(trained, held, method, search.samples).value.cpu()
    if surely_greater(network, mixture, search.sure):
        return {}
    weights = zip(kinds, search.stack.weights(each).tolist(), strict=True)
    kept = {kind: weight for kind, weight in weights if weight > 0}
    model = search.average(first, kept, everything)
    found = clustered(model, linear, missing=missing)
    for name, part in found.to(vae.device, vae.dtype).named_children():
        setattr(vae, name, part)
    return _entries(model, mixture - network, name_of(found.encoder))


def _entries(model: MixtureOfFactorAnalysers, gain: Tensor, encoder: str) -> dict[str, Entry]:
    """Return what was kept and why, by the names of a recipe.

    Arguments:
        model: The mixture.
        gain: By how much its log p(x) of held-out rows is above the trained network's, (n,).
        encoder: What options call the encoder.
    """
    mean, error = trimmed_mean(gain)
    part = "A part of the mixture that was kept."
    return {
        "start": {
            "value": MIXTURE_KEPT,
            "reason": f"Training did not clearly beat mixtures fitted by EM and averaged, with "
            f"{model.components} components in all, which were kept: their log p(x) of "
            f"{len(gain):,} held-out rows is {mean:+.2f} ± {error:.2f} nats beside the trained "
            "network.",
        },
        "encoder": {"value": encoder, "reason": "z is that of the linear start."},
        "decoder": {"value": "quadratic", "reason": part},
        "likelihood": {"value": "clustered_gaussian", "reason": part},
        "prior": {"value": f"mixture of {model.components} normals", "reason": part},
    }


def spec_of(spec: Spec, vae: VAE) -> Spec:
    """Return the configuration of a VAE that has become a mixture."""
    options = vae.prior.options
    parts = dataclasses.replace(
        spec,
        **PARTS,
        encoder=name_of(vae.encoder),
        likelihood_options={"components": options["components"]},
        prior_options=options,
    )
    return dataclasses.replace(parts, variance="learned", floor=VARIANCE_FLOOR)


def is_of(spec: Spec) -> bool:
    """Return whether this is the configuration of a VAE that has become a mixture."""
    names = all(getattr(spec, name) == value for name, value in PARTS.items())
    encoder = spec.encoder in ("linear", "factor_encoder")
    return names and encoder and not spec.prior_options.get("learned", True)


def going_on(options: Options, spec: Spec) -> Options:
    """Return the options of more training: of a VAE that has become a mixture, with its parts."""
    if not is_of(spec):
        return options
    given = {"likelihood_options": spec.likelihood_options, "prior_options": spec.prior_options}
    return options.having(**PARTS, encoder=spec.encoder, **given)
