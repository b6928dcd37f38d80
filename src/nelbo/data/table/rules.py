r"""What a column is, found from its cells, and why.

Numbers are what they are most probable as. Of n values in whole numbers, all are compared as
probabilities (a density times the step of 1): with their :math:`K` levels, of entropy H,

.. math:: -\overline{\log p} = H + K / n

of ordered levels, and that of the best member of any other family, such as the negative binomial.
"""

from __future__ import annotations

__all__ = ["Rules"]

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nelbo.data.table.cells import Cells, Form, told
from nelbo.data.table.column import Column, Constant, LeftOut
from nelbo.data.table.levels import Levels
from nelbo.data.table.likeness import likeness
from nelbo.data.table.numbers import Numbers, decimals_of, parts_of_a_day
from nelbo.data.table.points import Points

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rules:
    """How the kind of a column is found.

    Attributes:
        few: Up to so many different numbers are ordered levels.
        rows_a_level: If that many rows have each, on average.
        enough: With fewer rows nothing is called an identifier or free text.
        free: Text is free where different words are more than this share of the rows.
        collisions: Whole numbers without a repetition are keys where chance would have made so
            many.
        zeros: The share of zeros beside positive numbers from which on these are amounts.
        widest: The range of whole numbers that may be counts or ordered levels.
        dispersion: The ratio of variance to mean up to which counts are Poisson's.
        clearly: By how many nats a row one family must beat another that is simpler.
        modes: By how many points and a mixture must beat a single mode: less, as rows drawn from a
            column of the wrong shape are seen to be drawn.
        points: How points are found.
    """

    few: int = 10
    rows_a_level: int = 5
    enough: int = 20
    free: float = 0.5
    collisions: float = 10.0
    zeros: float = 0.05
    widest: int = 1_000
    dispersion: float = 1.1
    clearly: float = 0.1
    modes: float = 0.03
    points: Points = Points()  # noqa: RUF009 (frozen)

    def __call__(self, cells: Cells, name: str, kind: str | None = None) -> Column:
        """Return what a column is.

        Arguments:
            cells: Its cells.
            name: What it is called.
            kind: Its kind, where that is known.
        """
        there = cells.values[cells.there]
        if kind == "left_out":
            return _left_out(cells, "as asked")
        if len(there) == 0:
            return _left_out(cells, "holds no value at all")
        first = there[0]
        if kind in (None, "constant") and bool((there == first).all()):
            value = first if cells.form == "text" else float(first)
            said = repr(value) if cells.form == "text" else told(value)
            return Constant(**_common(cells, "constant", f"{said} in all rows"), value=value)
        if kind is not None:
            return self._of_kind(cells, there, kind)
        if cells.levels is not None:
            return _categories(cells)
        of_form: dict[Form, Callable[[Cells, Array], Column]] = {
            "text": self._text,
            "truth": self._truth,
            "number": self._number,
            "date": self._time,
            "duration": self._time,
        }
        return of_form[cells.form](cells, there)

    # -- by form

    def _text(self, cells: Cells, there: Array) -> Column:
        n, words = len(there), set(there.tolist())
        count, like = len(words), likeness(words)
        if like:
            like = f"; {like}"
        if n >= self.enough and count == n:
            return _left_out(cells, f"{n:,} different words in as many rows: an identifier{like}")
        if n >= self.enough and count > self.free * n:
            return _left_out(cells, f"{count:,} different words in {n:,} rows: free text{like}")
        return _levels(cells, "categorical", f"{count:,} different words: categories{like}")

    def _truth(self, cells: Cells, there: Array) -> Column:
        return _levels(cells, "bernoulli", "true or false", levels=(0.0, 1.0))

    def _time(self, cells: Cells, there: Array) -> Column:
        unit = {"date": "days since 1970-01-01", "duration": "seconds"}[cells.form]
        kind, why = self._density(there)
        return _numbers(cells, kind, f"a {cells.form}, in {unit}: {why}")

    def _number(self, cells: Cells, there: Array) -> Column:
        values, whole = np.unique(there), bool((there == np.floor(there)).all())
        span = _span(there, values, whole)
        few = self._few_values(cells, there, values, span)
        if few is not None:
            return few
        if whole and self._is_key(there, len(values)):
            return _left_out(
                cells, f"{len(there):,} different whole numbers in as many rows: a key"
            )
        narrow = whole and there.max() - there.min() < self.widest
        if there.min() == 0 and (there == 0).mean() >= self.zeros and not narrow:
            return self._amount(cells, there)
        if there.min() >= 0 and narrow:
            return self._whole(cells, there, span)
        kind, why = self._density(there)
        spiked = self._spiked(cells, there, span, COSTS[kind](there))
        return spiked or _numbers(cells, kind, f"{span}: {why}")

    def _few_values(self, cells: Cells, there: Array, values: Array, span: str) -> Column | None:
        """Return two values, or ordered levels, where there are so few ``values``; else None."""
        n, levels = len(there), tuple(values.tolist())
        if len(levels) == 2 and (n >= 2 * self.rows_a_level or {0.0, 1.0} == set(levels)):
            return _levels(cells, "bernoulli", f"two values, {_range(there)}", levels=levels)
        if len(levels) <= self.few and n >= self.rows_a_level * len(levels):
            return _levels(cells, "ordinal", f"{span}: ordered levels", levels=levels)
        return None

    def _amount(self, cells: Cells, there: Array) -> Column:
        """Return amounts beside zeros: points of their own where most of them are repeated."""
        zero, most = float((there == 0).mean()), told(float(there.max()))
        why = f"{zero:.0%} zeros beside positive numbers up to {most}"
        some = there[there > 0]
        options = self.points.options(some, decimals_of(some))
        cost = math.inf
        if len(there) < self.points.rows or self.points.share(some, options) < 0.5:
            cost = -math.inf
        return self._spiked(cells, there, why, cost) or _numbers(
            cells, "hurdle_log_normal", f"{why}: an amount"
        )

    def _spiked(self, cells: Cells, there: Array, span: str, cost: float) -> Column | None:
        """Return points and a mixture, where they beat what a single mode costs; else None."""
        if len(there) < self.points.rows or cost == -math.inf:
            return None
        options = self.points.options(there, decimals_of(there))
        if self.points.cost(there, options) > cost - self.modes:
            return None
        why = f"{span}: several modes"
        if options["points"]:
            share = self.points.share(there, options)
            why = (
                f"{span}: {len(options['points'])} values make up {share:.0%}, points of their own"
            )
        return _numbers(cells, "spike_and_slab", why, options)

    def _is_key(self, there: Array, different: int) -> bool:
        """Return whether whole numbers all differ where chance would have repeated some."""
        n = len(there)
        if different < n or n < self.enough:
            return False
        width = float(there.max() - there.min() + 1)
        return n * n / (2 * width) >= self.collisions

    def _whole(self, cells: Cells, there: Array, span: str) -> Column:
        """Return what whole numbers are most probable as: counts, ordered levels or numbers."""
        n, low, width = len(there), float(there.min()), int(there.max() - there.min() + 1)
        frequency = np.bincount((there - low).astype(np.int64)) / n
        some = frequency[frequency > 0]
        mean, variance = float(there.mean()), float(there.var())
        count, cost = "poisson", _poisson(there, mean)
        if variance > self.dispersion * mean:
            count, cost = "negative_binomial", _negative_binomial(there, mean, variance)
        found = {count: cost}
        kind, why = self._density(there)
        found[kind] = COSTS[kind](there) + self.clearly
        if n >= self.rows_a_level * width:
            found["ordinal"] = float(-(some * np.log(some)).sum()) + width / n + self.clearly
        best = min(found, key=lambda name: found[name])
        spiked = self._spiked(cells, there, span, found[best])
        if best == "ordinal" and n >= self.points.rows:
            spiked = self._spiked(cells, there, span, math.inf)
        if spiked is not None:
            return spiked
        if best == "ordinal":
            levels = tuple((low + np.arange(width)).tolist())
            why = f"{span}, which neither counts nor a normal fit: ordered levels"
            return _levels(cells, best, why, levels=levels)
        if best == count:
            why = "count" if count == "poisson" else "count, more dispersed than Poisson's"
        return _numbers(cells, best, f"{span}: {why}")

    def _density(self, there: Array) -> tuple[str, str]:
        """Return which density fits numbers best, and why."""
        cost = {"heteroscedastic_gaussian": _gaussian(there)}
        if there.min() > 0:
            cost["log_normal"] = _log_normal(there) + self.clearly
        cost["student_t"] = _student_t(there) + self.clearly
        best = min(cost, key=lambda name: cost[name])
        said = {
            "heteroscedastic_gaussian": "a number, whose noise depends on z",
            "log_normal": "positive and skewed",
            "student_t": "a number with heavy tails",
        }
        return best, said[best]

    # -- by kind

    def _of_kind(self, cells: Cells, there: Array, kind: str) -> Column:
        """Return a column of a kind that was asked for.

        Raises:
            ValueError: There is no such kind, or it is not for such cells.
        """
        if kind in Levels.kinds:
            return _levels(cells, kind, "as asked", levels=_ordered(cells, there))
        known = sorted(Levels.kinds | Numbers.kinds | Constant.kinds | LeftOut.kinds)
        if kind not in Numbers.kinds:
            raise ValueError(
                f"column {cells.name!r} cannot be of kind {kind!r}. Known: {', '.join(known)}."
            )
        if cells.form == "text":
            raise ValueError(
                f"column {cells.name!r} holds text such as {there[0]!r}, and cannot be of kind "
                f"{kind!r}. Make it 'categorical', or 'left_out'."
            )
        options: Mapping[str, Any] = {}
        if kind == "spike_and_slab":
            options = self.points.options(there, decimals_of(there))
        return _numbers(cells, kind, "as asked", options)


