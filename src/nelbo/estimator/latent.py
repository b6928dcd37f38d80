r"""``latent_dim="auto"``: how many latent dimensions, by held-out log p(x).

Sizes 1, 2, 4, 8, ... are each fitted for a short while to the same rows, and judged on the same
others. The smallest is taken whose log p(x) is within one standard error of the best (Breiman et
al., 1984), by the trimmed mean of paired
differences (`nelbo.paired`): a few rows must not decide.
"""

from __future__ import annotations

__all__ = ["AUTO", "settled"]

import math
import warnings
from typing import Any

import numpy as np
import torch

from ..data import Values
from ..paired import trimmed_mean
from .recipe import Recipe

AUTO = "auto"
LARGEST = 64
"""Latent dimensions that are tried at most: more are seldom worth their time."""
STEPS = 400
"""Of the short fits."""
ROWS, HELD = 5_000, 500
"""Rows that they look at, and how many of these, or a fifth, judge them."""
ROUNDING = 1e-3
"""Nats per row that are none: the same start may be rounded differently."""
PATIENCE = 2
"""How many larger sizes in a row may bring nothing before no more are tried."""
SHARE_OF_TIME = 0.3
"""Of a fit with ``max_seconds``."""


def settled(estimator: Any, values: Values, warm: bool) -> tuple[Any, Recipe]:
    """Return an estimator whose latent_dim is a number, and why it is that one.

    Arguments:
        estimator: As its user made it; it is left as it is.
        values: All rows, in data units.
        warm: Whether it goes on from its last fit, whose size stays.
    """
    if not is_auto(estimator.latent_dim):
        return estimator, {}
    if warm:
        size, reason = estimator.spec_.latent_dim, "The size of the fit that this one goes on from."
    else:
        size, reason = _chosen(estimator, values)
    # a copy of the same objects: a RandomState goes on from where it is
    found = object.__new__(type(estimator))
    found.__dict__.update(vars(estimator), latent_dim=size)
    return found, {"latent_dim": {"value": size, "reason": reason}}


def is_auto(latent_dim: object) -> bool:
    """Return whether a size is to be found."""
    return isinstance(latent_dim, str) and latent_dim == AUTO


def sizes(columns: int) -> list[int]:
    """Return the sizes to try: powers of two up to the number of columns."""
    return [2**k for k in range(int(math.log2(min(columns, LARGEST))) + 1)]


def _chosen(estimator: Any, values: Values) -> tuple[int, str]:
    """Return the size and the reason."""
    columns = math.prod(values.shape[1:])
    if len(values) < 2 * (PATIENCE + 1) or columns == 1:
        return (
            1,
            "One latent dimension: there is only one column."
            if columns == 1
            else "One: the rows are too few.",
        )
    order = np.random.default_rng(0).permutation(len(values))[:ROWS]
    held = min(HELD, math.ceil(len(order) / 5))
    train, test = values[np.sort(order[held:])], values[np.sort(order[:held])]
    nats: dict[int, np.ndarray] = {}
    for size in sizes(columns):
        nats[size] = _nats(estimator, size, train, test, len(sizes(columns)))
        if _no_better(nats):
            break
    gains = {size: _gain(values, nats[1])[0] for size, values in nats.items()}
    best = max(gains, key=gains.__getitem__)
    size = next(size for size in nats if _within(nats[size], nats[best]))
    told = ", ".join(f"{tried}: {gain:+.2f}" for tried, gain in gains.items())
    why = (
        "has the best" if size == best else f"is within one standard error of the best ({best}) in"
    )
    return size, (
        f"{size} {why} log p(x) of {len(test):,} held-out rows after a short fit (nats per row, "
        "beside one latent "
        f"dimension: {told})."
    )


def _nats(estimator: Any, size: int, train: Values, test: Values, tried: int) -> np.ndarray:
    """Return log p(x) of each row of the test set after a short fit."""
    limit = estimator.max_seconds
    asked = {
        **estimator.get_params(deep=False),
        "latent_dim": size,
        "max_steps": min(STEPS, estimator.max_steps or STEPS),
        "max_seconds": None if limit is None else SHARE_OF_TIME * limit / tried,
        "random_state": 0,
        "warm_start": False,
        "callbacks": None,
        "progress": False,
        "checkpoint_dir": None,
    }
    short = type(estimator)(**asked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit that follows says it again
        return np.asarray(short.fit(train).score_samples(test), dtype=np.float64)


def _no_better(nats: dict[int, np.ndarray]) -> bool:
    """Return whether the last sizes are not clearly better than a smaller one."""
    tried = list(nats)
    if len(tried) <= PATIENCE:
        return False
    before = nats[tried[-PATIENCE - 1]]
    return all(_within(before, nats[size]) for size in tried[-PATIENCE:])


def _within(smaller: np.ndarray, best: np.ndarray) -> bool:
    """Return whether one size is at most a standard error
    of the paired differences behind another.
    """
    gain, error = _gain(best, smaller)
    return math.isfinite(gain) and gain <= max(error, ROUNDING)


def _gain(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the trimmed mean of paired differences and its standard error."""
    return trimmed_mean(torch.from_numpy(one) - torch.from_numpy(other))
