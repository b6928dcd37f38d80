"""Every measurement against a model whose answer is known,
and the diagnosis of models made sick on purpose.
"""

from __future__ import annotations

import copy
import functools
import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from helpers import build, draw, equal_bits, linear_gaussian, loosen, normal, rng, started, weights
from nelbo import VAE, diagnose, fit, initialize, objective
from nelbo.baseline import fit_baseline
from nelbo.data.units import Units
from nelbo.diagnose import Diagnosis, Estimate
from nelbo.evaluate import Normal
from nelbo.linear import LinearGaussian, moments, ppca
from nelbo.networks import Filled

pytestmark = pytest.mark.usefixtures("untouched_random_state")


def near(found: Estimate, truth: float, least: float = 1e-9) -> bool:
    """Whether an estimate is within four of its standard errors of the truth."""
    return abs(found.value - truth) <= 4 * found.standard_error + least


def independent(variance: float | Tensor, features: int = 4) -> LinearGaussian:
    """A model whose latent says nothing: x = b + noise."""
    noise = torch.as_tensor(variance, dtype=torch.float64)
    return LinearGaussian(torch.zeros(features, 1).double(), torch.zeros(features).double(), noise)


# -- latent dimensions
# -------------------------------------------------------------------------------


def test_active_units_are_those_whose_posterior_mean_moves() -> None:
    full = linear_gaussian(8, 4)
    idle = LinearGaussian(
        full.weight * torch.tensor([1, 0, 1, 1e-3]).double(), full.bias, full.variance
    )
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


def test_directions_are_useful_above_the_noise_of_data_and_supported_above_that_of_the_model() -> (
    None
):
    weight = torch.linalg.qr(normal(10, 3)).Q * torch.tensor([3.0, 1.0, 0.01]).double()
    x = draw(LinearGaussian(weight, torch.zeros(10).double(), torch.tensor(0.2).double()), 4000)
    # eigenvalues 9.2, 1.2, then 0.2
    for variance, supported in ((0.15, 3), (0.5, 2), (5.0, 1), (20.0, 0)):
        model = LinearGaussian(weight, torch.zeros(10).double(), torch.tensor(variance).double())
        found = diagnose.collapse(started(model), x)
        assert (found.useful, found.supported, found.latent_dim) == (2, supported, 3)


# -- rate, distortion, information
# -------------------------------------------------------------------


def test_rate_is_the_closed_form_kl_and_minus_the_elbo_is_rate_plus_distortion() -> None:
    model = linear_gaussian(6, 3)
    vae, x = started(model), draw(model, 800)
    mean, covariance = model.posterior(x)
    variance = covariance.diagonal()
    kl = 0.5 * (mean.square() + variance - 1 - variance.log())
    residual = (x - model.bias - mean @ model.weight.T).square().sum(1)
    spread = (model.weight.square() * variance).sum()
    distortion = 0.5 * (
        (residual + spread) / model.variance + 6 * math.log(2 * math.pi * float(model.variance))
    )
    found = diagnose.rate_distortion(vae, x, samples=64)
    assert found.per_dimension is not None
    torch.testing.assert_close(found.per_dimension, kl.mean(0))
    assert found.rate.value == pytest.approx(float(kl.sum(1).mean()), rel=1e-9)
    assert found.rate.standard_error == pytest.approx(
        float(kl.sum(1).std()) / math.sqrt(800), rel=1e-6
    )
    assert found.distortion.value == pytest.approx(float(distortion.mean()), abs=0.05)
    assert found.elbo.value == pytest.approx(-found.rate.value - found.distortion.value, abs=1e-9)
    assert found.elbo.value == pytest.approx(float(model.log_prob(x).mean()), abs=0.05)


