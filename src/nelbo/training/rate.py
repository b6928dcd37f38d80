"""The learning rate at each step: a warm-up, a peak, and a fall.

For most of a run it stays at its peak, which gets furthest in any given time (warm-up, stable,
decay: Hu et al., 2024); or it follows a cosine (Loshchilov & Hutter, 2017).
"""

from __future__ import annotations

__all__ = ["DECAY", "RateSchedule", "default_learning_rate"]

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

DECAY = 0.25
"""Default share of a run, at its end, over which the rate falls."""


def default_learning_rate(
    planned_steps: float, base: float = 1.5e-3, long_run: int = 4_000
) -> float:
    """Return the peak rate: fewer steps have to be larger, by the fourth root of how many fewer.

    Arguments:
        planned_steps: How many the run will have.
        base: The peak of runs of at least ``long_run`` steps; that of shorter ones is up to three
            times as high.
        long_run: Steps of a long run.
    """
    larger: float = max(1.0, long_run / planned_steps) ** 0.25
    return base * min(3.0, larger)


@dataclass(frozen=True)
class RateSchedule:
    """When the learning rate rises and falls.

    Attributes:
        decay: Share of the run, at its end, over which it falls in a straight line; None is a
            cosine all along.
        start, end: Progress at which the line begins and ends: the end of the run, unless it was
            called for early.
        early: Whether it was.
    """

    WARMUP: ClassVar[int] = 10
    """Steps over which the rate rises."""
    FINAL_FACTOR: ClassVar[float] = 0.01
    """Share of the peak rate that is left at the end."""

    decay: float | None
    start: float
    end: float = 1.0
    early: bool = False

    @classmethod
    def of(cls, decay: float | None) -> RateSchedule:
        """Return the plan for a whole run.

        Raises:
            ValueError: ``decay`` is not in (0, 1].
        """
        if decay is not None and not 0 < decay <= 1:
            raise ValueError(f"decay must be in (0, 1], or None for a cosine, got {decay!r}.")
        return cls(decay, 0.0 if decay is None else 1 - decay)

    def now(self, progress: float) -> RateSchedule:
        """Return a fall that begins now, before its start,
        and takes its share of the shorter run.
        """
        return dataclasses.replace(self, start=progress, end=progress / self.start, early=True)

    def pending(self, progress: float) -> bool:
        """Return whether it has not begun."""
        return self.decay is not None and progress < self.start

    def over(self, progress: float) -> bool:
        """Return whether it was called for early, and has ended."""
        return self.early and progress >= self.end

    def factor(self, progress: float) -> float:
        """Return the multiple of the peak rate."""
        if self.decay is None:
            wave = 0.5 * (1 + math.cos(math.pi * progress))
            return self.FINAL_FACTOR + (1 - self.FINAL_FACTOR) * wave
        left = (self.end - progress) / max(self.end - self.start, 1e-9)
        return max(self.FINAL_FACTOR, min(1.0, left))

    def at(self, step: int, progress: float, warmup: int = WARMUP) -> float:
        """Return the multiple of the peak rate at a step: a linear warm-up, and the fall."""
        return min(1.0, (step + 1) / max(warmup, 1)) * self.factor(progress)
