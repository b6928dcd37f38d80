r"""A fitted model in numbers, all in the units of the data: held-out log p(x) beside exact pPCA's,
beta, active units.

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
    "Summary",
    "baseline",
    "bracket",
    "density",
    "plain",
    "summarise",
]

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import diagnose, evaluate
from ..data import Schema, Values
from ..fitted import Fitted, RowCounts

MANY_ROWS = 0.05
"""Share of unreliable rows from which on it is worth a warning."""
EXPLAINED_ROWS = 2048
"""Rows whose reconstructions are looked at."""
NOISE_ROWS = 2048
"""Rows over which a noise that depends on z is averaged."""


@dataclass(frozen=True)
class Density:
    """Mean log p(x) of some rows.

    Attributes:
        mean: Nats per row.
        standard_error: Of the mean over rows; None for a single row.
        bits_per_dimension: Of 8-bit data; None for others.
        rows: How many.
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
        reason: Why this method, where it was picked automatically.
        evaluations: Of p(x|z) for each row, those for gradients counted twice.
        seconds: Of computing.
        impossible: Further rows, of log p(x) = -inf, that are in none of these numbers: a column
            that was constant in training has another value there.
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

    def warnings(self) -> list[str]:
        """Say in plain words where the number is less than it seems."""
        return [*self._impossible(), *self._unreliable()]

    def _impossible(self) -> list[str]:
        if not self.impossible:
            return []
        return [
            f"For {self.impossible:,} further {'row' if self.impossible == 1 else 'rows'} log p(x) "
            "is -inf, as a "
            "column that had one value in training has another there: they are not in the mean."
        ]

    def _unreliable(self) -> list[str]:
        if self.unreliable is None or self.unreliable <= MANY_ROWS:
            return []
        cure = (
            "nelbo evaluate RUN DATA, whose automatic method takes better samples where "
            "they are needed, or "
        )
        return [
            f"For {self.unreliable:.0%} of the rows log p(x) is unreliable and may be higher: a "
            "few samples "
            "dominate (Pareto k above 0.7 or, with few samples, a standard error above 0.5 nats), "
            "or no error is "
            f"known. The truth: {'' if 'ais' in self.method else cure}--method ais, with more "
            "--temperatures."
        ]


@dataclass(frozen=True)
class Bracket:
    """Bidirectional Monte Carlo on rows simulated from the model.

    Attributes:
        lower, upper: Means of both bounds on log p(x), nats per row in the units of the data.
        gap, gap_error: Their difference and its standard error over rows; None for a single row.
        rows, chains: How many.
        seconds: Of computing.
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
    """beta in data units.

    Attributes:
        kind: "learned", "fixed", "per feature", "from z" (its root mean square), or "none" (not
            Gaussian).
        smallest, largest: Over features; equal where there is one number; None where there is none.
    """

    kind: str
    smallest: float | None
    largest: float | None


@dataclass(frozen=True)
class Baseline:
    """Exact probabilistic PCA of the same latent size, fitted to the same training rows, in the
    units of the data.

    Columns of tables are standardised for it, images are not, however the model scales them: it is
    what scikit-learn's `PCA` says of such rows, with the Jacobian counted (`nelbo.baseline`).

    Attributes:
        density: Its held-out log p(x).
        noise: Its beta.
        gain: Mean of the model's log p(x) minus pPCA's, nats per row.
        gain_error: Standard error of the paired differences; None for a single row.
    """

    density: Density
    noise: Noise
    gain: float
    gain_error: float | None


@dataclass(frozen=True)
class Explained:
    """Share of the variance that reconstructions have: of standardised columns, or of images as
    they are.

    Attributes:
        share: R² of `reconstruct`.
        pca: R² of as many principal components, fitted to the training rows; None where a row is
            too wide.
        rows: How many.
        held_out: Whether they were held out; where none were, they are training rows.
        little: Whether z explains clearly less than linear models do.
    """

    share: float
    pca: float | None
    rows: int
    held_out: bool
    little: bool


@dataclass(frozen=True)
class Summary:
    """A fit in numbers; `to_dict` is its JSON twin.

    Attributes:
        shape: Of one row, as the user holds it.
        training_rows: How many, those for validation included.
        rows: What was done with which rows.
        density: log p(x) of held-out rows; None without any.
        baseline: Exact pPCA; None without held-out rows, or where the likelihood is not a density.
        noise: beta.
        latent_dim: Size of the latent space.
        active_units: How many latent dimensions carry information.
        explained: Share of the variance that z explains.
        epochs, steps, seconds: Of training.
        stopped: Why training ended: "steps", "seconds", "early" or "callback".
        kept_start: Whether the closed-form start was kept.
        warnings: In plain words.
        recipe: What was decided about the data, and why, as the estimator's ``recipe_``.
    """

    shape: tuple[int, ...]
    training_rows: int
    rows: RowCounts
    density: Density | None
    baseline: Baseline | None
    noise: Noise
    latent_dim: int
    active_units: int
    explained: Explained
    epochs: int
    steps: int
    seconds: float
    stopped: str
    kept_start: bool
    warnings: tuple[str, ...]
    recipe: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return plain(self)


def plain(found: Density | Baseline | Bracket | Summary) -> dict[str, Any]:
    """Return the fields as JSON types, None in place of what is infinite or no number."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: finite(part) for name, part in value.items()}
        return _finite(value) if isinstance(value, float) else value

    return {name: finite(value) for name, value in dataclasses.asdict(found).items()}


