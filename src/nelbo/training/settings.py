"""What one call of `fit` was asked for, as a value."""

from __future__ import annotations

__all__ = ["Settings"]

from dataclasses import dataclass

import torch

from .optimisers import OPTIMIZERS
from .rate import DECAY


@dataclass(frozen=True)
class Settings:
    """Options of a run, as `fit` describes them.

    Raises:
        ValueError: The learning rate is not positive, or the optimiser is unknown.
    """

    max_epochs: int | None = None
    max_steps: int | None = None
    max_seconds: float | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    decay: float | None = DECAY
    weight_decay: float = 0.0
    optimizer: str = "adamw"
    average: float = 0.0
    clip: float | None = 10.0
    early_stopping: bool = True
    seed: int = 0
    device: str | torch.device = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}.")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(
                f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}."
            )
