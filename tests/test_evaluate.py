"""log p(x): against exact answers, whatever the chunk, the order and the company,
with errors that cover.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from helpers import build, digits, draw, linear_gaussian, loosen, normal, rng, started
from nelbo import VAE, evaluate, objective
from nelbo.evaluate import pareto_shape, row_noise
from nelbo.evaluate.importance import Weights


def loose(
    features: int = 6, latent_dim: int = 2, rows: int = 60, **options: Any
) -> tuple[VAE, Tensor, Tensor]:
    """A linear model whose q is good but not exact, rows of it, and their exact log p(x)."""
    model = linear_gaussian(features, latent_dim, orthogonal=False, variance=0.5)
    x = draw(model, rows)
    return loosen(started(model, **options)), x, model.log_prob(x)


# -- exact
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", ["learned", "per_feature"])
@pytest.mark.parametrize("network", ["linear", "residual"])
def test_exact_is_the_gaussian_density(network: str, variance: str) -> None:
    noise = normal(6, seed=3).exp() if variance == "per_feature" else 0.3
    model = linear_gaussian(orthogonal=False, variance=noise)
    x = draw(model, 30)
    found = evaluate.log_likelihood(started(model, network, variance), x, "exact")
    normal_ = torch.distributions.MultivariateNormal(
        model.bias, model.weight @ model.weight.T + model.variance.expand(6).diag()
    )
    torch.testing.assert_close(found.value, normal_.log_prob(x), rtol=0, atol=1e-10)
    assert (found.method, found.samples.unique().tolist()) == ("exact", [0])
    assert not bool(found.standard_error.any())
    assert bool((found.ess == math.inf).all())


def test_exact_is_sklearns_pca_on_digits() -> None:
    train, test = digits()
    pca = PCA(7).fit(train.astype(np.float64))
    vae = build((64,), 7, "linear")
    with torch.no_grad():
        gain = np.sqrt(pca.explained_variance_ - pca.noise_variance_)
        vae.decoder.linear.weight.copy_(torch.from_numpy(pca.components_.T * gain))
        vae.decoder.linear.bias.copy_(torch.from_numpy(pca.mean_))
        vae.likelihood.log_variance.fill_(math.log(pca.noise_variance_))
    found = evaluate.log_likelihood(vae, torch.from_numpy(test).double(), "exact")
    np.testing.assert_allclose(
        found.value.numpy(), pca.score_samples(test.astype(np.float64)), rtol=0, atol=1e-8
    )
    assert found.mean == pytest.approx(pca.score(test.astype(np.float64)), abs=1e-9)


def test_auto_is_exact_where_it_can_be() -> None:
    vae, x, _ = loose()
    assert evaluate.log_likelihood(vae, x, "auto").method == "exact"
    with torch.no_grad():
        bent = build((6,), 2, "residual")
        list(bent.decoder.body.parameters())[-2].fill_(1e-3)
    assert evaluate.log_likelihood(bent, x, "auto", samples=3).method == "quadrature"
    assert evaluate.plain_method(vae) == "exact"
    assert evaluate.plain_method(bent) == "importance"
    for options in (
        {"variance": "heteroscedastic"},
        {"likelihood": "bernoulli"},
        {"network": "mlp"},
    ):
        vae = build((6,), 2, **({"network": "linear"} | options))
        assert evaluate.affine_decoder(vae) is None
        with pytest.raises(ValueError, match='use method="importance"'):
            evaluate.log_likelihood(vae, x, "exact")


class Scaled(nn.Module):
    """Features in any units: an offset and a size for each, around a network's output."""

    def __init__(self, network: nn.Module, size: Tensor, offset: float) -> None:
        super().__init__()
        self.network, self.size, self.offset = network, size, offset

    def forward(self, z: Tensor) -> Tensor:
        return self.offset + self.size * self.network(z)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e10])