# -- columns of cells


def _common(cells: Cells, kind: str, why: str) -> dict[str, Any]:
    return {
        "name": cells.name,
        "kind": kind,
        "why": why,
        "form": cells.form,
        "dtype": cells.dtype,
        "missing": cells.marks,
    }


def _left_out(cells: Cells, why: str) -> LeftOut:
    return LeftOut(**_common(cells, "left_out", why))


def _numbers(
    cells: Cells, kind: str, why: str, options: Mapping[str, Any] | None = None
) -> Numbers:
    there = cells.values[cells.there]
    low, high = float(there.min()), float(there.max())
    decimals, parts = decimals_of(there), None
    if cells.form == "date" and decimals != 0:
        decimals, parts = None, parts_of_a_day(there)
    common = _common(cells, kind, why)
    return Numbers(
        **common,
        low=low,
        high=high,
        decimals=decimals,
        parts_of_a_day=parts,
        options=options or {},
    )


def _ordered(cells: Cells, there: Array) -> tuple[Any, ...]:
    """Return the levels of a column: its categories, or what stands in it, in order."""
    if cells.levels is not None:
        return cells.levels
    return tuple(sorted(set(there.tolist())))


def _levels(cells: Cells, kind: str, why: str, levels: tuple[Any, ...] | None = None) -> Levels:
    if levels is None:
        levels = _ordered(cells, cells.values[cells.there])
    return Levels(**_common(cells, kind, why), levels=levels)


