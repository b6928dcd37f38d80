"""Rows whose outliers are drawn in, so that none of them sets a mean or a variance.

The centre m and the scale s of each column are those of a t distribution, whose likelihood hardly
counts what is far out, by expectation maximisation (Lange et al., 1989; s^2 with the denominator of
Kent et al., 1994, which needs fewer steps):

    w = (df + 1) / (df + (x - m)^2 / s^2),    m = sum w x / sum w,    s^2 = sum w (x - m)^2 / sum w
"""

from __future__ import annotations

__all__ = ["Outliers", "without_outliers"]

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .covariance import Chunks
from .model import CHUNK_ELEMENTS


@dataclass(frozen=True)
class Outliers:
    """What counts as far from all others of a column.

    Attributes:
        df: Degrees of freedom of the t distribution: a scale that up to a sixth of the values,
            however far out, leaves finite.
        reach: Scales from the centre beyond which a value is drawn in to there. One in 5 million
            normal values is, and one in 500 of t with 5 degrees of freedom.
        few: The share of a column's values that may be beyond: more of them are no outliers.
        steps: Steps of EM, at most. Where they do not settle, most values are equal: such a column
            has no scale, and is left as it is.
        settled: The change of log s^2 by a step below which it was the last.
    """

    df: float = 5.0
    reach: float = 6.0
    few: float = 0.1
    steps: int = 60
    settled: float = 0.01

    def limits(self, x: Tensor | Chunks) -> tuple[Tensor, Tensor] | None:
        """Return the least and the greatest value of each column of x (n, D) that is no outlier,
        each (D,) and infinite where none is drawn in; None where that is so of all.
        """
        centre, scale = self.centre_and_scale(x)
        low, high = centre - self.reach * scale, centre + self.reach * scale
        beyond = _total(x, lambda part: (part < low) | (part > high))
        drawn = (beyond > 0) & (beyond <= self.few * self.there(x))
        if not bool(drawn.any()):
            return None
        return low.where(drawn, -torch.inf), high.where(drawn, torch.inf)

    def centre_and_scale(self, x: Tensor | Chunks) -> tuple[Tensor, Tensor]:
        """Return m and s of each column of x (n, D), both (D,); s is infinite if there is none."""
        rows = self.there(x)
        centre = first = _total(x, lambda part: part) / rows
        square = _total(x, lambda part: (part - first).square()) / rows
        settled = torch.zeros_like(square, dtype=torch.bool)
        for _ in range(self.steps):
            moved, centre = self._step(x, centre, square)
            settled = (moved / square).log().abs() < self.settled
            square = moved
            if bool((settled | (square == 0)).all()):
                break
        return centre, square.sqrt().where(settled, torch.inf)

    def there(self, x: Tensor | Chunks) -> Tensor | int:
        """Return how many values of each column are there, (D,), or how many rows where all are."""
        gone = _total(x, lambda part: part.isnan())
        if not bool((gone > 0).any()):
            return x.shape[0]
        return (x.shape[0] - gone).clamp_min(1)

    def _step(self, x: Tensor | Chunks, centre: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        """Return s^2 and m after one step of EM."""
        sums = torch.zeros(3, len(centre), dtype=centre.dtype, device=centre.device)
        for part in _parts(x):
            r = part - centre
            weight = (self.df + 1) / (self.df + r.square() / square)
            gone = part.isnan()
            if bool(gone.any()):
                r, weight = r.masked_fill(gone, 0.0), weight.masked_fill(gone, 0.0)
            sums += torch.stack([weight.sum(0), (weight * r).sum(0), (weight * r.square()).sum(0)])
        total, first, second = sums
        shift = first / total
        return (second / total - shift.square()).nan_to_num(0.0).clamp_min(0.0), centre + shift


@dataclass(frozen=True, eq=False)
class _Within:
    """Rows (n, D) between limits (D,), drawn in as they are read."""

    x: Tensor | Chunks
    low: Tensor
    high: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.x.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.x.dtype

    @property
    def device(self) -> torch.device:
        return self.x.device

    def split(self, size: int, /) -> Iterator[Tensor]:
        limits = (self.low.to(self.device, self.dtype), self.high.to(self.device, self.dtype))
        return (part.clamp(*limits) for part in self.x.split(size))


@torch.no_grad()
def without_outliers(x: Tensor | Chunks, how: Outliers | None = None) -> Tensor | Chunks:
    """Return rows x (n, D) with the outliers of each column drawn in; x itself where it has none.

    Args:
        x: The rows.
        how: What an outlier is.
    """
    found = (how or Outliers()).limits(x)
    if found is None:
        return x
    return _Within(x, *found)


def _total(x: Tensor | Chunks, of: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the sum over rows of what is made of each value, (D,)."""
    total = torch.zeros((), dtype=torch.float64)
    for part in _parts(x):
        found = of(part)
        if found.dtype.is_floating_point and bool(found.isnan().any()):
            found = found.nan_to_num(0.0)  # missing values, which add nothing
        total = found.sum(0) + total.to(part.device)
    return total


def _parts(x: Tensor | Chunks) -> Iterator[Tensor]:
    """Go through rows in float64, a part at a time; mps knows no such."""
    home = torch.device("cpu") if x.device.type == "mps" else x.device
    size = max(256, CHUNK_ELEMENTS // x.shape[1])
    return (part.to(home, torch.float64) for part in x.split(size))
