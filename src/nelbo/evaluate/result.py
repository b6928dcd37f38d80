"""What an evaluation returns: plain dataclasses, one number per example, in nats and float64."""

from __future__ import annotations

__all__ = [
    "Cost",
    "LogLikelihood",
    "Rung",
    "Scores",
    "from_numbers",
    "interleaved",
    "listed",
    "mean_error",
    "rounded",
]

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import stdtrit
from torch import Tensor

from ..brief import aligned, selected

Array = npt.NDArray[Any]

UNRELIABLE = 0.7
"""Pareto shape above which an importance estimate is unreliable (Vehtari et al., 2024)."""


class Rung(enum.IntEnum):
    """What a row took to be settled by method "auto", from the least effort to the most."""

    EXACT = 0
    GRID = 1
    DRAWS = 2
    MORE_DRAWS = 3
    ADAPTED = 4
    ANNEALED = 5

    @property
    def label(self) -> str:
        """The name for people and for JSON."""
        return {
            Rung.EXACT: "exact",
            Rung.GRID: "quadrature",
            Rung.DRAWS: "first draws",
            Rung.MORE_DRAWS: "more draws",
            Rung.ADAPTED: "adapted",
            Rung.ANNEALED: "annealed",
        }[self]


@dataclass(frozen=True)
class Cost:
    """What an estimate took.

    Attributes:
        decodes: Evaluations of p(x|z), over all rows and samples.
        gradients: How many of them came with a gradient for z.
        seconds: Wall-clock time.
    """

    decodes: int = 0
    gradients: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.decodes + other.decodes,
            self.gradients + other.gradients,
            round(self.seconds + other.seconds, 6),
        )


