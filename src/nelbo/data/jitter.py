"""Noise on training rows against overfitting."""

from __future__ import annotations

import torch
from torch import Tensor

from nelbo.data.rows import Batch, Rows
from nelbo.data.steps.whitening import root_of
from nelbo.linear import moments

__all__ = ["Jittered", "silverman"]


class Jittered(Rows):
    """Rows with normal noise, correlated as they are,
    of Silverman's bandwidth at first and of none in the end.

    A network that sees rows with noise of width h cannot overfit them: it fits what a kernel
    density estimate of bandwidth h is an estimate of. Validation rows have no noise, and choose the
    moment to stop, and so the width. The noise shrinks as (1 - progress)^3: most of a run has
    little of it.

    Arguments:
        rows: The rows, of a table.
    """

    POWER = 3
    """The noise shrinks as this power of what is left of the run."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(
            step=rows.step,
            index=rows.index,
            units=rows.units,
            missing=rows.missing,
            generator=rows.generator,
            checked=rows.checked,
        )
        self.rows, self.dtype, self.device = rows, rows.dtype, rows.device
        root = silverman(*rows.shape) * root_of(moments(rows)[1])
        self.root = torch.from_numpy(root).to(rows.dtype)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """That of the rows."""
        return self.rows.stored_shape

    @property
    def seen(self) -> Tensor:
        """Those of the rows."""
        return self.rows.seen

    def fetch(self, numbers: Tensor) -> Batch:
        """Return stored rows by their numbers."""
        return self.rows.fetch(numbers)

    def on(self, device: torch.device, dtype: torch.dtype) -> Jittered:
        """Return the same rows for a model on that device."""
        rows = self.rows.on(device, dtype)
        root = self.root.to(device, dtype)
        return self._with(rows=rows, index=rows.index, root=root, device=device, dtype=dtype)

    def prepare(
        self, batch: Batch, generator: torch.Generator, progress: Tensor | None = None
    ) -> Batch:
        """Return stored rows as the model takes them, with fresh noise."""
        x, c = self.rows.prepare(batch, generator, progress)
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        left = 1 if progress is None else (1 - progress) ** self.POWER
        return Batch(x + left * (noise @ self.root), c)


def silverman(rows: int, columns: int) -> float:
    """Return the bandwidth that suits normal data of unit variance (Silverman, 1986)."""
    return float((4 / ((columns + 2) * rows)) ** (1 / (columns + 4)))
