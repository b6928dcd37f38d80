r"""Numbers some of which come up again and again: which do, and what they cost with a probability
of their own beside a mixture of logistics for all others.

.. math:: -\overline{\log p} = H(\text{points, rest}) + (1 - \textstyle\sum_v \pi_v) \,
    \overline{(-\log f)} + (P + 3 K) \frac{\log n}{2 n}
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nelbo.distributions import SpikeAndSlab, fit_logistics

__all__ = ["Points"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Points:
    """How the points of a column are found.

    Attributes:
        rows: With fewer rows no number gets a probability of its own: with many points these are
            hardly enough.
        least: Values that so many rows have may be points.
        most: How many of these are, the most frequent ones: what costs least is taken. With 64
            held-out log p(x) of adult's training rows is 0.3 nats greater than with 8.
        components: How many logistics there are for all other values.
        few: If these are so few, one of two logistics does.
        judged: Numbers that a cost is found from at most, evenly spaced in rank.
        decimals: Numbers of more decimals are on no grid.
        repeated: Nor are those of which more than this share are different.
    """

    rows: int = 1_000
    least: int = 10
    most: tuple[int, ...] = (0, 8, 64)
    components: int = 8
    few: int = 50
    judged: int = 5_000
    decimals: int = 4
    repeated: float = 0.5

    def options(self, there: Array, decimals: int | None) -> dict[str, Any]:
        """Return the options of `nelbo.likelihood.SpikeAndSlab` for a column.

        Arguments:
            there: Its numbers, (n,).
            decimals: After how many decimals all end; None where they do not.
        """
        values, counts = np.unique(there, return_counts=True)
        gridded = decimals is not None and decimals <= self.decimals
        if not gridded or len(values) > self.repeated * len(there):
            return {"points": [], "components": self.components}
        order = np.argsort(-counts, kind="stable")
        order = order[counts[order] >= self.least]
        step = 10.0 ** -(decimals or 0)
        tried = []
        for most in sorted({min(most, len(order)) for most in self.most}):
            points = np.sort(values[order[:most]]).tolist()
            components = self.components
            if len(values) - len(points) <= self.few:
                components = 2
            tried.append({"points": points, "components": components, "step": step})
        return min(tried, key=lambda options: self.cost(there, options))

    def share(self, there: Array, options: dict[str, Any]) -> float:
        """Return the share of numbers that are a point."""
        return float(np.isin(there, options["points"]).mean())

    def cost(self, there: Array, options: dict[str, Any]) -> float:
        """Return what numbers cost so, in nats each, as densities: on a grid, with the logarithm of
        its step.
        """
        n, points, step = len(there), np.asarray(options["points"]), options.get("step")
        there = np.sort(there)[np.linspace(0, n - 1, min(n, self.judged)).round().astype(np.intp)]
        spike = np.isin(there, points)
        rest = there[~spike]
        if len(rest) < 2:
            rest = there
        spread = float(rest.std()) or 1.0
        least = 1e-3
        if step is not None:
            least = 0.3 * step / spread
        u = torch.from_numpy((rest - rest.mean()) / spread)
        weight, loc, scale = fit_logistics(u, options["components"], least, most=1_000, steps=30)
        counts = [float((there == point).sum()) for point in points]
        shares = torch.tensor([*counts, *((~spike).sum() * weight).tolist()]).double() + 1 / len(
            there
        )
        p = SpikeAndSlab(
            shares.log()[None],
            (rest.mean() + spread * loc)[None],
            (spread * scale)[None],
            torch.from_numpy(points),
            step,
        )
        free = len(points) + 3 * options["components"]
        nats = -float(p.each(torch.from_numpy(there)[:, None]).mean()) + free * math.log(n) / (
            2 * n
        )
        if step is not None:
            nats += math.log(step)
        return float(nats)
