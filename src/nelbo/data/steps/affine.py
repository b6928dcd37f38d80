"""From stored floats to the model's units, a batch at a time: large data are not copied."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nelbo.data.steps.layout import Layout, to_event

__all__ = ["Affine", "borrowed"]


class Affine:
    """t = (x - shift) / scale of a batch of flat float rows on the CPU, unmixed where x is mixed.

    The shift of float32 rows is taken off in two parts, so that a mean far greater than the spread
    costs no accuracy.

    Arguments:
        shift, scale: The scaling in the user's flat order (D,), or one number.
        mixing: As in `Schema`.
        shape: The model's event shape.
        layout: How the user holds one example.
        dtype: The type of the rows: float32 or float64.
    """

    def __init__(
        self,
        shift: npt.NDArray[np.float64],
        scale: npt.NDArray[np.float64],
        mixing: npt.NDArray[np.float64] | None,
        shape: tuple[int, ...],
        layout: Layout,
        dtype: torch.dtype,
    ) -> None:
        whole = torch.tensor(shift)
        self.near = whole.to(dtype)
        self.rest = (whole - self.near).to(dtype)
        self.scale = torch.tensor(scale, dtype=dtype)
        self.unmixing = None
        if mixing is not None:
            self.unmixing = torch.linalg.inv(torch.tensor(mixing))
        self.shape, self.layout = shape, layout

    def __call__(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return t, float32 (n, *shape), for flat rows (n, D)."""
        t = (rows - self.near).sub_(self.rest).div_(self.scale)
        if self.unmixing is not None:
            t = t.double() @ self.unmixing  # which is symmetric
        return to_event(t.float(), self.shape, self.layout)


def borrowed(array: npt.NDArray[Any]) -> Tensor:
    """Return a tensor that shares the memory of an array, which may be read-only; do not write."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