def test_log_densities_are_in_the_units_of_the_data_and_differences_have_none() -> None:
    model = linear_gaussian()
    vae, x, train = loosen(started(model)), draw(model, 60), draw(model, 90, seed=1)
    units = Units(-7.0, torch.full((6,), 3.0, dtype=torch.float64))
    for plain, ours in (
        (diagnose.rate_distortion(vae, x), diagnose.rate_distortion(vae, x, units=units)),
        (diagnose.inference_gap(vae, x), diagnose.inference_gap(vae, x, units)),
        (diagnose.memorisation(vae, x, train), diagnose.memorisation(vae, x, train, units)),
    ):
        shift = {
            "distortion": 7.0,
            "elbo": -7.0,
            "log_p": -7.0,
            "best": -7.0,
            "train": -7.0,
            "test": -7.0,
        }
        for name, value in vars(plain).items():
            if isinstance(value, Estimate):
                assert getattr(ours, name).value == pytest.approx(
                    value.value + shift.get(name, 0.0), abs=1e-9
                ), name
    plain_noise, noise = diagnose.calibration(vae, x), diagnose.calibration(vae, x, units=units)
    assert noise.beta == pytest.approx(3 * plain_noise.beta)
    assert noise.residual == pytest.approx(3 * plain_noise.residual)
    assert noise.dispersion == plain_noise.dispersion


def test_values_that_are_missing_have_no_residual() -> None:
    model = linear_gaussian()
    full, x = started(model), draw(model, 60)
    filled = Filled(full.encoder)
    vae = VAE(full.prior, full.decoder, full.likelihood, filled, full.posterior).eval()
    gone = torch.rand(x.shape, generator=rng(5)) < 0.2
    gone[:, 3] = True
    gone[7] = True
    q = Normal(normal(60, vae.latent_dim), torch.full((60, vae.latent_dim), 1e-9).double())
    found = diagnose.calibration(vae, x.masked_fill(gone, math.nan), q)
    for j in range(x.shape[1]):
        rows = ~gone[:, j]
        if j != 3:
            alone = diagnose.calibration(full, x[rows], q[rows])
            assert found.scale_by_feature[j] == pytest.approx(float(alone.scale_by_feature[j]))
            both = zip(found.coverage_by_feature, alone.coverage_by_feature, strict=True)
            assert all(mine[j] == pytest.approx(float(theirs[j])) for mine, theirs in both)
    assert found.pit.sum() == pytest.approx(1)
    assert found.dispersion.rows == 59
    assert math.isfinite(found.residual + found.beta + found.dispersion.value)


@pytest.mark.parametrize(("latent_dim", "variance"), [(1, 0.3), (2, 0.3), (3, 1.0)])
def test_mutual_information_brackets_the_closed_form(latent_dim: int, variance: float) -> None:
    model = linear_gaussian(6, latent_dim, variance=variance)
    vae, x = started(model), draw(model, 1000)
    eye = torch.eye(latent_dim, dtype=torch.float64)
    truth = 0.5 * float(torch.logdet(eye + model.weight.T @ model.weight / variance))
    found = diagnose.mutual_information(vae, x)
    assert near(found.lower, truth, 0.1)
    assert near(found.upper, truth, 0.1)
    assert found.lower.value < found.upper.value
    assert found.upper.value - found.lower.value < 0.1
    assert not found.saturated
    rate = diagnose.rate_distortion(vae, x).rate.value
    assert found.lower.value + found.kl_upper.value == pytest.approx(rate, abs=1e-9)
    assert near(found.kl_lower, 0.0)


def test_mutual_information_stops_at_the_logarithm_of_the_rows_and_says_so() -> None:
    model = linear_gaussian(6, 3, variance=1e-6)
    found = diagnose.mutual_information(started(model), draw(model, 50))
    assert found.lower.value == pytest.approx(math.log(50), abs=1e-6)
    assert found.saturated
    assert found.upper.value > 10


