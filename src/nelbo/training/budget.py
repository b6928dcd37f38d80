"""How long to train, and which rows each step takes: pure functions of the step."""

from __future__ import annotations

__all__ = ["Budget", "default_batch_size", "default_steps"]

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Budget:
    """How long to train: whichever limit is reached first; and which rows each step takes.

    Without any limit, the number of steps grows with the data: 2,000 for a small table, 20,000 for
    60,000 rows. Without a given batch size, the first epoch begins with smaller batches, which
    double every `FIRST_STEPS` steps. A single row that would be left at the end of an epoch joins
    the batch before: it has no variance, which networks with batch normalisation need.

    Attributes:
        rows: The number of rows.
        batch_size: The number of rows in a step.
        max_steps, max_seconds: The limits.
        small: Sizes of the smaller batches that the first epoch begins with, one for each
            `FIRST_STEPS` steps.
    """

    FIRST_BATCH: ClassVar[int] = 64
    """Rows in the first batches of a default run:
    early gradients agree, so that many small steps go further."""
    FIRST_STEPS: ClassVar[int] = 64
    """Steps after which they double, until they have the size of the rest."""

    rows: int
    batch_size: int
    max_steps: int | None
    max_seconds: float | None
    small: tuple[int, ...] = ()

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
        small: tuple[int, ...] = ()
        if batch_size is None:
            small = _small_batches(rows, batch)
        budget = cls(rows, batch, None, max_seconds, small)
        steps = [s for s in (max_steps, max_epochs and budget.steps_of(max_epochs)) if s]
        if not steps and max_seconds is None:
            steps = [default_steps(rows)]
        return dataclasses.replace(budget, max_steps=min(steps, default=None))

    @property
    def steps_per_epoch(self) -> int:
        """Steps of every epoch but the first, which may begin with smaller batches."""
        return self.batches(self.rows)

    def batches(self, rows: int) -> int:
        """Return the number of batches that ``rows`` rows make."""
        whole, left = divmod(rows, self.batch_size)
        return whole + (left > 1 or (left == 1 and whole == 0))

    def steps_of(self, epochs: int) -> int:
        """Return how many steps the first epochs take."""
        left = self.rows - Budget.FIRST_STEPS * sum(self.small)
        first = Budget.FIRST_STEPS * len(self.small) + self.batches(left)
        return first + (epochs - 1) * self.steps_per_epoch

    def place(self, step: int) -> tuple[int, int, int]:
        """Return the epoch of a step, and where its rows begin and end in that epoch's order."""
        index = step - Budget.FIRST_STEPS * len(self.small)
        if index < 0:
            stage, index = divmod(step, Budget.FIRST_STEPS)
            start = Budget.FIRST_STEPS * sum(self.small[:stage]) + index * self.small[stage]
            return 0, start, start + self.small[stage]
        epoch = 0
        start = Budget.FIRST_STEPS * sum(self.small) + index * self.batch_size
        if step >= self.steps_of(1):
            epoch, index = divmod(step - self.steps_of(1), self.steps_per_epoch)
            epoch, start = epoch + 1, index * self.batch_size
        end = min(start + self.batch_size, self.rows)
        if end == self.rows - 1 and self.batch_size > 1:  # a single row would be left
            end = self.rows
        return epoch, start, end

    def epochs(self, step: int) -> float:
        """Return how many passes over the rows lie behind a step."""
        epoch, start, _ = self.place(step)
        return epoch + start / self.rows

    def progress(self, step: int, seconds: float) -> float:
        """Return which part of the budget is spent, from 0 to 1.

        Without a time limit, the clock plays no part.
        """
        spent = 0.0
        if self.max_steps:
            spent = step / self.max_steps
        if self.max_seconds:
            spent = max(spent, seconds / self.max_seconds)
        return min(1.0, spent)

    def planned_steps(self, step: int, seconds: float) -> float:
        """Return how many steps the run will have, projected where there is a time limit."""
        if self.max_seconds is None and self.max_steps is not None:
            return self.max_steps
        progress = self.progress(step, seconds)
        if step and progress:
            return step / progress
        return math.inf

    def reserving(self, seconds: float) -> Budget:
        """Return a budget that leaves time for what follows the last step, at most a quarter."""
        if self.max_seconds is None:
            return self
        left = self.max_seconds - min(seconds, self.max_seconds / 4)
        return dataclasses.replace(self, max_seconds=left)

    @property
    def validate_every(self) -> int:
        """The steps between two validations: an epoch, or a hundredth of a longer run."""
        return max(self.steps_per_epoch, (self.max_steps or 0) // 100, 1)


def default_batch_size(rows: int, largest: int = 256) -> int:
    """Return a power of two from 32 to 256 that makes at least 16 batches an epoch where it can."""
    return int(min(largest, max(32, 2 ** math.floor(math.log2(max(rows / 16, 1))))))


def _small_batches(rows: int, batch_size: int) -> tuple[int, ...]:
    """Return the sizes of the smaller batches that fit into half of the first epoch."""
    sizes: list[int] = []
    size = Budget.FIRST_BATCH
    while size < batch_size and Budget.FIRST_STEPS * (sum(sizes) + size) <= rows / 2:
        sizes.append(size)
        size *= 2
    return tuple(sizes)


def default_steps(rows: int) -> int:
    """Return the length of a run without limits:
    2,000 steps and 0.3 for each row, at most 60,000.
    """
    return min(60_000, 2_000 + round(0.3 * rows))
