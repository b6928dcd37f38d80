"""Whether columns of different kinds are as a model says: exact where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nelbo import VAE, likelihood, posterior, prior
from nelbo.diagnose import column_calibration

KINDS = ["gaussian", {"kind": "categorical", "levels": 3}, "poisson", "bernoulli"]
N = 3000


class Encoder(nn.Module):
    """q(z|x) = p(z), which is p(z|x) where columns say nothing of z."""

    takes_missing = True

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 2)


@pytest.fixture(scope="module")
def vae() -> VAE:
    """A model whose columns are independent of z."""
    head = likelihood.Columns((4,), KINDS)
    decoder = nn.Linear(1, head.in_shape[0])
    with torch.no_grad():
        decoder.weight.zero_()
        decoder.bias.copy_(torch.tensor([0.3, 0.5, 0.0, -1.0, 1.1, -0.7]))
    return VAE(prior.StandardNormal(1), decoder, head, Encoder(), posterior.DiagonalNormal(1))


@pytest.fixture(scope="module")
def rows(vae: VAE) -> Tensor:
    with torch.no_grad():
        p = vae.decode(torch.zeros(N, 1))
        return p.sample(generator=torch.Generator().manual_seed(0))


def test_rows_of_the_model_itself_are_calibrated(vae: VAE, rows: Tensor) -> None:
    found = column_calibration(vae, rows)
    assert (found.numbers, found.levels) == ((0, 2), (1, 3))
    np.testing.assert_allclose(found.pit, 0.1, atol=4 * (0.09 / N) ** 0.5)
    np.testing.assert_allclose(found.coverage, [[0.5, 0.9]] * 2, atol=0.04)
    there = found.cases > 0
    assert float(found.cases.sum()) == N * (3 + 2)
    np.testing.assert_allclose(found.predicted[there], found.observed[there], atol=0.03)
    assert float(found.error.max()) < 0.03


def test_what_is_said_wrongly_shows_in_its_column(vae: VAE, rows: Tensor) -> None:
    wrong = rows.clone()
    wrong[:, 2] = 2 * rows[:, 2] + 1
    wrong[:, 3] = 1 - rows[:, 3]
    wrong[::2, 0] = torch.nan
    found = column_calibration(vae, wrong)
    assert found.coverage[1, 1] < 0.8  # counts
    np.testing.assert_allclose(found.coverage[0], [0.5, 0.9], atol=0.05)  # what is there
    assert found.error[0] < 0.03
    expected = 2 * abs(1 / (1 + np.exp(0.7)) - 0.5)
    assert float(found.error[1]) == pytest.approx(expected, abs=0.03)