def test_an_aggregate_posterior_off_the_prior_is_as_far_as_the_closed_form_says() -> None:
    model = linear_gaussian(6, 2)
    x = draw(model, 800)
    exact, moved = started(model), loosen(started(model), factor=1.0, shift=0.8)
    found = diagnose.mutual_information(moved, x)
    assert near(found.kl_lower, 0.5 * 2 * 0.8**2)
    torch.testing.assert_close(found.mean, torch.full((2,), 0.8).double(), atol=0.1, rtol=0)
    torch.testing.assert_close(found.variance, torch.ones(2).double(), atol=0.1, rtol=0)
    assert near(diagnose.prior_match(exact, x).energy, 0.0)
    assert diagnose.prior_match(moved, x).energy.above(0.05)


# -- inference gap
# -----------------------------------------------------------------------------------


def test_the_approximation_gap_of_a_rotated_posterior_is_its_closed_form() -> None:
    model = linear_gaussian(6, 3, orthogonal=False)
    x = draw(model, 60)
    precision = torch.linalg.inv(model.posterior(x)[1])
    truth = 0.5 * float(precision.diagonal().log().sum() - torch.logdet(precision))
    assert truth > 0.1
    found = diagnose.inference_gap(started(model), x)
    assert found.found.method == "exact"
    assert near(found.approximation, truth, 1e-3)
    assert near(found.amortisation, 0.0, 1e-3)
    assert found.total.value == pytest.approx(
        found.approximation.value + found.amortisation.value, abs=1e-9
    )


def shrunk(vae: VAE, part: float) -> VAE:
    """The same p(x, z) with an encoder whose means are as much nearer to 0."""
    found = copy.deepcopy(vae)
    layer, q = found.encoder.linear, vae.latent_dim
    with torch.no_grad():
        layer.weight[:q] *= part
        layer.bias[:q] *= part
    return found


@pytest.mark.parametrize("part", [1.0, 0.5, 0.0])
def test_what_an_encoder_loses_of_the_best_z(part: float) -> None:
    model = linear_gaussian(8, 2, variance=0.01)
    vae, x = started(model), draw(model, 400)
    q = Normal(model.posterior(x)[0], torch.ones(400, 2).double())
    found = diagnose.amortised(shrunk(vae, part), x, q)
    # f is linear, and z has mean 0: what is left of z is what is left of f(z)
    assert found.lost.value == pytest.approx((1 - part) ** 2, abs=0.02)
    assert found.best.value == pytest.approx(diagnose.explained(vae, x).share.value, abs=1e-9)
    assert not found.of_z
    words = Units(columns=lambda t: t, numbers=torch.zeros(8, dtype=torch.bool))
    found = diagnose.amortised(shrunk(vae, part), x, q, units=words)
    assert found.of_z
    assert found.lost.value == pytest.approx((1 - part) ** 2, abs=0.02)


def test_the_amortisation_gap_of_a_loose_encoder_is_its_closed_form() -> None:
    model = linear_gaussian(6, 3)
    x = draw(model, 60)
    variance = model.posterior(x)[1].diagonal()
    truth = float((0.5 * (1.69 - 1 - math.log(1.69) + 0.01 / variance)).sum())
    found = diagnose.inference_gap(loosen(started(model)), x)
    assert near(found.amortisation, truth)
    assert found.amortisation.standard_error < 0.1 * truth
    assert near(found.approximation, 0.0, 1e-3)
    exact = diagnose.inference_gap(started(model), x)
    assert abs(exact.total.value) < 1e-9
    assert abs(exact.amortisation.value) < 1e-3


def test_the_best_normal_is_the_posterior_wherever_the_encoder_points() -> None:
    model = linear_gaussian(6, 2)
    vae, x = started(model), draw(model, 20)
    vae.encoder = build((6,), 2, "mlp", seed=5).encoder
    q = diagnose.best_normal(vae, x)
    mean, covariance = model.posterior(x)
    std = covariance.diagonal().sqrt()
    torch.testing.assert_close((q.loc - mean) / std, torch.zeros_like(mean), atol=0.1, rtol=0)
    torch.testing.assert_close(q.scale / std, torch.ones_like(mean), atol=0.1, rtol=0)


