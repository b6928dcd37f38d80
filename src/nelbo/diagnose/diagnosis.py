"""All checks on one model, and the one cause that explains most of what they find."""

from __future__ import annotations

__all__ = ["LEAST_ROWS", "diagnose"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ..data.units import Units
from ..evaluate import MEMORY, Examples, judged
from ..vae import VAE
from .amortised import amortised
from .calibration import Calibration, calibration
from .comparison import Baseline, baseline, memorisation, prior_match
from .cures import Spell, in_python, used_by
from .effort import Effort
from .explained import explained
from .finding import Check, Diagnosis, Finding
from .gap import InferenceGap, inference_gap
from .information import mutual_information, rate_distortion
from .latent import collapse
from .rare import RareValue, rare_values
from .standard_error import Rows, subsample
from .two_sample import Classifier, two_sample
from .verdicts import Judge

LEAST_ROWS = 20
"""Fewer rows have no standard errors to speak of."""
TOO_FEW = f"Fewer than {LEAST_ROWS} rows lack no value."
"""Why what needs whole rows is left out."""


def diagnose(
    vae: VAE,
    x: Tensor,
    train: Tensor | None = None,
    *,
    rows: int = 1000,
    units: Units | None = None,
    linear: Tensor | None = None,
    log_p: Tensor | None = None,
    seen: Tensor | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    used: Mapping[str, Any] | None = None,
    spell: Spell = in_python,
    judge: Judge | None = None,
    c: Tensor | None = None,
    train_c: Tensor | None = None,
    effort: Effort = Effort(),  # noqa: B008 (frozen)
) -> Diagnosis:
    """Find out what is wrong with a model.

    Where values are missing, what cannot be told of incomplete rows is found from the whole ones:
    copies and rare values, and what a classifier sees.

    Causes come before their consequences: of several problems the leading one is the first in the
    order of the findings. A beta^2 that is far too small, for instance, makes every encoder look
    bad, and so is judged where z is at its best for each row.

    Arguments:
        vae: The model; it is left as it was.
        x: Rows of shape (n, *vae.shape), in model units, at least 20, best such that the model has
            not seen.
        train: Rows it was fitted to. Without them memorisation is not looked at, nor pPCA unless
            ``linear`` is given.
        rows: How many rows of x to look at; where there are more, they are drawn with the seed.
        units: Units of the data; None are the model's own.
        linear: log p(x) of each row of x under exact pPCA, in the units of the data, where that is
            known; else it is found from ``train``, taken as they are.
        log_p: log p(x) of each row of x under the model, by ``effort.samples`` importance samples
            and in the units of the data, where that is known; else it is found.
        seen: Which rows of x the model was trained on, of shape (n,), where that is known: a model
            is not called healthy by such rows.
        seed: The seed of everything drawn. Equal calls give equal answers.
        memory: Bytes for intermediate results.
        used: Options in use that the model does not show, such as ``objective``, which the advice
            leaves out; and ``stopped``, why training ended, "steps" if unknown.
        spell: How the advice writes an option and its value; as in Python unless told.
        judge: The limits of the verdicts; None are the usual ones.
        c, train_c: Conditions of x and of ``train``, (n, k) and (m, k), for a model of p(x|c).
        effort: How closely to look.

    Raises:
        ValueError: The rows do not fit or are too few, or ``rows`` is below 20.
    """
    for name, count in (("x", len(x)), ("rows", rows)):
        if count < LEAST_ROWS:
            raise ValueError(
                f"{name} must be at least {LEAST_ROWS} rows for standard errors, got {count}. Pass "
                "more."
            )
    every, fitted = _fitting(vae, x, c), None
    if train is not None:
        fitted = _fitting(vae, train, train_c)
    examination = _Examination(
        vae=vae,
        x=subsample(every, rows, seed),
        train=_subsampled(fitted, _Examination.searched, seed),
        linear=_subsampled(linear, rows, seed),
        log_p=_subsampled(log_p, rows, seed),
        seen=_subsampled(seen, rows, seed),
        rare=_rare(vae, _whole(fitted or every), units, seed),
        units=units,
        seed=seed,
        memory=memory,
        judge=judge or Judge(),
        effort=effort,
    )
    known = {"stopped": "steps"} | dict(used or {}) | used_by(vae)
    findings = tuple(finding.advised(known, spell) for finding in examination.findings())
    causes = [finding.cause for finding in findings if finding.cause]
    return Diagnosis(
        leading="".join(causes[:1]),
        findings=findings,
        rows=len(examination.x),
        of=len(x),
        train_rows=examination.train_rows,
        seed=seed,
    )


def _fitting(vae: VAE, x: Tensor, c: Tensor | None) -> Examples:
    """Return rows with their conditions, and refuse what does not fit."""
    with judged(vae, x, c):
        return Examples(x, c)


def _whole(x: Examples) -> Examples:
    """Return the rows that lack no value."""
    gone = x.x.flatten(1).isnan().any(1)
    if not bool(gone.any()):
        return x
    return x[~gone]


def _rare(vae: VAE, x: Examples, units: Units | None, seed: int) -> tuple[RareValue, ...]:
    """Look for rare values in as many rows as there are."""
    if len(x) < LEAST_ROWS:
        return ()
    some = subsample(x, _Examination.searched, seed)
    return rare_values(vae, some.x, units, seed, c=some.c)


def _subsampled(x: Rows | None, rows: int, seed: int) -> Rows | None:
    if x is None:
        return None
    return subsample(x, rows, seed)


@dataclass(frozen=True, eq=False)
class _Examination:
    """What is examined, and the findings in the order of causes.

    Attributes:
        vae: The model.
        x: The rows looked at.
        train: Rows it was fitted to, or None.
        linear: log p(x) of each row of x under exact pPCA, or None.
        log_p: log p(x) of each row of x under the model, or None.
        seen: Which rows of x it was fitted to, or None where that is not known.
        rare: The rare values that were compared.
        units: Units of the data.
        seed: The seed of everything drawn.
        memory: Bytes for intermediate results.
        judge: The limits of the verdicts.
        effort: How closely to look.
        searched: Rows in which nearest neighbours and rare values are looked for.
    """

    vae: VAE
    x: Examples
    train: Examples | None
    linear: Tensor | None
    log_p: Tensor | None
    seen: Tensor | None
    rare: tuple[RareValue, ...]
    units: Units | None
    seed: int
    memory: int
    judge: Judge
    effort: Effort
    searched: int = 10_000

    def findings(self) -> Iterator[Finding]:
        """Yield all findings, causes before consequences."""
        x, c = self.x.x, self.x.c
        rate = rate_distortion(
            self.vae, x, units=self.units, seed=self.seed, memory=self.memory, c=c
        )
        information = mutual_information(self.vae, x, seed=self.seed, memory=self.memory, c=c)
        match = prior_match(self.vae, x, self.seed, c)
        amortisation, approximation = self.gap_findings()
        share = self.explained_finding()
        ahead, *copies = self.memory_findings()
        yield self.judge.collapse(collapse(self.vae, x, c), self.noise, self.fixed)
        yield self.noise_finding()
        yield ahead
        yield self.ppca_finding()
        yield amortisation
        yield share
        yield from copies
        yield self.judge.matching_prior(rate, information, match)
        if self.rare:
            yield self.judge.rare(self.rare)
        yield from self.two_sample_findings()
        yield approximation
        if self.noise is not None:
            yield from self.judge.calibration(self.noise)
        if self.trained_on:
            yield self.judge.rows(self.trained_on, len(self.x))
        if len(self.whole) < len(self.x):
            yield Check("missing values").skipped(
                f"{len(self.x) - len(self.whole):,} of {len(self.x):,} rows lack values: what "
                "looks for copies, rare values or classes looks at the others."
            )
        yield self.judge.information(rate, information)

    def gap_findings(self) -> tuple[Finding, Finding]:
        """Judge amortisation, by what the encoder loses of the best z, and approximation."""
        few, (train, train_c) = self.few, self.known
        found = amortised(
            self.vae, few.x, self.gap.q, train, self.units, self.memory, few.c, train_c
        )
        return self.judge.gaps(self.gap, found)

    def explained_finding(self) -> Finding:
        """Find how much of the variance z explains."""
        check = Check("explained variance")
        if self.of_kinds is not None and not bool(self.of_kinds.any()):
            return check.skipped("No column is of numbers.")
        x, train, train_c = self.x, None, None
        if self.train is not None and len(self.train) >= LEAST_ROWS:
            train, train_c = self.known
        found = explained(self.vae, x.x, train, self.units, self.memory, c=x.c, train_c=train_c)
        return self.judge.explained(found)

    def noise_finding(self) -> Finding:
        """Hold beta^2 against the residuals."""
        if self.noise is None:
            return Check("noise level").skipped(
                "p(x|z) is not Gaussian: there is no beta^2 to compare residuals with."
            )
        few, q = self.few, self.gap.q
        best = calibration(self.vae, few.x, q, self.units, self.seed, self.memory, c=few.c)
        return self.judge.noise(self.noise, best, self.fixed)

    def memory_findings(self) -> tuple[Finding, ...]:
        """Hold training rows, where there are any, against unseen ones."""
        if self.train is None:
            return (Check("train against unseen").skipped(self.no_training_rows),)
        x, train = self.whole, _whole(self.train)
        if min(len(x), len(train)) < LEAST_ROWS:
            return (Check("train against unseen").skipped(TOO_FEW),)
        found = memorisation(
            self.vae,
            x.x,
            train.x,
            self.units,
            self.seed,
            self.memory,
            self.effort.samples,
            c=x.c,
            train_c=train.c,
            log_p=self.log_p_of_whole,
        )
        gain = None
        if self.linear_model is not None:
            gain = self.linear_model.gain
        return self.judge.memory(found, self.x.x[0].numel(), gain)

    def two_sample_findings(self) -> Iterator[Finding]:
        """Let a classifier tell samples and reconstructions from the rows."""
        x = self.whole
        if len(x) < Classifier.fewest:
            yield Check("samples against data").skipped(
                f"A classifier needs at least {Classifier.fewest} whole rows to learn from, and "
                f"there are {len(x)}."
            )
            return
        effort = self.effort
        found = two_sample(
            self.vae,
            x.x,
            self.units,
            self.seed,
            self.memory,
            x.c,
            effort.classified,
            effort.features,
        )
        yield from self.judge.two_sample(found)

    def ppca_finding(self) -> Finding:
        """Hold the model against exact pPCA."""
        if self.of_kinds is not None:
            return Check("against pPCA").skipped(
                "Columns are of different kinds, of which pPCA is no model."
            )
        if self.linear_model is not None:
            return self.judge.baseline(self.linear_model)
        check = Check("against pPCA")
        if self.train is None:
            return check.skipped(self.no_training_rows)
        return check.skipped("pPCA is for Gaussian p(x|z) and rows of at most 4,096 values.")

    @cached_property
    def linear_model(self) -> Baseline | None:
        """The model beside exact pPCA; None where there is no comparison."""
        if self.of_kinds is not None:
            return None
        linear = _subsampled(self.linear, self.effort.gap_rows, self.seed)
        few, log_p = self.few, self.gap.found.value
        train, train_c = self.known
        return baseline(self.vae, few.x, train, log_p, self.units, linear, c=few.c, train_c=train_c)

    @property
    def of_kinds(self) -> Tensor | None:
        """Which columns are numbers, where they are of different kinds."""
        return None if self.units is None else self.units.numbers

    @property
    def known(self) -> tuple[Tensor | None, Tensor | None]:
        """The training rows and their conditions."""
        if self.train is None:
            return None, None
        return self.train.x, self.train.c

    @cached_property
    def whole(self) -> Examples:
        """The rows that lack no value."""
        return _whole(self.x)

    @property
    def log_p_of_whole(self) -> Tensor | None:
        """log p(x) of the rows that lack no value, where it is known."""
        if self.log_p is None:
            return None
        return self.log_p[~self.x.x.flatten(1).isnan().any(1).cpu()]

    @cached_property
    def few(self) -> Examples:
        """The rows whose own q* is looked for."""
        return subsample(self.x, self.effort.gap_rows, self.seed)

    @cached_property
    def gap(self) -> InferenceGap:
        """The gap of inference on `few` rows."""
        few = self.few
        steps = self.effort.gap_steps
        return inference_gap(
            self.vae, few.x, self.units, self.seed, self.memory, c=few.c, steps=steps
        )

    @cached_property
    def noise(self) -> Calibration | None:
        """Residuals at the encoder's z; None where p(x|z) is not Gaussian."""
        x = self.x
        one = x[:1]
        with judged(self.vae, one.x, one.c) as (model, rows):
            p = rows.decode(model, rows.encode(model).mean)
            if model.likelihood.beta(p) is None:
                return None
        return calibration(self.vae, x.x, None, self.units, self.seed, self.memory, c=x.c)

    @property
    def fixed(self) -> bool:
        """Whether beta^2 is fixed."""
        noise = self.vae.likelihood.noise()
        return noise.normal and noise.kind == "fixed"

    @property
    def trained_on(self) -> int:
        """How many of the rows the model was fitted to, as far as that is known."""
        if self.seen is None:
            return 0
        return int(self.seen.sum())

    @property
    def train_rows(self) -> int | None:
        """How many training rows are looked at."""
        if self.train is None:
            return None
        return len(self.train)

    @property
    def no_training_rows(self) -> str:
        """Why there are no training rows to compare with."""
        if self.trained_on:
            return "These rows were trained on themselves."
        return "No training rows were passed."
