"""Mean and covariance of many rows, exactly enough and in bounded memory."""

from __future__ import annotations

__all__ = ["Chunks", "moments"]

import math
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from .incomplete import IncompleteMoments
from .model import CHUNK_ELEMENTS

# below this many products float64 costs under about 50 ms, so rounding is not worth saving
EXACT_WORK = 4e9


class Chunks(Protocol):
    """What `moments` needs of rows (n, D):
    a tensor has it, and so has what reads them a part at a time.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    def split(self, size: int, /) -> Iterable[Tensor]: ...


@torch.no_grad()
def moments(x: Tensor | Chunks, exact: bool = False) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of the rows of x (n, D), divided by n,
    in float64 on the device of x.

    Large inputs are multiplied in float32, in centred chunks accumulated in float64: the relative
    error is about 1e-7 (at worst 1e-5, where a column holds few distinct values, which all round
    alike). Small ones are multiplied in float64. Rows are centred before they are squared, so a
    mean far greater than the spread costs no accuracy. Memory beyond the result is bounded.

    A missing value is NaN: the moments of rows with such are found by EM (`IncompleteMoments`).

    Args:
        x: the rows.
        exact: multiply large inputs in float64, too.

    Raises:
        ValueError: x is not a matrix of at least one row and one column, or holds infinity.
    """
    if len(x.shape) != 2 or math.prod(x.shape) == 0:
        raise ValueError(f"x must have shape (n, D) with n, D >= 1, got {tuple(x.shape)}.")
    fits_float32 = x.dtype in (
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.uint8,
        torch.int8,
        torch.bool,
    )
    wide = torch.float32 if fits_float32 else torch.float64
    if not exact and x.shape[0] * x.shape[1] ** 2 > EXACT_WORK:
        mean, covariance = _two_pass(x, wide, torch.float32)
        # Squares of values beyond about 1e-19 .. 1e19 leave float32's range: only then take the
        # slow road.
        if 1e-25 < covariance.diagonal().mean().item() < 1e25:
            return mean, covariance
    mean, covariance = _two_pass(x, torch.float64, torch.float64)
    if not bool(covariance.diagonal().isfinite().all()):
        rows = _incomplete(x)
        if rows is not None:
            return IncompleteMoments()(rows)
        raise ValueError(
            "x holds infinity or values beyond 1e150. Remove or replace those rows first."
        )
    return mean, covariance


def _incomplete(x: Tensor | Chunks, numbers: int = 2**24) -> Tensor | None:
    """Return rows that hold missing values, and else finite ones, as one tensor; evenly spaced ones
    of more than so many numbers. None where that is not what they are.
    """
    step = math.ceil(math.prod(x.shape) / numbers)
    rows = torch.cat([part[::step].cpu() for part in x.split(max(step, CHUNK_ELEMENTS))])
    if bool(rows.isinf().any()) or not bool(rows.isnan().any()):
        return None
    return rows


def _two_pass(x: Tensor | Chunks, wide: torch.dtype, work: torch.dtype) -> tuple[Tensor, Tensor]:
    """Centre in `wide` at a first estimate of the mean, multiply in `work`,
    then correct for the estimate.
    """
    n, features = x.shape
    home = torch.device("cpu") if x.device.type == "mps" else x.device  # mps knows no float64
    size = max(256, CHUNK_ELEMENTS // features)
    pivot = torch.zeros(features, dtype=torch.float64, device=home)
    # summed at once: small results kept between large chunks would hold memory
    for chunk in x.split(size):
        pivot += chunk.to(wide).sum(0).to(home)
    pivot = (pivot / n).to(x.device, wide)
    blocks = math.ceil(features / 200)
    width = math.ceil(features / blocks)
    total = torch.zeros(features, dtype=torch.float64, device=home)
    products = torch.zeros(features, features, dtype=torch.float64, device=home)
    for chunk in x.split(size):
        centred = (chunk.to(wide) - pivot).to(work)
        total += centred.sum(0).to(home)
        # The matrix is symmetric: the strips on and right of the diagonal are little more than half
        # the work.
        for i in range(0, features, width):
            products[i : i + width, i:] += (centred[:, i : i + width].T @ centred[:, i:]).to(home)
    offset = total / n
    covariance = products.triu_().div_(n)
    covariance += covariance.triu(1).T
    covariance -= torch.outer(offset, offset)
    covariance.diagonal().clamp_(min=0.0)
    return pivot.to(home, torch.float64) + offset, covariance
