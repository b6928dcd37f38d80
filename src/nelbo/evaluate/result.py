"""What an evaluation returns: plain dataclasses, one number per example, in nats and float64."""

from __future__ import annotations

__all__ = ["Cost", "LogLikelihood", "Scores", "from_numbers", "mean_error", "rounded"]

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import stdtrit
from torch import Tensor

from ..brief import aligned, selected

Array = npt.NDArray[Any]

UNRELIABLE = 0.7
"""Pareto shape above which an importance estimate is not to be trusted (Vehtari et al., 2024)."""
UNSURE = 0.5
"""Standard error, in nats, above which one is not where weights are too few for a Pareto shape: of
16, 3 carry it all.

One weight that carries it all has an error of 1 nat, however many there are, so that no larger
limit could tell."""


@dataclass(frozen=True)
class Cost:
    """What an estimate took.

    Attributes:
        decodes: Evaluations of p(x|z), over all rows and samples.
        gradients: How many of them came with a gradient for z.
        seconds: Of wall-clock time.
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
        standard_error: Of each estimate, by the delta method; 0 where exact; by quadrature, what
            the last refinement of the grid changed.
        ess: Effective number of samples (of chains, for AIS) behind each estimate; infinite where
            nothing is sampled.
        khat: Shape of the Pareto tail of each row's weights: above 0.7 the estimate is not to be
            trusted (Vehtari et al., 2024). Minus infinity where the weights are all equal, NaN with
            fewer than 25 samples.
        method: "exact", "quadrature", "importance", "ais", or, where rows needed different ones,
            such as "importance + ais".
        samples: Samples, or chains, of each row, of shape (n,); 0 where nothing is sampled.
        reason: Why this method, in plain words, where it was picked by "auto"; else empty.
        acceptance: Share of accepted moves of each row's chains, NaN where there are none; None
            without any.
        cost: What it took.
        trained: Whether the model was fitted to each row, of shape (n,); None where that is not
            known.
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

    @property
    def mean(self) -> float:
        """Mean over examples, nats per example."""
        return float(self.value.mean())

    @property
    def mean_standard_error(self) -> float:
        """Standard error of the mean over examples, as an estimate for new data; infinite for one
        example.
        """
        return mean_error(self.value)

    @property
    def unreliable(self) -> Tensor:
        """Whether each row's own weights say that its estimate is unreliable, of shape (n,).

        Pareto k above 0.7; where samples are too few for it, a standard error above 0.5 nats; or no
        error known.
        """
        unsure = self.khat.isnan() & (self.standard_error > UNSURE)
        return (self.khat > UNRELIABLE) | unsure | ~self.standard_error.isfinite()

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
        arrays: dict[str, Any] = {
            name: value.numpy() if isinstance(value, Tensor) else value
            for name, value in (
                (field.name, getattr(self, field.name)) for field in dataclasses.fields(self)
            )
        }
        return Scores(**arrays)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.numpy().summary})"

    def __str__(self) -> str:
        return str(self.numpy())


@dataclass(frozen=True, repr=False)
class Scores:
    """What `LogLikelihood` holds, as numpy arrays; prints as a short table.

    It is what `nelbo.VariationalAutoencoder.log_likelihood` returns, in the units of the data.

    Attributes:
        value, standard_error, ess, khat, samples, acceptance, trained: Arrays of shape (n,), as in
            `LogLikelihood`.
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

    @property
    def mean(self) -> float:
        """Mean over rows, nats per row."""
        return self.torch().mean

    @property
    def mean_standard_error(self) -> float:
        """Standard error of the mean over rows, as an estimate for new data; infinite for one
        row.
        """
        return self.torch().mean_standard_error

    @property
    def unreliable(self) -> Array:
        """Whether each row's estimate is unreliable, of shape (n,), as in
        `LogLikelihood.unreliable`.
        """
        return self.torch().unreliable.numpy()

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Return the two ends of an interval for each row's log p(x), as `LogLikelihood.interval`
        does.

        Raises:
            ValueError: ``level`` is not between 0 and 1.
        """
        low, high = self.torch().interval(level)
        return low.numpy(), high.numpy()

    def torch(self) -> LogLikelihood:
        """Return the same with tensors in place of numpy arrays."""
        tensors: dict[str, Any] = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }
        return LogLikelihood(**tensors)

    def __len__(self) -> int:
        return len(self.value)

    @property
    def summary(self) -> str:
        """The mean with its standard error, the method, and how many rows are unreliable, in one
        line.
        """
        error = (
            f" ± {self.mean_standard_error:.2f}" if math.isfinite(self.mean_standard_error) else ""
        )
        rows = f"{len(self):,} row" + ("" if len(self) == 1 else "s")
        most = int(self.samples.max(initial=0))
        how = (
            f"{self.method}, {most:,} {'chains' if self.method == 'ais' else 'samples'}"
            if most
            else self.method
        )
        doubtful = int(self.unreliable.sum())
        told = f"; {doubtful:,} of them unreliable" if doubtful else ""
        return f"mean {self.mean:.2f}{error} nats over {rows}{self._seen()}{told}; {how}"

    def _seen(self) -> str:
        """Say how many rows the model was fitted to, and how far they are from the others."""
        count = 0 if self.trained is None else int(self.trained.sum())
        if self.trained is None or count == 0:
            return ""
        if count == len(self):
            return ", trained on" if count == 1 else ", all of them trained on"
        new, seen = self.value[~self.trained].mean(), self.value[self.trained].mean()
        return f", {count:,} of them trained on (mean {seen:.2f}; the others {new:.2f})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.summary})"

    def __str__(self) -> str:
        sampled = bool((self.samples > 0).any())
        heads = ["row", "log p(x)", "standard error", *(["ess", "Pareto k"] if sampled else []), ""]
        rows = [
            ["…", *[""] * (len(heads) - 1)] if i is None else self._row(i, sampled)
            for i in selected(len(self))
        ]
        return "\n".join([*aligned([heads, *rows], left=0), self.summary])

    def _row(self, i: int, sampled: bool) -> list[str]:
        error = float(self.standard_error[i])
        numbers = [f"{self.value[i]:,.2f}", "<1e-6" if 0 < error < 1e-6 else f"{error:.2g}"]
        if sampled:
            ess, khat = float(self.ess[i]), float(self.khat[i])
            numbers += [
                f"{ess:.1f}" if math.isfinite(ess) else "–",
                f"{khat:.2f}" if math.isfinite(khat) else "–",
            ]
        notes = ["unreliable"] if self.unreliable[i] else []
        notes += ["trained on"] if self.trained is not None and self.trained[i] else []
        return [f"{i:,}", *numbers, ", ".join(notes)]


def mean_error(values: Tensor) -> float:
    """Return the standard error of the mean of values (n,); infinite for one."""
    n = len(values)
    return float(values.std()) / math.sqrt(n) if n > 1 else math.inf


def rounded(error: Tensor, value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return errors no smaller than the rounding of values (n,) in this precision; infinite where
    that hides all.
    """
    rounding = torch.finfo(dtype).eps * value.abs()
    return torch.where(rounding < UNSURE, torch.maximum(error, rounding), math.inf)


def from_numbers(value: Tensor, error: Tensor, method: str, cost: Cost) -> LogLikelihood:
    """Return a result that nothing was sampled for."""
    infinite = torch.full_like(value, math.inf)
    none = torch.zeros(len(value), dtype=torch.int64)
    return LogLikelihood(value, error, infinite, -infinite, method, none, cost=cost)
