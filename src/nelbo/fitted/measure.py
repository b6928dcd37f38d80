r"""How good a fitted model is, in a few numbers in the units of the data.

.. math:: \overline{\log p(x)} \pm s / \sqrt n, \qquad
    \text{gain} = \overline{\log p(x) - \log p_{\mathrm{pPCA}}(x)}, \text{ its error that of the
    paired differences}
"""

from __future__ import annotations

__all__ = [
    "Baseline",
    "Bracket",
    "Density",
    "Explained",
    "Noise",
    "baseline",
    "bracket",
    "density",
    "explained",
    "noise",
]

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import evaluate
from ..data import Schema
from ..plain import plain
from .model import Model
from .noise import mean_variance


@dataclass(frozen=True)
class Density:
    """Mean log p(x) of some rows.

    Attributes:
        mean: The mean, in nats per row.
        standard_error: The standard error of the mean over rows; None for a single row.
        bits_per_dimension: The same number for 8-bit data; None for others.
        rows: The number of rows.
        method: "exact", "quadrature", "importance", "ais", or several of them where rows needed
            different ones.
        samples: Importance samples per row, or chains, of the rows with the most; 0 where nothing
            was sampled.
        effective_samples: Median over sampled rows of the effective number of samples; None where
            there are none.
        unreliable: Share of unreliable rows, as `LogLikelihood.unreliable` says; None where all are
            exact.
        row_error: Median over rows of the standard error of a row's own estimate, in nats; None
            where unknown.
        reason: Why this method was taken, where it was chosen automatically.
        evaluations: Evaluations of p(x|z) for each row, those for gradients counted twice.
        seconds: The time it took.
        impossible: Further rows with log p(x) = -inf, which are in none of these numbers: a column
            that was constant in training has another value there.
        rungs: How many rows took each rung of method "auto", by name; empty by other methods.
    """

    mean: float
    standard_error: float | None
    bits_per_dimension: float | None
    rows: int
    method: str
    samples: int
    effective_samples: float | None
    unreliable: float | None
    row_error: float | None = None
    reason: str = ""
    evaluations: float = 0.0
    seconds: float = 0.0
    impossible: int = 0
    rungs: Mapping[str, int] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """Say where the number means less than it seems to."""
        return [*self._impossible(), *self._unreliable()]

    @property
    def effort(self) -> str:
        """How many rows took each rung of method "auto", in words; empty by other methods."""
        return evaluate.listed(self.rungs)

    @property
    def how(self) -> str:
        """Say by which method log p(x) was found, and whether it is a lower bound."""
        if self.method == "exact":
            return "exact"
        if self.samples == 0:
            return f"by {self.method}"
        if self.method == "ais":
            return f"{self.samples:,} annealed chains per row, a lower bound"
        if self.method != "importance":
            return f"by {self.method} with up to {self.samples:,} samples per row, a lower bound"
        return f"{self.samples:,} importance samples per row, a lower bound"

    def _impossible(self) -> list[str]:
        if not self.impossible:
            return []
        rows = f"{self.impossible:,} further rows"
        if self.impossible == 1:
            rows = "1 further row"
        return [
            f"For {rows} log p(x) is -inf, as a column that had one value in training has another "
            "there: they are not in the mean."
        ]

    def _unreliable(self, many: float = 0.05) -> list[str]:
        """Say how many rows are unreliable, where their share is above ``many``."""
        if self.unreliable is None or self.unreliable <= many:
            return []
        cure = "--method ais, with more --temperatures."
        if "ais" not in self.method:
            cure = (
                "nelbo evaluate RUN DATA, whose automatic method takes better samples where they "
                f"are needed, or {cure}"
            )
        return [
            f"For {self.unreliable:.0%} of the rows log p(x) is unreliable and may be higher: a "
            "few samples dominate (Pareto k above 0.7 or, with few samples, a standard error above "
            f"0.5 nats), or no error is known. More reliable: {cure}"
        ]


@dataclass(frozen=True)
class Bracket:
    """Bidirectional Monte Carlo on rows simulated from the model.

    Attributes:
        lower, upper: Means of both bounds on log p(x), nats per row in the units of the data.
        gap, gap_error: Their difference, and its standard error over rows; None for a single row.
        rows, chains: The numbers of rows, and of chains for each.
        seconds: The time it took.
    """

    lower: float
    upper: float
    gap: float
    gap_error: float | None
    rows: int
    chains: int
    seconds: float


@dataclass(frozen=True)
class Noise:
    """The noise beta in data units.

    Attributes:
        kind: "learned", "fixed", "per feature", "from z" (its root mean square), or "none" (not
            Gaussian).
        smallest, largest: The range over features; equal where there is one number; None where
            there is none.
    """

    kind: str
    smallest: float | None
    largest: float | None


@dataclass(frozen=True)
class Baseline:
    """Exact probabilistic PCA with the model's latent size, fitted to its training rows.

    Columns of tables are standardised for it, images are not, however the model scales them: it is
    what scikit-learn's `PCA` says of such rows, with the Jacobian counted (`nelbo.baseline`).

    Attributes:
        density: Its log p(x) of the same rows.
        noise: Its beta.
        gain: Mean of the model's log p(x) minus pPCA's, nats per row.
        gain_error: Standard error of the paired differences; None for a single row.
    """

    density: Density
    noise: Noise
    gain: float
    gain_error: float | None

    @property
    def verdict(self) -> str:
        """Say whether the model is better than exact pPCA; empty where no error is known."""
        gain, error = self.gain, self.gain_error
        if not error:
            return ""
        if abs(gain) < 0.005:  # which is printed as zero
            return "the same"
        ratio = abs(gain) / error
        if ratio < 2:
            return "no clear difference"
        if gain > 0:
            return f"better by {ratio:.0f} standard errors"
        return f"worse by {ratio:.0f} standard errors"