@pytest.mark.parametrize(
    "sizes", [(1.0,) * 6, (1e-10,) * 6, (1e10,) * 6, (1e-5, *(1.0,) * 5), (1e5, *(1.0,) * 5)]
)
def test_whether_a_decoder_is_affine_does_not_depend_on_its_units(
    sizes: tuple[float, ...], offset: float
) -> None:
    size = torch.tensor(sizes, dtype=torch.float64)
    if offset > 1e6 * float(size.min()):
        # smaller ones vanish beside this offset: there is nothing to be seen
        size = size.clamp_min(1.0)
    vae = build((6,), 2, "linear")
    vae.decoder = Scaled(vae.decoder, size, offset)
    assert evaluate.affine_decoder(vae) is not None
    first = torch.eye(6, dtype=torch.float64)[0]
    vae.decoder.network = Bend(vae.decoder.network, first)
    assert evaluate.affine_decoder(vae) is None


class Bend(nn.Module):
    """A network one of whose outputs is bent."""

    def __init__(self, network: nn.Module, which: Tensor) -> None:
        super().__init__()
        self.network, self.which = network, which

    def forward(self, z: Tensor) -> Tensor:
        h = self.network(z)
        return torch.where(self.which > 0, torch.tanh(h), h)


# -- bounds
# ------------------------------------------------------------------------------------------


def test_elbo_is_below_iwae_which_rises_with_k_to_the_exact_value() -> None:
    """Over 12,000 rows of the model,
    with gaps of more than four standard errors of the paired differences.
    """
    vae, x, exact = loose(rows=12_000)
    bounds = [evaluate.elbo(vae, x, samples=64)]
    bounds += [
        evaluate.log_likelihood(vae, x, "importance", samples=k).value for k in (1, 3, 9, 27)
    ]
    bounds.append(exact)
    means = [float(b.mean()) for b in bounds]
    first = bounds[0] - bounds[1]
    assert abs(float(first.mean())) < 4 * float(first.std()) / math.sqrt(12_000)  # IWAE(1) = ELBO
    for lower, upper in itertools.pairwise(bounds[1:-1]):
        gain = upper - lower
        assert float(gain.mean()) > 4 * float(gain.std()) / math.sqrt(12_000), means
    assert means[-2] < means[-1] < means[-2] + 0.05, means


def test_exp_of_the_estimate_is_unbiased() -> None:
    """E[w] = p(x), for few samples too; for the ELBO, or with a constant dropped, it is not."""
    vae, x, exact = loose(rows=20)
    copies = torch.cat([x + 1e-10 * i for i in range(5)])  # the same density, other noise
    for k in (1, 5):
        values = [
            evaluate.log_likelihood(vae, copies, samples=k, seed=s).value.view(5, 20)
            for s in range(300)
        ]
        gap = torch.cat(values) - exact
        ratio = gap.exp()
        error = (ratio.mean(0) - 1) / (ratio.std(0) / math.sqrt(1500))
        assert float(error.abs().max()) < 4.5
        assert float(gap.mean(0).max()) < -0.01


def test_standard_errors_cover() -> None:
    vae, x, exact = loose(rows=50)
    for k in (40, 200):
        found = [evaluate.log_likelihood(vae, x, samples=k, seed=s) for s in range(40)]
        values, errors = (
            torch.stack([getattr(f, n) for f in found]) for n in ("value", "standard_error")
        )
        covered = float(((values - exact).abs() < 1.96 * errors).double().mean())
        assert 0.90 < covered < 0.98
        assert float((values.std(0) / errors.mean(0)).mean()) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("samples", [1, 2, 31, 33, 70])