def test_gaps_of_a_nonlinear_model_stand_on_quadrature_and_are_not_negative() -> None:
    vae, x = build((5,), 2, "mlp", seed=3, variance=0.2), normal(40, 5, seed=9)
    found = diagnose.inference_gap(vae, x)
    assert found.found.method == "quadrature"
    assert found.approximation.value > -4 * found.approximation.standard_error
    assert found.amortisation.above(0.0)


# -- noise
# -------------------------------------------------------------------------------------------


def test_data_of_the_model_are_calibrated_and_white() -> None:
    model = linear_gaussian(8, 3)
    found = diagnose.calibration(started(model), draw(model, 1500))
    assert near(found.dispersion, 1.0)
    assert near(found.coverage[0], 0.5)
    assert near(found.coverage[1], 0.9)
    assert found.correlation is not None
    assert near(found.correlation, 0.0)
    torch.testing.assert_close(found.pit, torch.full((10,), 0.1).double(), atol=0.006, rtol=0)
    torch.testing.assert_close(found.scale_by_feature, torch.ones(8).double(), atol=0.08, rtol=0)
    assert found.gain == pytest.approx(0.0, abs=0.02)
    assert found.beta == pytest.approx(math.sqrt(0.3))


def test_noise_of_the_wrong_size_is_measured_feature_by_feature() -> None:
    truth = torch.tensor([0.25, 1.0, 4.0, 9.0]).double()
    x = draw(independent(truth), 4000)
    found = diagnose.calibration(started(independent(2.0)), x)
    assert near(found.dispersion, float(truth.mean()) / 2)
    torch.testing.assert_close(found.scale_by_feature, (truth / 2).sqrt(), atol=0, rtol=0.05)
    inside = torch.erf(0.6744897501960817 * (2 / truth).sqrt() / math.sqrt(2))
    torch.testing.assert_close(found.coverage_by_feature[0], inside, atol=0.035, rtol=0)
    assert near(found.coverage[0], float(inside.mean()))
    assert found.gain == pytest.approx(float(0.5 * (truth.mean() / truth).log().sum()), abs=0.15)
    assert diagnose.calibration(started(independent(truth), variance="per_feature"), x).gain is None


def test_correlated_residuals_are_seen() -> None:
    x = normal(3000, 4, seed=2)
    x[:, 1] = 0.6 * x[:, 0] + 0.8 * x[:, 1]  # one pair of six correlates by 0.6
    found = diagnose.calibration(started(independent(1.0)), x).correlation
    assert found is not None
    assert near(found, 0.36 / 6)
    assert found.above(0.03)


def test_noise_is_refused_where_it_is_not_gaussian() -> None:
    vae = build((6,), likelihood="bernoulli", network="mlp")
    with pytest.raises(
        ValueError, match="held against Gaussian noise, which p\\(x\\|z\\) does not have"
    ):
        diagnose.calibration(vae, normal(30, 6).gt(0).double())


# -- training rows
# -----------------------------------------------------------------------------------


def test_a_model_of_the_truth_remembers_nothing() -> None:
    model = linear_gaussian()
    x, train = draw(model, 700), draw(model, 2000, seed=1)
    found = diagnose.memorisation(started(model), x, train)
    assert near(found.difference, 0.0)
    assert near(found.closer, 0.5)
    assert found.test.value == pytest.approx(float(model.log_prob(x).mean()), abs=1e-9)


def test_copies_of_training_rows_are_closer_than_unseen_rows() -> None:
    x = normal(200, 4, seed=3) + 5
    train = torch.cat([torch.zeros(1, 4).double(), x[:5] + 3])
    copying = started(independent(1e-6))  # all its samples are the first training row
    found = diagnose.memorisation(copying, x, train)
    assert found.closer.value == 1.0
    away = diagnose.memorisation(copying, x, x)
    assert away.closer.value == 0.0