@dataclass(frozen=True)
class Explained:
    """Share of the variance in reconstructions: of standardised columns, or of images as they are.

    Attributes:
        share: R² of `reconstruct`, in columns of numbers, counts and amounts; None where there are
            none.
        pca: R² of as many principal components, fitted to the training rows; None where rows are
            too wide.
        rows: The number of rows that were reconstructed.
        held_out: Whether they were held out; where none were, they are training rows.
        little: Whether z explains clearly less than linear models do.
    """

    share: float | None
    pca: float | None
    rows: int
    held_out: bool
    little: bool


def density(found: evaluate.Scores, schema: Schema) -> Density:
    """Reduce an estimate in data units to its mean and to how far it can be trusted.

    Rows that are impossible under the model are counted apart, where there are others.
    """
    possible, impossible = found.value > -math.inf, 0
    if schema.left_out:
        impossible = int((~possible).sum())
    if 0 < impossible < len(possible):
        per_row = ("value", "standard_error", "ess", "khat", "samples")
        parts = {name: getattr(found, name)[possible] for name in per_row}
        if found.rung is not None:
            parts["rung"] = found.rung[possible]
        found = dataclasses.replace(found, **parts)
    effective, unreliable = None, None
    if (found.samples > 0).any():
        effective = float(np.median(found.ess[found.samples > 0]))
    if found.method != "exact":
        unreliable = float(found.unreliable.mean())
    return Density(
        mean=found.mean,
        standard_error=plain(found.mean_standard_error),
        bits_per_dimension=schema.bits_per_dimension(found.mean),
        rows=len(found.value),
        method=found.method,
        samples=int(found.samples.max()),
        effective_samples=effective,
        unreliable=unreliable,
        row_error=plain(np.median(found.standard_error)),
        reason=found.reason,
        evaluations=(found.cost.decodes + found.cost.gradients) / len(found.value),
        seconds=found.cost.seconds,
        impossible=impossible,
        rungs=found.rungs,
    )


def bracket(found: evaluate.Bracket) -> Bracket:
    """Reduce both bounds on simulated rows to their means, in data units."""
    return Bracket(
        lower=float(found.lower.mean()),
        upper=float(found.upper.mean()),
        gap=found.gap,
        gap_error=plain(found.gap_standard_error),
        rows=len(found.lower),
        chains=found.chains,
        seconds=found.cost.seconds,
    )


def baseline(
    model: Model, rows: Any, found: evaluate.Scores, train: Any | None = None
) -> Baseline | None:
    """Compare a model with exact pPCA of its training rows.

    Arguments:
        model: The model.
        rows: Rows that neither has seen, in data units.
        found: The model's log p(x) of each of them.
        train: The rows it was fitted to, for models that do not keep their pPCA.

    Returns:
        The comparison; None where p(x) is a probability, or the pPCA is not known.
    """
    if train is not None:
        model = model.with_baseline(train)
    value, pca = model.baseline(rows), model.linear
    if value is None or pca is None:
        return None
    zero = np.zeros_like(value)
    counts = np.zeros(len(value), dtype=np.int64)
    exact = evaluate.Scores(value, zero, zero + math.inf, zero - math.inf, "exact", counts)
    possible = np.ones(len(value), dtype=np.bool_)
    if model.schema.left_out:
        possible = value > -math.inf
    with np.errstate(invalid="ignore"):  # a row may be impossible under both
        gain = dataclasses.replace(exact, value=found.value[possible] - value[possible])
    beta = pca.linear.variance.sqrt()
    return Baseline(
        density=density(exact, model.schema),
        noise=Noise("learned", float(beta.min()), float(beta.max())),
        gain=gain.mean,
        gain_error=plain(gain.mean_standard_error),
    )


def explained(model: Model, x: evaluate.Examples, held_out: Any, most: int = 2048) -> Explained:
    """Return how much of the data z explains.

    Arguments:
        model: The model.
        x: The rows it was fitted to, in model units.
        held_out: Rows it has never seen, in data units, or None.
        most: The number of rows to reconstruct at most, evenly spaced.
    """
    from .. import diagnose

    judged = x
    if held_out is not None:
        values = model.values(held_out)
        judged = evaluate.Examples(
            model.schema.to_model(values, noise="hash", dtype=x.dtype), model.conditions_of(values)
        )
    judged = judged[:: math.ceil(len(judged) / most)]
    numbers = model.units.numbers
    if numbers is not None and not bool(numbers.any()):
        return Explained(None, None, len(judged), held_out is not None, False)
    found = diagnose.explained(model.vae, judged.x, x.x, model.units, c=judged.c, train_c=x.c)
    pca = None
    if found.pca is not None:
        pca = found.pca.value
    little = diagnose.Judge().explained(found).verdict == "problem"
    return Explained(found.share.value, pca, len(judged), held_out is not None, little)


def noise(model: Model, x: evaluate.Examples, most: int = 2048) -> Noise:
    """Return the noise of a model.

    Arguments:
        model: The model.
        x: Rows in model units, over whose z a noise that depends on z is averaged.
        most: The number of those rows to take.
    """
    vae, schema = model.vae, model.schema
    known = vae.likelihood.noise()
    if known.kind == "none" or schema.table is not None:  # columns have noise of their kinds
        return Noise("none", None, None)
    if known.variance is None:
        some = x[:most]
        with evaluate.judged(vae, some.x.to(vae.dtype), some.c) as (judge, rows):
            variance = mean_variance(rows.decode(judge, rows.encode(judge).mean), schema)
    else:
        variance = schema.variance_from_model(known.variance)
    beta = np.sqrt(variance)
    return Noise(known.kind, float(beta.min()), float(beta.max()))
