"""From a fitted model and some rows to its portrait."""

from __future__ import annotations

__all__ = ["portray", "portray_fit"]

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ... import diagnose, evaluate
from ...data import Values
from ...diagnose import Calibration, ColumnCalibration, Diagnosis, Spell
from ...report.portrait import (
    Absent,
    Blocks,
    Extremes,
    Interpolations,
    LatentMap,
    Look,
    NoiseLevel,
    Portrait,
    Traversals,
    Usage,
)
from ..model import Model
from ..summary import Summary, measure
from . import columns, examples, latent, look, words
from .rows import Limits, Rows, of_fit, of_rows, spread

Array = npt.NDArray[Any]
Found = TypeVar("Found")
NO_ROWS = (
    "No rows were passed, and a model does not keep its rows. Pass them: model.report(path, X)."
)


def portray(
    model: Model,
    X: Any = None,
    train: Any = None,
    *,
    c: Any = None,
    labels: Sequence[Any] | None = None,
    label: str = "label",
    title: str = "",
    seed: int = 0,
    spell: Spell | None = None,
    limits: Limits | None = None,
) -> Portrait:
    """Find all that is to be seen of a model.

    Arguments:
        model: The model.
        X: Rows: those that it was not fitted to are what it is judged by, where there are any.
        train: The rows it was fitted to, where X does not hold them.
        c: What each row of X is conditioned on, for a model of p(x|c) whose X does not hold it.
        labels: A label of each row, by which the map is coloured.
        label: What labels are called.
        title: What the data are called.
        seed: The seed of everything drawn.
        spell: How advice writes an option and its value; None is as in Python.
        limits: How many rows are looked at and shown; None are the usual ones.

    Raises:
        ValueError: X, c or labels do not fit.
    """
    limits, values, model = limits or Limits(), None, model.quickened()
    if X is not None:
        values = model.values(X, c)
    rows = of_rows(model, values, labels, label, limits, seed)
    if train is not None:
        rows = rows.beside(model.values(train), limits, seed)
    summary, log_p, samples = None, None, 0
    if rows.judged is not None and rows.any is not None:
        one = diagnose.operations(model.vae)
        count, samples = limits.affordable(one)
        few = spread(len(rows.judged), count, seed)
        known = rows.any[spread(len(rows.any), limits.countable(one), seed)]
        summary, scores = measure(model, known, rows.judged[few], samples)
        log_p = np.full(len(rows.judged), np.nan)
        if scores is not None:
            log_p[few] = scores.value
    view = _View(model, rows, summary, log_p, title, limits, seed, samples)
    return view.portrait(view.examined(spell))


def portray_fit(
    model: Model,
    train: Values,
    held_out: Values | None,
    summary: Summary,
    scores: evaluate.Scores | None,
    title: str,
    later: str,
    limits: Limits | None = None,
) -> Portrait:
    """Find all that is to be seen of a model that was just fitted and measured; it is not examined.

    Arguments:
        model: The model.
        train: The rows it was fitted to.
        held_out: Rows it has never seen, or None.
        summary: Its numbers on all of these.
        scores: log p(x) of each held-out row.
        title: What the data are called.
        later: How it is examined, in a sentence.
        limits: How many rows are shown; None are the usual ones.
    """
    limits = limits or Limits()
    rows = of_fit(train, held_out, limits)
    log_p = None
    if scores is not None:
        log_p = scores.value[rows.numbers]
    view = _View(model, rows, summary, log_p, title, limits, 0)
    return view.portrait(Absent(later))


def attempt(find: Callable[..., Found], *arguments: Any) -> Found | Absent:
    """Return what is found, or why it cannot be."""
    try:
        return find(*arguments)
    except (ValueError, NotImplementedError, AttributeError) as error:
        return Absent(str(error))