def test_ppca_against_itself_gains_nothing() -> None:
    train, x = draw(linear_gaussian(), 500), draw(linear_gaussian(), 100, seed=1)
    exact = fit_baseline(train, 2)
    assert exact is not None
    model = exact.linear
    found = diagnose.baseline(started(model), x, train, model.log_prob(x))
    assert found is not None
    assert abs(found.gain.value) < 1e-9
    assert found.gain.standard_error < 1e-9
    assert (
        diagnose.baseline(build(likelihood="bernoulli", network="mlp"), x, train, model.log_prob(x))
        is None
    )


# -- the diagnosis
# -----------------------------------------------------------------------------------


def rows(n: int, seed: int) -> Tensor:
    """A bent plane in 8 dimensions with noise of 0.3."""
    z, bend = normal(n, 2, seed=seed), normal(2, 8, seed=77)
    return torch.sin(z @ bend) + z @ normal(2, 8, seed=78) + 0.3 * normal(n, 8, seed=seed + 1)


X, TRAIN = rows(250, 10).float(), rows(1000, 20).float()


def trained(network: str = "mlp", steps: int = 200, **options: Any) -> VAE:
    vae = build((8,), 2, network, hidden=(32,), dtype=torch.float32, **options)
    if network == "residual":
        initialize.start_at(vae, ppca(*moments(TRAIN), 2))
    fit(objective.ELBO(vae), TRAIN, max_steps=steps, batch_size=64, seed=0)
    return vae


@functools.cache
def good() -> VAE:
    return trained("residual", 400)


def told(found: Diagnosis, name: str) -> str:
    return found[name].verdict


def test_a_healthy_model_is_healthy() -> None:
    found = diagnose.diagnose(good(), X, TRAIN)
    assert found.healthy
    assert (found.leading, found.advice) == ("", "")
    assert str(found).startswith("Healthy")
    assert ": no problem found" in str(found)
    assert {f.verdict for f in found.findings} <= {"ok", "warning"}
    for name in (
        "active units",
        "noise level",
        "amortisation gap",
        "against pPCA",
        "train against unseen",
    ):
        assert told(found, name) == "ok"


def test_the_exact_model_of_its_data_has_not_even_a_warning() -> None:
    model = linear_gaussian(8, 3)
    found = diagnose.diagnose(started(model), draw(model, 400), draw(model, 800, seed=1))
    assert {f.name: f.verdict for f in found.findings if f.verdict != "ok"} == {}
    assert str(found).startswith(
        "Healthy: no problem found, no warnings (400 rows; 800 training rows)."
    )


def test_a_beta_far_too_large_is_named_as_the_cause_of_collapse() -> None:
    found = diagnose.diagnose(trained(steps=400, variance=40.0), X, TRAIN, rows=80)
    assert found.leading == "posterior collapse: beta^2 is fixed far too large"
    assert 'variance="learned"' in found.advice
    assert told(found, "active units") == told(found, "noise level") == "problem"
    assert told(found, "amortisation gap") == "ok"
    assert not found.healthy


def test_a_beta_far_too_small_is_named_before_what_it_does_to_the_encoder() -> None:
    found = diagnose.diagnose(trained(variance=1e-3), X, TRAIN, rows=80)
    assert found.leading == "beta^2 is fixed far too small"
    assert told(found, "amortisation gap") == "warning"  # in nats, which count in beta^2
    assert told(found, "active units") == "ok"


@pytest.mark.parametrize("network", ["mlp", "linear"])
def test_an_encoder_that_knows_nothing_is_named_and_beta_acquitted(network: str) -> None:
    sick = copy.deepcopy(good())
    sick.encoder = build((8,), 2, network, seed=4, hidden=(32,), dtype=torch.float32).encoder
    found = diagnose.diagnose(sick, X, TRAIN, rows=80)
    assert found.leading == "underfit encoder (large amortisation gap)"
    assert told(found, "noise level") == "ok"


