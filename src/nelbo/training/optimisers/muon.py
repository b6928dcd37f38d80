r"""Muon for the weight matrices, AdamW for the rest (Jordan et al., 2024; Liu et al., 2025).

A step moves a matrix along the orthogonal factor :math:`U V^T` of its momentum :math:`U S V^T`, so
that rare directions count as much as common ones. Five Newton-Schulz iterations find it, in
bfloat16, for matrix products alone. On a CPU they cost more than a small batch does; they pay where
a step is expensive anyway (many samples, large batches, GPUs).

Not ``torch.optim.Muon``, for the reason that `AdamW` gives; a test holds the two against each
other.
"""

from __future__ import annotations

__all__ = ["Muon"]

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .adamw import AdamW


class Muon:
    """Orthogonalised momentum for parameters of two dimensions; `AdamW` for all others.

    Arguments:
        parameters: What to optimise.
        weight_decay: Shrinks every weight by this times the learning rate at each step.
    """

    momentum_kept = 0.95
    """How much of the momentum is kept at each step."""
    match = 0.2
    """Root mean square of an update of rate 1: that of AdamW, so that one learning rate serves both
    (Liu et al., 2025)."""

    def __init__(self, parameters: Iterable[nn.Parameter], weight_decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.matrices = [p for p in self.parameters if p.ndim == 2]
        self.weight_decay = weight_decay
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        self.rest = AdamW((p for p in self.parameters if p.ndim != 2), weight_decay)

    @torch.no_grad()
    def step(self, learning_rate: float, divisor: Tensor | None, finite: Tensor | bool) -> None:
        """Move the parameters along their gradients, as `AdamW.step` does.

        A matrix's step has the same length whatever its gradient is divided by; the divisor keeps
        its momentum as it should be.
        """
        if finite is False:
            return
        for matrix, momentum in zip(self.matrices, self.momentum, strict=True):
            if matrix.grad is None:
                continue
            gradient = matrix.grad
            if divisor is not None:
                gradient = gradient / divisor
            if isinstance(finite, Tensor):
                gradient = torch.where(finite, gradient, momentum)  # which then stays what it is
            momentum.lerp_(gradient, 1 - self.momentum_kept)
            direction = orthogonal(gradient.lerp(momentum, self.momentum_kept)).to(matrix.dtype)
            length = learning_rate * self.match * math.sqrt(max(matrix.shape)) * finite
            matrix.mul_(1 - learning_rate * self.weight_decay * finite).sub_(direction * length)
        self.rest.step(learning_rate, divisor, finite)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that the next steps depend on."""
        return self.rest.state() | {
            f"momentum.{i}": value.clone() for i, value in enumerate(self.momentum)
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Undo `state`."""
        self.rest.load_state(state)
        for i, value in enumerate(self.momentum):
            value.copy_(state[f"momentum.{i}"])


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Return about U V^T of a matrix U S V^T, its singular values between 0.7 and 1.2, in bfloat16.

    The odd polynomial of each iteration takes singular values from (0, 1] to near 1 (Jordan et al.,
    2024).
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.mT, iterations).mT
    x = matrix.bfloat16()
    x = x / x.norm().clamp_min(1e-7)
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(iterations):
        square = x @ x.mT
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x
