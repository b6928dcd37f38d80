"""Positive numbers as networks output them."""

from __future__ import annotations

__all__ = ["softplus_inverse"]

import torch
from torch import Tensor


def softplus_inverse(y: Tensor) -> Tensor:
    """Return the number that softplus maps to y > 0, without overflow or cancellation."""
    return y + torch.log(-torch.expm1(-y))
