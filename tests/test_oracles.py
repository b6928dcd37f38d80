"""The whole library against answers that others computed:
scikit-learn's PCA and factor analysis on the digits.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA, FactorAnalysis

from helpers import build, digits, draw, linear_gaussian, loosen, rng, started
from nelbo import DataWarning, VariationalAutoencoder, evaluate, fit, initialize, objective

LATENT = 4


@pytest.mark.parametrize("init", ["ppca", "random"])
def test_a_linear_vae_with_one_learned_beta_is_sklearns_pca(init: str) -> None:
    train, test = digits()
    pca = PCA(LATENT).fit(train.astype(np.float64))
    model = VariationalAutoencoder(
        LATENT,
        network="linear",
        scale="global",
        validation_fraction=0,
        init=init,
        max_steps=1500,
        batch_size=350,
        learning_rate=2e-2,
        random_state=0,
    ).fit(train)
    assert model.score(test) == pytest.approx(pca.score(test), abs=0.1)
    assert model.noise_variance_**0.5 == pytest.approx(pca.noise_variance_**0.5, rel=1e-3)
    assert model.elbo(test).mean() == pytest.approx(model.score(test), abs=0.1)  # q is exact there
    span = np.linalg.svd(np.linalg.qr(loadings(model))[0].T @ pca.components_.T, compute_uv=False)
    assert span.min() > 0.999


def loadings(model: VariationalAutoencoder) -> np.ndarray:
    """The decoder's columns, in data units."""
    means = model.inverse_transform(np.concatenate([np.zeros((1, LATENT)), np.eye(LATENT)]))
    return (means[1:] - means[0]).T


def test_a_residual_vae_begins_as_sklearns_pca_in_data_units() -> None:
    train, test = digits()
    pca = PCA(LATENT).fit(train.astype(np.float64))
    model = VariationalAutoencoder(
        LATENT,
        scale="global",
        validation_fraction=0,
        max_steps=1,
        learning_rate=1e-30,
        random_state=0,
        hidden=(8,),
    ).fit(train)
    assert model.score(test) == pytest.approx(pca.score(test), abs=0.02)
    sampled = evaluate.log_likelihood(
        model.model_, model.schema_.to_model(test, noise="hash"), "importance", samples=20
    )
    assert sampled.mean - model.schema_.log_scale_sum == pytest.approx(pca.score(test), abs=0.05)
    np.testing.assert_allclose(
        np.abs(model.transform(test)).mean(0), np.abs(posterior_means(pca, test)).mean(0), rtol=1e-3
    )


def posterior_means(pca: PCA, x: np.ndarray) -> np.ndarray:
    """M^-1 W^T (x - b): scikit-learn's projections, shrunk."""
    gain = np.sqrt(pca.explained_variance_ - pca.noise_variance_)
    return pca.transform(x.astype(np.float64)) * gain / pca.explained_variance_


@pytest.mark.parametrize("init", ["ppca", "random"])
def test_a_linear_vae_with_noise_per_feature_is_sklearns_factor_analysis(init: str) -> None:
    train, test = digits()
    # where a column hardly varies, scikit-learn's noise sinks to its own floor
    varies = train.std(0) > 0.5
    train, test = train[:, varies], test[:, varies]
    theirs = FactorAnalysis(LATENT, tol=1e-4, max_iter=3000).fit(train.astype(np.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DataWarning)  # grey values repeat
        model = VariationalAutoencoder(
            LATENT,
            network="linear",
            variance="per_feature",
            validation_fraction=0,
            init=init,
            max_steps=1500,
            batch_size=350,
            learning_rate=2e-2,
            random_state=0,
        ).fit(train)
    x = model.schema_.to_model(test, noise="hash", dtype=torch.float64)
    exact = evaluate.log_likelihood(model.model_, x, "exact").mean - model.schema_.log_scale_sum
    assert exact == pytest.approx(theirs.score(test.astype(np.float64)), abs=0.3)
    assert np.median(np.abs(np.log(model.noise_variance_ / theirs.noise_variance_))) < 0.03
    assert model.elbo(test).mean() < exact + 0.1  # its own sampling error is 0.02


def test_the_torch_surface_gives_the_same_answer_without_any_scaling() -> None:
    """In the digits' own units, 0 to 16, started at the closed form and trained in float64."""
    train, test = (torch.from_numpy(rows).double() for rows in digits())
    pca = PCA(LATENT).fit(train.numpy())
    vae = build((64,), LATENT, "linear")
    initialize.start_at(vae, initialize.closed_form(vae, train))
    exact = evaluate.log_likelihood(vae, test, "exact")
    # scikit-learn divides the covariance by n - 1, maximum likelihood by n
    assert exact.mean == pytest.approx(pca.score(test.numpy()), abs=0.01)
    fit(objective.ELBO(vae), train, max_steps=300)
    assert evaluate.log_likelihood(vae, test, "exact").mean == pytest.approx(
        pca.score(test.numpy()), abs=0.1
    )


def test_elbo_iwae_and_exact_stand_in_this_order_on_digits() -> None:
    train, test = (torch.from_numpy(rows).double() for rows in digits())
    vae = build((64,), LATENT, "linear")
    initialize.start_at(vae, initialize.closed_form(vae, train))
    loosen(vae, 2.0, 0.3)
    bounds = [
        evaluate.elbo(vae, test),
        *(evaluate.log_likelihood(vae, test, "importance", k).value for k in (5, 25)),
    ]
    exact = evaluate.log_likelihood(vae, test, "exact").value
    for lower, upper in zip(bounds, [*bounds[1:], exact], strict=True):
        gain = upper - lower
        assert float(gain.mean()) > 3 * float(gain.std()) / len(gain) ** 0.5
    assert float((exact - bounds[-1]).mean()) < 0.4


def test_with_the_exact_posterior_terms_are_exact_to_1e_minus_10() -> None:
    for variance in (1e-4, 0.3, 10.0):
        model = linear_gaussian(20, 5, variance=variance)
        x = draw(model, 30)
        weight = started(model).terms(x, 10, rng()).log_weight.detach()
        torch.testing.assert_close(weight, model.log_prob(x).expand(10, 30), rtol=0, atol=1e-10)


@pytest.mark.filterwarnings("ignore:X can hardly be in the units")
@pytest.mark.parametrize("network", ["linear", "residual", "conv"])
def test_a_row_far_from_all_data_gets_a_finite_log_p(network: str) -> None:
    """A million units away, in every direction or in one, after training;
    and less than any row of the data.
    """
    train, test = digits()
    model = VariationalAutoencoder(
        LATENT,
        network=network,
        hidden=(32,),
        channels=(4,),
        max_steps=150,
        early_stopping=False,
        learning_rate=1e-2,
        random_state=0,
        scale="global",
    ).fit(train.reshape(-1, 8, 8))
    far = np.stack([test[0]] * 4)
    far[0] += 1e6
    far[1] -= 1e6
    far[2, 20] = 1e6
    far[3, 20] = -1e6
    far = far.reshape(-1, 8, 8)
    for found in (model.score_samples(far), model.elbo(far)):
        assert np.isfinite(found).all()
        assert found.max() < model.score_samples(test.reshape(-1, 8, 8)).min()
    assert np.isfinite(model.reconstruct(far)).all()
