"""A fitted model in data units: the same numbers from every face, and the Jacobian counted once."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal

from helpers import ring, small_estimator
from nelbo import Fitted, VariationalAutoencoder
from nelbo.checkpoint import CheckpointError

Array = np.ndarray[Any, Any]
UNITS = np.array([10.0, 0.1, 3.0])


def correlated(n: int = 200) -> Array:
    rng = np.random.default_rng(0)
    return np.asarray(rng.normal(size=(n, 3)) @ rng.normal(size=(3, 3)) * UNITS + 5)


@pytest.fixture(scope="module")
def estimator() -> VariationalAutoencoder:
    return small_estimator(max_steps=30).fit(ring(120) * UNITS)


@pytest.fixture
def saved(estimator: VariationalAutoencoder, tmp_path: Path) -> Path:
    estimator.save(tmp_path / "run")
    return tmp_path / "run"


def test_a_saved_run_is_the_same_model_without_the_estimator(
    estimator: VariationalAutoencoder, saved: Path
) -> None:
    x, model = ring(20, seed=1) * UNITS, Fitted.load(saved)
    np.testing.assert_array_equal(model.score_samples(x), estimator.score_samples(x))
    np.testing.assert_array_equal(model.elbo(x), estimator.elbo(x))
    means, deviations = model.encode(x)
    z, s = estimator.transform(x, return_std=True)
    np.testing.assert_array_equal(means, z)
    np.testing.assert_array_equal(deviations, s)
    np.testing.assert_array_equal(model.decode(means), estimator.inverse_transform(z))
    np.testing.assert_array_equal(model.reconstruct(x), estimator.reconstruct(x))
    np.testing.assert_array_equal(model.sample(4, seed=3), estimator.sample(4, random_state=3))
    np.testing.assert_array_equal(model.noise, estimator.noise_variance_)
    assert model.recipe == estimator.recipe_
    assert model.history == estimator.history_
    assert model.trained_on(ring(120) * UNITS).all()
    assert not model.trained_on(x).any()


def test_a_torch_user_needs_no_scikit_learn(saved: Path) -> None:
    script = (
        "import sys, numpy, nelbo\n"
        f"model = nelbo.Fitted.load({str(saved)!r})\n"
        "model.encode(numpy.zeros((2, 3))), model.sample(2), model.elbo(numpy.zeros((2, 3)))\n"
        "print('sklearn' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr


def test_log_p_is_a_density_in_data_units_whatever_the_scaling() -> None:
    x = correlated()
    law = multivariate_normal(x.mean(0), np.cov(x.T, bias=True))
    for scale in ("global", "standard"):
        options: dict[str, Any] = {"network": "linear", "latent_dim": 2, "max_steps": 1}
        model = small_estimator(**options, scale=scale, variance="per_feature").fit(x).fitted_
        # factor analysis with two factors of three columns holds every correlation
        np.testing.assert_allclose(model.score_samples(x), law.logpdf(x), atol=0.1)
        # for a linear model the bound is tight up to correlations of q(z|x)
        assert (model.elbo(x) <= model.score_samples(x) + 1e-6).all()


def test_another_unit_moves_log_p_by_its_logarithm_and_nothing_else() -> None:
    x = ring(100)
    one, other = (small_estimator().fit(x * unit).fitted_ for unit in (1.0, 1024.0))
    shift = 3 * np.log(1024)
    for method in ("score_samples", "elbo", "baseline"):
        here, there = getattr(one, method)(x), getattr(other, method)(x * 1024)
        np.testing.assert_allclose(there, here - shift, rtol=1e-9)
    here, there = (model.bidirectional(4, chains=2, temperatures=5) for model in (one, other))
    np.testing.assert_allclose(there.lower, here.lower - shift, rtol=1e-9)
    np.testing.assert_allclose(there.upper, here.upper - shift, rtol=1e-9)
    np.testing.assert_allclose(other.noise, np.asarray(one.noise) * 1024**2)
    np.testing.assert_array_equal(other.encode(x * 1024)[0], one.encode(x)[0])


def test_tensors_frames_and_arrays_are_the_same_rows(estimator: VariationalAutoencoder) -> None:
    x, model = ring(10, seed=1) * UNITS, estimator.fitted_
    scores = model.score_samples(x)
    np.testing.assert_array_equal(model.score_samples(torch.from_numpy(x)), scores)
    np.testing.assert_array_equal(model.score_samples(pd.DataFrame(x)), scores)


def test_rows_that_do_not_fit_are_refused(estimator: VariationalAutoencoder) -> None:
    model = estimator.fitted_
    for method in (model.score_samples, model.elbo, model.encode, model.log_likelihood):
        with pytest.raises(ValueError, match="X has 4 features"):
            method(np.zeros((2, 4)))
        with pytest.raises(ValueError, match="contains inf"):
            method(np.full((2, 3), np.inf))
    with pytest.raises(ValueError, match="2 latent dimensions"):
        model.decode(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="count must be at least 1"):
        model.sample(0)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        Fitted.load(tmp_path)


def test_a_copy_shares_no_weights(estimator: VariationalAutoencoder) -> None:
    x = ring(5) * UNITS
    before = estimator.score_samples(x)
    other = copy.deepcopy(estimator.fitted_)
    np.testing.assert_array_equal(other.score_samples(x), before)
    for parameter in other.vae.parameters():
        parameter.data.zero_()
    np.testing.assert_array_equal(estimator.score_samples(x), before)
