r"""What happens at which step: pure functions of (seed, step), so that a run can be resumed from a step alone."""

from __future__ import annotations

__all__ = [
    "Budget",
    "default_batch_size",
    "default_learning_rate",
    "epoch_order",
    "learning_rate_factor",
    "stream_seed",
]

import dataclasses
import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

WARMUP = 10
"""Steps over which the learning rate rises."""
LEARNING_RATE = 2e-3
"""Default peak of runs of at least `LONG_RUN` steps; shorter ones take larger steps, up to three times that."""
LONG_RUN = 2_000
FINAL_FACTOR = 0.01
"""Share of the peak learning rate that is left at the end of the cosine."""


@dataclass(frozen=True)
class Budget:
    """How long to train: whichever limit is reached first.

    Without any limit, the number of steps grows with the data: 2,000 for a small table, 20,000 for 60,000 rows.
    """

    batch_size: int
    steps_per_epoch: int
    max_steps: int | None
    max_seconds: float | None

    @classmethod
    def resolve(
        cls,
        rows: int,
        batch_size: int | None,
        max_epochs: int | None,
        max_steps: int | None,
        max_seconds: float | None,
    ) -> Budget:
        """Fill in what the caller left open.

        Raises:
            ValueError: A limit is not positive.
        """
        limits = {
            "batch_size": batch_size,
            "max_epochs": max_epochs,
            "max_steps": max_steps,
            "max_seconds": max_seconds,
        }
        for name, value in limits.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}.")
        batch = min(rows, batch_size or default_batch_size(rows))
        per_epoch = math.ceil(rows / batch)
        steps = [s for s in (max_steps, max_epochs and max_epochs * per_epoch) if s]
        if not steps and max_seconds is None:
            steps = [default_steps(rows)]
        return cls(batch, per_epoch, min(steps) if steps else None, max_seconds)

    def progress(self, step: int, seconds: float) -> float:
        """Return which part of the budget is spent, from 0 to 1. Without a time limit, the clock plays no part."""
        by_step = step / self.max_steps if self.max_steps else 0.0
        by_time = seconds / self.max_seconds if self.max_seconds else 0.0
        return min(1.0, max(by_step, by_time))

    def planned_steps(self, step: int, seconds: float) -> float:
        """Return how many steps the run will have: exact without a time limit, else projected from those so far."""
        if self.max_seconds is None and self.max_steps is not None:
            return self.max_steps
        progress = self.progress(step, seconds)
        return step / progress if step and progress else math.inf

    def reserving(self, seconds: float) -> Budget:
        """Return a budget that leaves some of a time limit, at most a quarter, for what follows the last step."""
        if self.max_seconds is None:
            return self
        return dataclasses.replace(self, max_seconds=self.max_seconds - min(seconds, self.max_seconds / 4))

    @property
    def validate_every(self) -> int:
        """How many steps lie between two validations: an epoch, or a hundredth of the run if that is longer."""
        return max(self.steps_per_epoch, (self.max_steps or 0) // 100, 1)


def default_batch_size(rows: int) -> int:
    """Return a power of two from 32 to 512 that makes at least 16 batches an epoch where it can."""
    return int(min(512, max(32, 2 ** math.floor(math.log2(max(rows / 16, 1))))))


def default_steps(rows: int) -> int:
    """Return the length of a run without limits: 2,000 steps and 0.3 for each row, at most 60,000."""
    return min(60_000, 2_000 + round(0.3 * rows))


def default_learning_rate(planned_steps: float) -> float:
    """Return the peak rate: fewer steps have to be larger, by the fourth root of how many fewer."""
    larger: float = max(1.0, LONG_RUN / planned_steps) ** 0.25
    return LEARNING_RATE * min(3.0, larger)


def learning_rate_factor(step: int, progress: float, warmup: int) -> float:
    """Return the multiple of the peak rate: a linear warm-up, then a cosine down to `FINAL_FACTOR`."""
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return min(1.0, (step + 1) / max(warmup, 1)) * (FINAL_FACTOR + (1 - FINAL_FACTOR) * cosine)


def stream_seed(*key: int | str) -> int:
    """Return an independent 63-bit seed for each key, such as (seed, "noise", step)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def epoch_order(rows: int, seed: int, epoch: int) -> Tensor:
    """Return the order in which an epoch visits the rows: a permutation that depends on (seed, epoch) alone."""
    generator = torch.Generator().manual_seed(stream_seed(seed, "order", epoch))
    return torch.randperm(rows, generator=generator)
