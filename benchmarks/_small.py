"""Small made-up data of all kinds, for fits that take a second."""

from __future__ import annotations

import numpy as np

SEED = 0


def table(rows: int = 400, columns: int = 6, noise: float = 0.05) -> np.ndarray:
    """Return rows around a bent circle, with correlated noise, in columns of unequal scales."""
    random = np.random.default_rng(SEED)
    angle = random.uniform(0, 2 * np.pi, rows)
    circle = np.column_stack([np.cos(angle), np.sin(angle), 0.5 * np.cos(2 * angle)])
    loose = random.standard_normal((rows, columns)) @ random.standard_normal((columns, columns))
    mixed = circle @ random.standard_normal((3, columns)) + noise * loose
    return np.asarray((mixed * np.geomspace(0.1, 10, columns) + 3).astype(np.float32))


def images(rows: int = 150, side: int = 8) -> np.ndarray:
    """Return grey bumps of any place and width, float32 in [0, 1], (rows, side, side)."""
    random = np.random.default_rng(SEED)
    grid = np.linspace(-1, 1, side)
    place, width = random.uniform(-0.6, 0.6, (rows, 2, 1)), random.uniform(0.3, 0.7, (rows, 1))
    down, across = (np.exp(-(((grid - place[:, axis]) / width) ** 2)) for axis in (0, 1))
    noise = 0.05 * random.standard_normal((rows, side, side))
    bumps = down[:, :, None] * across[:, None, :] + noise
    return np.asarray(bumps.clip(0, 1).astype(np.float32))


def grey() -> np.ndarray:
    """Return the grey bumps as bytes."""
    return np.asarray(np.rint(255 * images()).astype(np.uint8))


def binary() -> np.ndarray:
    """Return the grey bumps as zeros and ones."""
    return np.asarray((images() > 0.5).astype(np.float32))


def channels() -> np.ndarray:
    """Return the grey bumps as images of one channel."""
    return images()[:, None]


def levels() -> np.ndarray:
    """Return the bytes as the middles of 256 bins of [0, 1]."""
    return np.asarray((grey() + 0.5).astype(np.float32) / 256)


def constant_column() -> np.ndarray:
    """Return a table one column of which has but one value."""
    x = table()
    x[:, 3] = 7
    return x
