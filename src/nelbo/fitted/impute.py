r"""What is missing from rows, by p(x_M | x_O).

.. math:: p(x_M \mid x_O) = \int p(x_M \mid z, x_O) \, p(z \mid x_O) \, dz
    \approx \sum_k \tilde w_k \, p(x_M \mid z_k, x_O)

Its mean, median or mode fills each cell by one value; draws from it, by sampling importance
resampling of z and then noise, are what multiple imputation takes (Rubin, 1987; Mattei & Frellsen,
2019).
"""

from __future__ import annotations

__all__ = ["STATISTICS", "Imputed", "check", "impute", "level_probabilities"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..data import Schema
from ..distributions import draw
from ..evaluate.posterior import Weighted, levels_of, weighted
from ..integers import integer
from ..likelihood import Likelihood
from .incomplete import View

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Imputed:
    """What was filled in.

    Attributes:
        values: Rows (n, *shape) in data units, whole; with ``draws``, (draws, n, *shape).
        std: The standard deviation of p(x_M | x_O) of each value, 0 where it was there; None with
            ``draws``.
        ess: Effective number of samples of z of each row, infinite where none were drawn or nothing
            was missing.
    """

    values: Array
    std: Array | None
    ess: Array


def _mean(found: Weighted, generator: torch.Generator) -> Tensor:
    return found.mean(found.p.mean)


def _median(found: Weighted, generator: torch.Generator) -> Tensor:
    """Return the weighted median of one draw of x for each draw of z."""
    x = draw(found.p, (), generator, gradients=False)
    weight = found.weight
    if len(weight) == 1:
        few = 1001
        x = draw(found.p, (few,), generator, gradients=False)[:, 0]
        weight = weight.expand(few, -1) / few
    values, order = x.flatten(2).double().sort(0)
    share = weight[..., None].expand_as(values).gather(0, order).cumsum(0)
    at = (share < 0.5).sum(0, keepdim=True).clamp_max(len(values) - 1)
    return values.gather(0, at)[0].reshape(x.shape[1:])


def _mode(found: Weighted, generator: torch.Generator) -> Tensor:
    """Return the mode of p(x|z) at the draw of z of the greatest weight."""
    best = found.weight.argmax(0)
    mode: Tensor = found.p.mode
    return mode[best, torch.arange(mode.shape[1], device=mode.device)].double()


STATISTICS: dict[str, Callable[[Weighted, torch.Generator], Tensor]] = {
    "mean": _mean,
    "median": _median,
    "mode": _mode,
}
"""What may stand for what is missing."""


def check(statistic: str, draws: int | None, samples: int | None) -> None:
    """Refuse what cannot be filled in.

    Raises:
        ValueError: The statistic is unknown, or a number is below 1.
    """
    if statistic not in STATISTICS:
        raise ValueError(f"statistic must be one of {', '.join(STATISTICS)}, got {statistic!r}.")
    for name, count in (("draws", draws), ("samples", samples)):
        if count is not None:
            integer(name, count)


def impute(
    views: list[View], shape: tuple[int, ...], statistic: str, draws: int, samples: int, seed: int
) -> Imputed:
    """Fill in what is missing.

    Arguments:
        views: The incomplete rows, and the model that takes them.
        shape: (n, *data_shape).
        statistic: "mean", "median" or "mode"; of categories it is the most probable one.
        draws: How many imputations to draw instead; 0 is none.
        samples: Draws of z for each row.
        seed: Their seed.

    Returns:
        Rows whose values mean something only where some were missing.
    """
    values = np.full((max(draws, 1), *shape), np.nan)
    std, ess = np.zeros(shape), np.full(shape[0], math.inf)
    for view in views:
        numbers = view.rows.nonzero()[:, 0].numpy()
        generator = torch.Generator(view.vae.device).manual_seed(seed)
        for found in weighted(view.vae, view.x, samples, seed, c=view.c):
            rows = numbers[found.start : found.end]
            ess[rows] = found.ess.cpu().numpy()
            if draws:
                for number, t in enumerate(_drawn(found, draws, generator)):
                    values[number, rows] = view.schema.from_model(t, drawn=True)
                continue
            t = STATISTICS[statistic](found, generator)
            t = _most_probable(found, view.vae.likelihood, t)
            values[0, rows] = view.schema.from_model(t)
            std[rows] = _deviation(found, view.schema)
    if draws:
        return Imputed(values, None, ess)
    return Imputed(values[0], std, ess)


def _drawn(found: Weighted, draws: int, generator: torch.Generator) -> Tensor:
    """Return draws of whole rows, (draws, n, *shape)."""
    which = found.resampled(draws, generator)
    x = draw(found.p, (), generator, gradients=False)
    if len(found.weight) == 1:
        return draw(found.p, (draws,), generator, gradients=False)[:, 0].double()
    return torch.stack([x[k, torch.arange(x.shape[1])] for k in which]).double()


def _most_probable(found: Weighted, likelihood: Likelihood, t: Tensor) -> Tensor:
    """Return rows with the most probable level in columns that have such."""
    t = t.clone()
    for column, how in enumerate(likelihood.readings()):
        levels = None
        if how["as"] == "levels":
            levels = _levels(found, column)
        if levels is not None:
            t[:, column] = levels.argmax(-1).to(t)
    return t


def _levels(found: Weighted, column: int) -> Tensor | None:
    """Return p(level | x_O) of one column, (n, levels); None where it has no levels."""
    each = levels_of(found.p, column)
    return None if each is None else found.mean(each)


def level_probabilities(views: list[View], column: int, samples: int, seed: int) -> Tensor | None:
    """Return p(level | the other values that are there) of one column for each row, (n, levels);
    None where it has no levels.

    Arguments:
        views: Rows in which the column is missing, and the model that takes them.
        column: Its place among those of the model.
        samples: Draws of z for each row.
        seed: Their seed.
    """
    parts: list[tuple[Tensor, Tensor]] = []
    for view in views:
        found = [
            _levels(one, column) for one in weighted(view.vae, view.x, samples, seed, c=view.c)
        ]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return None
        parts.append((view.rows.nonzero()[:, 0], torch.cat(known)))
    order = torch.cat([rows for rows, _ in parts]).argsort()
    return torch.cat([levels for _, levels in parts])[order]


def _deviation(found: Weighted, schema: Schema) -> Array:
    """Return the standard deviation of each value, in data units."""
    p = found.p
    mean = found.mean(p.mean)
    variance = found.mean(p.variance + (p.mean - mean).square())
    width = variance.clamp_min(0.0).sqrt()
    return schema.from_model(width) - schema.from_model(torch.zeros_like(width))