@pytest.mark.parametrize(("variance", "verdict"), [(1e-4, "warning"), (1.0, "ok")])
def test_an_encoder_is_no_problem_where_its_z_explain_as_much(
    variance: float, verdict: str
) -> None:
    model = linear_gaussian(8, 2, variance=variance)
    found = diagnose.diagnose(shrunk(started(model), 0.97), draw(model, 300), rows=80)
    assert told(found, "amortisation gap") == verdict
    assert found.healthy


def test_a_decoder_that_ignores_z_under_a_beta_that_fits_is_another_collapse() -> None:
    model = linear_gaussian(8, 2)
    x = draw(model, 500)
    mean, covariance = moments(x)
    deaf = LinearGaussian(torch.zeros(8, 2).double(), mean, covariance.diagonal().mean())
    found = diagnose.diagnose(started(deaf), x)
    assert found.leading == "posterior collapse: the decoder ignores z"


def test_noise_alone_is_nothing_to_encode() -> None:
    x = normal(400, 8)
    found = diagnose.diagnose(started(independent(1.0, 8)), x, normal(400, 8, seed=1))
    assert found.healthy
    assert told(found, "active units") == "warning"
    assert "nothing to add" in found["active units"].advice


def test_an_untrained_model_is_worse_than_ppca() -> None:
    found = diagnose.diagnose(build((8,), 2, "mlp", hidden=(32,)), X, TRAIN, rows=80)
    assert found.leading == "underfit: worse than exact pPCA"


@pytest.mark.slow
def test_a_model_of_few_rows_is_told_that_it_overfits() -> None:
    vae = build((8,), 6, "mlp", hidden=(64, 64), dtype=torch.float32)
    fit(objective.ELBO(vae), TRAIN[:30], max_steps=800, batch_size=30, seed=0)
    found = diagnose.diagnose(vae, X, TRAIN[:30], rows=80)
    assert found.leading.startswith("overfitting")
    assert told(found, "train against unseen") == "problem"


def estimate(value: float, error: float = 1.0) -> diagnose.Estimate:
    return diagnose.Estimate(value, error, 100)


def test_overfitting_is_a_fault_only_where_unseen_rows_are_no_better_than_under_ppca() -> None:
    seen = diagnose.Memorisation(
        estimate(-110), estimate(-130), estimate(20), estimate(0.5, 0.05), 1000
    )
    for gain, verdict in ((estimate(29), "warning"), (estimate(1), "problem"), (None, "problem")):
        ahead, _ = diagnose.Judge().memory(seen, 64, gain)
        assert ahead.verdict == verdict
        assert ahead.advice == "" != ahead.advised({}).advice
        assert ("29 nats above exact pPCA" in ahead.sentence) == (verdict == "warning")


def test_the_headline_tells_healthy_from_what_could_be_better_and_from_what_is_wrong() -> None:
    def of(*verdicts: str, leading: str = "") -> Diagnosis:
        findings = tuple(diagnose.Finding(v, v, "") for v in verdicts)  # type: ignore[arg-type]
        return Diagnosis(leading, findings, 100, 100, None, 0)

    assert of("ok", "skipped").headline == "Healthy"
    assert of("ok", "warning").headline == "Healthy, but could be better"
    assert str(of("warning")).startswith("Healthy, but could be better: no problem found, 1 warn")
    assert of("problem", leading="overfitting: so").headline == "Overfitting: so"
    assert of("problem", leading="q(z) is far").headline == "q(z) is far"


