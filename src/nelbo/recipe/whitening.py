r"""Whether a table is better whitened: two linear models compared on rows that neither has seen.

One is probabilistic PCA, whose noise is independent. The other is the normal with every
correlation, :math:`\mathcal{N}(m, S)`, at which training of a whitened table starts. With few rows
for that many columns it predicts worse.
"""

from __future__ import annotations

__all__ = ["whitens"]

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..data import Schema, Values
from ..linear import LinearGaussian, moments, ppca
from ..paired import trimmed_mean


@dataclass(frozen=True)
class Comparison:
    """How both are compared."""

    folds: int = 5
    rows: int = 10_000
    """Rows that are looked at, at most: more decide nothing, and cost seconds."""
    margin: float = 0.01
    """Nats that whitening may lose: no more than rounding and floors cost."""


def whitens(values: Values, latent_dim: int, how: Comparison | None = None) -> bool:
    """Return whether the normal predicts rows (n, D) at least as well as probabilistic PCA.

    No single row decides: one that is far from all others may lose more nats than all others gain.
    """
    how = how or Comparison()
    rows = values[:: math.ceil(len(values) / how.rows)]
    order, gains = np.random.default_rng(0).permutation(len(rows)), []
    for fold in range(how.folds):
        held = np.zeros(len(rows), dtype=bool)
        held[order[fold :: how.folds]] = True
        gains.append(_gain(rows[~held], rows[held], latent_dim))
    gain, _ = trimmed_mean(torch.from_numpy(np.concatenate(gains)))
    return gain >= -how.margin


def _gain(train: Values, test: Values, latent_dim: int) -> npt.NDArray[np.float64]:
    """Return by how much the normal is better than pPCA at each test row, in nats."""
    whitened, standard = (Schema.infer(train, scale=scale) for scale in ("whitened", "standard"))
    x, t = (standard.to_model(part, noise="centre", dtype=torch.float64) for part in (train, test))
    linear = standard.log_density(ppca(*moments(x), latent_dim).log_prob(t))
    columns = train.shape[1]
    nothing = torch.zeros(columns, 1, dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    normal = LinearGaussian(nothing, nothing[:, 0], one)
    t = whitened.to_model(test, noise="centre", dtype=torch.float64)
    return np.asarray((whitened.log_density(normal.log_prob(t)) - linear).numpy())
