"""x = (u8 + U) / 256 with U uniform on [0, 1): 8-bit data as a density.

A density fitted to bare integers grows without bound at the 256 values. With uniform noise added,
log p(x) bounds that of the 8-bit image from below: log P(u8) >= E_U[log p(x)] - D log 256 (Theis et
al. 2016). A likelihood that is a probability of the 256 values takes them as they are instead.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nelbo.distributions import random_bytes

__all__ = [
    "LEVELS",
    "NOISE_VARIANCE",
    "Dequantize",
    "Noise",
    "check_grey",
    "check_noise",
    "check_units",
    "hash_uniform",
    "scrambled",
    "to_uint8",
    "uniform",
]

LEVELS = 256
"""The values of a byte."""
NOISE_VARIANCE = 1.0 / (12.0 * LEVELS**2)
"""Var[U / 256]."""

Noise = Literal["hash", "centre"] | torch.Generator


def scrambled(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix numbers in place, so that every output bit depends on every input bit.

    This is the finaliser of SplitMix64 (Steele, Lea & Flood 2014).
    """
    shifted = np.right_shift(z, np.uint64(30))
    z ^= shifted
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= np.right_shift(z, np.uint64(27), out=shifted)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= np.right_shift(z, np.uint64(31), out=shifted)
    return z


def hash_uniform(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return U in [0, 1), a pure function of a row's content and a feature's index.

    The order of rows, batches and chunks change nothing.

    Arguments:
        rows: The 8-bit data, (n, D).

    Returns:
        U: (n, D) float64, 53 random bits each. Equal rows get equal U.
    """
    # SplitMix64 mixes a Weyl sequence of this increment
    steps = np.arange(1, rows.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    # Multilinear hashing of the row: two rows collide with probability about 2^-56. The key seeds
    # one stream.
    key = scrambled(rows.astype(np.uint64) @ (scrambled(steps.copy()) | np.uint64(1)))
    bits = scrambled(key[:, None] + steps)
    bits >>= np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


class Dequantize:
    """t = ((u8 + U) / 256 - shift) / scale of 8-bit rows, with U drawn anew at each call.

    New noise at every visit is what the density of a dequantised picture means, and leaves nothing
    of it to memorise; the pictures themselves stay bytes in memory. U has 8 random bits, so that x
    lies on a grid of 2^-16, at the middle of its cells.

    Arguments:
        shift, scale: The scaling in units of x, as the model sees examples: of shape `shape`, or ()
            for one number.
    """

    def __init__(self, shift: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> None:
        self.slope = torch.tensor(1 / (LEVELS * scale), dtype=torch.float32)
        self.offset = torch.tensor((0.5 / LEVELS**2 - shift) / scale, dtype=torch.float32)

    def __call__(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return t, float32, for rows of uint8 of the same shape (n, *shape)."""
        u = random_bytes(rows.shape, generator, rows.device)
        values = (
            torch.empty(rows.shape, dtype=torch.float32, device=rows.device)
            .copy_(u)
            .div_(LEVELS)
            .add_(rows)
        )
        if self.slope.device != rows.device:  # once: copies at every step would wait for a GPU
            self.slope, self.offset = self.slope.to(rows.device), self.offset.to(rows.device)
        return torch.addcmul(self.offset, values, self.slope)


def check_noise(noise: object) -> None:
    """Raise ValueError unless `noise` is "hash", "centre" or a torch.Generator."""
    if not (isinstance(noise, torch.Generator) or noise in ("hash", "centre")):
        raise ValueError(
            f"noise must be 'hash', 'centre' or a torch.Generator, got {noise!r}. Use 'hash' to "
            "evaluate."
        )


def check_grey(rows: npt.NDArray[Any]) -> None:
    """Raise ValueError unless all values are whole numbers from 0 to 255, of whatever dtype."""
    if rows.dtype == np.uint8:
        return
    bad = ~((rows >= 0) & (rows < LEVELS) & (rows == np.floor(rows)) | np.isnan(rows))
    if bad.any():
        raise ValueError(
            f"X holds {rows[bad].ravel()[0]:g}, but a discretised likelihood is for whole numbers "
            "from 0 to 255. Pass 8-bit values as they are, uint8 or not (pictures in [0, 1]: times "
            "255), or use likelihood='gaussian'."
        )


def check_units(rows: npt.NDArray[Any], limit: float = 4.0) -> None:
    """Raise ValueError where numbers cannot be dequantised bytes.

    Arguments:
        rows: Rows of any shape.
        limit: The size that (u8 + U) / 256 never has, even with noise on top.
    """
    largest = max(float(rows.max()), -float(rows.min()))
    if np.isnan(largest):  # a missing value
        largest = float(np.nan_to_num(np.abs(rows)).max())
    if rows.dtype != np.uint8 and largest > limit:
        raise ValueError(
            f"X has values up to {largest:g} in size, but this model takes 8-bit data. "
            "Pass uint8, as by X.astype(np.uint8), or floats (u8 + U) / 256 in [0, 1)."
        )


def uniform(rows: npt.NDArray[np.uint8], noise: Noise) -> Tensor | float:
    """Return U for 8-bit rows (n, D): drawn, 0.5 for "centre", or `hash_uniform` for "hash"."""
    if isinstance(noise, torch.Generator):
        return torch.rand(rows.shape, generator=noise, device=noise.device).cpu()
    if noise == "centre":
        return 0.5
    return torch.from_numpy(hash_uniform(rows))


def to_uint8(x: Tensor | npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Round x to the nearest 8-bit level, clip(rint(256 x - 0.5), 0, 255).

    It is the inverse of (u8 + 0.5) / 256.

    Arguments:
        x: Values of any shape, in the units of (u8 + U) / 256; those outside [0, 1) go to 0 or 255.

    Raises:
        ValueError: x holds NaN.

    >>> to_uint8([0.5 / 256, 7.5 / 256, 2.0])
    array([  0,   7, 255], dtype=uint8)
    """
    if isinstance(x, Tensor):
        x = x.detach().cpu().double()
    values: npt.NDArray[Any] = np.asarray(x, dtype=np.float64)
    if np.isnan(values).any():
        raise ValueError(
            "x contains NaN, which no 8-bit level stands for. Pass finite values in [0, 1)."
        )
    return np.clip(np.rint(LEVELS * values - 0.5), 0, LEVELS - 1).astype(np.uint8)
