"""Missing not at random: the mechanism is a probability, and what it biases is put right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import normal, rng
from nelbo import Fitted, VariationalAutoencoder
from nelbo.distributions import DiagonalNormal, SelfMasked

Array = np.ndarray[Any, Any]


def masked() -> SelfMasked:
    inner = DiagonalNormal(normal(3, 2), normal(3, 2, seed=4).mul(0.2).exp())
    return SelfMasked(inner, torch.tensor([2.0, -1.5]).double(), torch.tensor([0.5, -1.0]).double())


def test_a_value_is_there_or_missing_with_probability_one() -> None:
    p = masked()
    grid = torch.linspace(-40, 40, 20_001).double()[:, None, None].expand(-1, 3, 2)
    there = p.each(grid).exp().sum(0) * (grid[1, 0, 0] - grid[0, 0, 0])
    torch.testing.assert_close(there + p.log_absent().exp(), torch.ones(3, 2).double(), atol=2e-3,
                               rtol=0)  # fmt: skip
    x = p.inner.mean.clone()
    x[0, 1] = torch.nan
    expected = p.each(x)[0, 0] + p.log_absent()[0, 1]
    torch.testing.assert_close(p.log_prob(x)[0], expected)


def test_what_is_missing_is_larger_where_large_values_are_missing() -> None:
    p = masked()
    x = p.inner.sample((200_000,), rng(1))
    chance = torch.sigmoid(-p.weight * x - p.bias)
    mean = (chance * x).sum(0) / chance.sum(0)
    variance = (chance * (x - mean).square()).sum(0) / chance.sum(0)
    found = p.given(torch.full((3, 2), torch.nan).double())
    torch.testing.assert_close(found.mean, mean, atol=0.03, rtol=0.02)
    torch.testing.assert_close(found.variance, variance, atol=0.03, rtol=0.05)
    drawn = found.sample((20_000,))
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.1, rtol=0.05)


def rows() -> tuple[Array, Array]:
    """Return rows of a linear model, and the same without most of what is large in two columns."""
    random = np.random.default_rng(0)
    weight = random.normal(size=(2, 5))
    x = random.normal(size=(800, 2)) @ weight + 0.4 * random.normal(size=(800, 5)) + 3
    chance = 1 / (1 + np.exp(-4 * (x - x.mean(0)) / x.std(0)))
    gone = random.random(x.shape) < chance
    gone[:, 2:] = False
    return x, np.where(gone, np.nan, x)


def test_a_model_of_the_mechanism_corrects_the_bias_of_one_that_ignores_it(tmp_path: Path) -> None:
    x, incomplete = rows()
    gone = np.isnan(incomplete)
    errors, models = [], []
    for missingness in ("ignorable", "self_masking"):
        options: dict[str, Any] = {"network": "linear", "variance": "per_feature"}
        model = VariationalAutoencoder(2, missingness=missingness, random_state=0, **options)
        model.set_params(max_steps=1000, early_stopping=False).fit(incomplete)
        filled = model.impute(incomplete)
        errors.append(((filled - x)[gone].mean(), np.square((filled - x)[gone]).mean()))
        models.append(model)
    (bias, square), (less, smaller) = errors
    assert bias < -0.5
    assert abs(less) < 0.35 * abs(bias)
    assert smaller < 0.6 * square
    model = models[1]
    assert (model.model_.likelihood.slope[:2] < -0.2).all()
    # who leaves a column out asks about the others alone
    assert model.score_samples(np.full((1, 5), np.nan)) == 0
    model.save(tmp_path / "run")
    again = Fitted.load(tmp_path / "run")
    np.testing.assert_array_equal(again.impute(incomplete), model.fitted_.impute(incomplete))
    assert np.isfinite(model.sample(5)).all()


def test_a_mechanism_is_refused_where_there_is_none() -> None:
    x, incomplete = rows()
    with pytest.raises(ValueError, match="missingness must be 'ignorable' or 'self_masking'"):
        VariationalAutoencoder(missingness="random").fit(x)
    complete = VariationalAutoencoder(2, missingness="self_masking", max_steps=2).fit(x[:40])
    assert not complete.model_.likelihood.models_missing
    with pytest.raises(ValueError, match="is for normal noise"):
        VariationalAutoencoder(
            2, likelihood="student_t", missingness="self_masking", max_steps=2
        ).fit(incomplete[:40])
