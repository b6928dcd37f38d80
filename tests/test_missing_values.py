"""Missing values in data units: what passes the door; scores are those of what is there."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_wine

from helpers import rng
from nelbo import DataWarning, Fitted, VariationalAutoencoder
from nelbo.data import Schema
from nelbo.linear import LinearGaussian, moments

Array = np.ndarray[Any, Any]


def table(columns: int = 5, rows: int = 90) -> Array:
    """Return some columns of a table whose units differ a thousandfold."""
    return np.asarray(load_wine().data[:rows, 8 : 8 + columns], dtype=np.float64)


def holes(x: Array, share: float = 0.25, seed: int = 1) -> Array:
    return np.where(np.random.default_rng(seed).random(x.shape) < share, np.nan, x)


def small(**options: Any) -> VariationalAutoencoder:
    defaults = {"latent_dim": 2, "hidden": (8,), "max_steps": 40, "random_state": 0}
    return VariationalAutoencoder(**(defaults | options))


@pytest.fixture(scope="module")
def linear() -> VariationalAutoencoder:
    """A linear model that was fitted to complete rows."""
    return small(network="linear", variance="learned", scale="standard").fit(table())


@pytest.fixture(scope="module")
def incomplete() -> VariationalAutoencoder:
    """A model that was fitted to incomplete rows."""
    return small().fit(holes(table()))


@pytest.fixture(scope="module")
def whitened() -> VariationalAutoencoder:
    """A model of whitened columns that has left its start, fitted to complete rows."""
    options: dict[str, Any] = {"early_stopping": False, "learning_rate": 0.01, "max_steps": 200}
    return small(scale="whitened", prior="standard_normal", **options).fit(table(4))


def marginal(model: VariationalAutoencoder, row: Array) -> float:
    """Return log p of what is there under a linear model, by scipy."""
    bias = model.inverse_transform(np.zeros((1, 2)))[0]
    weight = model.inverse_transform(np.eye(2)).T - bias[:, None]
    covariance = weight @ weight.T + np.diag(np.broadcast_to(model.noise_variance_, len(row)))
    there = ~np.isnan(row)
    normal = multivariate_normal(bias[there], covariance[np.ix_(there, there)])
    return float(normal.logpdf(row[there]))


def test_a_linear_model_scores_incomplete_rows_by_the_exact_marginal(
    linear: VariationalAutoencoder,
) -> None:
    x = holes(table())
    expected = [marginal(linear, row) for row in x]
    np.testing.assert_allclose(linear.score_samples(x), expected, atol=1e-4)
    found = linear.log_likelihood(x)
    assert found.method == "exact"
    np.testing.assert_allclose(found.value, expected, atol=1e-4)


def test_one_column_integrated_out_is_that_column_missing(
    whitened: VariationalAutoencoder,
) -> None:
    x = table(4)[:2]
    for j in (3,):
        centre, width = x[:, j].mean(), 7 * table(4)[:, j].std()
        grid = np.linspace(centre - width, centre + width, 91)
        rows = np.repeat(x, len(grid), 0)
        rows[:, j] = np.tile(grid, len(x))
        density = whitened.log_likelihood(rows, "quadrature").value.reshape(len(x), -1)
        expected = torch.from_numpy(density).logsumexp(1).numpy() + math.log(grid[1] - grid[0])
        without = x.copy()
        without[:, j] = np.nan
        np.testing.assert_allclose(
            whitened.log_likelihood(without, "quadrature").value, expected, atol=5e-3
        )
        sampled = whitened.log_likelihood(without, "importance", samples=2000)
        error = 5 * sampled.standard_error + 1e-2
        assert (np.abs(sampled.value - expected) <= error).all()


def test_a_row_scores_the_same_whatever_is_missing_from_others(
    whitened: VariationalAutoencoder, linear: VariationalAutoencoder
) -> None:
    for model, x in ((whitened, table(4)), (linear, table())):
        part = x.copy()
        part[1::2, 0] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for of in (model.score_samples, model.elbo, model.transform):
                np.testing.assert_allclose(of(part)[::2], of(x)[::2], rtol=1e-12)


MISSING = {
    "NaN": holes,
    "None": lambda x: np.where(np.isnan(holes(x)), None, x.astype(object)),
    "masked": lambda x: np.ma.masked_array(x, np.isnan(holes(x))),
    "pandas": lambda x: pd.DataFrame(holes(x)),
    "pd.NA": lambda x: pd.DataFrame(holes(x)).convert_dtypes(),
    "float32": lambda x: holes(x).astype(np.float32),
}


@pytest.mark.parametrize("kind", MISSING)
def test_whatever_stands_for_a_missing_cell_is_one(
    kind: str, linear: VariationalAutoencoder
) -> None:
    x = MISSING[kind](table())
    np.testing.assert_allclose(
        linear.score_samples(x), linear.score_samples(holes(table())), rtol=2e-4
    )


def test_infinity_is_refused_and_so_is_nan_where_it_is_to_be() -> None:
    x = holes(table())
    with pytest.raises(ValueError, match="X contains NaN: first at row 0, column"):
        small(missing="refuse").fit(x)
    model = small(missing="refuse", max_steps=2).fit(table())
    with pytest.raises(ValueError, match="X contains NaN"):
        model.score_samples(x)
    with pytest.raises(ValueError, match="missing must be 'auto' or 'refuse', got 'drop'"):
        small(missing="drop").fit(x)
    x[7, 2] = np.inf
    with pytest.raises(ValueError, match="contains inf: first at row 7, column 2, 1 inf in all"):
        small().fit(x)


def test_a_fit_of_incomplete_rows_tells_of_them(incomplete: VariationalAutoencoder) -> None:
    told, gone = incomplete.recipe_["missing"], np.isnan(holes(table()))
    assert told["value"] == f"{gone.mean():.2%} of values"
    assert f"{gone.any(1).sum()} of 90 rows and 5 of 5 columns" in told["reason"]
    assert incomplete.recipe_["scale"]["value"] == "standard"
    assert incomplete.model_.takes_missing
    assert "missing" not in small(max_steps=2).fit(table()).recipe_


def test_what_is_fitted_to_incomplete_rows_is_finite(incomplete: VariationalAutoencoder) -> None:
    x = holes(table())
    for found in (
        incomplete.score_samples(x),
        incomplete.elbo(x),
        incomplete.transform(x),
        incomplete.reconstruct(x),
        incomplete.sample(5),
        incomplete.noise_variance_,
    ):
        assert np.isfinite(found).all()
    assert incomplete.trained_on(x).all()


def test_a_saved_model_of_incomplete_rows_scores_the_same(
    incomplete: VariationalAutoencoder, tmp_path: Path
) -> None:
    incomplete.save(tmp_path / "run")
    json.loads((tmp_path / "run" / "config.json").read_text(), parse_constant=pytest.fail)
    x = holes(table())
    again = Fitted.load(tmp_path / "run")
    np.testing.assert_array_equal(again.score_samples(x), incomplete.fitted_.score_samples(x))
    assert again.trained_on(x).all()


def test_a_row_without_any_value_scores_nothing_and_a_column_without_any_is_left_out(
    tmp_path: Path,
) -> None:
    x = holes(table())
    x[4], x[:, 2] = np.nan, np.nan
    with pytest.warns(DataWarning, match="column 2, as all values are missing"):
        model = small().fit(x)
    assert model.score_samples(x)[4] == 0
    assert model.log_likelihood(x, "importance").value[4] == 0
    assert model.recipe_["missing"]["never"] == ["column 2"]
    assert "1 rows without any value" in model.recipe_["missing"]["reason"]
    assert np.isnan(model.sample(3)[:, 2]).all()
    other = x.copy()
    other[:, 2] = 7.0
    np.testing.assert_array_equal(model.score_samples(other), model.score_samples(x))
    model.save(tmp_path / "run")
    np.testing.assert_array_equal(
        Fitted.load(tmp_path / "run").score_samples(x), model.fitted_.score_samples(x)
    )


def test_a_constant_column_may_have_holes() -> None:
    x = table()
    x[:, 1] = 3.0
    x = holes(x)
    with pytest.warns(DataWarning, match="with one value in all rows"):
        model = small(max_steps=2).fit(x)
    assert np.isfinite(model.score_samples(x)).all()
    x[0, 1] = 4.0
    with pytest.warns(DataWarning, match="another value"):
        assert model.score_samples(x)[0] == -np.inf


def test_the_jacobian_counts_what_is_there() -> None:
    x = holes(table())
    schema = Schema.infer(x)
    np.testing.assert_allclose(schema.shift, np.nanmean(x, 0))
    np.testing.assert_allclose(schema.scale, np.nanstd(x, 0))
    t = schema.to_model(x, noise="centre", dtype=torch.float64)
    found = schema.log_density(torch.zeros(len(x), dtype=torch.float64), t)
    expected = -(~np.isnan(x) @ np.log(schema.scale))
    np.testing.assert_allclose(found.numpy(), expected)
    assert schema.rows(x).units.log_density == pytest.approx(expected.mean())
    with pytest.raises(ValueError, match="needs complete rows"):
        Schema.infer(x, scale="whitened")


def test_moments_of_incomplete_rows_are_those_of_the_model_that_they_come_from() -> None:
    weight = torch.randn(6, 2, generator=rng(1), dtype=torch.float64)
    model = LinearGaussian(weight, weight[:, 0], torch.tensor(0.3, dtype=torch.float64))
    x = model.sample(4_000, rng(2))
    gone = torch.rand(x.shape, generator=rng(3)) < 0.4
    gone[:, 5] |= x[:, 0] > weight[0, 0]  # seen from column 0 where that is there
    gone[:, 0] = False
    mean, covariance = moments(x.masked_fill(gone, math.nan))
    torch.testing.assert_close(mean, model.bias, atol=0.1, rtol=0)
    torch.testing.assert_close(covariance, model.covariance, atol=0.3, rtol=0)
    complete = moments(x.masked_fill(gone, math.nan)[:, :1])
    torch.testing.assert_close(complete, moments(x[:, :1]))


def test_a_fit_by_linear_networks_nears_the_maximum_of_the_likelihood_of_what_is_there() -> None:
    x = holes(table(3, rows=80), 0.15)
    fitted = small(network="linear", scale="standard", max_steps=100).fit(x)
    start = small(network="linear", scale="standard", max_steps=1, early_stopping=False).fit(x)
    assert fitted.score(x) >= start.score(x) - 0.02


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t", "heteroscedastic_gaussian"])
def test_other_likelihoods_and_conditions_take_holes(likelihood: str) -> None:
    x, c = holes(table()), np.arange(90) % 3
    model = small(likelihood=likelihood, max_steps=5).fit(x, c=c)
    assert np.isfinite(model.score_samples(x, c=c)).all()
    assert np.isfinite(model.transform(x, c=c)).all()


def test_zeros_and_ones_and_pictures_take_holes() -> None:
    bits = holes((table() > table().mean(0)).astype(float))
    model = small(likelihood="bernoulli", max_steps=5).fit(bits)
    assert (model.score_samples(bits) <= 1e-6).all()
    pictures = holes(np.random.default_rng(0).normal(size=(40, 6, 6)))
    model = small(max_steps=5).fit(pictures)
    assert np.isfinite(model.score_samples(pictures)).all()
    assert model.reconstruct(pictures).shape == (40, 6, 6)
    model = small(max_steps=5, network="conv").fit(pictures[:, :4, :4])
    assert np.isfinite(model.score_samples(pictures[:, :4, :4])).all()
