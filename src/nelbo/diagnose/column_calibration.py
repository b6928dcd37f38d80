r"""Whether columns of different kinds are as the model says, each by its own measure.

If x and z come from the model, a number's rank among draws from p(x|z) is uniform (Talts et al.,
2018); of numbers that come up again and again, and of counts, ties are broken at random: the
randomised probability integral transform (Czado et al., 2009). And of all cases in which a level is
given the probability p, a share p has it (reliability: Murphy, 1973). Both are taken at z ~ q(z|x).
"""

from __future__ import annotations

__all__ = ["ColumnCalibration", "column_calibration"]

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..brief import Brief
from ..distributions import draw
from ..evaluate import MEMORY, encoder_source, judged, rows_at_once
from ..vae import VAE
from ..watching import pieces


@dataclass(frozen=True, repr=False)
class ColumnCalibration(Brief):
    """How columns compare with what the model says of them.

    Attributes:
        numbers: The columns that are numbers, counts or amounts.
        pit: Of each of these the share of values in each tenth of p(x_j|z), (numbers, bins): 0.1
            each where calibrated.
        coverage: Of each the share inside the central 50 % and 90 % intervals, (numbers, 2).
        levels: The columns of levels, ordered or not.
        predicted, observed: Over all of these and all their levels, in bins of the probability p
            that a level was given: the mean of p, and the share of cases in which the value had
            that level, (bins,); NaN in a bin without cases.
        cases: How many there were, (bins,).
        error: Of each column of levels the mean absolute difference of both, weighted by cases,
            (levels,).
    """

    numbers: tuple[int, ...]
    pit: Tensor
    coverage: Tensor
    levels: tuple[int, ...]
    predicted: Tensor
    observed: Tensor
    cases: Tensor
    error: Tensor


def column_calibration(
    vae: VAE,
    x: Tensor,
    seed: int = 0,
    memory: int = MEMORY,
    draws: int = 99,
    bins: int = 10,
    c: Tensor | None = None,
) -> ColumnCalibration:
    """Hold each column of rows against p(x_j|z).

    Arguments:
        vae: A model whose columns are independent given z.
        x: Rows of shape (n, D), in model units; a missing value is NaN, and is left out.
        seed: The seed of the draws.
        memory: Bytes for intermediate results.
        draws: Draws from p(x|z) of each row.
        bins: Bins of the histogram, and of probabilities.
        c: Conditions (n, k), for a model of p(x|c).

    Raises:
        ValueError: The rows do not fit the model.
    """
    generator = torch.Generator(vae.device).manual_seed(seed)
    ranks, given = [], [_Reliability(bins) for _ in range(x.shape[1])]
    with judged(vae, x, c) as (model, rows):
        step = max(1, rows_at_once(model, rows, draws, memory))
        for part in pieces(rows.split(step), "calibration of columns"):
            source = encoder_source(model, part)
            p = part.decode(model, source.draws(part.keys(), 1, seed, 0, part.x)[0])
            made = draw(p, (draws,), generator, gradients=False)
            ranks.append(_ranks(part.x, made, generator).cpu())
            for column, bin_of in enumerate(given):
                bin_of.add(_levels(p, column), part.x[:, column])
    rank = torch.cat(ranks)
    levels = tuple(column for column, found in enumerate(given) if found.any)
    numbers = tuple(column for column in range(x.shape[1]) if column not in levels)
    pit = torch.stack([_shares(rank[:, j], bins) for j in numbers] or [torch.empty(bins)])
    middle = (rank - 0.5).abs()
    inside = [[_share(middle[:, j], half) for half in (0.25, 0.45)] for j in numbers]
    total = _Reliability(bins)
    for column in levels:
        total.take(given[column])
    predicted, observed = total.means()
    return ColumnCalibration(
        numbers=numbers,
        pit=pit[: len(numbers)],
        coverage=torch.tensor(inside, dtype=torch.float64).reshape(-1, 2),
        levels=levels,
        predicted=predicted,
        observed=observed,
        cases=total.cases,
        error=torch.tensor([given[column].error for column in levels], dtype=torch.float64),
    )


def _levels(p: Distribution, column: int) -> Tensor | None:
    """Return the probabilities of a column's levels, (n, levels); None where it has none."""
    of_column = getattr(p, "probabilities", None)
    if of_column is None:
        return None
    found: Tensor | None = of_column(column)
    return found


def _ranks(x: Tensor, made: Tensor, generator: torch.Generator) -> Tensor:
    """Return where each value lies among draws (draws, n, D), from 0 to 1, ties broken at random;
    NaN where it is missing.
    """
    below, same = (made < x).sum(0), (made == x).sum(0)
    chance = torch.rand(x.shape, generator=generator, device=x.device, dtype=torch.float64)
    rank = (below + chance * (same + 1)) / (len(made) + 1)
    return torch.where(x.isnan(), torch.nan, rank)


def _shares(rank: Tensor, bins: int) -> Tensor:
    """Return the share of ranks in each bin, (bins,)."""
    there = rank[~rank.isnan()]
    found = torch.histc(there, bins, 0.0, 1.0)
    return found / max(1, len(there))


def _share(distance: Tensor, most: float) -> float:
    """Return the share of distances, where there are any, of at most so much."""
    there = distance[~distance.isnan()]
    return float((there <= most).double().mean())


class _Reliability:
    """Sums over cases, in bins of the probability that was given."""

    def __init__(self, bins: int) -> None:
        self.cases = torch.zeros(bins, dtype=torch.float64)
        self.given = torch.zeros(bins, dtype=torch.float64)
        self.hits = torch.zeros(bins, dtype=torch.float64)
        self.any = False

    def add(self, levels: Tensor | None, x: Tensor) -> None:
        """Add the probabilities (n, levels) of some values (n,)."""
        if levels is None:
            return
        self.any = True
        there = ~x.isnan()
        share, value = levels[there].double().cpu(), x[there].long().cpu()
        hit = torch.nn.functional.one_hot(value, share.shape[1]).double()
        place = (share * len(self.cases)).long().clamp_max(len(self.cases) - 1).flatten()
        self.cases += torch.bincount(place, minlength=len(self.cases))
        self.given.index_add_(0, place, share.flatten())
        self.hits.index_add_(0, place, hit.flatten())

    def take(self, other: _Reliability) -> None:
        """Add the cases of another column."""
        self.cases += other.cases
        self.given += other.given
        self.hits += other.hits

    def means(self) -> tuple[Tensor, Tensor]:
        """Return the mean probability, and the share of hits, of each bin."""
        return self.given / self.cases, self.hits / self.cases

    @property
    def error(self) -> float:
        """The mean absolute difference of both over cases."""
        return float((self.given - self.hits).abs().sum() / self.cases.sum().clamp_min(1))
