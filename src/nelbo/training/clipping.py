"""Clips gradients by a running mean of their norm, skips steps whose gradient is not finite, and
averages the bound between two records.

On a CPU these are Python's numbers, a tenth of the cost of tensors that hold one. On a GPU they are
tensors, because a number would have to be waited for at every step.
"""

from __future__ import annotations

__all__ = ["Clipping"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Number = float | Tensor


class Clipping:
    """The running numbers that gradient clipping and records need.

    Arguments:
        clip: Gradients longer than this multiple of their running mean length are too long; None
            never are.
        device: Where the gradients are.
        host: Whether to hold Python's numbers; None does on a CPU.
    """

    NAMES = ("mean_norm", "skipped", "total", "taken")
    """The numbers that a checkpoint holds."""
    MEMORY = 0.02
    """Weight of the newest gradient in the running mean of norms, once it has run in."""
    LEAST = 1e-30
    """Below the smallest norm that is divided by."""

    def __init__(self, clip: float | None, device: torch.device, host: bool | None = None) -> None:
        self.clip = clip
        if host is None:
            host = device.type == "cpu"
        self.host = host
        self.mean_norm: Number = self._zero(device)
        self.skipped: Number = self._zero(device)
        self.total: Number = self._zero(device)
        self.taken: Number = self._zero(device)

    def _zero(self, device: torch.device) -> Number:
        """Return 0 as a number of Python or of the device."""
        if self.host:
            return 0.0
        return torch.zeros((), dtype=torch.float64, device=device)

    def judge(
        self, gradients: Sequence[Tensor], step: int, settled: bool
    ) -> tuple[Tensor | None, Tensor | bool]:
        """Return what to divide the gradients by, None for 1, and whether they are finite.

        Arguments:
            gradients: One for each parameter.
            step: How many there have been before.
            settled: Whether the running mean tells enough to shorten by.
        """
        if not gradients:
            return None, True
        norms = torch._foreach_norm(list(gradients))
        weight = max(1 / (step + 1), self.MEMORY)
        limited = self.clip is not None and settled
        if self.host:
            return self._judge_number(math.hypot(*(n.item() for n in norms)), weight, limited)
        norm = torch.linalg.vector_norm(torch.stack(norms))
        finite: Tensor = norm.isfinite()
        limit: Tensor = norm.double()
        if limited:
            limit = self.mean_norm * self.clip  # type: ignore[operator, assignment]
        length = torch.where(finite, norm.double(), limit)
        scale = (length / limit.clamp_min(self.LEAST)).clamp_min(1.0)
        newest = torch.where(finite, length / scale, self.mean_norm)
        self.mean_norm = self.mean_norm + weight * (newest - self.mean_norm)
        self.skipped = self.skipped + ~finite
        return scale.float(), finite

    def _judge_number(
        self, length: float, weight: float, limited: bool
    ) -> tuple[Tensor | None, bool]:
        """Judge one length in Python's numbers."""
        if not math.isfinite(length):
            self.skipped += 1
            return None, False
        scale: Number = 1.0
        if limited:
            limit = max(self.mean_norm * (self.clip or 1.0), self.LEAST)
            scale = max(1.0, length / limit)
        self.mean_norm += weight * (length / scale - self.mean_norm)
        if scale == 1:
            return None, True
        return torch.tensor(scale, dtype=torch.float32), True

    def add(self, bound: Tensor, finite: Tensor | bool) -> None:
        """Count the bounds of one step's rows, unless it was skipped."""
        rows = bound.detach().sum(dtype=torch.float64)
        if isinstance(finite, Tensor):
            self.total = self.total + torch.where(finite, rows, 0.0)
            self.taken = self.taken + finite * len(bound)
        elif finite:
            self.total += rows.item()
            self.taken += len(bound)

    def restart(self) -> None:
        """Begin anew to count bounds."""
        self.total, self.taken = self.total * 0, self.taken * 0

    def state(self) -> dict[str, Tensor]:
        """Return copies of the numbers."""
        return {
            name: torch.as_tensor(getattr(self, name), dtype=torch.float64).clone()
            for name in self.NAMES
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Undo `state`."""
        for name in self.NAMES:
            before, value = getattr(self, name), state[name]
            if isinstance(before, Tensor):
                setattr(self, name, value.to(before))
            else:
                setattr(self, name, value.item())
