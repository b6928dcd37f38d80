"""Which rows a portrait shows: some that the model has not seen, and some that it was fitted to."""

from __future__ import annotations

__all__ = ["Limits", "Rows", "of_fit", "of_rows", "spread"]

import dataclasses
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data import Values
from ...data.read.cells import is_missing
from ...report.portrait import Colouring
from ..model import Model

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Limits:
    """How much a portrait shows: it stays small and quick whatever the size of the data.

    Attributes:
        fewest: New rows that a model is judged by, at least; where there are fewer, by all rows.
        judged: Rows that the model is judged by, at most.
        scored: Rows of these whose log p(x) is measured, at most: the standard error of their mean
            is then small beside the differences that matter.
        importance: Importance samples of each, and fewer where few rows could be afforded.
        operations: Floating-point operations that log p(x) of all of them may take: two seconds
            with what fits the proposals.
        encoded: Floating-point operations that counting active units may take.
        residuals: Rows whose residuals are looked at, at least and at most: of 784 pixels each,
            the fewest leave an error of a tenth of a per cent in the histogram.
        decoded: Floating-point operations that finding residuals may take.
        examine: Whether to look for what is wrong with the model.
        values: Values of these rows, at most: 1,000 rows of 3,072 values.
        trained: Training rows that are looked at, at most.
        trained_values: Values of these, at most.
        points: Points of the map.
        picture: Values of the rows that the map shows when it is pointed at: they make the page
            large.
        images: Images in a block.
        dimensions: Dimensions whose traversal is shown.
        steps: Steps along a traversal, or a line.
        reach: Standard deviations of the aggregate posterior to either side of its mean.
        lines: Lines between rows.
        extremes: Rows in a group of extremes.
        samples: Samples whose nearest training rows are shown.
        nearest: Training rows for each.
        marginals: Columns whose marginals are shown.
        pairs: Pairs of columns.
        table: Rows of a table that are drawn.
        points_of_pair: Points in a scatter plot.
    """

    fewest: int = 5
    judged: int = 1000
    scored: int = 500
    importance: tuple[int, int] = (200, 50)
    operations: float = 1e11
    encoded: float = 2e10
    residuals: tuple[int, int] = (150, 500)
    decoded: float = 1.5e10
    examine: bool = True
    values: int = 3_100_000
    trained: int = 10_000
    trained_values: int = 8_000_000
    points: int = 800
    picture: int = 800 * 28 * 28
    images: int = 24
    dimensions: int = 8
    steps: int = 9
    reach: float = 2.5
    lines: int = 4
    extremes: int = 8
    samples: int = 8
    nearest: int = 3
    marginals: int = 24
    pairs: int = 6
    table: int = 5000
    points_of_pair: int = 400

    def affordable(self, one: float) -> tuple[int, int]:
        """Return of how many rows log p(x) is measured, and by how many importance samples.

        Arguments:
            one: Floating-point operations of one decode.
        """
        # beside the samples the fit of each row's proposal takes about as many
        most = self.operations / (2 * max(one, 1.0))
        for samples in self.importance:
            if most / samples >= 300:
                break
        # fewer than 120 rows are too few for the classifier of an examination
        return min(self.scored, max(120, int(most / samples))), samples

    def calibrated(self, one: float, draws: int = 8) -> int:
        """Return of how many rows residuals are looked at.

        Arguments:
            one: Floating-point operations of one decode.
            draws: Draws of z for each row.
        """
        fewest, most = self.residuals
        return min(most, max(fewest, int(self.decoded / (draws * max(one, 1.0)))))

    def countable(self, one: float) -> int:
        """Return in how many training rows active units are counted, at most.

        Arguments:
            one: Floating-point operations of one decode, which takes about as many as an encode.
        """
        return max(1000, int(self.encoded / max(one, 1.0)))


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a portrait.

    Attributes:
        judged: Those that the model is judged by; None without any.
        numbers: Their numbers in the data.
        which: What they are called.
        of: How many such rows there are.
        train: Some that it was fitted to; None where none are known.
        train_numbers: Their numbers in the data.
        new: Whether the model was fitted to none of those it is judged by, as far as is known.
        labels: A label of each row that is judged, and of those that it was fitted to, if any.
        note: Which rows were left out, and why; empty if none.
    """

    judged: Values | None
    numbers: Array
    which: str
    of: int
    train: Values | None
    train_numbers: Array
    new: bool
    labels: tuple[Colouring, Colouring] | None = None
    note: str = ""

    @property
    def said(self) -> str:
        """How many rows are looked at, of how many."""
        return self.some(len(self.numbers))

    def some(self, count: int) -> str:
        """Say that ``count`` rows are looked at, of how many."""
        if count >= self.of:
            return f"{self.of:,} rows {self.which}"
        return f"{count:,} of {self.of:,} rows {self.which}, drawn at random"

    def beside(self, train: Values, limits: Limits, seed: int) -> Rows:
        """Return the same with training rows of another data set."""
        few = spread(len(train), _most(train, limits.trained, limits.trained_values), seed)
        return dataclasses.replace(self, train=train[few], train_numbers=few)

    @property
    def any(self) -> Values | None:
        """Training rows where there are any, else those that are judged."""
        if self.train is not None:
            return self.train
        return self.judged


def spread(count: int, most: int, seed: int) -> Array:
    """Return up to ``most`` of the numbers below ``count``, ascending, drawn with the seed."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, 15]).choice(count, most, replace=False))


