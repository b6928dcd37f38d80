"""Active units of a model that has a known number of them."""

from __future__ import annotations

import torch

from helpers import draw, linear_gaussian, started
from nelbo import diagnose
from nelbo.linear_gaussian import LinearGaussian


def test_active_units_are_those_whose_posterior_mean_moves() -> None:
    full = linear_gaussian(8, 4)
    idle = LinearGaussian(full.weight * torch.tensor([1, 0, 1, 1e-3]).double(), full.bias, full.variance)
    vae, x = started(idle), draw(idle, 3000)
    found = diagnose.active_units(vae, x, chunk=700)
    assert found.active.tolist() == [True, False, True, False]
    assert found.count == 2
    mean = idle.posterior(x)[0]
    torch.testing.assert_close(found.variance, mean.var(0, correction=0))


def test_active_units_do_not_depend_on_the_chunk_or_leave_gradients() -> None:
    model = linear_gaussian()
    vae, x = started(model), draw(model, 100)
    one, many = diagnose.active_units(vae, x, chunk=7), diagnose.active_units(vae, x)
    torch.testing.assert_close(one.variance, many.variance)
    assert not many.variance.requires_grad
    assert diagnose.active_units(vae, x[:1]).count == 0
