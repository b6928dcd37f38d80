"""What an evaluation returns: plain dataclasses, one number per example, in nats and float64."""

from __future__ import annotations

__all__ = ["Cost", "LogLikelihood", "from_numbers", "mean_error", "rounded"]

import math
from dataclasses import dataclass, field

import torch
from scipy.special import stdtrit
from torch import Tensor

UNRELIABLE = 0.7
"""Pareto shape above which an importance estimate is not to be trusted (Vehtari et al., 2024)."""
UNSURE = 0.5
"""Standard error, in nats, above which one is not where weights are too few for a Pareto shape: of 16, 3 carry it all.

One weight that carries it all has an error of 1 nat, however many there are, so that no larger limit could tell."""


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
            self.decodes + other.decodes, self.gradients + other.gradients, round(self.seconds + other.seconds, 6)
        )


@dataclass(frozen=True)
class LogLikelihood:
    r"""Estimates of log p(x), one per example, in nats and float64.

    Attributes:
        value: The estimates, of shape (n,).
        standard_error: Of each estimate, by the delta method; 0 where exact; by quadrature, what the last refinement
            of the grid changed.
        ess: Effective number of samples (of chains, for AIS) behind each estimate; infinite where nothing is sampled.
        khat: Shape of the Pareto tail of each row's weights: above 0.7 the estimate is not to be trusted
            (Vehtari et al., 2024). Minus infinity where the weights are all equal, NaN with fewer than 25 samples.
        method: "exact", "quadrature", "importance", "ais", or, where rows needed different ones, such as
            "importance + ais".
        samples: Samples, or chains, of each row, of shape (n,); 0 where nothing is sampled.
        reason: Why this method, in plain words, where it was picked by "auto"; else empty.
        acceptance: Share of accepted moves of each row's chains, NaN where there are none; None without any.
        cost: What it took.
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

    @property
    def mean(self) -> float:
        """Mean over examples, nats per example."""
        return float(self.value.mean())

    @property
    def mean_standard_error(self) -> float:
        """Standard error of the mean over examples, as an estimate for new data; infinite for one example."""
        return mean_error(self.value)

    @property
    def unreliable(self) -> Tensor:
        """Rows whose own weights say not to believe the estimate, of shape (n,).

        Pareto k above 0.7; where samples are too few for it, a standard error above 0.5 nats; or no error known.
        """
        unsure = self.khat.isnan() & (self.standard_error > UNSURE)
        return (self.khat > UNRELIABLE) | unsure | ~self.standard_error.isfinite()

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        r"""Return the two ends of an interval for each example's log p(x), of shape (n,).

        :math:`\log \hat p \pm t \, s`: the estimate of p(x) itself is unbiased and nearly normal for many samples, so
        log p(x) lies inside with probability ``level`` as long as the standard error s is small, well below 1 nat, and
        the weights have no heavy tail (``unreliable``). Student's t has one degree of freedom less than samples. Where
        s is large the estimate is a stochastic lower bound, and the interval a guess that lies too low.

        Raises:
            ValueError: ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}.")
        degrees = torch.where(self.samples > 1, self.samples - 1.0, math.inf)
        half = torch.from_numpy(stdtrit(degrees.double().numpy(), (1 + level) / 2)) * self.standard_error
        return self.value - half, self.value + half


def mean_error(values: Tensor) -> float:
    """Return the standard error of the mean of values (n,); infinite for one."""
    n = len(values)
    return float(values.std()) / math.sqrt(n) if n > 1 else math.inf


def rounded(error: Tensor, value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return errors no smaller than the rounding of values (n,) in this precision; infinite where that hides all."""
    rounding = torch.finfo(dtype).eps * value.abs()
    return torch.where(rounding < UNSURE, torch.maximum(error, rounding), math.inf)


def from_numbers(value: Tensor, error: Tensor, method: str, cost: Cost) -> LogLikelihood:
    """Return a result that nothing was sampled for."""
    infinite = torch.full_like(value, math.inf)
    none = torch.zeros(len(value), dtype=torch.int64)
    return LogLikelihood(value, error, infinite, -infinite, method, none, cost=cost)
