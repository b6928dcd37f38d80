"""mean_j and variance_j of every feature in float64, by two passes without a copy of the data.

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

from nelbo.data.steps.affine import borrowed
from nelbo.data.steps.dequantise import LEVELS, NOISE_VARIANCE, check_units
from nelbo.data.steps.layout import Layout
from nelbo.linear.robust import Outliers

__all__ = [
    "Scale",
    "channel_axis",
    "chunks",
    "drawn_in",
    "feature_moments",
    "fit_channels",
    "fit_scaling",
    "has_missing",
    "varying",
    "first_values",
    "is_constant",
]

Vector = npt.NDArray[np.float64]
Scale = Literal["auto", "global", "standard", "whitened"] | None


def chunks(n_rows: int, n_features: int, budget: int = 2**16) -> Iterator[slice]:
    """Return slices of rows, in order.

    Arguments:
        n_rows, n_features: The size of the data.
        budget: About how many values a slice has. Half a MB in float64 stays in cache, and bounds
            the memory of every loop over rows.
    """
    step = max(1, budget // max(1, n_features))
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def _centred(flat: npt.NDArray[Any], centre: Tensor) -> Iterator[Tensor]:
    """Yield rows less a centre, in float64, a chunk at a time."""
    # astype copies, so read-only arrays (memory maps, pandas) are safe to hand to torch
    for rows in chunks(*flat.shape):
        yield torch.from_numpy(flat[rows].astype(np.float64)).sub_(centre)


def has_missing(array: npt.NDArray[Any]) -> bool:
    """Return whether any value of rows (n, ...) is missing (NaN)."""
    if array.dtype.kind != "f" or len(array) == 0:
        return False
    width = max(1, array[0].size)
    # A sum of finite values may overflow, but is not NaN.
    return any(bool(np.isnan(array[rows]).any()) for rows in chunks(len(array), width))


def feature_moments(flat: npt.NDArray[Any]) -> tuple[Vector, Vector]:
    """Return mean and variance (ddof 0) of every feature of `flat` (n, D): each (D,), float64.

    Missing values (NaN) are left out; of a feature without any value both are 0.

    Raises:
        ValueError: A variance overflows float64 (values beyond about 1e154).
    """
    n = len(flat)
    if flat.dtype == np.uint8:
        return _byte_moments(flat)
    if has_missing(flat):
        return observed_moments(flat)
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


def observed_moments(flat: npt.NDArray[Any]) -> tuple[Vector, Vector]:
    """Return the same of the values that are there."""
    d = flat.shape[1]
    count, total, square = (np.zeros(d) for _ in range(3))
    for rows in chunks(*flat.shape):
        part = flat[rows].astype(np.float64)
        count += (~np.isnan(part)).sum(0)
        total += np.nansum(part, 0)
    count = np.maximum(count, 1)
    mean = total / count
    left = np.zeros(d)
    for rows in chunks(*flat.shape):
        centred = np.nan_to_num(flat[rows].astype(np.float64) - mean, nan=0.0, posinf=np.inf)
        left += centred.sum(0)
        with np.errstate(over="ignore"):
            square += np.square(centred).sum(0)
    left /= count
    variance = np.maximum(square / count - np.square(left), 0.0)
    _check_finite(torch.from_numpy(variance))
    return mean + left, variance


def _byte_moments(flat: npt.NDArray[Any]) -> tuple[Vector, Vector]:
    """Return the same of bytes, in one pass: sums of 256 squares of them are exact in float32."""
    total = np.zeros((2, flat.shape[1]))
    for start in range(0, len(flat), LEVELS):
        x = torch.from_numpy(flat[start : start + LEVELS].astype(np.float32))
        total += torch.stack([x.sum(0), x.square().sum(0)]).numpy()
    # n^2 times the variance is a difference of whole numbers, so exactly zero for a constant column
    spread = [len(flat) * int(b) - int(a) ** 2 for a, b in total.T]
    return total[0] / len(flat), np.array(spread, dtype=np.float64) / len(flat) ** 2


def _check_finite(variance: Tensor) -> None:
    """Refuse variances that overflow a float64."""
    bad = torch.nonzero(~torch.isfinite(variance)).flatten()
    if len(bad):
        raise ValueError(
            f"X feature {int(bad[0])} has a variance beyond float64 ({len(bad)} such in all). "
            "Divide it by a constant so that its values lie below 1e150."
        )


def _check_not_too_small(flat: npt.NDArray[Any], variance: Vector, least: float = 1e-280) -> None:
    """Refuse a column that varies, but whose variance is too small for a float64.

    Below ``least`` squares of deviations lose their last bits, and then all of them.
    """
    small = np.flatnonzero(variance < least)
    varies = small[varying(flat[:, small])]
    if len(varies):
        raise ValueError(
            f"X feature {int(varies[0])} varies, but its variance is below what a float64 holds "
            f"({len(varies)} such in all). Multiply it by a constant so that it varies by more "
            "than 1e-140."
        )


def varying(flat: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which columns of rows (n, D) have two different values."""
    first = first_values(flat)
    varies = np.zeros(flat.shape[1], dtype=np.bool_)
    for rows in chunks(*flat.shape):
        part = flat[rows]
        differs = part != first
        if part.dtype.kind == "f":
            differs &= ~np.isnan(part)
        varies |= differs.any(0)
        if varies.all():
            break
    return varies


