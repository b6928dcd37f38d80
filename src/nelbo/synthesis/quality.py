"""A synthetic table judged: is it like the data, is it useful in their place, is it a copy."""

from __future__ import annotations

__all__ = ["Quality", "quality"]

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..brief import Brief, aligned, selected
from ..diagnose import Estimate, classifier_auc
from ..diagnose.two_sample import rounded_alike
from ..plain import plain
from .measures import shapes, trends
from .privacy import Privacy, privacy
from .tables import Tables
from .usefulness import Usefulness, usefulness

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Quality(Brief):
    """How good a synthetic table is; prints as a short table, and `to_dict` is its JSON twin.

    Errors are shares: 0 is best, 1 worst. They are 1 less the scores of SDMetrics.

    Attributes:
        names: What the columns are called.
        levels: Which columns hold levels, (d,).
        shapes: How far each column is from that of the data, (d,): see `measures.shapes`.
        trends: How far each pair of columns is, (d, d), NaN on the diagonal: `measures.trends`.
        missing: The share of missing values in each column of the data, and in the synthetic one,
            (d, 2).
        two_sample: How well a classifier tells data from synthetic rows, an AUC, 0.5 at best; None
            of too few rows.
        judged_by_new: Whether the rows of data in that were not trained on.
        privacy: What synthetic rows give away; None where no rows were held out.
        usefulness: How well a column is predicted; None where none was asked for.
        rows: How many rows were compared: "data", "synthetic" and "held_out".
    """

    names: tuple[str, ...]
    levels: npt.NDArray[np.bool_]
    shapes: Array
    trends: Array
    missing: Array
    two_sample: Estimate | None
    judged_by_new: bool
    privacy: Privacy | None
    usefulness: Usefulness | None
    rows: dict[str, int]

    @property
    def shape_error(self) -> float:
        """The mean of ``shapes``: the error of column shapes."""
        return _mean(self.shapes)

    @property
    def trend_error(self) -> float:
        """The mean of ``trends`` over pairs: the error of column pair trends."""
        return _mean(self.trends[np.triu_indices(len(self.names), 1)])

    def columns(self) -> list[dict[str, Any]]:
        """Return a row for each column: its ``name``, ``measure``, ``error``, the ``pair`` that
        fits worst with that pair's ``pair_error``, and its shares of missing values.
        """
        measure = {True: "total variation", False: "Kolmogorov-Smirnov"}
        rows = []
        for j, name in enumerate(self.names):
            pair, error = None, math.nan
            if not np.isnan(self.trends[j]).all():
                worst = int(np.nanargmax(self.trends[j]))
                pair, error = self.names[worst], float(self.trends[j, worst])
            rows.append({
                "name": name,
                "measure": measure[bool(self.levels[j])],
                "error": float(self.shapes[j]),
                "pair": pair,
                "pair_error": error,
                "missing": float(self.missing[j, 0]),
                "missing_synthetic": float(self.missing[j, 1]),
            })  # fmt: skip
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON types; NaN is None."""
        found: dict[str, Any] = plain({
            "shape_error": self.shape_error,
            "trend_error": self.trend_error,
            "two_sample": self.two_sample,
            "judged_by_new": self.judged_by_new,
            "privacy": self.privacy,
            "usefulness": self.usefulness,
            "rows": self.rows,
            "columns": self.columns(),
            "trends": self.trends,
        })  # fmt: skip
        return found

    def __str__(self) -> str:
        return "\n".join([*aligned(self._summary(), left=3), "", *aligned(self._table(), left=1)])

    def __repr__(self) -> str:
        return str(self)

    def _summary(self) -> Iterator[tuple[str, str, str]]:
        yield "column shapes", _percent(self.shape_error), "mean error; 0 % is best"
        yield "pair trends", _percent(self.trend_error), "mean error; 0 % is best"
        if self.two_sample is not None:
            data = "rows not trained on" if self.judged_by_new else "training rows"
            yield "two-sample AUC", str(self.two_sample), f"0.5 is best; {data} beside synthetic"
        if self.usefulness is not None:
            use = self.usefulness
            said = f"predicting {use.target}; {use.data:.3f} if trained on data"
            yield f"{use.measure} on data", f"{use.synthetic:.3f}", said
            if use.f1 is not None and use.f1_data is not None:
                yield "F1 on data", f"{use.f1:.3f}", f"the same; {use.f1_data:.3f}"
        if self.privacy is not None:
            yield from _of_privacy(self.privacy)

    def _table(self) -> Iterator[tuple[str, ...]]:
        """Yield a line for each column, the worst first."""
        holes = bool(self.missing.any())
        head = ("column", "error", "worst pair", "error", "missing", "synthetic")
        yield head[: 6 if holes else 4]
        rows = sorted(self.columns(), key=lambda row: -np.nan_to_num(row["error"]))
        for at in selected(len(rows), 10):
            if at is None:
                yield ("…",) + ("",) * (5 if holes else 3)
                continue
            row = rows[at]
            line = (row["name"], _percent(row["error"]), row["pair"] or "",
                    _percent(row["pair_error"]), _percent(row["missing"]),
                    _percent(row["missing_synthetic"]))  # fmt: skip
            yield line[: 6 if holes else 4]


def quality(tables: Tables, target: str | None = None, seed: int = 0) -> Quality:
    """Judge a synthetic table.

    Arguments:
        tables: The data and the synthetic rows, and best also rows that were held out.
        target: A column to predict from the others, as a test of what synthetic rows are good for.
        seed: Seed of what is drawn.

    Raises:
        ValueError: There is no such column, or ``target`` was asked for without rows held out.
    """
    found_privacy, found_use = None, None
    if tables.held_out is not None:
        found_privacy = privacy(tables)
    if target is not None:
        found_use = usefulness(tables, target, seed)
    rows = {"data": len(tables.data), "synthetic": len(tables.synthetic), "held_out": 0}
    if tables.held_out is not None:
        rows["held_out"] = len(tables.held_out)
    holes = [np.isnan(x).mean(0) for x in (tables.data, tables.synthetic)]
    return Quality(
        names=tables.names,
        levels=tables.levels,
        shapes=shapes(tables),
        trends=trends(tables),
        missing=np.stack(holes, 1),
        two_sample=_two_sample(tables, seed),
        judged_by_new=tables.any_new,
        privacy=found_privacy,
        usefulness=found_use,
        rows=rows,
    )


def _two_sample(tables: Tables, seed: int, most: int = 1_000, fewest: int = 100) -> Estimate | None:
    """Let a classifier tell rows of data from as many synthetic ones.

    Arguments:
        tables: The tables.
        seed: Seed of the rows that are drawn and of the splits.
        most, fewest: Rows of each, at most and at least.
    """
    random = np.random.default_rng([seed, 4])
    n = min(len(tables.unseen), len(tables.synthetic), most)
    if n < fewest:
        return None
    data, made = (x[random.permutation(len(x))[:n]] for x in (tables.unseen, tables.synthetic))
    gone = np.isnan(made).any(0) != np.isnan(data).any(0)
    data, made = data[:, ~gone], made[:, ~gone]  # whether values are missing is told elsewhere
    if not data.shape[1]:
        return None
    return classifier_auc(*rounded_alike(data, made), seed)


def _of_privacy(found: Privacy) -> Iterator[tuple[str, str, str]]:
    held = found.copies_held_out
    yield "exact copies", _percent(found.copies), f"of training rows; rows held out: {held:.1%}"
    far = found.distance_held_out
    yield "closest training row", f"{found.distance:.3g}", f"median; rows held out: {far:.3g}"
    said = "share of synthetic rows that stem from a training row; 0 is best"
    yield "memorised", str(found.memorised), said


def _mean(errors: Array) -> float:
    """Return the mean of what is known."""
    known = errors[~np.isnan(errors)]
    if not len(known):
        return math.nan
    return float(known.mean())


def _percent(share: float) -> str:
    if math.isnan(share):
        return "–"
    return f"{100 * share:.1f} %"
