"""The defaults of tables: what is decided from the data, and that it does what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from helpers import flat_weights as weights
from helpers import ring
from helpers import small_estimator as vae
from nelbo import VariationalAutoencoder
from nelbo import objective as nelbo_objective
from nelbo.estimator import defaults
from nelbo.estimator.rows import Rows

pytestmark = pytest.mark.usefixtures("untouched_random_state")

Array = np.ndarray[Any, Any]


def correlated(n: int, seed: int = 0) -> Array:
    """Five columns, of which two are close to combinations of the others: more correlation than two latents hold."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 5)) @ rng.normal(size=(5, 5))
    return np.asarray(z * [1, 10, 0.1, 3, 100] + 7)


def test_tables_are_whitened_where_held_out_rows_bear_it_out() -> None:
    assert defaults.whitens(correlated(300), 2)
    assert not defaults.whitens(np.random.default_rng(0).normal(size=(24, 20)), 2)  # noise: pPCA knows it is round
    model = vae(early_stopping=True, max_steps=20).fit(correlated(300))
    t = model.schema_.to_model(correlated(300), noise="hash", dtype=torch.float64).numpy()
    np.testing.assert_allclose(np.cov(t.T, bias=True), np.eye(5), atol=1e-6)
    np.testing.assert_allclose(model.schema_.from_model(torch.tensor(t)), correlated(300), rtol=1e-9)


def test_whitening_has_its_jacobian_counted() -> None:
    x = correlated(400)
    model = vae(max_steps=1, latent_dim=5, learning_rate=1e-9).fit(x)  # stays at the normal with every correlation
    exact = multivariate_normal(x.mean(0), np.cov(x.T, bias=True))
    np.testing.assert_allclose(model.score_samples(x), exact.logpdf(x), atol=1e-3)
    drawn = model.sample(40_000, random_state=1)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.corrcoef(x.T), atol=0.03)


def test_noise_from_z_is_reported_as_its_mean() -> None:
    x = correlated(400)
    model = vae(max_steps=100, variance="heteroscedastic", init="random").fit(x)
    means, drawn = (model.sample(20_000, noise=noise, random_state=1) for noise in (False, True))
    np.testing.assert_allclose(model.noise_variance_, np.square(drawn - means).mean(0), rtol=0.1)
    whitened = vae(max_steps=100).fit(x)
    means, drawn = (whitened.sample(20_000, noise=noise, random_state=1) for noise in (False, True))
    np.testing.assert_allclose(whitened.noise_variance_, np.square(drawn - means).mean(0), rtol=0.1)


@pytest.mark.parametrize(
    "options",
    [{"variance": "learned"}, {"network": "mlp"}, {"likelihood": "gaussian", "init": "random"}, {"scale": "standard"}],
)
def test_who_asks_for_something_gets_no_rules_for_tables(options: dict[str, Any]) -> None:
    model = vae(**options).fit(correlated(100))
    assert model.schema_.mixing is None
    assert model.spec_.variance == "learned"


def test_jitter_fades_to_nothing_and_is_correlated_as_the_rows_are() -> None:
    x = correlated(200)
    model, rows = vae(scale="standard").fit(x), torch.from_numpy(x / x.std(0)).float()
    objective = nelbo_objective.ELBO(model.model_)
    jitter = defaults.Jitter(objective, Rows(rows, None, None, torch.Generator()))
    objective.progress.fill_(0.0)
    many = rows[:1].expand(50_000, -1)
    noise = (jitter(many, torch.Generator().manual_seed(0)) - many).double().numpy()
    np.testing.assert_allclose(np.corrcoef(noise.T), np.corrcoef(rows.numpy().T), atol=0.03)
    bandwidth = defaults.silverman(200, 5)
    np.testing.assert_allclose(noise.std(0), bandwidth * rows.numpy().std(0), rtol=0.03)
    objective.progress.fill_(1.0)
    np.testing.assert_array_equal(jitter(rows, torch.Generator().manual_seed(0)), rows)


def test_a_table_is_trained_on_all_rows_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    refit = defaults.refit

    def spy(objective: Any, x: torch.Tensor, steps: int, *rest: Any) -> None:
        seen.append((len(x), steps))
        refit(objective, x, steps, *rest)

    monkeypatch.setattr(defaults, "refit", spy)
    model = vae(max_steps=300, hidden=(32,), batch_size=32).fit(ring(400))
    assert not model.kept_start_
    assert seen == [(400, model.history_.best_step)]
    again = vae(max_steps=300, hidden=(32,), batch_size=32).fit(ring(400))
    np.testing.assert_array_equal(weights(model), weights(again))


def test_noise_that_depends_on_z_never_meets_an_outlier_with_nothing() -> None:
    def least(model: VariationalAutoencoder) -> float:
        """The standard deviation of p(x|z) where the decoder says that there is none."""
        with torch.no_grad():
            model.model_.decoder.linear.bias[5:] = -1e4
            return float(model.model_.decode(torch.zeros(1, 2)).stddev.max())

    assert least(vae(max_steps=3).fit(correlated(300))) == pytest.approx(0.05)
    assert least(vae(max_steps=3, variance="heteroscedastic").fit(correlated(300))) == pytest.approx(1e-3)
