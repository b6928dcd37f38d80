"""What a run is given, checked before anything is done: each message names the argument and the cure."""

from __future__ import annotations

__all__ = ["Transform", "check_index", "check_rows"]

from collections.abc import Callable

import torch
from torch import Tensor

Transform = Callable[[Tensor, torch.Generator], Tensor]
"""What turns some raw rows into what the model takes, with fresh noise: dequantisation, say."""


def check_rows(shape: tuple[int, ...], x: Tensor, validation: Tensor | None, transform: Transform | None) -> None:
    """Refuse rows that a model of examples of this shape cannot take, by name."""
    if transform is None:
        _check_taken("x", x, shape)
    else:
        _check_content("x", x)
        _check_taken("transform(x)", transform(x[:1], torch.Generator(x.device).manual_seed(0)), shape)
    if validation is not None:
        _check_taken("validation", validation, shape)


def check_index(rows: Tensor | None, count: int) -> None:
    """Refuse row numbers that are none."""
    if rows is None:
        return
    if not isinstance(rows, Tensor):
        raise TypeError(f"rows must be a tensor of row numbers, got {type(rows).__name__}. Pass torch.as_tensor(rows).")
    if (
        rows.dtype != torch.int64
        or rows.ndim != 1
        or not len(rows)
        or not 0 <= int(rows.min()) <= int(rows.max()) < count
    ):
        raise ValueError(f"rows must be a tensor of row numbers from 0 to {count - 1} (int64, one axis), got {rows}.")


def _check_taken(name: str, rows: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse what is not some finite floats of the model's shape."""
    _check_floats(name, rows)
    if tuple(rows.shape[1:]) != shape:
        raise ValueError(f"{name} has shape {tuple(rows.shape)}, but the model needs {('n', *shape)}.")
    _check_content(name, rows)


def _check_content(name: str, rows: Tensor) -> None:
    """Refuse no rows, and what is not finite."""
    if len(rows) == 0:
        raise ValueError(f"{name} has no rows.")
    # A sum of finite values may overflow; only then is every one of them looked at.
    if not bool(rows.sum().isfinite()) and not bool(torch.isfinite(rows).all()):
        raise ValueError(f"{name} contains NaN or infinite values; remove or impute them first.")


def _check_floats(name: str, rows: object) -> None:
    """Refuse what is not a tensor of floats."""
    if not isinstance(rows, Tensor) or not rows.dtype.is_floating_point:
        kind = rows.dtype if isinstance(rows, Tensor) else type(rows).__name__
        raise TypeError(f"{name} must be a tensor of floats, got {kind}. Pass torch.as_tensor({name}).float().")
