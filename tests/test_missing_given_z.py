"""Rows that are drawn with values missing as the data have them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from helpers import rng
from nelbo import Fitted, VariationalAutoencoder
from nelbo.fitted.missing_given_z import MissingGivenZ

Mask = npt.NDArray[np.bool_]


def drawn(found: MissingGivenZ, z: npt.NDArray[np.float64]) -> Mask:
    return found.draw(torch.from_numpy(z), rng())


def test_patterns_are_drawn_as_wholes_where_z_says() -> None:
    random = np.random.default_rng(0)
    z = random.normal(size=(4000, 2))
    missing = np.zeros((4000, 3), dtype=np.bool_)
    missing[random.random(4000) < 1 / (1 + np.exp(1 - 3 * z[:, 0])), :2] = True
    found = MissingGivenZ.of(z, missing)
    assert sorted(map(tuple, found.patterns.tolist())) == [(False,) * 3, (True, True, False)]
    made = drawn(found, z)
    np.testing.assert_array_equal(made[:, 0], made[:, 1])
    assert not made[:, 2].any()
    for high in (z[:, 0] > 0, z[:, 0] <= 0):
        assert made[high, 0].mean() == pytest.approx(missing[high, 0].mean(), abs=0.04)


def test_many_patterns_are_drawn_column_by_column() -> None:
    random = np.random.default_rng(0)
    z = random.normal(size=(4000, 2))
    rates = 1 / (1 + np.exp(-2 * z[:, :1] + np.arange(10)))
    missing = random.random((4000, 10)) < rates
    missing[:, 9] = False
    found = MissingGivenZ.of(z, missing)
    assert found.patterns.shape == (0, 10)
    made = drawn(found, z)
    np.testing.assert_allclose(made.mean(0), missing.mean(0), atol=0.03)
    assert not made[:, 9].any()
    high = z[:, 0] > 1
    np.testing.assert_allclose(made[high].mean(0), missing[high].mean(0), atol=0.06)


def rows(n: int = 600) -> npt.NDArray[np.float64]:
    """Four columns of one factor; the last two are missing together where it is large."""
    random = np.random.default_rng(1)
    factor = random.normal(size=(n, 1))
    x = factor + 0.3 * random.normal(size=(n, 4))
    x[factor[:, 0] > 0.8, 2:] = math.nan
    return x


def test_a_model_draws_rows_with_holes_like_those_of_the_data(tmp_path: Path) -> None:
    X = rows()
    made = {"network": "linear", "max_steps": 100, "random_state": 0}
    model = VariationalAutoencoder(2, **made).fit(X)
    whole = model.sample(3000)
    assert not np.isnan(whole).any()
    holes = model.sample(3000, missing=True)
    gone = np.isnan(holes)
    np.testing.assert_array_equal(holes[~gone], whole[~gone])
    np.testing.assert_array_equal(gone[:, 2], gone[:, 3])
    assert gone.mean(0) == pytest.approx(np.isnan(X).mean(0), abs=0.05)
    assert whole[gone[:, 2], 0].mean() > whole[~gone[:, 2], 0].mean() + 1
    model.save(tmp_path / "run")
    again = Fitted.load(tmp_path / "run")
    np.testing.assert_array_equal(again.sample(50, seed=3, missing=True),
                                  model.fitted_.sample(50, seed=3, missing=True))  # fmt: skip


def test_complete_rows_give_none_to_imitate() -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = VariationalAutoencoder(1, network="linear", max_steps=5, random_state=0).fit(X)
    with pytest.raises(ValueError, match="missing=True asks for missing values as in the rows"):
        model.sample(3, missing=True)
