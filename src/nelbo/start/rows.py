"""Which rows the start is found from."""

from __future__ import annotations

__all__ = ["READ", "Readable", "enough_rows"]

import math
from typing import Protocol, Self

from torch import Tensor

from ..linear import Chunks
from ..networks.paths import is_linear
from ..vae import VAE

START_WORK = 5e9
"""Products that the covariance of the closed-form start may take:
8,000 rows of 784 features, 0.1 s.
"""


READ = 2**24
"""Numbers that it may read at once."""


class Readable(Chunks, Protocol):
    """Rows that are read when they are needed, all at once or a part at a time."""

    def __len__(self) -> int: ...
    def every(self, step: int, /) -> Self: ...
    def read(self) -> Tensor: ...


def enough_rows(model: VAE, rows: Readable) -> Tensor | Readable:
    """Return the training rows that the start is found from, evenly spaced;
    many are read a part at a time.

    Networks with a nonlinear path leave the start at once; of many wide rows some are enough for
    them.
    """
    if not (is_linear(model.encoder) and is_linear(model.decoder)):
        rows = rows.every(math.ceil(len(rows) * math.prod(model.shape) ** 2 / START_WORK))
    return rows.read() if math.prod(rows.shape) <= READ else rows