def density(found: evaluate.Scores, schema: Schema) -> Density:
    """Reduce an estimate in data units to its mean and to how far it can be trusted.

    Rows that are impossible under the model are counted apart, where there are others.
    """
    possible = found.value > -math.inf
    impossible = int((~possible).sum()) if schema.left_out else 0
    if 0 < impossible < len(possible):
        per_row = ("value", "standard_error", "ess", "khat", "samples")
        found = dataclasses.replace(
            found, **{name: getattr(found, name)[possible] for name in per_row}
        )
    ess = found.ess[found.samples > 0]
    evaluations = (found.cost.decodes + found.cost.gradients) / len(found.value)
    return Density(
        mean=found.mean,
        standard_error=_finite(found.mean_standard_error),
        bits_per_dimension=schema.bits_per_dimension(found.mean),
        rows=len(found.value),
        method=found.method,
        samples=int(found.samples.max()),
        effective_samples=float(np.median(ess)) if len(ess) else None,
        unreliable=None if found.method == "exact" else float(found.unreliable.mean()),
        row_error=_finite(float(np.median(found.standard_error))),
        reason=found.reason,
        evaluations=evaluations,
        seconds=found.cost.seconds,
        impossible=impossible,
    )


def bracket(found: evaluate.Bracket) -> Bracket:
    """Reduce both bounds on simulated rows to their means, in data units."""
    error = _finite(found.gap_standard_error)
    lower, upper = float(found.lower.mean()), float(found.upper.mean())
    return Bracket(
        lower, upper, found.gap, error, len(found.lower), found.chains, found.cost.seconds
    )


def summarise(
    model: Fitted,
    train: Any,
    held_out: Any,
    samples: int = 200,
    notes: tuple[str, ...] = (),
) -> Summary:
    """Measure a fitted model.

    Arguments:
        model: The model.
        train: The rows it was fitted to, in data units.
        held_out: Rows it has never seen, or None.
        samples: Importance samples for each held-out row.
        notes: Warnings of the fit, put before our own.
    """
    train = Values.of(train)
    held_out = None if held_out is None else Values.of(held_out)
    dtype = torch.float64 if train.dtype == np.float64 else torch.float32
    x = model.schema.to_model(train, noise="hash", dtype=dtype)
    vae, device = evaluate.in_precision(model.vae, dtype), model.vae.device
    method = evaluate.plain_method(model.vae)  # quick; `nelbo evaluate` takes its time
    found = None if held_out is None else model.log_likelihood(held_out, method, samples)
    judged = None if found is None else density(found, model.schema)
    explained = _explained(model, x, held_out)
    counts = model.counts(held_out)
    return Summary(
        shape=model.schema.data_shape,
        training_rows=len(train),
        rows=counts,
        density=judged,
        baseline=None
        if found is None or held_out is None
        else baseline(model, held_out, found, train),
        noise=_noise(model, x),
        latent_dim=vae.latent_dim,
        active_units=diagnose.active_units(vae, x.to(device)).count,
        explained=explained,
        epochs=model.n_iter,
        steps=model.history.steps,
        seconds=model.history.records[-1].seconds,
        stopped=model.history.stopped,
        kept_start=model.kept_start,
        warnings=(*notes, *counts.warnings(), *_warnings(model, judged, explained)),
        recipe=model.recipe,
    )


