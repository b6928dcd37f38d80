r"""``latent_dim="auto"``: how many latent dimensions, by held-out log p(x).

Sizes 1, 2, 4, 8, ... are each fitted for a short while to the same rows, and judged on the same
others. The smallest is taken whose log p(x) is within one standard error of the best (Breiman et
al., 1984), by the trimmed mean of paired differences (`nelbo.paired`): a few rows must not decide.
"""

from __future__ import annotations

__all__ = ["choose", "sizes"]

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .. import spec
from ..data import Values
from ..options import Options
from ..paired import trimmed_mean
from ..recipe import Choice

Score = Callable[[Options, Values, Values], npt.NDArray[np.floating]]
"""From options, rows to fit and rows to score to log p(x) of the latter."""


@dataclass(frozen=True)
class Limits:
    """What the search may take, and when it stops.

    Attributes:
        steps: The steps of a short fit.
        rows: The number of rows that short fits look at.
        held: The number of these, or a fifth, that judge them.
        rounding: Nats per row that mean nothing: the same start may be rounded differently.
        patience: The number of larger sizes in a row that may bring nothing before no more are
            tried.
        share_of_time: The share of ``max_seconds`` that the search takes.
    """

    steps: int = 400
    rows: int = 5_000
    held: int = 500
    rounding: float = 1e-3
    patience: int = 2
    share_of_time: float = 0.3


def choose(
    options: Options,
    values: Values,
    score: Score,
    limits: Limits = Limits(),
) -> Choice[int]:
    """Return how many latent dimensions, and why that many.

    Arguments:
        options: What was asked for.
        values: All rows, in data units.
        score: Fits with some options to the first rows, and scores the second.
        limits: What the search may take.
    """
    columns = math.prod(values.shape[1:])
    fewest = spec.fewest_latents(options)
    if columns == 1:
        return Choice(fewest, "The fewest possible: there is only one column.")
    if len(values) < 2 * (limits.patience + 1):
        return Choice(fewest, "The fewest possible: there are too few rows to compare sizes.")
    order = np.random.default_rng(0).permutation(len(values))[: limits.rows]
    held = min(limits.held, math.ceil(len(order) / 5))
    train, test = values[np.sort(order[held:])], values[np.sort(order[:held])]
    nats: dict[int, np.ndarray] = {}
    tried = sizes(columns, fewest=fewest)
    for size in tried:
        short = _short(options, size, len(tried), limits)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fit that follows says it again
            nats[size] = np.asarray(score(short, train, test), dtype=np.float64)
        if _no_better(nats, limits):
            break
    gains = {size: _gain(found, nats[tried[0]])[0] for size, found in nats.items()}
    best = max(gains, key=gains.__getitem__)
    size = next(size for size in nats if _within(nats[size], nats[best], limits))
    told = ", ".join(f"{other}: {gain:+.2f}" for other, gain in gains.items())
    first = "one latent dimension"
    if tried[0] > 1:
        first = f"{tried[0]} latent dimensions"
    why = f"is within one standard error of the best ({best}) in"
    if size == best:
        why = "has the best"
    return Choice(
        size,
        f"{size} {why} log p(x) of {len(test):,} held-out rows after a short fit (nats per row, "
        f"beside {first}: {told}).",
    )


def sizes(columns: int, largest: int = 64, fewest: int = 1) -> list[int]:
    """Return the sizes to try: powers of two up to the number of columns.

    Arguments:
        columns: The number of columns.
        largest: The largest size: larger ones are seldom worth their time.
        fewest: The smallest size that prior and posterior can have; it is tried in any case.
    """
    powers = [2**k for k in range(int(math.log2(min(columns, largest))) + 1)]
    return [fewest, *(size for size in powers if size > fewest)]


def _short(options: Options, size: int, tried: int, limits: Limits) -> Options:
    """Return the options of a short fit."""
    seconds = options.max_seconds
    if seconds is not None:
        seconds = limits.share_of_time * seconds / tried
    return options.having(
        latent_dim=size,
        max_steps=min(limits.steps, options.max_steps or limits.steps),
        max_seconds=seconds,
        random_state=0,
        warm_start=False,
        callbacks=None,
        progress=False,
        checkpoint_dir=None,
    )


def _no_better(nats: dict[int, np.ndarray], limits: Limits) -> bool:
    """Return whether the last sizes are not clearly better than a smaller one."""
    tried = list(nats)
    if len(tried) <= limits.patience:
        return False
    before = nats[tried[-limits.patience - 1]]
    return all(_within(before, nats[size], limits) for size in tried[-limits.patience :])


def _within(smaller: np.ndarray, best: np.ndarray, limits: Limits) -> bool:
    """Return whether a size is at most a standard error of paired differences behind another."""
    gain, error = _gain(best, smaller)
    return math.isfinite(gain) and gain <= max(error, limits.rounding)


def _gain(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the trimmed mean of paired differences and its standard error."""
    return trimmed_mean(torch.from_numpy(one) - torch.from_numpy(other))
