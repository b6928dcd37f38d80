r"""AdamW in one fused kernel (Loshchilov & Hutter, 2019), without ``torch.optim``.

The kernel is torch's own; what is left out is the optimiser class around it, whose first use
imports the compiler (over a second, more than a short fit takes) and whose bookkeeping costs a
small network a good part of each step.
"""

from __future__ import annotations

__all__ = ["AdamW"]

from collections.abc import Iterable

import torch
from torch import Tensor


class AdamW:
    """Decoupled weight decay and bias-corrected moments, for parameters on one device.

    Arguments:
        parameters: What to optimise, of any dtypes.
        weight_decay: Shrinks every weight by this times the learning rate at each step.
        betas: How much of the running means of gradients and of their squares is kept at each step.
    """

    epsilon = 1e-8
    """What is added to the root of the mean square that gradients are divided by."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.beta1, self.beta2 = betas
        self.count = torch.zeros((), dtype=torch.float32)
        if self.parameters:
            self.count = self.count.to(self.parameters[0].device)
        keep = torch.preserve_format
        self.first = [torch.zeros_like(p, memory_format=keep) for p in self.parameters]
        self.second = [torch.zeros_like(p, memory_format=keep) for p in self.parameters]

    @torch.no_grad()
    def step(self, learning_rate: float, divisor: Tensor | None, finite: Tensor | bool) -> None:
        """Move the parameters along their gradients.

        Arguments:
            learning_rate: The size of the step.
            divisor: What gradients are divided by; None is 1.
            finite: Whether they are finite; else all stays as it is. On a GPU pass tensors, to
                avoid a host synchronisation.
        """
        if finite is False:
            return
        self.count += finite
        skip = None
        if isinstance(finite, Tensor):
            skip = (~finite).float()
        for dtype in {p.dtype for p in self.parameters}:
            rows = [
                (p, p.grad, m, v)
                for p, m, v in zip(self.parameters, self.first, self.second, strict=True)
                if p.dtype == dtype and p.grad is not None
            ]
            if not rows:
                continue
            parameters, gradients, first, second = (
                list(column) for column in zip(*rows, strict=True)
            )
            torch._fused_adamw_(
                parameters,
                gradients,
                first,
                second,
                [],
                [self.count] * len(parameters),
                lr=learning_rate,
                beta1=self.beta1,
                beta2=self.beta2,
                weight_decay=self.weight_decay,
                eps=self.epsilon,
                amsgrad=False,
                maximize=False,
                grad_scale=divisor,
                found_inf=skip,
            )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that the next steps depend on."""
        moments = {"first": self.first, "second": self.second}
        named = {
            f"{name}.{i}": value.clone()
            for name, values in moments.items()
            for i, value in enumerate(values)
        }
        return {"count": self.count.clone(), **named}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Undo `state`."""
        self.count.copy_(state["count"])
        for name, values in (("first", self.first), ("second", self.second)):
            for i, value in enumerate(values):
                value.copy_(state[f"{name}.{i}"])
