"""From stored floats to the model's units, a batch at a time: large data are not copied."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nelbo.data.layout import Layout, to_event

__all__ = ["Rescale", "borrowed"]


class Rescale:
    """t = (x - shift) / scale of a batch of flat float rows on the CPU, unmixed where the schema mixes.

    The shift of float32 rows is taken off in two parts, so that a mean far greater than the spread costs no accuracy.

    Arguments:
        shift, scale: In the user's flat order (D,), or one number.
        mixing: As in `Schema`.
        shape: The model's event shape.
        layout: How the user holds one example.
    """

    def __init__(
        self,
        shift: npt.NDArray[np.float64],
        scale: npt.NDArray[np.float64],
        mixing: npt.NDArray[np.float64] | None,
        shape: tuple[int, ...],
        layout: Layout,
    ) -> None:
        self.shift, self.scale = torch.tensor(shift), torch.tensor(scale)
        self.unmixing = None if mixing is None else torch.linalg.inv(torch.tensor(mixing))
        self.shape, self.layout = shape, layout
        self.parts: list[Tensor] = []

    def __call__(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return t, float32 (n, *shape), for flat rows (n, D) of float32 or float64."""
        if not self.parts or self.parts[0].dtype != rows.dtype:
            near = self.shift.to(rows.dtype)
            self.parts = [part.to(rows.dtype) for part in (near, self.shift - near, self.scale)]
        near, rest, scale = self.parts
        t = (rows - near).sub_(rest).div_(scale)
        t = t if self.unmixing is None else t.double() @ self.unmixing  # which is symmetric
        return to_event(t.float(), self.shape, self.layout)


def borrowed(array: npt.NDArray[Any]) -> Tensor:
    """Return a tensor that shares the memory of an array, which may be read-only: nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