def _categories(cells: Cells) -> Levels:
    """Return a column that its library has as categories."""
    count = len(cells.levels or ())
    if cells.ordered:
        return _levels(cells, "ordinal", f"{count:,} categories, said to be ordered")
    return _levels(cells, "categorical", f"{count:,} categories")


def _span(there: Array, values: Array, whole: bool) -> str:
    """Say how many different values there are, of which kind, from where to where."""
    said = f"{len(values):,} values, "
    if whole:
        said += "whole, "
    said += _range(there)
    if whole and _are_dates(values):
        said += ", which look like dates and are read as such where written as 2020-01-31"
    return said


def _range(there: Array) -> str:
    return f"{told(float(there.min()))} to {told(float(there.max()))}"


def _are_dates(values: Array) -> bool:
    """Return whether whole numbers all are dates such as 20200131."""
    month, day = values // 100 % 100, values % 100
    fits = (values > 1900_00_00) & (values < 2100_00_00) & (month >= 1) & (month <= 12)
    return bool((fits & (day >= 1) & (day <= 31)).all())


# -- what numbers cost as members of a family, in nats each


def _gaussian(x: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):  # a variance beyond float64 is refused later
        return 0.5 * math.log(2 * math.pi * math.e * max(float(x.var()), 1e-300))


def _log_normal(x: Array) -> float:
    logarithm = np.log(x)
    return _gaussian(logarithm) + float(logarithm.mean())


def _student_t(x: Array, df: float = 4.0, steps: int = 20) -> float:
    """Return the cost as Student's t, whose location and scale EM finds."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _student_t_cost(x, df, steps)


def _student_t_cost(x: Array, df: float, steps: int) -> float:
    centre, square = float(np.median(x)), max(float(x.var()), 1e-300)
    for _ in range(steps):
        weight = (df + 1) / (df + (x - centre) ** 2 / square)
        centre = float((weight * x).sum() / weight.sum())
        square = max(float((weight * (x - centre) ** 2).mean()), 1e-300)
    constant = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(math.pi * df)
    tails = (df + 1) / 2 * np.log1p((x - centre) ** 2 / (df * square))
    return float(tails.mean()) + 0.5 * math.log(square) - constant


COSTS: Mapping[str, Callable[[Array], float]] = {
    "heteroscedastic_gaussian": _gaussian,
    "log_normal": _log_normal,
    "student_t": _student_t,
}


def _log_gamma(x: Array) -> Array:
    found: Array = torch.lgamma(torch.from_numpy(np.asarray(x, dtype=np.float64))).numpy()
    return found


def _poisson(x: Array, mean: float) -> float:
    return float((mean - x * math.log(mean) + _log_gamma(x + 1)).mean())


def _negative_binomial(x: Array, mean: float, variance: float) -> float:
    """Return the cost as a negative binomial of the same mean and variance."""
    r = mean * mean / (variance - mean)
    choose = _log_gamma(x + r) - math.lgamma(r) - _log_gamma(x + 1)
    log_p = choose + r * math.log(r / (r + mean)) + x * math.log(mean / (r + mean))
    return float(-log_p.mean())
