"""What judges a run: held-out rows under a refined q, and the noise that they need."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import (
    Bytes,
    build,
    digits,
    draw,
    equal_bits,
    linear_gaussian,
    normal,
    rng,
    started,
    weights,
)
from nelbo import VAE, evaluate, fit, initialize, networks, objective
from nelbo.data.rows import Batch
from nelbo.paired import trimmed_mean
from nelbo.training import History
from nelbo.training.noise_step import VarianceStep
from nelbo.training.refined import Refined


def astray(variance: float = 0.3) -> tuple[VAE, Tensor, Tensor]:
    """A linear model with a random encoder, rows of it, and their exact log p(x)."""
    model = linear_gaussian(orthogonal=False, variance=variance)
    x = draw(model, 400)
    vae = started(model, "residual")
    other = build((6,), 2, "residual", seed=5)
    vae.encoder.load_state_dict(other.encoder.state_dict())
    return vae, x, model.log_prob(x)


def test_on_a_linear_model_the_judging_bound_is_log_p_whatever_the_encoder_says() -> None:
    vae, x, exact = astray()
    with torch.no_grad():
        found = Refined()(vae, Batch(x), rng())
    torch.testing.assert_close(found.bounds, exact, rtol=0, atol=0.06)
    assert float((found.bounds - exact).mean().abs()) < 5e-3
    assert float((exact - evaluate.elbo(vae, x)).mean()) > 1


@torch.no_grad()
@pytest.mark.parametrize("off", [0.5, 0.7])
@pytest.mark.parametrize("variance", ["learned", "per_feature"])
def test_noise_that_is_too_small_becomes_that_of_held_out_rows(off: float, variance: str) -> None:
    """EM on 400 rows ends within four standard errors of the noise that they were drawn with."""
    size = {"learned": (), "per_feature": (6,)}[variance]
    model = linear_gaussian(orthogonal=False, variance=torch.full(size, 0.3, dtype=torch.float64))
    x = draw(model, 400)
    vae = started(model, "residual", variance)
    vae.likelihood.log_variance += math.log(off)
    step = VarianceStep(vae)
    for number in range(20):
        step.correct(Refined()(vae, Batch(x), rng(number)).residuals)
    ratio = float(vae.likelihood.variance.mean()) / 0.3
    assert abs(ratio - 1) < 4 * math.sqrt(2 / (400 * 4)) + 0.03


def test_noise_never_shrinks_to_that_of_held_out_rows_nor_by_chance() -> None:
    step = VarianceStep(build((6,), 2))
    step.follow(torch.full((50,), 0.5))
    assert step.factor == 1.0
    step.follow(torch.tensor([0.0, 0.1, 3.2, 0.9, 1.1]))  # more than 1, but not surely
    assert step.factor == 1.0
    residuals = torch.full((1000,), 1.44) + 0.01 * normal(1000).float()
    residuals[7] = 1e6  # a single row does not decide
    step.follow(residuals)
    assert step.factor == pytest.approx(1.2, abs=0.01)


def overfitted(**options: Any) -> tuple[VAE, History, Tensor]:
    """A wide net that learns 80 images by heart, judged by 40 others."""
    rows, _ = digits()
    x = torch.from_numpy(rows[:120]) / 8 - 1
    vae = build((64,), 4, hidden=(64,), dtype=torch.float32)
    initialize.closed_form_start(vae, x[:80], "ppca")
    settings: dict[str, Any] = {"max_steps": 300, "batch_size": 40, "learning_rate": 5e-3}
    goal = objective.ELBO(vae)
    history = fit(goal, x[:80], validation=x[80:], seed=0, **(settings | options))
    return vae, history, x[80:]


def test_the_weights_that_are_kept_are_best_by_the_refined_bound() -> None:
    _, history, _ = overfitted()
    judged = {record.step: value for record, value in history.judged()}
    assert history.is_refined
    assert judged[history.best_step] > max(judged.values()) - 0.1
    gaps = [value - record.validation for record, value in history.judged()]
    assert min(gaps) > -0.3
    own = history.column("validation")
    assert own.index(max(own)) < history.column("step").index(history.best_step)


def test_where_training_overfits_the_noise_is_that_of_held_out_rows() -> None:
    vae, _, held_out = overfitted()
    with torch.no_grad():
        residuals = Refined()(vae, Batch(held_out), rng(9)).residuals
    more, error = trimmed_mean(residuals - 1)
    assert abs(more) < 3 * error
    measured, _, _ = overfitted(early_stopping=False, max_steps=120)
    with torch.no_grad():
        residuals = Refined()(measured, Batch(held_out), rng(9)).residuals
    assert float(residuals.mean()) > 1.2  # where rows decide nothing, they do not set the noise


def test_an_objective_that_is_no_density_is_judged_as_before() -> None:
    vae = build((8,), 2, dtype=torch.float32)
    x = normal(60, 8).float()
    history = fit(objective.Autoencoder(vae), x[:40], validation=x[40:], max_steps=20)
    assert not history.is_refined
    assert {record.refined for record in history.records} == {None}
    assert "refined" not in str(history)


def test_bounds_of_several_draws_are_near_enough() -> None:
    vae = build((8,), 2, dtype=torch.float32)
    x = normal(60, 8).float()
    history = fit(objective.DReG(vae, 4), x[:40], validation=x[40:], max_steps=20)
    assert not history.is_refined


def test_what_costs_more_than_training_itself_is_not_done() -> None:
    vae = build((8,), 8, hidden=(64,), dtype=torch.float32)
    x = normal(440, 8).float()
    history = fit(objective.ELBO(vae), x[:40], validation=x[40:], max_steps=20, batch_size=4)
    assert not history.is_refined


def test_expensive_bounds_are_spread_over_validations() -> None:
    vae = build((8,), 4, hidden=(16,), dtype=torch.float32)
    x = normal(440, 8).float()
    history = fit(objective.ELBO(vae), x[:400], validation=x[400:], max_steps=100, batch_size=8)
    found = [record.refined is not None for record in history.records]
    assert found[0]
    assert found[-1]
    assert not all(found)


def test_a_run_judged_by_refined_bounds_resumes_to_the_same_bits() -> None:
    whole, told, _ = overfitted()
    store = Bytes(interrupt_at_step=60)
    with pytest.raises(KeyboardInterrupt):
        overfitted(store=store, store_every=0)
    vae, history, _ = overfitted(store=store, store_every=0)
    assert equal_bits(weights(vae), weights(whole))
    assert history.best_step == told.best_step
    assert history.column("refined") == told.column("refined")


def test_a_run_that_an_older_version_began_is_judged_by_the_encoder_to_its_end() -> None:
    store = Bytes(interrupt_at_step=10)
    with pytest.raises(KeyboardInterrupt):
        overfitted(store=store, store_every=0)
    config, tensors = store.states[-1]
    del config["held_out_factor"]
    for record in config["history"]["records"]:
        del record["refined"]
    store.states[-1] = (json.loads(json.dumps(config)), tensors)
    _, history, _ = overfitted(store=store, store_every=0)
    assert {record.refined for record in history.records} == {None}
    assert history.stopped


def test_incomplete_rows_are_judged_by_the_values_that_are_there() -> None:
    vae, x, _ = astray()
    vae.encoder = networks.Masked(networks.MLP((12,), (4,), (8,), generator=rng()).double())
    x = x.masked_fill(torch.rand(x.shape, generator=rng(1)) < 0.2, math.nan)
    with torch.no_grad():
        found = Refined()(vae, Batch(x), rng())
    assert bool(found.bounds.isfinite().all())
    more, error = trimmed_mean(found.residuals - 1)
    assert abs(more) < 4 * error + 0.1