def test_any_number_of_samples_is_the_divisor(samples: int) -> None:
    """With the exact posterior all weights are p(x): a wrong divisor shows at once."""
    model = linear_gaussian()
    x = draw(model, 10)
    found = evaluate.log_likelihood(started(model), x, samples=samples)
    torch.testing.assert_close(found.value, model.log_prob(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(found.ess, torch.full((10,), float(samples), dtype=torch.float64))
    assert float(found.standard_error.max()) < 1e-6 or samples == 1


def test_one_sample_has_no_standard_error() -> None:
    vae, x, _ = loose(rows=3)
    found = evaluate.log_likelihood(vae, x, samples=1)
    assert found.standard_error.tolist() == [math.inf] * 3
    assert found.ess.tolist() == [1.0] * 3
    assert bool(found.khat.isnan().all())
    assert evaluate.log_likelihood(vae, x[:1], samples=5).mean_standard_error == math.inf


def test_elbo_is_the_objectives_with_another_seed() -> None:
    vae, x, _ = loose(rows=400)
    ours = evaluate.elbo(vae, x, samples=50)
    theirs = objective.ELBO(vae, 50)(x, rng(9)).detach()
    gap = ours - theirs
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / 20
    assert 0 < float(gap.std()) < 0.5
    assert torch.equal(ours, evaluate.elbo(vae, x, samples=50))
    assert not torch.equal(ours, evaluate.elbo(vae, x, samples=50, seed=1))


def test_few_samples_that_disagree_are_not_believed() -> None:
    """Fewer than 25 have no Pareto k;
    one weight that carries all has an error of 1 nat, however few they are.
    """
    model = linear_gaussian(orthogonal=False, variance=0.5)
    x = draw(model, 200)
    narrow, wide = loosen(started(model), 0.25, 1.0), loosen(started(model), 1.3, 0.0)
    for samples in (2, 10, 24):
        bad, good = (
            evaluate.log_likelihood(vae, x, "importance", samples) for vae in (narrow, wide)
        )
        assert bool(bad.khat.isnan().all())
        assert torch.equal(bad.unreliable, bad.standard_error > 0.5)
        assert float(bad.unreliable.double().mean()) > 0.5
        assert float(good.unreliable.double().mean()) < (0.1 if samples > 2 else 0.5)


def test_mean_and_its_error_are_over_examples() -> None:
    value = normal(50)
    found = evaluate.LogLikelihood(value, value, value, value, "importance", torch.full((50,), 5))
    assert found.mean == pytest.approx(float(value.mean()))
    assert found.mean_standard_error == pytest.approx(
        float(value.numpy().std(ddof=1)) / math.sqrt(50)
    )


# -- what a row's number may depend on
# ---------------------------------------------------------------

MODELS = {
    "linear": {"network": "linear"},
    "mlp": {"network": "mlp", "variance": "per_feature"},
    "residual": {"network": "residual", "variance": "heteroscedastic"},
    "conv": {"network": "conv", "shape": (1, 4, 3), "latent_dim": 3},
    "bernoulli": {"network": "mlp", "likelihood": "bernoulli"},
}


def judged(name: str, rows: int = 23) -> tuple[VAE, Tensor]:
    vae = build(**MODELS[name])
    with torch.no_grad():
        for index, parameter in enumerate(vae.parameters()):
            parameter.add_(0.2 * normal(*parameter.shape, seed=index))
    x = normal(rows, *vae.shape, seed=5)
    return vae, (x > 0).double() if name == "bernoulli" else x


@pytest.mark.parametrize("name", MODELS)
def test_a_rows_number_depends_on_the_row_alone(name: str) -> None:
    """Not on the chunk, the order, the company or the global random state."""
    vae, x = judged(name)
    whole = evaluate.log_likelihood(vae, x, "importance", samples=70)
    bound = evaluate.elbo(vae, x, samples=70)
    order = torch.randperm(len(x), generator=rng())

    def same(rows: Tensor, index: Any, memory: int = evaluate.MEMORY) -> None:
        found = evaluate.log_likelihood(vae, rows, "importance", samples=70, memory=memory)
        for column in ("value", "standard_error", "ess", "khat"):
            torch.testing.assert_close(
                getattr(found, column), getattr(whole, column)[index], rtol=1e-7, atol=1e-8
            )
        part = evaluate.elbo(vae, rows, samples=70, memory=memory)
        torch.testing.assert_close(part, bound[index], rtol=1e-9, atol=1e-9)

    torch.manual_seed(99)
    for memory in (1, 3_000_000):
        same(x, slice(None), memory)
    same(x[order], order)
    same(x[7:8], slice(7, 8))
    same(x[5:].clone(), slice(5, None))
    same(torch.cat([x[:3], x[:3]]), [0, 1, 2, 0, 1, 2])


def test_different_rows_and_seeds_get_different_noise() -> None:
    vae, x = judged("mlp", rows=200)
    values = [evaluate.log_likelihood(vae, x, samples=10, seed=s).value for s in (0, 0, 1)]
    assert torch.equal(values[0], values[1])
    assert float((values[0] - values[2]).abs().min()) > 0
    twin = x.clone()
    twin[:, 0] += 1e-9  # the density hardly moves, the noise is another
    moved = evaluate.log_likelihood(vae, twin, samples=10).value - values[0]
    assert float(moved.abs().median()) > 1e-4


def test_noise_is_standard_normal_and_uncorrelated_between_samples_dimensions_and_rows() -> None:
    keys = row_noise.row_keys(normal(4000, 5))
    assert len(keys.unique()) == 4000
    drawn = row_noise.block(keys, 3, seed=1, number=0, like=torch.zeros((), dtype=torch.float64))
    flat = drawn.transpose(0, 1).flatten(1)  # rows by (samples, dimensions)
    assert float(flat.mean().abs()) < 0.01
    assert float(flat.std()) == pytest.approx(1, abs=0.01)
    assert float((flat**4).mean()) == pytest.approx(3, abs=0.1)
    correlation = flat.T.corrcoef() - torch.eye(flat.shape[1])
    assert float(correlation.abs().max()) < 6 / math.sqrt(4000)
    across = flat[:300].corrcoef() - torch.eye(300)
    assert float(across.abs().median()) < 0.1


def test_zero_and_minus_zero_are_one_row() -> None:
    vae, x = judged("mlp", rows=4)
    x[:, 1] = 0.0
    twin = x.clone()
    twin[:, 1] = -0.0
    assert torch.equal(row_noise.row_keys(x), row_noise.row_keys(twin))
    values = [evaluate.log_likelihood(vae, rows, samples=10).value for rows in (x, twin)]
    assert torch.equal(*values)


def test_seeds_and_blocks_share_no_noise() -> None:
    """No two neighbouring numbers of one stream occur in another, wherever rows begin."""
    keys, like = row_noise.row_keys(normal(2000, 5)), torch.zeros((), dtype=torch.float64)
    streams = []
    for seed, number in ((0, 0), (0, 1), (1, 0)):
        drawn = row_noise.block(keys, 1, seed, number, like)[..., 0].T  # rows by samples
        pairs = torch.stack([drawn[:, :-1], drawn[:, 1:]], -1).reshape(-1, 2)
        streams.append({tuple(pair) for pair in pairs.tolist()})
    assert all(len(stream) > 20_000 for stream in streams)
    assert [len(a & b) for a, b in itertools.combinations(streams, 2)] == [0, 0, 0]


@pytest.mark.usefixtures("untouched_random_state")
def test_evaluation_spares_the_global_random_state() -> None:
    vae, x = judged("mlp")
    evaluate.log_likelihood(vae, x, samples=5)
    evaluate.elbo(vae, x, samples=5)
    evaluate.affine_decoder(vae)


# -- how it is computed
# ------------------------------------------------------------------------------


class Spy(nn.Module):
    """A network that notes what it is given."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append((tuple(x.shape), x.dtype, torch.is_grad_enabled(), self.training))
        return self.network(x)


def test_each_row_is_encoded_once_without_gradients_and_decoded_in_bounded_pieces() -> None:
    vae, x = judged("mlp", rows=50)
    vae.encoder, vae.decoder = Spy(vae.encoder), Spy(vae.decoder)
    vae.train()
    evaluate.log_likelihood(vae, x, "importance", samples=100, memory=200_000)
    assert sum(shape[0] for shape, *_ in vae.encoder.calls) == 50
    # to measure memory
    probes = [shape for shape, *_ in vae.decoder.calls if shape[0] == 1 and len(shape) == 2]
    assert len(probes) == 1
    assert sum(math.prod(shape[:-1]) for shape, *_ in vae.decoder.calls) == 50 * 100 + 1
    values = [math.prod(shape) for shape, *_ in vae.decoder.calls]
    assert len(values) > 8
    assert max(values) * 8 < 200_000
    for _, dtype, gradients, training in vae.encoder.calls + vae.decoder.calls:
        assert (dtype, gradients, training) == (torch.float64, False, False)
    assert vae.training
    assert vae.decoder.training


def test_numbers_are_those_of_the_rows_precision_whatever_the_model_was_trained_in() -> None:
    vae, x = judged("mlp")
    double = evaluate.log_likelihood(vae, x, samples=40).value
    single = evaluate.log_likelihood(vae, x.float(), samples=40)
    assert single.value.dtype == torch.float64
    same_rows = evaluate.log_likelihood(vae, x.float().double(), samples=40).value
    torch.testing.assert_close(single.value, same_rows, rtol=0, atol=1e-4)
    assert {p.dtype for p in vae.parameters()} == {torch.float64}
    low = build(**MODELS["mlp"])
    low.load_state_dict(vae.state_dict())
    low.to(torch.bfloat16)
    rounded = build(**MODELS["mlp"])
    rounded.load_state_dict({k: v.bfloat16().double() for k, v in vae.state_dict().items()})
    with torch.autocast("cpu", torch.bfloat16):
        found = evaluate.log_likelihood(low, x, samples=40).value
    torch.testing.assert_close(found, evaluate.log_likelihood(rounded, x, samples=40).value)
    assert float((found - double).abs().max()) > 1e-4


def test_autocast_does_not_reach_into_evaluation() -> None:
    vae, x = judged("mlp")
    single, rows = vae.float(), x.float()
    plain = [
        evaluate.log_likelihood(single, rows, "importance", 40).value,
        evaluate.elbo(single, rows),
    ]
    with torch.autocast("cpu", torch.bfloat16):
        cast = [
            evaluate.log_likelihood(single, rows, "importance", 40).value,
            evaluate.elbo(single, rows),
        ]
    for left, right in zip(plain, cast, strict=True):
        assert torch.equal(left, right)


def test_streamed_sums_are_those_of_all_weights_at_once() -> None:
    weight = 8 * normal(301, 7) - torch.linspace(0, 2000, 7, dtype=torch.float64)
    stream = Weights(7, 301, weight.device)
    for part in weight.split([1, 32, 200, 60, 8]):
        stream.add(part)
    value, error, ess, khat = stream.result()
    torch.testing.assert_close(value, weight.logsumexp(0) - math.log(301))
    share = weight.softmax(0)
    torch.testing.assert_close(ess, 1 / share.square().sum(0))
    w = (weight - weight.amax(0)).exp()
    torch.testing.assert_close(error, w.std(0) / w.mean(0) / math.sqrt(301))
    top = weight.sort(0, descending=True).values[: math.ceil(3 * math.sqrt(301)) + 1]
    torch.testing.assert_close(khat, pareto_shape(top, 301))


def test_weights_that_vanish_are_told_as_such() -> None:
    stream = Weights(2, 64, torch.device("cpu"))
    dead = torch.full((32, 2), -math.inf, dtype=torch.float64)
    alive = dead.clone()
    alive[:, 1] = 0.0
    stream.add(dead)
    stream.add(alive)
    value, error, ess, _ = stream.result()
    assert value.tolist() == [-math.inf, pytest.approx(math.log(0.5))]
    assert ess.tolist() == [0.0, pytest.approx(32)]
    assert float(error[0]) == math.inf


# -- the Pareto diagnostic
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [-0.3, 0.1, 0.5, 0.9, 1.5])
def test_pareto_shape_recovers_that_of_known_draws(shape: float) -> None:
    draws = scipy.stats.genpareto.rvs(shape, size=(40, 1500), random_state=np.random.default_rng(0))
    logs = torch.from_numpy(np.log1p(draws)).sort(1, descending=True).values.T
    found = pareto_shape(logs, 1500)
    m = logs.shape[0] - 1
    expected = (shape * m + 5) / (m + 10)
    error = (1 + abs(shape)) / math.sqrt(m)  # asymptotic standard error of the estimate
    assert float(found.mean()) == pytest.approx(expected, abs=5 * error / math.sqrt(40) + 0.01)
    assert float(found.std()) == pytest.approx(error, rel=0.5)


def published_shape(excess: np.ndarray) -> float:
    """Zhang & Stephens' estimate for increasing excesses,
    as the appendix of Vehtari et al. (2024) has it.
    """
    n = len(excess)
    m = 30 + int(np.sqrt(n))
    theta = 1 / excess[-1] + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (
        3 * excess[int(n / 4 + 0.5) - 1]
    )
    profile = np.array([np.log1p(-b * excess).mean() for b in theta])
    profile = n * (np.log(-theta / profile) - profile - 1)
    weight = np.array([1 / np.exp(profile - p).sum() for p in profile])
    shape = np.log1p(-(theta * weight).sum() / weight.sum() * excess).mean()
    return float((n * shape + 5) / (n + 10))


@pytest.mark.parametrize("shape", [-0.3, 0.5, 1.2])
@pytest.mark.parametrize("size", [5, 20, 101])
def test_pareto_shape_is_the_published_estimate(shape: float, size: int) -> None:
    draws = np.sort(
        1 + scipy.stats.genpareto.rvs(shape, size=size + 1, random_state=np.random.default_rng(2))
    )
    found = pareto_shape(torch.from_numpy(np.log(draws[::-1].copy()))[:, None], 1000)
    assert float(found) == pytest.approx(published_shape(draws[1:] - draws[0]), abs=1e-9)


def test_pareto_shape_is_close_to_maximum_likelihood_and_free_of_scale() -> None:
    draws = np.sort(
        scipy.stats.genpareto.rvs(0.6, scale=3.0, size=801, random_state=np.random.default_rng(1))
    )[::-1]
    logs = torch.from_numpy(np.log(draws.copy()))[:, None]
    found = float(pareto_shape(logs, 4000))
    theirs = scipy.stats.genpareto.fit(draws[:-1] - draws[-1], floc=0)[0]
    assert found == pytest.approx((theirs * 800 + 5) / 810, abs=0.02)
    for shift in (-5000.0, 5000.0):
        assert float(pareto_shape(logs + shift, 4000)) == pytest.approx(found, abs=1e-6)


def test_pareto_shape_of_equal_weights_is_bounded_and_of_few_unknown() -> None:
    equal = torch.zeros(61, 3, dtype=torch.float64)
    equal[:, 1] = -700.0
    equal[:, 2] = torch.linspace(3, 0, 61)
    found = pareto_shape(equal, 400)
    assert found[:2].tolist() == [-math.inf, -math.inf]
    assert math.isfinite(float(found[2]))
    assert bool(pareto_shape(equal[:6], 24).isnan().all())
    assert bool(pareto_shape(equal[:5], 400).isnan().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_khat_does_not_mistake_rounding_for_a_tail(dtype: torch.dtype) -> None:
    """With the exact posterior all weights are equal, to rounding,
    and nothing is to be distrusted.
    """
    model = linear_gaussian()
    x = draw(model, 100).to(dtype)
    found = evaluate.log_likelihood(started(model).to(dtype), x, "importance", samples=200)
    assert bool((found.khat == -math.inf).all())


def test_khat_tells_a_good_posterior_from_a_bad_one() -> None:
    model = linear_gaussian(orthogonal=False, variance=0.5)
    x = draw(model, 40)
    wide = evaluate.log_likelihood(
        loosen(started(model), 1.5, 0.0), x, "importance", samples=1000
    ).khat
    narrow = evaluate.log_likelihood(
        loosen(started(model), 0.25, 1.0), x, "importance", samples=1000
    ).khat
    assert float(wide.median()) < 0.3
    assert float(narrow.median()) > 0.7


# -- refusals
# ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "magic"}, "auto, importance, ais, quadrature, exact, got 'magic'"),
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"x": normal(3, 5)}, r"x has shape \(3, 5\), but the model needs \('n', 6\)"),
        ({"x": normal(6)}, "x has shape"),
        ({"x": normal(0, 6)}, "x has no rows"),
    ],
)
def test_what_cannot_be_judged_is_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        evaluate.log_likelihood(**({"vae": build(), "x": normal(3, 6)} | change))


def test_elbo_refuses_no_samples() -> None:
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        evaluate.elbo(build(), normal(3, 6), samples=0)