def test_operations_of_a_decode_are_those_of_its_products_and_convolutions() -> None:
    dense = build((5,), 2, "mlp", hidden=(8,))
    weights_of = 2 * 8 + 8 + 8 * 5 + 5
    assert diagnose.operations(dense) == 2 * (weights_of + 5 + 1)  # 5 means, one beta
    vae = build((1, 8, 8), 2, "conv", channels=(3, 4), hidden=(6,))
    with FlopCounterMode(display=False) as counter:
        vae.decoder(torch.zeros(1, 2).double())
    assert diagnose.operations(vae) == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_what_does_not_apply_is_skipped_with_its_reason() -> None:
    x = normal(60, 6).gt(0).double()
    found = diagnose.diagnose(build((6,), likelihood="bernoulli", network="mlp"), x)
    assert "not Gaussian" in found["noise level"].sentence
    assert "No training rows" in found["against pPCA"].sentence
    assert [f.name for f in found.findings if f.verdict == "skipped"] == [
        "noise level",
        "train against unseen",
        "against pPCA",
        "samples against data",
    ]


def test_rows_are_limited_by_the_seed_and_said() -> None:
    vae = good()
    found = diagnose.diagnose(vae, X, rows=24, seed=3)
    assert (found.rows, found.of, found.train_rows) == (24, 250, None)
    assert "24 rows of 250, drawn with seed 3" in str(found)
    assert found == diagnose.diagnose(vae, X, rows=24, seed=3)
    assert found != diagnose.diagnose(vae, X, rows=24, seed=4)


def test_a_diagnosis_leaves_the_model_as_it_was() -> None:
    vae = copy.deepcopy(good()).train()
    before = weights(vae)
    diagnose.diagnose(vae, X[:30], TRAIN[:50])
    assert vae.training
    assert equal_bits(before, weights(vae))
    assert all(p.grad is None or not p.grad.any() for p in vae.parameters())


def test_a_diagnosis_is_json_and_a_table() -> None:
    found = diagnose.diagnose(trained(steps=1, variance=40.0), X[:100], TRAIN)
    whole = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert whole["leading"] == found.leading
    assert whole["advice"] == found.advice != ""
    assert [f["name"] for f in whole["findings"]] == [f.name for f in found.findings]
    (rate,) = [f for f in whole["findings"] if f["name"] == "rate"]
    value = rate["values"][0]
    assert (value["label"], value["unit"], value["rows"]) == ("rate R", "nats", 100)
    text = str(found)
    assert text.startswith(f"Diagnosis: {found.leading} (100 rows; 1,000 training rows).\nCure: ")
    assert max(map(len, text.splitlines())) <= 120
    for finding in found.findings:
        assert f"\n{finding.name} " in text
        assert finding.reference or finding.verdict == "skipped"
        assert bool(finding.cause) <= (finding.verdict == "problem")
    with pytest.raises(KeyError, match="no finding 'nothing', only"):
        found["nothing"]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.2345, 0.0123, "1.234 ± 0.012"),
        (12345.6, 1234.0, "12,346 ± 1,234"),
        (-1e-9, 1e-9, "0.0000 ± 0.0000"),
        (3.0, math.inf, "3 ± ?"),
    ],
)
def test_an_estimate_is_told_to_two_digits_of_its_error(
    value: float, error: float, text: str
) -> None:
    assert str(Estimate(value, error, 10)) == text


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda vae: diagnose.diagnose(vae, X[:10]), "x must be at least 20 rows"),
        (lambda vae: diagnose.diagnose(vae, X, rows=5), "rows must be at least 20"),
        (lambda vae: diagnose.diagnose(vae, X[:, :5]), "the model needs"),
        (lambda vae: diagnose.diagnose(vae, X, TRAIN[:, :5]), "the model needs"),
        (lambda vae: diagnose.mutual_information(vae, X[:1]), "at least 2 rows"),
        (lambda vae: diagnose.prior_match(vae, X[:3]), "at least 4 rows"),
    ],
)
def test_wrong_use_is_refused(call: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call(good())  # type: ignore[operator]
