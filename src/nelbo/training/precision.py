"""Where to train and with how many bits.

bfloat16 has 8 significant bits: a mean is rounded by up to 0.2 % of its size. That is far below the
noise of images, and trains twice as fast or more where the hardware has it, but it would drown the
residuals of a model with very small noise. ``precision="auto"`` therefore uses it only where it
pays and cannot change the bound.
"""

from __future__ import annotations

__all__ = ["bfloat16_pays", "resolve_device", "resolve_precision"]

import torch
from torch import nn

from ..likelihood import Noise, likelihoods_in


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn "auto" into the first GPU, or the CPU where there is none.

    Raises:
        ValueError: The device is unknown or absent.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
        if found.type == "meta":
            raise RuntimeError("which has no numbers")
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f'device {str(device)!r} cannot be used here; pass "auto", "cpu" or "cuda".'
        ) from error
    return found


def resolve_precision(
    precision: str,
    device: torch.device,
    module: nn.Module,
    batch_size: int,
    smallest: int = 100_000,
) -> tuple[str, bool]:
    """Return ("bf16" | "float32", whether it may still change on its own).

    Arguments:
        precision: "bf16", "float32", or "auto" to choose between them.
        device: Where to train.
        module: What to train.
        batch_size: The number of rows in a step.
        smallest: The number of weights below which a step costs more in casts than it saves.

    Raises:
        ValueError: The word is unknown.
    """
    if precision not in ("auto", "bf16", "float32"):
        raise ValueError(f'precision must be "auto", "bf16" or "float32", got {precision!r}.')
    if precision != "auto":
        return precision, False
    parameters = list(module.parameters())
    large = sum(p.numel() for p in parameters) >= smallest and batch_size >= 64
    single = all(p.dtype == torch.float32 for p in parameters)
    if large and single and has_bfloat16(device) and bfloat16_pays(module):
        return "bf16", True
    return "float32", False


def bfloat16_pays(module: nn.Module) -> bool:
    """Return whether every noise is large against bfloat16's rounding; from z it may not be."""
    return all(_is_large(head.noise()) for head in likelihoods_in(module))


def _is_large(noise: Noise, smallest: float = 0.05) -> bool:
    """Return whether a noise is at least ``smallest``, as a standard deviation in scaled units.

    With a smaller one bfloat16 would cost more than 1e-3 nats per feature.
    """
    if noise.variance is None:
        return noise.kind == "none"
    return bool((noise.variance > smallest**2).all())


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    # no public probe exists up to torch 2.13
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())