@dataclass(frozen=True, repr=False)
class LogLikelihood:
    r"""Estimates of log p(x), one per example, in nats and float64; prints as a short table.

    Attributes:
        value: The estimates, of shape (n,).
        standard_error: The standard error of each estimate, by the delta method; 0 where exact; by
            quadrature, what the last refinement of the grid changed.
        ess: Effective number of samples (of chains, for AIS) behind each estimate; infinite where
            nothing is sampled.
        khat: Shape of the Pareto tail of each row's weights: above 0.7 the estimate is unreliable
            (Vehtari et al., 2024). Minus infinity where the weights are all equal, NaN with fewer
            than 25 samples.
        method: "exact", "quadrature", "importance", "ais", or, where rows needed different ones,
            such as "importance + ais".
        samples: Samples, or chains, of each row, of shape (n,); 0 where nothing is sampled.
        reason: Why this method, in plain words, where it was picked by "auto"; else empty.
        acceptance: Share of accepted moves of each row's chains, NaN where there are none; None
            without any.
        cost: What it took.
        trained: Whether the model was fitted to each row, of shape (n,); None where that is not
            known.
        rung: The `Rung` that each row took under method "auto", of shape (n,); else None.
    """

    value: Tensor
    standard_error: Tensor
    ess: Tensor
    khat: Tensor
    method: str
    samples: Tensor
    reason: str = ""
    acceptance: Tensor | None = None
    cost: Cost = field(default_factory=Cost)
    trained: Tensor | None = None
    rung: Tensor | None = None

    unsure: ClassVar[float] = 0.5
    """Standard error, in nats, above which an estimate is unreliable where weights are too few for
    a Pareto shape: of 16, 3 carry it all. One weight that carries it all has an error of 1 nat,
    however many there are, so that no larger limit could tell."""

    @property
    def mean(self) -> float:
        """Mean over examples, nats per example."""
        return float(self.value.mean())

    @property
    def mean_standard_error(self) -> float:
        """Standard error of the mean over examples, as an estimate for new data;
        infinite for one example.
        """
        return mean_error(self.value)

    @property
    def unreliable(self) -> Tensor:
        """Whether each row's own weights say that its estimate is unreliable, of shape (n,).

        Pareto k above 0.7; where samples are too few for it, a standard error above 0.5 nats; or no
        error known.
        """
        unsure = self.khat.isnan() & (self.standard_error > self.unsure)
        return (self.khat > UNRELIABLE) | unsure | ~self.standard_error.isfinite()

    @property
    def rungs(self) -> dict[str, int]:
        """How many rows took each rung of method "auto", by name; empty by other methods."""
        if self.rung is None:
            return {}
        counts = torch.bincount(self.rung, minlength=len(Rung)).tolist()
        return {rung.label: counts[rung] for rung in Rung if counts[rung]}

    def rows(self, which: Tensor) -> LogLikelihood:
        """Return the estimates of some rows."""
        columns: dict[str, Any] = {
            name: value[which] for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **columns)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        r"""Return the two ends of an interval for each example's log p(x), of shape (n,).

        :math:`\log \hat p \pm t \, s`: the estimate of p(x) itself is unbiased and nearly normal
        for many samples, so log p(x) lies inside with probability ``level`` as long as the standard
        error s is small, well below 1 nat, and the weights have no heavy tail (``unreliable``).
        Student's t has one degree of freedom less than samples. Where s is large the estimate is a
        stochastic lower bound, and the interval a guess that lies too low.

        Raises:
            ValueError: ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}.")
        degrees = torch.where(self.samples > 1, self.samples - 1.0, math.inf)
        half = (
            torch.from_numpy(stdtrit(degrees.double().numpy(), (1 + level) / 2))
            * self.standard_error
        )
        return self.value - half, self.value + half

    def numpy(self) -> Scores:
        """Return the same with numpy arrays in place of tensors."""
        values = dict(vars(self))
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        return Scores(**values | {name: value.numpy() for name, value in tensors.items()})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.numpy().summary})"

    def __str__(self) -> str:
        return str(self.numpy())


@dataclass(frozen=True, repr=False)
class Scores:
    """What `LogLikelihood` holds, as numpy arrays; prints as a short table.

    It is what `nelbo.VariationalAutoencoder.log_likelihood` returns, in the units of the data.

    Attributes:
        value, standard_error, ess, khat, samples, acceptance, trained, rung: Arrays of shape (n,),
            as in `LogLikelihood`.
        method, reason, cost: As in `LogLikelihood`.
    """

    value: Array
    standard_error: Array
    ess: Array
    khat: Array
    method: str
    samples: Array
    reason: str = ""
    acceptance: Array | None = None
    cost: Cost = field(default_factory=Cost)
    trained: Array | None = None
    rung: Array | None = None

    @property
    def mean(self) -> float:
        """Mean over rows, nats per row."""
        return self.torch().mean

    @property
    def mean_standard_error(self) -> float:
        """Standard error of the mean over rows, as an estimate for new data;
        infinite for one row.
        """
        return self.torch().mean_standard_error

    @property
    def unreliable(self) -> Array:
        """Whether each row's estimate is unreliable,
        of shape (n,), as in `LogLikelihood.unreliable`.
        """
        return self.torch().unreliable.numpy()

    @property
    def rungs(self) -> dict[str, int]:
        """How many rows took each rung of method "auto", by name; empty by other methods."""
        return self.torch().rungs

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Return the ends of an interval for each row's log p(x): see `LogLikelihood.interval`.

        Raises:
            ValueError: ``level`` is not between 0 and 1.
        """
        low, high = self.torch().interval(level)
        return low.numpy(), high.numpy()

    def torch(self) -> LogLikelihood:
        """Return the same with tensors in place of numpy arrays."""
        values = dict(vars(self))
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        return LogLikelihood(
            **values | {name: torch.from_numpy(value) for name, value in arrays.items()}
        )

    def __len__(self) -> int:
        return len(self.value)

    @property
    def summary(self) -> str:
        """The mean with its standard error, the method,
        and how many rows are unreliable, in one line.
        """
        mean = f"mean {self.mean:.2f}"
        if math.isfinite(self.mean_standard_error):
            mean += f" ± {self.mean_standard_error:.2f}"
        rows = f"{len(self):,} rows"
        if len(self) == 1:
            rows = "1 row"
        rows += self._seen()
        doubtful = int(self.unreliable.sum())
        if doubtful:
            rows += f"; {doubtful:,} of them unreliable"
        how = self.method
        most = int(self.samples.max(initial=0))
        if most:
            how += f", {self._counted(most)}"
        return f"{mean} nats over {rows}; {how}"

    def _counted(self, most: int) -> str:
        """Say how many samples or chains rows have, or where they differ what rows took."""
        if self.rung is not None:
            return listed(self.rungs)
        return f"{most:,} {({'ais': 'chains'}).get(self.method, 'samples')}"

    def _seen(self) -> str:
        """Say how many rows the model was fitted to, and how far they are from the others."""
        if self.trained is None or not self.trained.any():
            return ""
        count = int(self.trained.sum())
        if count == len(self) == 1:
            return ", trained on"
        if count == len(self):
            return ", all of them trained on"
        new, seen = self.value[~self.trained].mean(), self.value[self.trained].mean()
        return f", {count:,} of them trained on (mean {seen:.2f}; the others {new:.2f})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.summary})"

    def __str__(self) -> str:
        sampled = bool((self.samples > 0).any())
        heads = ["row", "log p(x)", "standard error"]
        if sampled:
            heads += ["ess", "Pareto k"]
        heads.append("")
        rows = []
        for i in selected(len(self)):
            if i is None:
                rows.append(["…", *[""] * (len(heads) - 1)])
            else:
                rows.append(self._row(i, sampled))
        return "\n".join([*aligned([heads, *rows], left=0), self.summary])

    def _row(self, i: int, sampled: bool) -> list[str]:
        """Return the cells of one row of the table."""
        error = float(self.standard_error[i])
        cells = [f"{i:,}", f"{self.value[i]:,.2f}", f"{error:.2g}"]
        if 0 < error < 1e-6:
            cells[-1] = "<1e-6"
        if sampled:
            cells += [_finite(self.ess[i], 1), _finite(self.khat[i], 2)]
        notes = []
        if self.unreliable[i]:
            notes.append("unreliable")
        if self.trained is not None and self.trained[i]:
            notes.append("trained on")
        return [*cells, ", ".join(notes)]