@dataclass(frozen=True, eq=False)
class _View:
    """What a portrait is found from.

    Attributes:
        model: The model.
        rows: The rows.
        summary: Its numbers on them.
        log_p: log p(x) of each row that is judged, NaN where it was not measured; or None.
        title: What the data are called.
        limits: How much is shown.
        seed: The seed of everything drawn.
        samples: Importance samples behind each log p(x).
    """

    model: Model
    rows: Rows
    summary: Summary | None
    log_p: Array | None
    title: str
    limits: Limits
    seed: int
    samples: int = 0

    def portrait(self, diagnosis: Diagnosis | Absent) -> Portrait:
        """Find every section."""
        model, rows = self.model, self.rows
        return Portrait(
            title=self.title,
            look=self.look,
            verdict=words.verdict_of(model, rows, self.summary, diagnosis),
            history=model.history,
            diagnosis=diagnosis,
            blocks=attempt(self.blocks),
            usage=self.usage,
            map=attempt(self.map),
            traversals=attempt(self.traversals),
            interpolations=attempt(self.interpolations),
            calibration=attempt(self.calibration),
            noise=attempt(self.noise),
            extremes=attempt(self.extremes),
            neighbours=attempt(examples.neighbours, model, rows, self.limits),
            synthetic=attempt(columns.synthetic, model, rows, self.look, self.limits),
            missing=columns.missing(rows, self.look),
            recipe=words.recipe_of(model),
            options=words.options_of(model),
            provenance=words.provenance_of(model, self.title),
        )

    def examined(self, spell: Spell | None) -> Diagnosis | Absent:
        """Look for what is wrong with the model."""
        rows = self.rows
        if rows.judged is None:
            return Absent(NO_ROWS)
        if not self.limits.examine:
            return Absent("It was not examined.")
        judged, train, which, log_p = rows.judged, rows.train, None, None
        if self.log_p is not None and np.isfinite(self.log_p).sum() >= diagnose.LEAST_ROWS:
            known = np.isfinite(self.log_p)
            judged, log_p = judged[known], self.log_p[known]
        if not rows.new:
            train, which = None, "all"
        least = diagnose.LEAST_ROWS
        if len(judged) < least:
            return Absent(
                f"An examination needs at least {least} rows for standard errors, and there are "
                f"{len(judged)} {rows.which}."
            )
        model, effort = self.model, diagnose.Effort.quick(self.model.vae)
        if log_p is not None:  # training rows are then held against these
            effort = dataclasses.replace(effort, samples=self.samples)

        def look() -> Diagnosis:
            return model.diagnose(
                judged,
                train,
                effort.rows,
                self.seed,
                spell,
                which,
                effort=effort,
                log_p=log_p,
            )

        return attempt(look)

    @cached_property
    def look(self) -> Look:
        """How rows are shown."""
        shown = None
        if self.rows.judged is not None:
            shown = look.in_units(self.model, self.rows.judged.array)
        return look.look_of(self.model, shown)

    @cached_property
    def z(self) -> latent.Embedded | None:
        """Posterior means and deviations of the rows that are judged."""
        if self.rows.judged is None:
            return None
        return latent.embed(self.model, self.rows.judged)

    @cached_property
    def deviations(self) -> Array:
        """The standard deviation of each value of the data."""
        return look.deviations(self.model, self.rows.any)

    @cached_property
    def usage(self) -> Usage | Absent:
        """How much each latent dimension says."""
        if self.z is None or self.rows.judged is None:
            return Absent(NO_ROWS)
        return attempt(latent.usage, self.model, self.rows.judged, self.z)

    def blocks(self) -> Blocks:
        """Data, reconstructions and samples."""
        return examples.blocks(self.model, self.rows, self.limits, self.seed)

    def map(self) -> LatentMap | Absent:
        """The latent space on a plane."""
        if self.z is None:
            return Absent(NO_ROWS)
        return latent.latent_map(self.model, self.rows, self.look, self.z, self.log_p, self.limits)

    def traversals(self) -> Traversals:
        """What single dimensions do."""
        found = self.usage
        if isinstance(found, Absent):
            return latent.traversals(
                self.model, self.rows, None, None, None, self.deviations, self.limits
            )
        return latent.traversals(
            self.model, self.rows, self.z, found, self.log_p, self.deviations, self.limits
        )

    def interpolations(self) -> Interpolations | Absent:
        """Lines between rows."""
        if self.z is None:
            return Absent(NO_ROWS)
        return latent.interpolations(self.model, self.rows, self.z, self.limits)

    def calibration(self) -> Calibration | ColumnCalibration | Absent:
        """Residuals beside the noise, or columns of different kinds beside what is said of them."""
        if self.rows.judged is None:
            return Absent(NO_ROWS)
        count = self.limits.calibrated(diagnose.operations(self.model.vae))
        some = latent.examples(self.model, self.rows.judged[:count])
        if self.model.schema.table is not None:
            found = diagnose.column_calibration(self.model.vae, some.x, seed=self.seed, c=some.c)
            kept = self.model.schema.kept.tolist()
            numbers, levels = (
                tuple(kept[j] for j in mine) for mine in (found.numbers, found.levels)
            )
            return dataclasses.replace(found, numbers=numbers, levels=levels)
        return diagnose.calibration(
            self.model.vae, some.x, units=self.model.units, seed=self.seed, c=some.c
        )

    def noise(self) -> NoiseLevel | Absent:
        """The noise of each feature."""
        if self.model.schema.table is not None:
            return Absent("columns have noise of their own kinds, which no β stands for.")
        kind = self.model.vae.likelihood.noise().kind
        beta = np.sqrt(np.atleast_1d(self.model.noise))
        share = beta / np.where(self.deviations > 0, self.deviations, np.inf)
        return NoiseLevel(kind, beta, share)

    def extremes(self) -> Extremes | Absent:
        """Improbable and typical rows."""
        if self.log_p is None:
            return Absent("log p(x) of single rows was not measured: no rows were held out.")
        return examples.extremes(self.model, self.rows, self.log_p, self.limits)
