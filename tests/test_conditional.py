"""Some columns given others: scores, imputations and draws, exact where the model is linear."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

from nelbo import VariationalAutoencoder
from test_missing_values import holes, small, table

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def linear() -> VariationalAutoencoder:
    options: dict[str, Any] = {"network": "linear", "variance": "learned", "scale": "standard"}
    frame = pd.DataFrame(table(), columns=list("abcde"))
    return small(**options).fit(frame)


@pytest.fixture(scope="module")
def whitened() -> VariationalAutoencoder:
    """A model that is not linear, of columns that are correlated given z."""
    options: dict[str, Any] = {"early_stopping": False, "learning_rate": 0.01, "max_steps": 200}
    return small(scale="whitened", prior="standard_normal", **options).fit(table(4))


def normal(model: VariationalAutoencoder) -> tuple[Array, Array]:
    """Return mean and covariance of a linear model."""
    bias = model.inverse_transform(np.zeros((1, 2)))[0]
    weight = model.inverse_transform(np.eye(2)).T - bias[:, None]
    return bias, weight @ weight.T + np.diag(np.broadcast_to(model.noise_variance_, len(bias)))


def conditional(model: VariationalAutoencoder, row: Array) -> tuple[Array, Array]:
    """Return mean and covariance of what is missing from a row of a linear model."""
    mean, covariance = normal(model)
    gone = np.isnan(row)
    gain = covariance[np.ix_(gone, ~gone)] @ np.linalg.inv(covariance[np.ix_(~gone, ~gone)])
    rest = covariance[np.ix_(gone, gone)] - gain @ covariance[np.ix_(~gone, gone)]
    return mean[gone] + gain @ (row - mean)[~gone], rest


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_a_linear_model_imputes_the_exact_conditional(linear: VariationalAutoencoder) -> None:
    x = holes(table())
    found = linear.fitted_.imputed(x)
    draws = linear.impute(x, draws=400, random_state=0)
    assert draws.shape == (400, *x.shape)
    assert (found.ess == math.inf).all()
    gaps = []
    for i, row in enumerate(x):
        gone = np.isnan(row)
        np.testing.assert_array_equal(found.values[i, ~gone], row[~gone])
        np.testing.assert_array_equal(draws[:, i, ~gone], np.tile(row[~gone], (400, 1)))
        if not gone.any():
            continue
        mean, covariance = conditional(linear, row)
        width = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(found.values[i, gone], mean, rtol=1e-4)
        np.testing.assert_allclose(found.std[i, gone], width, rtol=1e-4)
        gaps.append((draws[:, i, gone].mean(0) - mean) / width * 20)
        if gone.sum() == 2:
            shared = np.corrcoef(draws[:, i, gone].T)[0, 1]
            assert shared == pytest.approx(covariance[0, 1] / width.prod(), abs=0.2)
    z = np.concatenate(gaps)  # standard normal
    assert abs(z).max() < 4.5
    assert z.std() == pytest.approx(1, abs=0.25)
    median = linear.impute(x, "median")
    np.testing.assert_allclose(median, found.values, atol=0.2 * found.std.max())


def test_scores_of_some_columns_given_others(linear: VariationalAutoencoder) -> None:
    frame = pd.DataFrame(table(), columns=list("abcde"))
    x = frame.to_numpy()
    mean, covariance = normal(linear)

    def log_p(places: list[int]) -> Array:
        p = multivariate_normal(mean[places], covariance[np.ix_(places, places)])
        return np.asarray(p.logpdf(x[:, places]))

    whole = log_p([0, 1, 2, 3, 4])
    np.testing.assert_allclose(
        linear.score_samples(frame, given=["a", 3]), whole - log_p([0, 3]), atol=1e-4
    )
    np.testing.assert_allclose(
        linear.score_samples(frame, target="b"), whole - log_p([0, 2, 3, 4]), atol=1e-4
    )
    both = linear.score_samples(frame, given="a", target=["c", "d"])
    np.testing.assert_allclose(both, log_p([0, 2, 3]) - log_p([0]), atol=1e-4)
    alone = linear.score_samples(frame, given=[], target=["e"])
    np.testing.assert_allclose(alone, log_p([4]), atol=1e-4)
    scores = linear.fitted_.log_likelihood(frame, target=["e"], given=[])
    np.testing.assert_allclose(scores.value, log_p([4]), atol=1e-4)
    for given, target, told in (
        (["z"], None, "given names 'z', which is no column"),
        (["a"], ["a"], "a is in given and in target"),
        (list("abcde"), None, "no column left"),
        (["a", 0], None, "given names 0 twice"),
        ([9], None, "given names 9"),
    ):
        with pytest.raises(ValueError, match=told):
            linear.score_samples(frame, given=given, target=target)


def test_the_chain_rule_holds_of_a_model_that_is_sampled(whitened: VariationalAutoencoder) -> None:
    x = table(4)[:30]
    whole = whitened.log_likelihood(x)
    first = whitened.log_likelihood(x, given=[], target=[0, 1])
    rest = whitened.log_likelihood(x, given=[0, 1])
    error = whole.standard_error + first.standard_error + rest.standard_error
    assert (abs(first.value + rest.value - whole.value) <= 4 * error + 1e-6).all()


def test_a_model_that_is_not_linear_imputes_the_mean_of_its_own_rows(
    whitened: VariationalAutoencoder,
) -> None:
    rows = whitened.sample(60_000, random_state=1)
    x = np.full((1, 4), np.nan)
    x[0, 0] = np.median(rows[:, 0])
    near = rows[abs(rows[:, 0] - x[0, 0]) < 0.05 * rows[:, 0].std()]
    found = whitened.fitted_.imputed(x, samples=4000)
    width = near.std(0)[1:]
    np.testing.assert_allclose(found.values[0, 1:], near.mean(0)[1:], atol=0.1 * width.max())
    assert (abs(found.values[0, 1:] - near.mean(0)[1:]) < 0.12 * width).all()
    np.testing.assert_allclose(found.std[0, 1:], width, rtol=0.12)
    draws = whitened.impute(x, draws=1500)[:, 0]
    np.testing.assert_allclose(draws.std(0)[1:], width, rtol=0.15)
    np.testing.assert_allclose(np.corrcoef(draws[:, 1:].T), np.corrcoef(near[:, 1:].T), atol=0.12)
    drawn = whitened.sample(1500, random_state=3, given={0: x[0, 0]})
    assert (drawn[:, 0] == x[0, 0]).all()
    np.testing.assert_allclose(drawn[:, 1:].std(0), width, rtol=0.15)
    assert (abs(drawn[:, 1:].mean(0) - near.mean(0)[1:]) < 0.15 * width).all()


def test_draws_given_values_are_exact_for_a_linear_model(linear: VariationalAutoencoder) -> None:
    row = np.full(5, np.nan)
    row[1], row[4] = table()[3, 1], table()[3, 4]
    mean, covariance = conditional(linear, row)
    drawn, ess = linear.fitted_.sample_given({"b": row[1], "e": row[4]}, 4000)
    assert ess == math.inf
    others = drawn[:, [0, 2, 3]]
    width = np.sqrt(np.diag(covariance))
    assert (abs(others.mean(0) - mean) < 4.5 * width / math.sqrt(4000)).all()
    np.testing.assert_allclose(others.std(0), width, rtol=0.06)


def test_what_cannot_be_drawn_or_imputed_is_refused(
    whitened: VariationalAutoencoder, linear: VariationalAutoencoder
) -> None:
    for given, told in (
        ({"z": 1.0}, "given names 'z', which is no column.*Known: 'a', 'b'"),
        ({}, "given names no column"),
        ({"a": "x"}, r"given\['a'\] must be a number"),
        ({"a": math.nan}, r"given\['a'\] must be a finite number"),
    ):
        with pytest.raises(ValueError, match=told):
            linear.sample(2, given=given)
    with pytest.raises(TypeError, match="given must be a dict"):
        linear.sample(2, given=["a"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="statistic must be one of mean, median, mode, got 'max'"):
        whitened.impute(table(4), "max")
    with pytest.raises(ValueError, match="draws must be at least 1"):
        whitened.impute(table(4), draws=0)
    np.testing.assert_array_equal(whitened.impute(table(4)), table(4))


def test_categories_are_imputed_by_their_most_probable_level() -> None:
    random = np.random.default_rng(0)
    group = random.integers(0, 3, 200)
    number = 2.0 * group + 0.5 * random.normal(size=200)
    x = np.stack([number, group, random.poisson(2 + 3 * group)], 1).astype(float)
    gone = random.random(x.shape) < 0.2
    rows = np.where(gone, np.nan, x)
    columns = ["gaussian", {"kind": "categorical", "levels": 3}, "poisson"]
    options: dict[str, Any] = {"hidden": (64,), "max_steps": 300, "learning_rate": 0.01}
    options |= {"likelihood": "columns", "likelihood_options": {"columns": columns}}
    model = small(**options).fit(rows)
    chances = model.probabilities(rows, 1)
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-5)
    assert model.levels(1) == (0, 1, 2)
    for statistic in ("mean", "median", "mode"):
        filled = model.impute(rows, statistic)
        lost = gone[:, 1]
        assert (filled[lost, 1] == chances[lost].argmax(1)).mean() > 0.95
        assert (filled[lost, 1] == group[lost]).mean() > 0.6
    draws = model.impute(rows, draws=3)
    assert set(np.unique(draws[:, :, 1])) == {0.0, 1.0, 2.0}
    np.testing.assert_array_equal(draws[..., 2], draws[..., 2].round())
    drawn = model.sample(200, given={1: 2})
    assert (drawn[:, 1] == 2).all()
    assert abs(drawn[:, 0].mean() - 4) < 1
    with pytest.raises(ValueError, match="column 0 has no levels"):
        model.probabilities(rows, 0)
