"""Rows in the units of the data, flat and in float64, a part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nelbo.data.schema import Schema
from nelbo.data.values import Values

__all__ = ["Numbers"]


class Numbers:
    """The rows x themselves, (n, D) in the user's order.

    Floats are as they are; 8-bit data have the noise that evaluation gives them.

    Arguments:
        schema: The schema of the data.
        X: Rows, as `Schema.to_model` takes them.

    Raises:
        ValueError: X does not fit the schema.
    """

    dtype = torch.float64
    device = torch.device("cpu")

    def __init__(self, schema: Schema, X: Any) -> None:
        self.schema = schema
        self.flat = schema.conformed(Values.of(X, missing=True).array)

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows, and of values in each."""
        rows, values = self.flat.shape
        return rows, values

    def split(self, size: int) -> Iterator[Tensor]:
        """Go through the rows, ``size`` at a time."""
        for start in range(0, len(self.flat), size):
            yield self.schema.units_of(self.flat[start : start + size], "hash", torch.float64)