def of_rows(
    model: Model,
    values: Values | None,
    labels: Sequence[Any] | None,
    name: str,
    limits: Limits,
    seed: int = 0,
) -> Rows:
    """Choose rows of a data set, those that the model has not seen where there are any.

    Arguments:
        model: The model.
        values: The rows; None where nobody passed any.
        labels: A label of each, or None.
        name: What labels are called.
        limits: How many rows to take.
        seed: The seed of the choice.

    Raises:
        ValueError: There are more or fewer labels than rows.
    """
    nothing = np.arange(0)
    if values is None:
        return Rows(None, nothing, "", 0, None, nothing, new=True)
    chosen = model.choose(values, least=limits.fewest)
    readable, note = _readable(model, values, chosen.mask)
    judged = np.flatnonzero(chosen.mask & readable)
    trained = nothing
    if chosen.seen is not None:
        trained = np.flatnonzero(chosen.seen & readable)
    which = {"held-out": "held out", "trained": "trained on"}.get(chosen.which, "passed")
    if not chosen.judged_as_new:
        which = "trained on"
    rows = _some(values, judged, trained, which, chosen.judged_as_new, labels, name, limits, seed)
    return dataclasses.replace(rows, note=note)


def _readable(
    model: Model, values: Values, judged: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], str]:
    """Return which rows the networks of a model can read, and what to know of the others.

    Raises:
        ValueError: They can read none of those that it is to be judged by.
    """
    if model.vae.takes_missing or not values.incomplete:
        return np.ones(len(values), dtype=np.bool_), ""
    whole = ~values.lacking
    if not (whole & judged).any():
        raise ValueError(
            "Every row that the model is to be judged by lacks a value, and it was fitted to "
            "complete rows, so that it can read none of them. Pass complete rows, or fit to rows "
            "in which values are missing."
        )
    lost = len(values) - int(whole.sum())
    return whole, (
        f"{lost:,} of {len(values):,} rows lack values and are left out: the model was fitted to "
        "complete rows."
    )


def of_fit(train: Values, held_out: Values | None, limits: Limits, seed: int = 0) -> Rows:
    """Take the rows of a fit, and those that were kept from it."""
    if held_out is None:
        every = np.arange(len(train))
        return _some(train, every, every, "trained on", False, None, "", limits, seed)
    some = spread(len(held_out), _most(held_out, limits.judged, limits.values), seed)
    fitted = spread(len(train), _most(train, limits.trained, limits.trained_values), seed)
    return Rows(held_out[some], some, "held out", len(held_out), train[fitted], fitted, new=True)


def _most(values: Values, rows: int, numbers: int) -> int:
    """Return how many rows to take at most."""
    return max(20, min(rows, numbers // max(int(values.array[0].size), 1)))


def _some(
    values: Values,
    judged: Array,
    trained: Array,
    which: str,
    new: bool,
    labels: Sequence[Any] | None,
    name: str,
    limits: Limits,
    seed: int,
) -> Rows:
    """Return some of the rows that are judged, and some of those that were trained on."""
    few = judged[spread(len(judged), _most(values, limits.judged, limits.values), seed)]
    known = trained[
        spread(len(trained), _most(values, limits.trained, limits.trained_values), seed)
    ]
    train = None
    if len(known):
        train = values[known]
    coloured = None
    if labels is not None:
        if len(labels) != len(values):
            raise ValueError(
                f"labels has {len(labels):,} entries, but X has {len(values):,} rows. Pass one "
                "label for each row."
            )
        coloured = _coloured(_cells(labels), name, few, known)
    return Rows(values[few], few, which, len(judged), train, known, new, coloured)


def _coloured(labels: Array, name: str, few: Array, known: Array) -> tuple[Colouring, Colouring]:
    """Return labels of both kinds of rows, as categories where they are text or take few values."""
    return coloured(labels[few], labels, name), coloured(labels[known], labels, name)


def _cells(labels: Sequence[Any]) -> Array:
    """Return labels as an array: objects as numbers where all are, else as text; a missing one is
    NaN, or None.
    """
    array = np.asarray(labels)
    if array.dtype.kind in "biufU":
        return array
    found = [None if _is_unknown(cell) else cell for cell in array.tolist()]
    if all(cell is None or isinstance(cell, numbers.Real) for cell in found):
        return np.array(found, dtype=np.float64)
    return np.array([cell if cell is None else str(cell) for cell in found], dtype=object)


def _is_unknown(cell: object) -> bool:
    """Return whether a label is missing."""
    return is_missing(cell) or (isinstance(cell, float) and math.isnan(cell))


def _there(cells: Array) -> npt.NDArray[np.bool_]:
    """Return which labels are not missing, (n,)."""
    if cells.dtype.kind == "f":
        return ~np.isnan(cells)
    return np.array([cell is not None for cell in cells.tolist()], dtype=np.bool_)


def coloured(cells: Array, every: Array, name: str, most: int = 20) -> Colouring:
    """Return cells as a colouring: categories where they are text or take up to ``most`` values.

    Arguments:
        cells: The cells (n,); a missing one is NaN, or None beside text.
        every: All cells there are.
        name: What they are called.
        most: How many whole numbers are categories.
    """
    levels, there = np.unique(every[_there(every)]), _there(cells)
    of_numbers = levels.dtype.kind in "fiub"
    if of_numbers and (len(levels) > most or (levels != np.round(levels)).any()):
        return Colouring(name, np.asarray(cells, dtype=np.float64))
    codes = np.full(len(cells), np.nan)
    codes[there] = np.searchsorted(levels, cells[there])
    return Colouring(name, codes, tuple(_told(level) for level in levels.tolist()))


def _told(level: Any) -> str:
    """Return a label as text: whole numbers without a point."""
    if isinstance(level, float):
        return f"{level:g}"
    return str(level)
