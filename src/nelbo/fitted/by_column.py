"""What each column adds to log p(x) of each row, in the units of the data."""

from __future__ import annotations

__all__ = ["ByColumn"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..brief import Brief, aligned, selected

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False, repr=False)
class ByColumn(Brief):
    r"""The terms of log p(x), one for each column, and one for z.

    .. math:: \log p(x) = \sum_j E[\log p(x_j \mid z)] - \mathrm{KL}(p(z \mid x) \,\|\, p(z))

    with the expectation over p(z|x), by importance samples. What z says of several columns at once
    is paid for in the last term; so a column's term is what it costs once z is known, and not its
    log p(x_j).

    Attributes:
        columns: The names of the columns.
        measures: What each term is the logarithm of: a "probability", a "density" (nats per unit of
            the column), or a "probability at 0, density above".
        value: The terms in nats, (n, d), 0 where a value is missing.
        of_z: What z adds, minus the divergence of p(z|x) from p(z), (n,).
    """

    columns: tuple[str, ...]
    measures: tuple[str, ...]
    value: Array
    of_z: Array

    @property
    def total(self) -> Array:
        """Their sum, log p(x) by the same samples: (n,)."""
        found: Array = self.value.sum(1) + self.of_z
        return found

    def __str__(self) -> str:
        """Return the mean of each term."""
        rows = [("column", "of", "mean")]
        for i in selected(len(self.columns), 50):
            if i is None:
                rows.append(("…", "", ""))
            else:
                mean = f"{np.mean(self.value[:, i]):.3f}"
                rows.append((self.columns[i], self.measures[i], mean))
        rows.append(("z", "", f"{np.mean(self.of_z):.3f}"))
        rows.append(("log p(x)", "", f"{np.mean(self.total):.3f}"))
        return "\n".join(aligned(rows, left=2))
