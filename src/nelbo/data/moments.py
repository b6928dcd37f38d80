"""mean_j and variance_j of every feature, by two passes in float64,
without a float64 copy of the data.

The first pass measures from the first row, the second from the mean, and what the second finds left
of the mean corrects both (Chan, Golub & LeVeque 1983): right for columns of mean 1e6 and deviation
1e-3, and exactly zero variance for a constant column.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nelbo.data.steps.dequantise import LEVELS, NOISE_VARIANCE, check_units
from nelbo.data.steps.layout import Layout

__all__ = [
    "Scale",
    "channel_axis",
    "chunks",
    "feature_moments",
    "fit_channels",
    "fit_scaling",
    "is_constant",
]

Vector = npt.NDArray[np.float64]
Scale = Literal["auto", "global", "standard", "whitened"] | None
SMALLEST_VARIANCE = 1e-280
"""Below it squares of deviations lose their last bits, and then all of them."""

UNLIKE = 5.0
"""How much the deviations of channels differ at least where each is scaled by its own."""
MOST_SENSORS = 32
"""Of windows (n, time, sensors) or (n, sensors, time):
a longer axis is taken for one of a picture.
"""
LOOKED_AT = 1000
"""Rows in which channels are compared."""

# half a MB in float64: stays in cache, and bounds the memory of every loop over rows
_CHUNK_VALUES = 2**16


def chunks(n_rows: int, n_features: int, budget: int = _CHUNK_VALUES) -> Iterator[slice]:
    """Slices of rows of about `budget` values each, in order."""
    step = max(1, budget // max(1, n_features))
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def _centred(flat: npt.NDArray[Any], centre: Tensor) -> Iterator[Tensor]:
    # astype copies, so read-only arrays (memory maps, pandas) are safe to hand to torch.
    for rows in chunks(*flat.shape):
        yield torch.from_numpy(flat[rows].astype(np.float64)).sub_(centre)


def feature_moments(flat: npt.NDArray[Any]) -> tuple[Vector, Vector]:
    """Per-feature mean and variance (ddof 0) of `flat` (n, D), n >= 1:
    each (D,) float64, in its units.

    Raises:
        ValueError: A variance overflows float64 (values beyond about 1e154).
    """
    n = len(flat)
    if flat.dtype == np.uint8:
        return _byte_moments(flat)
    pivot = torch.from_numpy(flat[0].astype(np.float64))
    mean = pivot + sum(d.sum(0) for d in _centred(flat, pivot)) / n
    left, square = torch.zeros_like(mean), torch.zeros_like(mean)
    for d in _centred(flat, mean):
        left += d.sum(0)
        square += d.square_().sum(0)
    left /= n
    variance = (square / n - left.square()).clamp_(min=0.0)
    _check_finite(variance)
    return (mean + left).numpy(), variance.numpy()


def _byte_moments(flat: npt.NDArray[Any]) -> tuple[Vector, Vector]:
    """The same of bytes, in one pass:
    sums of 256 of them, and of their squares, are exact in float32.
    """
    total = np.zeros((2, flat.shape[1]))
    for start in range(0, len(flat), LEVELS):
        x = torch.from_numpy(flat[start : start + LEVELS].astype(np.float32))
        total += torch.stack([x.sum(0), x.square().sum(0)]).numpy()
    # n^2 times the variance is a difference of whole numbers: exactly zero where a column is
    # constant.
    spread = [len(flat) * int(b) - int(a) ** 2 for a, b in total.T]
    return total[0] / len(flat), np.array(spread, dtype=np.float64) / len(flat) ** 2


def _check_finite(variance: Tensor) -> None:
    bad = torch.nonzero(~torch.isfinite(variance)).flatten()
    if len(bad):
        raise ValueError(
            f"X feature {int(bad[0])} has a variance beyond float64 ({len(bad)} such in all). "
            "Divide it by a constant so that its values lie below 1e150."
        )


def _check_not_too_small(flat: npt.NDArray[Any], variance: Vector) -> None:
    """Raise ValueError where a column varies, but its variance is too small for a float64."""
    small = np.flatnonzero(variance < SMALLEST_VARIANCE)
    varies = small[(flat[:, small] != flat[0, small]).any(0)]
    if len(varies):
        raise ValueError(
            f"X feature {int(varies[0])} varies, but its variance is below what a float64 holds "
            f"({len(varies)} such in all). Multiply it by a constant so that it varies by more "
            "than 1e-140."
        )


def is_constant(mean: Vector, variance: Vector, dtype: np.dtype[Any]) -> npt.NDArray[np.bool_]:
    """Which features do not vary:
    deviation zero, or below the resolution of `dtype` at their mean.
    """
    resolution = np.finfo(dtype).eps if dtype.kind == "f" else np.finfo(np.float64).eps
    constant: npt.NDArray[np.bool_] = np.sqrt(variance) <= resolution * np.abs(mean)
    return constant


def fit_scaling(
    flat: npt.NDArray[Any], scale: Scale, dequantize: bool
) -> tuple[Vector, Vector, tuple[int, ...]]:
    """Shift (D,), scale () or (D,), and the constant features of flat rows (n, D)."""
    mean, variance = feature_moments(flat)
    _check_not_too_small(flat, variance)
    constant = is_constant(mean, variance, flat.dtype)
    variance[constant] = 0.0
    if dequantize and flat.dtype == np.uint8:
        mean, variance = (mean + 0.5) / LEVELS, variance / LEVELS**2 + NOISE_VARIANCE
        constant = np.zeros_like(constant)
    elif dequantize:
        check_units(flat)
    unvarying = tuple(int(j) for j in np.flatnonzero(constant))
    if scale is None:
        return np.zeros_like(mean), np.array(1.0), unvarying
    pooled = variance if scale in ("standard", "whitened") else np.mean(variance)
    return mean, np.sqrt(np.where(pooled > 0, pooled, 1.0)), unvarying


def channel_axis(array: npt.NDArray[Any], layout: Layout) -> int | None:
    """Return the axis of images (n, ...) along which scales differ so much that each has its own;
    None for none.

    It is that of the channels; where there are none, windows of sensors look like pictures, with
    the sensors on the last axis or on the one before. A channel that rests at one value most of the
    time, as the margins of a picture do, says nothing.
    """
    rows = array[:: math.ceil(len(array) / LOOKED_AT)].astype(np.float64)
    if layout == "hw":
        axes = [axis for axis in (2, 1) if 2 <= array.shape[axis] <= MOST_SENSORS]
    else:
        axes = [3 if layout == "hwc" else 1]
    ratios = {axis: _unlikeness(np.moveaxis(rows, axis, 0)) for axis in axes}
    found = max(ratios, key=lambda axis: ratios[axis], default=None)
    return found if found is not None and ratios[found] >= UNLIKE else None


def _unlikeness(channels: npt.NDArray[np.float64]) -> float:
    """Return the largest deviation of channels (c, n, ...) by the smallest, of those that tell."""
    deviations = []
    for values in channels:
        rests = float((values == np.median(values)).mean()) > 0.5
        deviation = math.sqrt(float(values.var(0).mean()))
        if not rests and deviation > 0:
            deviations.append(deviation)
    return max(deviations) / min(deviations) if deviations else 1.0


def fit_channels(array: npt.NDArray[Any], axis: int) -> Vector:
    """Return the scale of each value of images (n, ...), flat:
    one number for all values of a channel.
    """
    shape = array.shape[1:]
    variance = feature_moments(array.reshape(len(array), -1))[1].reshape(shape)
    others = tuple(i for i in range(len(shape)) if i != axis - 1)
    pooled = variance.mean(axis=others, keepdims=True)
    scale: Vector = np.sqrt(np.broadcast_to(np.where(pooled > 0, pooled, 1.0), shape)).reshape(-1)
    return scale