def interleaved(parts: Sequence[tuple[Tensor, LogLikelihood]]) -> LogLikelihood:
    """Return the estimates of all rows, of which each part has some.

    Arguments:
        parts: Which rows it has, a mask (n,), and its estimates.
    """
    parts = [part for part in parts if bool(part[0].any())]
    if len(parts) == 1:
        return parts[0][1]
    order = torch.cat([mask.nonzero()[:, 0] for mask, _ in parts]).argsort()
    columns: dict[str, Any] = {}
    for name in ("value", "standard_error", "ess", "khat", "samples", "acceptance", "rung"):
        found = [getattr(part, name) for _, part in parts]
        columns[name] = None
        if all(each is not None for each in found):
            columns[name] = torch.cat(found)[order]
    methods = dict.fromkeys(part.method for _, part in parts)
    reasons = dict.fromkeys(part.reason for _, part in parts)
    cost = parts[0][1].cost
    for _, part in parts[1:]:
        cost += part.cost
    return LogLikelihood(**columns, method=" + ".join(methods), reason=" ".join(reasons), cost=cost)


def listed(rungs: Mapping[str, int]) -> str:
    """Say how many rows took each rung of method "auto"."""
    return ", ".join(f"{count:,} {name}" for name, count in rungs.items())


def _finite(number: float, digits: int) -> str:
    """Return a number in a cell, or a dash where it is not finite."""
    if math.isfinite(number):
        return f"{number:.{digits}f}"
    return "–"


def mean_error(values: Tensor) -> float:
    """Return the standard error of the mean of values (n,); infinite for one."""
    n = len(values)
    if n < 2:
        return math.inf
    return float(values.std()) / math.sqrt(n)


def rounded(error: Tensor, value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return errors no smaller than the rounding of values (n,) in this precision;
    infinite where that hides all.
    """
    rounding = torch.finfo(dtype).eps * value.abs()
    return torch.where(rounding < LogLikelihood.unsure, torch.maximum(error, rounding), math.inf)


def from_numbers(value: Tensor, error: Tensor, method: str, cost: Cost) -> LogLikelihood:
    """Return a result that nothing was sampled for."""
    infinite = torch.full_like(value, math.inf)
    none = torch.zeros(len(value), dtype=torch.int64)
    return LogLikelihood(value, error, infinite, -infinite, method, none, cost=cost)