def first_values(flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the first value of each column of rows (n, D) that is there, NaN where none is."""
    found: npt.NDArray[Any] = flat[0].copy()
    if found.dtype.kind != "f":
        return found
    for j in np.flatnonzero(np.isnan(found)):
        there = np.flatnonzero(~np.isnan(flat[:, j]))
        if len(there):
            found[j] = flat[there[0], j]
    return found


def is_constant(mean: Vector, variance: Vector, dtype: np.dtype[Any]) -> npt.NDArray[np.bool_]:
    """Return which features do not vary by more than the resolution of `dtype` at their mean."""
    if dtype.kind != "f":
        dtype = np.dtype(np.float64)
    constant: npt.NDArray[np.bool_] = np.sqrt(variance) <= np.finfo(dtype).eps * np.abs(mean)
    return constant


def drawn_in(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return rows (n, ...) with outliers of each column drawn in; the array itself without any."""
    flat = array.reshape(len(array), -1)
    limits = Outliers().limits(borrowed(flat if flat.dtype.kind == "f" else flat.astype(float)))
    if limits is None:
        return array
    low, high = (limit.numpy() for limit in limits)
    found: npt.NDArray[Any] = np.clip(flat, low, high).astype(flat.dtype).reshape(array.shape)
    return found


def fit_scaling(
    flat: npt.NDArray[Any], scale: Scale, dequantize: bool
) -> tuple[Vector, Vector, tuple[int, ...]]:
    """Return shift (D,), scale () or (D,), and the constant features of flat rows (n, D)."""
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
    pooled: Any = variance
    if scale not in ("standard", "whitened"):
        pooled = np.mean(variance)
    return mean, np.sqrt(np.where(pooled > 0, pooled, 1.0)), unvarying


def channel_axis(
    array: npt.NDArray[Any],
    layout: Layout,
    unlike: float = 5.0,
    most_sensors: int = 32,
    rows: int = 1000,
) -> int | None:
    """Return the axis along which scales of images differ so much that each has its own, if any.

    It is that of the channels; where there are none, windows of sensors look like pictures, with
    the sensors on the last axis or on the one before. A channel that rests at one value most of the
    time, as the margins of a picture do, says nothing.

    Arguments:
        array: Images (n, ...).
        layout: Their layout.
        unlike: By which factor the deviations of channels then differ at least.
        most_sensors: The length of the axis of sensors at most: a longer one is that of a picture.
        rows: The number of images to look at.
    """
    some = array[:: math.ceil(len(array) / rows)].astype(np.float64)
    axes: tuple[int, ...] = {"hwc": (3,)}.get(layout, (1,))
    if layout == "hw":
        axes = tuple(axis for axis in (2, 1) if 2 <= array.shape[axis] <= most_sensors)
    ratios = {axis: _unlikeness(np.moveaxis(some, axis, 0)) for axis in axes}
    found = max(ratios, key=lambda axis: ratios[axis], default=None)
    if found is None or ratios[found] < unlike:
        return None
    return found


def _unlikeness(channels: npt.NDArray[np.float64]) -> float:
    """Return the largest deviation of channels (c, n, ...) by the smallest, of those that tell."""
    deviations = []
    for values in channels:
        rests = float((values == np.median(values)).mean()) > 0.5
        deviation = math.sqrt(float(values.var(0).mean()))
        if not rests and deviation > 0:
            deviations.append(deviation)
    if not deviations:
        return 1.0
    return max(deviations) / min(deviations)


def fit_channels(array: npt.NDArray[Any], axis: int) -> Vector:
    """Return the scale of each value of images (n, ...), flat: one number for each channel."""
    shape = array.shape[1:]
    variance = feature_moments(array.reshape(len(array), -1))[1].reshape(shape)
    others = tuple(i for i in range(len(shape)) if i != axis - 1)
    pooled = variance.mean(axis=others, keepdims=True)
    scale: Vector = np.sqrt(np.broadcast_to(np.where(pooled > 0, pooled, 1.0), shape)).reshape(-1)
    return scale