def baseline(
    model: Fitted, rows: Any, found: evaluate.Scores, train: Any | None = None
) -> Baseline | None:
    """Hold a model against exact pPCA of its training rows.

    Arguments:
        model: The model.
        rows: Rows that neither has seen, in data units.
        found: The model's log p(x) of each of them.
        train: The rows it was fitted to, for models that do not keep their pPCA.

    Returns:
        The comparison; None where p(x) is a probability, or the pPCA is not known.
    """
    beside = model if train is None else model.with_baseline(train)
    value, pca = beside.baseline(rows), beside.linear
    if value is None or pca is None:
        return None
    zero = np.zeros_like(value)
    counts = np.zeros(len(value), dtype=np.int64)
    exact = evaluate.Scores(value, zero, zero + math.inf, zero - math.inf, "exact", counts)
    possible = exact.value > -math.inf if model.schema.left_out else slice(None)
    with np.errstate(invalid="ignore"):  # a row may be impossible under both
        gain = dataclasses.replace(exact, value=found.value[possible] - exact.value[possible])
    beta = pca.linear.variance.sqrt()
    return Baseline(
        density=density(exact, model.schema),
        noise=Noise("learned", float(beta.min()), float(beta.max())),
        gain=gain.mean,
        gain_error=_finite(gain.mean_standard_error),
    )


def _explained(model: Fitted, x: Tensor, held_out: Any) -> Explained:
    judged = x if held_out is None else model.schema.to_model(held_out, noise="hash", dtype=x.dtype)
    judged = judged[:: math.ceil(len(judged) / EXPLAINED_ROWS)]
    found = diagnose.explained(model.vae, judged, x, model.units)
    pca = None if found.pca is None else found.pca.value
    little = diagnose.Judge().explained(found).verdict == "problem"
    return Explained(found.share.value, pca, len(judged), held_out is not None, little)


def _noise(model: Fitted, x: Tensor) -> Noise:
    vae, schema = model.vae, model.schema
    noise = vae.likelihood.noise()
    if noise.kind == "none":
        return Noise("none", None, None)
    if noise.variance is not None:
        return _range(noise.kind, schema, noise.variance)
    with torch.no_grad():
        rows = x[:NOISE_ROWS].to(vae.device, vae.dtype)
        return _range("from z", schema, vae.decode(vae.encode(rows).mean).variance.mean(0))


def _range(kind: str, schema: Schema, variance: Tensor) -> Noise:
    beta = np.sqrt(schema.variance_from_model(variance.detach().cpu().double()))
    return Noise(kind, float(beta.min()), float(beta.max()))


def _warnings(model: Fitted, judged: Density | None, explained: Explained) -> list[str]:
    said = [] if judged is None else judged.warnings()
    if explained.little and explained.pca is not None:
        said.insert(
            0,
            f"z explains only {100 * explained.share:.0f} % of the variance, where as many "
            "principal components "
            f"explain {100 * explained.pca:.0f} %: embeddings and reconstructions say less than "
            "PCA's.",
        )
    if model.kept_start:
        said.insert(
            0,
            "Training did not beat its closed-form linear start on the validation rows beyond "
            "doubt, so that start was "
            "kept: this model is linear. More rows, or longer training, may change that.",
        )
    return said


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
