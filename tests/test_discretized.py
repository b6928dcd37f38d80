"""The discretised Gaussian: probabilities of 8-bit values that sum to one, whatever the decoder
says, in any units.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import truncnorm
from torch import Tensor

from helpers import build, digits, linear_gaussian, normal, rng
from nelbo import VAE, VariationalAutoencoder, evaluate, fit, initialize, objective
from nelbo.cli import main
from nelbo.data import Schema, as_rows
from nelbo.distributions import DiagonalNormal, DiscretizedNormal
from nelbo.likelihood import DiscretizedGaussian
from nelbo.training.noise_step import refine

BETAS = [1e-4, 1e-3, 1 / 512, 1 / 256, 0.01, 0.1, 1.0, 10.0]
CENTRES = (torch.arange(256, dtype=torch.float64) + 0.5) / 256
MEANS = torch.cat(
    [
        torch.linspace(-0.1, 1.1, 101, dtype=torch.float64),
        CENTRES.new_tensor([-1e3, -3, 0.5, 7, 1e3]),
    ]
)
WIDTH = 1 / 256


def pixel(h: Tensor, beta: float) -> DiscretizedNormal:
    """One value for each mean, of shape (means, 1): batch (means,), event (1,)."""
    return DiscretizedNormal(h[:, None], h.new_tensor(beta), 0.0, WIDTH)


def table(h: Tensor, beta: float) -> Tensor:
    """log P of all 256 values, of shape (means, 256)."""
    return pixel(h, beta).log_prob(CENTRES.to(h)[:, None, None]).T


def exactly(h: float, beta: float, k: int) -> mpmath.mpf:
    """log P of bin k, with as many digits as it takes."""
    with mpmath.workdps(60):
        low, high = (
            (mpmath.mpf(edge) * WIDTH - mpmath.mpf(h)) / mpmath.mpf(beta) for edge in (k, k + 1)
        )
        low, high = (-mpmath.inf if k == 0 else low), (mpmath.inf if k == 255 else high)
        if low > 0:
            low, high = -high, -low

        def phi(t: mpmath.mpf) -> mpmath.mpf:  # mpmath's ncdf loses digits far out
            return mpmath.erfc(-t / mpmath.sqrt(2)) / 2

        return mpmath.log(phi(high) - (phi(low) if low > -mpmath.inf else 0))


# -- the distribution
# ------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", BETAS)
def test_probabilities_of_all_values_sum_to_one(beta: float) -> None:
    total = table(MEANS, beta).exp().sum(1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


@pytest.mark.parametrize("beta", BETAS)
def test_log_probabilities_are_right_to_the_last_digits_in_every_regime(beta: float) -> None:
    """Narrow and wide bins, those that hold the mean, tails, and both outermost bins."""
    means = torch.tensor(
        [-0.7, -1e-3, 0.0, 1e-4, 0.3, 0.30078125, 0.9999, 1.4], dtype=torch.float64
    )
    bins = [0, 1, 76, 77, 78, 130, 254, 255]
    found = table(means, beta)[:, bins]
    expected = torch.tensor(
        [[float(exactly(float(h), beta, k)) for k in bins] for h in means], dtype=torch.float64
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("beta", BETAS)
def test_float32_is_right_as_far_as_ten_thousand_deviations(beta: float) -> None:
    # Means that float32 holds exactly, so that what is compared is the arithmetic.
    steps = torch.cat([torch.linspace(0, 10, 41), torch.logspace(1, 4, 31)])
    h = (0.5 + beta * torch.cat([-steps.flip(0), steps])).float()
    found, expected = table(h, beta), table(h.double(), float(torch.tensor(beta)))
    assert bool(found.isfinite().all())
    assert float(found.max()) <= 1e-6
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=2e-5)
    seen = found[h > CENTRES[129], 128]  # the mean above the value's bin and moving away
    assert bool((seen.diff() <= 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", BETAS)
def test_gradients_are_those_of_the_exact_probability(beta: float, dtype: torch.dtype) -> None:
    cases = [(h, k) for h in (-0.7, 1e-4, 0.3, 0.302, 1.4) for k in (0, 1, 76, 77, 130, 255)]
    h = torch.tensor([h for h, _ in cases], dtype=dtype, requires_grad=True)
    scale = torch.full((len(cases), 1), beta, dtype=dtype, requires_grad=True)
    x = CENTRES[[k for _, k in cases]].to(dtype)
    DiscretizedNormal(h[:, None], scale, 0.0, WIDTH).log_prob(x[:, None]).sum().backward()
    assert h.grad is not None
    assert scale.grad is not None
    inexact = 1e-10 if dtype == torch.float64 else 3e-3
    for i, (_, k) in enumerate(cases):
        at, b = float(h[i].detach()), float(scale[i, 0].detach())
        with mpmath.workdps(60):
            step = mpmath.mpf(10) ** -25
            by_h = (exactly(at + step, b, k) - exactly(at - step, b, k)) / (2 * step)
            by_scale = (exactly(at, b + step, k) - exactly(at, b - step, k)) / (2 * step)
        size = 1 / b  # the natural unit of both
        assert float(h.grad[i]) == pytest.approx(float(by_h), rel=inexact, abs=inexact * size)
        assert float(scale.grad[i, 0]) == pytest.approx(
            float(by_scale), rel=inexact, abs=inexact * size
        )


@pytest.mark.parametrize("scale", [(), (3,), (4, 3)])
@pytest.mark.parametrize("size", [0.002, 0.05])
def test_gradients_agree_with_finite_differences_in_every_shape(
    scale: tuple[int, ...], size: float
) -> None:
    h = (0.5 + 0.3 * normal(2, 4, 3)).requires_grad_()
    log_scale = (math.log(size) + 0.2 * normal(*scale, seed=1)).requires_grad_()
    x = torch.rand((4, 3), generator=rng(2), dtype=torch.float64)
    x[0] = h[0, 0].detach().clamp(0, 0.99)  # some means inside their bins

    def function(h: Tensor, log_scale: Tensor) -> Tensor:
        return DiscretizedNormal(h, log_scale.exp(), 0.0, WIDTH).log_prob(x)

    assert torch.autograd.gradcheck(function, (h, log_scale), eps=1e-7, atol=1e-4, rtol=1e-5)


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    h = torch.tensor([0.4], requires_grad=True)
    value = DiscretizedNormal(h, torch.tensor(0.1), 0.0, WIDTH).log_prob(torch.tensor([0.5]))
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        torch.autograd.grad(value, h, create_graph=True)


def test_any_value_of_a_bin_stands_for_it_and_those_beyond_for_the_outermost() -> None:
    d = DiscretizedNormal(
        torch.tensor([0.3], dtype=torch.float64), torch.tensor(0.2), low=-1.0, width=0.5, bins=4
    )
    of = {
        x: float(d.log_prob(torch.tensor([x], dtype=torch.float64)))
        for x in (-7.0, -0.9, 0.0, 0.2, 0.4, 0.9, 3.0)
    }
    assert of[-7.0] == of[-0.9]
    assert of[0.0] == of[0.2] == of[0.4]
    assert of[0.9] == of[3.0]
    assert len(set(of.values())) == 3


@pytest.mark.parametrize("beta", [1e-4, *BETAS[2:]])
def test_it_lies_above_the_bound_that_dequantisation_gives_and_meets_it_where_noise_is_wide(
    beta: float,
) -> None:
    """log P(k) >= E_u log N((k + u) / 256) - log 256 (Theis et al., 2016);
    the mean over u is known: -1/24 (w/b)^2.
    """
    h = torch.linspace(0.2, 0.8, 7, dtype=torch.float64)
    continuous = DiagonalNormal(h[:, None], h.new_tensor(beta)).log_prob(CENTRES[:, None, None]).T
    bound = continuous - (WIDTH / beta) ** 2 / 24 + math.log(WIDTH)
    gap = table(h, beta) - bound
    assert float(gap.min()) >= -1e-12 * float(bound.abs().max())
    # the gap is 1/24 (w/b)^2 (distance/b)^2 and less, but in the bins that take in the tails
    if beta >= 0.1:
        assert float(gap[:, 1:-1].max()) < (WIDTH / beta) ** 2 * (1 / beta) ** 2 / 24


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-6)])
def test_the_mean_is_that_of_the_values(beta: float, dtype: torch.dtype, tolerance: float) -> None:
    h = MEANS.to(dtype)
    expected = (table(h.double(), float(torch.tensor(beta, dtype=dtype))).exp() * CENTRES).sum(1)
    torch.testing.assert_close(pixel(h, beta).mean[:, 0].double(), expected, rtol=0, atol=tolerance)


def test_the_mean_has_gradients() -> None:
    h = torch.tensor([[-0.2], [0.1], [0.5], [1.3]], dtype=torch.float64, requires_grad=True)
    for beta in (0.3, 0.003):
        assert torch.autograd.gradcheck(
            lambda m, b=beta: DiscretizedNormal(m, m.new_tensor(b), 0.0, WIDTH).mean,
            (h,),
            eps=1e-6,
            atol=1e-6,
        )


@pytest.mark.parametrize("beta", [0.002, 0.05, 0.6])
def test_samples_are_values_of_the_grid_at_their_probabilities(beta: float) -> None:
    n = 40_000
    h = torch.tensor([-0.01, 0.5013, 0.98], dtype=torch.float64)
    drawn = pixel(h, beta).sample((n,), rng(3))[..., 0]
    index = drawn * 256 - 0.5
    assert torch.equal(index, index.round())
    assert torch.equal(drawn, pixel(h, beta).sample((n,), rng(3))[..., 0])
    share = torch.stack([torch.bincount(i.long(), minlength=256) for i in index.T]) / n
    expected = table(h, beta).exp()
    error = (share - expected) / (expected * (1 - expected) / n).sqrt().clamp_min(3 / n)
    assert float(error.abs().max()) < 5


@pytest.mark.parametrize("beta", [0.003, 0.02, 0.3])
def test_the_expected_square_is_that_of_a_truncated_normal_and_fishers_identity(
    beta: float,
) -> None:
    means, bins = (-0.05, 0.3, 0.501, 1.1), (0, 80, 128, 255)
    h = torch.tensor(means, dtype=torch.float64)
    log_variance = torch.tensor(2 * math.log(beta), dtype=torch.float64, requires_grad=True)
    for k in bins:
        x = CENTRES[k].expand(len(h), 1)
        d = DiscretizedNormal(h[:, None], (0.5 * log_variance).exp(), 0.0, WIDTH)
        found = d.expected_square(x)[:, 0]
        by_gradient = [
            beta**2
            * (1 + 2 * float(torch.autograd.grad(value, log_variance, retain_graph=True)[0]))
            for value in d.log_prob(x)
        ]
        np.testing.assert_allclose(found.detach(), by_gradient, rtol=1e-9)
        for i, m in enumerate(means):
            low = -math.inf if k == 0 else (k / 256 - m) / beta
            high = math.inf if k == 255 else ((k + 1) / 256 - m) / beta
            if min(abs(low), abs(high)) < 20:  # where scipy's moments hold
                expected = beta**2 * truncnorm(low, high).moment(2)
                assert float(found[i]) == pytest.approx(expected, rel=1e-6)


# -- the likelihood
# --------------------------------------------------------------------------------------


def test_the_grid_stays_exact_through_casts_and_out_of_the_weights() -> None:
    low, width = normal(3), normal(3, seed=1).exp()
    part = DiscretizedGaussian((3,), "per_feature", low=low, width=width).float().double()
    assert torch.equal(part.low, low)
    assert torch.equal(part.width, width)
    assert set(part.state_dict()) == {"log_variance"}
    fixed = DiscretizedGaussian((3,), 0.1).float()
    assert float(fixed.log_variance) == math.log(0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bins": 1}, "bins must be at least 2, got 1"),
        ({"width": 0.0}, "width must be finite, and the width of bins positive, got 0.0"),
        ({"low": math.inf}, "low must be finite"),
        ({"width": torch.ones(2)}, r"width has shape \(2,\).*\(3,\)"),
        ({"variance": "heteroscedastic"}, "got 'heteroscedastic'"),
        ({"variance": -1.0}, "positive and finite"),
    ],
)
def test_impossible_grids_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DiscretizedGaussian((3,), **options)


def constant_model(likelihood: DiscretizedGaussian, h: Tensor) -> VAE:
    """p(x|z) with the mean h whatever z."""
    vae = build(likelihood.shape, 1, "linear")
    vae.likelihood = likelihood
    with torch.no_grad():
        vae.decoder.linear.weight.zero_()
        vae.decoder.linear.bias.copy_(h.flatten())
    return vae


@pytest.mark.parametrize("beta", [0.004, 0.05, 0.5])
def test_each_step_of_the_variance_climbs_to_the_maximum_likelihood(beta: float) -> None:
    h = torch.tensor([-0.02, 0.4, 0.7, 1.01], dtype=torch.float64)
    x = DiscretizedNormal(h, h.new_tensor(beta), 0.0, WIDTH).sample((300,), rng(1))
    part = DiscretizedGaussian((4,)).double()
    vae = constant_model(part, h)
    heights = []
    for _ in range(40):
        refine(vae, as_rows(x), rng(2))
        heights.append(float(part(h).log_prob(x).mean().detach()))
    (gradient,) = torch.autograd.grad(part(h).log_prob(x).mean(), part.log_variance)
    assert abs(float(gradient)) < 1e-3
    assert min(np.diff(heights)) > -1e-9
    best = minimize_scalar(
        lambda t: (
            -float(DiscretizedNormal(h, h.new_tensor(math.exp(t)), 0.0, WIDTH).log_prob(x).mean())
        ),
        bounds=(math.log(beta) - 2, math.log(beta) + 2),
    )
    assert 0.5 * float(part.log_variance.detach()) == pytest.approx(best.x, abs=2e-3)
    assert math.exp(best.x) == pytest.approx(beta, rel=0.1)


def grey_model(
    width: float = 0.25, bins: int = 8, features: int = 2, latent_dim: int = 1
) -> tuple[VAE, Tensor]:
    """A linear decoder seen through a coarse grid, with a fair encoder,
    and every value there is.
    """
    linear = linear_gaussian(features, latent_dim, variance=0.05)
    vae = build((features,), latent_dim, "linear")
    low = -width * bins / 2
    vae.likelihood = DiscretizedGaussian((features,), 0.05, bins, low, width).double()
    initialize.start_at(vae, linear)
    axis = low + (torch.arange(bins, dtype=torch.float64) + 0.5) * width
    return vae, torch.cartesian_prod(*[axis] * features).reshape(-1, features)


def test_the_probabilities_of_all_examples_sum_to_one() -> None:
    """The whole model: sum over x of the integral over z."""
    vae, every = grey_model()
    found = evaluate.log_likelihood(vae, every, "quadrature")
    assert float(found.value.exp().sum()) == pytest.approx(1, abs=1e-6)


def test_every_way_of_judging_agrees_and_bounds_stay_below() -> None:
    vae, _ = grey_model(bins=40)
    rows = vae.sample(10, generator=rng(1))
    exact = evaluate.log_likelihood(vae, rows, "quadrature").value
    assert float(exact.max()) < 0
    sampled = evaluate.log_likelihood(vae, rows, "importance", 1000)
    annealed = evaluate.log_likelihood(vae, rows, "ais", 16, temperatures=20)
    for found in (sampled, annealed):
        assert float(((found.value - exact) / (found.standard_error + 1e-3)).abs().max()) < 5
    assert float((evaluate.elbo(vae, rows, samples=400) - exact).max()) < 0.05
    trapped = evaluate.bidirectional(vae, 8, chains=8, temperatures=20)
    assert abs(trapped.gap) < 5 * trapped.gap_standard_error + 0.02
    with pytest.raises(ValueError, match="no closed form"):
        evaluate.log_likelihood(vae, rows, "exact")


def test_a_fine_grid_with_a_linear_decoder_is_probabilistic_pca() -> None:
    """log P(x) -> log N(x) + D log width as bins become narrow: the closed form as the limit."""
    linear = linear_gaussian(3, 2, variance=0.3)
    vae = build((3,), 2, "linear")
    width = 1e-3
    vae.likelihood = DiscretizedGaussian((3,), 0.3, 40_000, -20.0, width).double()
    initialize.start_at(vae, linear)
    x = vae.sample(20, generator=rng(4))
    found = evaluate.log_likelihood(vae, x, "importance", 50).value
    torch.testing.assert_close(found, linear.log_prob(x) + 3 * math.log(width), rtol=0, atol=1e-4)


def test_training_finds_the_noise_that_the_data_were_drawn_with() -> None:
    linear = linear_gaussian(8, 2, variance=0.02)
    truth = build((8,), 2, "linear")
    # bins wider than beta
    truth.likelihood = DiscretizedGaussian((8,), 0.02, 32, -4.0, 0.25).double()
    initialize.start_at(truth, linear)
    x = truth.sample(2000, generator=rng(5))
    vae = build((8,), 2, "linear")
    vae.likelihood = DiscretizedGaussian((8,), "learned", 32, -4.0, 0.25).double()
    initialize.start_at(vae, initialize.closed_form(vae, x))
    begun = float(vae.likelihood.variance.detach())
    fit(objective.ELBO(vae), x, max_steps=200, batch_size=200, learning_rate=2e-3)
    found = float(vae.likelihood.variance.detach())
    assert begun > 0.024  # pPCA counts the rounding as noise: width^2 / 12 = 0.005
    assert found == pytest.approx(0.02, rel=0.08)
    terms = objective.ELBO(vae, 20)(x, rng(6)).mean()
    (gradient,) = torch.autograd.grad(terms, vae.likelihood.log_variance)
    assert abs(float(gradient)) < 0.05  # of D / 2 = 4


# -- units
# -----------------------------------------------------------------------------------------------

IMAGES = (np.random.default_rng(0).integers(0, 256, (40, 3, 4))).astype(np.uint8)


@pytest.mark.parametrize("scale", [None, "global", "standard", "auto"])
def test_probabilities_do_not_depend_on_the_scaling_inside(scale: str | None) -> None:
    schema = Schema.infer(IMAGES, scale=scale, discrete=True)
    t = schema.to_model(IMAGES, noise="hash", dtype=torch.float64)
    shift, factor = (torch.tensor(v) for v in (schema.shift, schema.scale))
    low, width = schema.grid
    h, beta = 128 + 80 * normal(*schema.shape), 9.0
    found = DiscretizedNormal(
        (h - shift) / factor, beta / factor, torch.tensor(low), torch.tensor(width), 256, 3
    )
    plain = DiscretizedNormal(h, torch.tensor(beta, dtype=torch.float64), -0.5, 1.0, 256, 3)
    x = torch.tensor(IMAGES).double().reshape(len(IMAGES), *schema.shape)
    nats = found.log_prob(t) - schema.log_scale_sum
    torch.testing.assert_close(nats, plain.log_prob(x), rtol=1e-11, atol=1e-9)
    assert schema.bits_per_dimension(-12 * math.log(256)) == pytest.approx(8)
    drawn = schema.from_model(found.sample(generator=rng())[None].float(), drawn=True)
    assert np.array_equal(drawn, drawn.astype(np.uint8))
    assert schema.variance_from_model(
        torch.tensor(schema.variance_to_model(81.0))
    ) == pytest.approx(81.0)


def test_values_are_taken_as_they_are_in_any_type_and_others_refused() -> None:
    schema = Schema.infer(IMAGES, discrete=True)
    assert (schema.dequantize, schema.discrete) == (False, True)
    assert schema.scale.ndim == 0
    centred = schema.to_model(IMAGES, noise="hash", dtype=torch.float64)
    for kind in (np.float32, np.float64, np.int64):
        assert Schema.infer(IMAGES.astype(kind), discrete=True).to_dict() == schema.to_dict()
        assert torch.equal(
            schema.to_model(IMAGES.astype(kind), noise="centre", dtype=torch.float64), centred
        )
    np.testing.assert_allclose(schema.from_model(centred), IMAGES, atol=1e-10)
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    old = Schema.infer(IMAGES).to_dict()
    del old["discrete"]  # a model saved before there was such a field
    assert Schema.from_dict(old) == Schema.infer(IMAGES)
    for bad in (0.5, -1.0, 256.0):
        X = IMAGES.astype(np.float64)
        X[3, 1, 1] = bad
        for refused in (
            lambda X=X: Schema.infer(X, discrete=True),
            lambda X=X: schema.to_model(X, noise="hash"),
            lambda X=X: VariationalAutoencoder(2, likelihood="discretized_gaussian").fit(X),
        ):
            with pytest.raises(
                ValueError, match=f"X holds {bad:g}, but .* whole numbers from 0 to 255"
            ):
                refused()


# -- the whole way
# ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted() -> VariationalAutoencoder:
    train = digits()[0].astype(np.uint8).reshape(-1, 8, 8)
    return VariationalAutoencoder(
        4,
        likelihood="discretized_gaussian",
        hidden=(32,),
        max_steps=150,
        score_samples_k=50,
        random_state=0,
    ).fit(train)


def test_digits_are_judged_by_probabilities_in_their_own_units(
    fitted: VariationalAutoencoder, tmp_path: Path
) -> None:
    test = digits()[1]
    as_images = test.astype(np.uint8).reshape(-1, 8, 8)
    nats = fitted.score_samples(as_images)
    assert nats.max() < 0
    assert fitted.elbo(as_images).mean() < nats.mean()
    # floats that hold the same values
    np.testing.assert_array_equal(fitted.score_samples(test), nats)
    bits = -nats.mean() / (64 * math.log(2))
    assert fitted.schema_.bits_per_dimension(nats.mean()) == pytest.approx(bits, rel=1e-12)
    # A model of 17 equally likely values would need log2 17 = 4.09 bits, one of 256 values 8.
    assert bits < 2.6
    drawn = fitted.sample(50, random_state=1)
    assert np.array_equal(drawn, drawn.astype(np.uint8))
    assert not np.signbit(drawn).any()
    means = fitted.reconstruct(as_images)
    assert means.shape == as_images.shape
    assert means.min() > -1e-3
    assert np.sqrt(np.square(means - as_images).mean()) < 3.5  # the data's own deviation is 6
    assert 0.5 < math.sqrt(fitted.noise_variance_) < 6
    fitted.save(tmp_path / "run")
    again = VariationalAutoencoder.load(tmp_path / "run")
    np.testing.assert_array_equal(again.score_samples(as_images), nats)
    np.testing.assert_array_equal(again.sample(5, random_state=2), fitted.sample(5, random_state=2))
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "discretised Gaussian, learned beta" in card


def test_the_probability_beats_the_bound_of_dequantisation(fitted: VariationalAutoencoder) -> None:
    """Both are nats of the same 8-bit images, so they compare."""
    train, test = (part.astype(np.uint8).reshape(-1, 8, 8) for part in digits())
    noisy = VariationalAutoencoder(
        4, hidden=(32,), max_steps=150, score_samples_k=50, random_state=0
    ).fit(train)
    bound = noisy.score(test) - 64 * math.log(256)
    assert fitted.score(test) > bound + 10


@pytest.mark.parametrize("scale", [None, "standard"])
def test_a_fixed_variance_is_in_squared_grey_values(scale: str | None) -> None:
    train = digits()[0][:200].astype(np.uint8)
    model = VariationalAutoencoder(
        2,
        likelihood="discretized_gaussian",
        variance=6.25,
        scale=scale,
        network="linear",
        max_steps=2,
        random_state=0,
    ).fit(train)
    assert model.noise_variance_ == 6.25
    flat = model.model_.decode(torch.zeros(1, 2))
    np.testing.assert_allclose(
        (flat.scale * torch.tensor(model.schema_.scale)).numpy(), 2.5, rtol=1e-6
    )


def test_options_that_contradict_it_are_refused() -> None:
    for options, words in (
        ({"dequantize": True}, "dequantize=True. Leave it at 'auto', or use likelihood='gaussian'"),
        ({"variance": "heteroscedastic"}, "got 'heteroscedastic'"),
    ):
        with pytest.raises(ValueError, match=words):
            VariationalAutoencoder(2, likelihood="discretized_gaussian", **options).fit(IMAGES)


def test_training_is_refused_nothing_by_constant_or_two_valued_images() -> None:
    """A density has no bound there; a probability has: log P -> 0."""
    X = np.zeros((60, 9), np.uint8)
    X[:30, 4] = 255
    for variance in ("learned", "per_feature"):
        model = VariationalAutoencoder(
            1,
            likelihood="discretized_gaussian",
            variance=variance,
            hidden=(8,),
            max_steps=60,
            random_state=0,
        ).fit(X)
        nats = model.score_samples(X)
        assert np.isfinite(nats).all()
        assert nats.max() <= 0


def test_the_command_line_fits_measures_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = tmp_path / "grey.npy", tmp_path / "run"
    np.save(data, digits()[0][:200].astype(np.uint8).reshape(-1, 8, 8))
    options = [
        "--likelihood",
        "discretized_gaussian",
        "--latent-dim",
        "2",
        "--hidden",
        "8",
        "--max-steps",
        "10",
    ]
    assert main(["fit", str(data), "--out", str(run), *options, "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    density = found["density"]
    assert density["bits_per_dimension"] == pytest.approx(-density["mean"] / (64 * math.log(2)))
    assert density["mean"] < 0
    assert found["baseline"] is None
    assert found["noise"]["kind"] == "learned"
    assert main(["evaluate", str(run), str(data), "--method", "importance", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_dimension"] > 0
    assert main(["sample", str(run), "--count", "3", "--out", str(tmp_path / "pictures")]) == 0
    assert len(list((tmp_path / "pictures").iterdir())) == 3


def test_every_pair_of_values_has_its_probability() -> None:
    """Independence over features: log P of an image is the sum over its values."""
    d = DiscretizedNormal(
        normal(2), torch.tensor([0.5, 1.5], dtype=torch.float64), -1.0, 0.5, bins=4
    )
    axis = -0.75 + 0.5 * torch.arange(4, dtype=torch.float64)
    grid = torch.tensor(list(itertools.product(axis.tolist(), repeat=2)), dtype=torch.float64)
    assert float(d.log_prob(grid).logsumexp(0)) == pytest.approx(0, abs=1e-13)
