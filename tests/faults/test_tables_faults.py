"""Tables: z carries what columns have in common, no single row decides,
and odd columns are met with words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from nelbo import (
    VAE,
    VariationalAutoencoder,
    fit,
    likelihood,
    networks,
    objective,
    posterior,
    prior,
)

pytestmark = pytest.mark.fault
Array = np.ndarray[Any, Any]


def explained(true: Array, found: Array) -> float:
    return 1 - float(np.square(true - found).sum() / np.square(true - true.mean(0)).sum())


@pytest.mark.parametrize(("load", "q"), [(load_wine, 2), (load_breast_cancer, 4)])
def test_z_of_a_table_says_as_much_as_its_principal_components(load: Any, q: int) -> None:
    """Reconstructions, neighbours and log p at once, held out,
    beside PCA with as many components.
    """
    x, labels = load(return_X_y=True)
    train, test, seen, asked = train_test_split(x, labels, test_size=0.4, random_state=0)
    mean, spread = train.mean(0), train.std(0)
    pca = PCA(q).fit((train - mean) / spread)
    standard = (test - mean) / spread
    model = VariationalAutoencoder(q, random_state=0).fit(train)

    theirs = explained(standard, pca.inverse_transform(pca.transform(standard)))
    assert explained(standard, (model.reconstruct(test) - mean) / spread) > theirs - 0.02
    neighbours = [
        KNeighborsClassifier(5).fit(a, seen).score(b, asked)
        for a, b in (
            (pca.transform((train - mean) / spread), pca.transform(standard)),
            (model.transform(train), model.transform(test)),
        )
    ]
    assert neighbours[1] > neighbours[0] - 0.03
    assert model.score(test) > pca.score(standard) - np.log(spread).sum()


def test_z_says_as_much_where_latents_outnumber_columns() -> None:
    x = load_wine().data[:, :5]
    model = VariationalAutoencoder(8, random_state=0, max_steps=50).fit(x)
    standard = (x - x.mean(0)) / x.std(0)
    assert explained(standard, (model.reconstruct(x) - x.mean(0)) / x.std(0)) > 0.98


def test_a_single_row_does_not_decide_on_the_noise() -> None:
    """It is far from all others, and the normal with every correlation finds it impossible."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1015, 12)) @ rng.normal(size=(12, 12)) + 0.1 * rng.normal(size=(1015, 12))
    others = VariationalAutoencoder(2, random_state=0, max_steps=2).fit(x)
    x[17] += 40 * rng.normal(size=12)
    model = VariationalAutoencoder(2, random_state=0, max_steps=2).fit(x)
    assert others.schema_.mixing is not None
    assert model.schema_.mixing is not None


def test_rounding_is_no_improvement() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 4)) @ rng.normal(size=(4, 4))
    model = VariationalAutoencoder(2, random_state=0, max_steps=40, learning_rate=1e-9).fit(x)
    assert model.kept_start_
    assert model.history_.best_step == 0


@pytest.mark.filterwarnings("ignore::nelbo.data.warned.DataWarning")  # each of its columns is odd
def test_a_table_in_which_one_row_differs_is_fitted() -> None:
    x = np.zeros((200, 3))
    x[7] = [1, 2, 3]
    model = VariationalAutoencoder(1, random_state=0, max_steps=20).fit(x)
    assert np.isfinite(model.score(x))


def test_columns_that_vary_too_little_for_a_float64_are_named() -> None:
    x = np.random.default_rng(0).normal(size=(200, 3))
    x[:, 1] *= 1e-300
    with pytest.raises(
        ValueError, match="feature 1 varies, but its variance is below what a float64 holds"
    ):
        VariationalAutoencoder(1, random_state=0).fit(x)


# by the mean, which is that row's
@pytest.mark.filterwarnings("ignore:Training made the model worse")
def test_a_single_validation_row_does_not_choose_the_weights() -> None:
    """What is learned of all others counts,
    though the bound of one row falls by more than they gain.
    """
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 1200)
    x = np.c_[np.cos(angle), np.sin(angle)] + 0.1 * rng.normal(size=(1200, 2))
    x = torch.tensor(x, dtype=torch.float32)
    far = x[1000:].clone()
    far[17] = torch.tensor([300.0, -300.0])
    steps = []
    for validation in (x[1000:], far):
        generator = torch.Generator().manual_seed(0)
        vae = VAE(
            prior.StandardNormal(2),
            networks.MLP((2,), (2,), (32,), generator=generator),
            likelihood.Gaussian((2,)),
            networks.MLP((2,), (4,), (32,), generator=generator),
            posterior.DiagonalNormal(2),
        )
        history = fit(objective.ELBO(vae), x[:1000], validation=validation, max_steps=400)
        steps.append(history.best_step)
    assert min(steps) > 200  # not 0, where the bound of that row is best
