"""A table whose columns are of different kinds: its likelihood, and what reads it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers import build, equal_bits, normal, rng, weights
from nelbo import VAE, evaluate, fit, initialize, likelihood, networks, objective, spec
from nelbo.data import as_rows
from nelbo.distributions import ByColumn
from nelbo.likelihood import Columns
from nelbo.posterior import DiagonalNormal
from nelbo.prior import StandardNormal

KINDS: list[Any] = [
    "gaussian",
    {"kind": "categorical", "levels": 3},
    "poisson",
    "bernoulli",
    "gaussian",
    {"kind": "ordinal", "levels": 4},
    "negative_binomial",
    "hurdle_log_normal",
    "log_normal",
    {"kind": "student_t", "df": 4.0},
    "heteroscedastic_gaussian",
    {"kind": "categorical", "levels": 50},
    {"kind": "spike_and_slab", "points": [0.0, 3.0], "components": 3, "step": 1.0},
    {"kind": "spike_and_slab", "points": [1.5], "components": 2},
]
D = len(KINDS)
SIZES = {1: 3, 3: 2, 5: 4, 11: 50}
"""Levels of the columns that have such."""


def head(kinds: Any = KINDS, columns: int = D) -> Columns:
    return Columns((columns,), kinds).double()


def drawn(n: int = 40, seed: int = 0) -> tuple[ByColumn, Tensor]:
    """p(x|z) at n features h, and rows from it."""
    p = head()(normal(n, head().in_shape[0], seed=seed))
    return p, p.sample((), rng(seed))


def with_holes(x: Tensor, seed: int = 3) -> Tensor:
    return x.masked_fill(torch.rand(x.shape, generator=rng(seed)) < 0.3, math.nan)


# -- the likelihood --------------------------------------------------------------------------------


def test_terms_of_columns_sum_to_the_log_density_of_the_row() -> None:
    p, x = drawn()
    terms = head().terms(p, x)
    assert terms.shape == x.shape
    torch.testing.assert_close(terms.sum(1), p.log_prob(x), rtol=1e-13, atol=1e-12)
    holes = with_holes(x)
    p.missing = True
    found = head().terms(p, holes)
    torch.testing.assert_close(found, torch.where(holes.isnan(), 0.0, terms))
    torch.testing.assert_close(found.sum(1), p.log_prob(holes), rtol=1e-13, atol=1e-12)


def test_each_column_is_its_likelihood_alone() -> None:
    h, x = normal(40, head().in_shape[0]), drawn()[1]
    terms = head().terms(head()(h), x)
    at = 0
    for mine in head().numbers:
        kind = head().columns[mine[0]]
        alone = Columns((len(mine),), kind).double()
        width = alone.in_shape[0]
        p = alone.members[0](h[:, at : at + width].reshape(-1, *alone.members[0].in_shape))
        torch.testing.assert_close(terms[:, list(mine)], p.each(x[:, list(mine)]))
        at += width


def test_probabilities_of_a_discrete_column_sum_to_one_and_are_what_is_drawn() -> None:
    p, _ = drawn(5)
    for column in range(D):
        found = p.probabilities(column)
        assert (found is not None) == (column in SIZES)
        if found is not None:
            assert found.shape == (5, SIZES[column])
            torch.testing.assert_close(found.sum(-1), torch.ones(5).double())
            x = p.mode.repeat(SIZES[column], 1, 1)
            x[..., column] = torch.arange(float(SIZES[column]))[:, None]
            torch.testing.assert_close(p.each(x)[..., column].exp(), found.T)
    assert p.sample((3,), rng()).shape == (3, 5, D)
    assert torch.equal(p.sample((3,), rng()), p.sample((3,), rng()))
    for moment in (p.mean, p.mode, p.variance, p.stddev):
        assert moment.shape == (5, D)
        assert bool(moment.isfinite().all())


def test_what_is_a_density_and_what_a_probability_is_said_of_each_column() -> None:
    measures = head().measures
    assert {measures[i] for i in (1, 2, 3, 5, 6, 11, 12)} == {"probability"}
    assert measures[13] == "probability at points, density elsewhere"
    assert {measures[i] for i in (0, 4, 8, 9, 10)} == {"density"}
    assert measures[7] == "probability at 0, density above"
    assert head().density
    assert not Columns((2,), "poisson").density
    assert "2 gaussian, 2 categorical, 1 poisson" in head().noise().family


def test_slopes_are_gradients_and_0_where_a_value_is_missing() -> None:
    h = normal(2, 40, head().in_shape[0]).requires_grad_()
    holes = with_holes(drawn()[1])
    p = head()(h)
    p.missing = True
    features, score, information = head().local_quadratic(p, holes)
    (expected,) = torch.autograd.grad(p.log_prob(holes)[0].sum(), h, retain_graph=True)
    (reached,) = torch.autograd.grad(features[0], h, score.detach())
    torch.testing.assert_close(reached, expected)
    nothing = torch.full_like(holes, math.nan)
    _, score, information = head().local_quadratic(p, nothing)
    assert not bool(score.any())
    assert not bool(information.any())


def test_a_value_that_a_column_cannot_have_is_named() -> None:
    x = with_holes(drawn()[1])
    head().check_columns(x)
    for column, bad in (
        (1, 3.0),
        (2, 0.5),
        (3, 2.0),
        (5, -1.0),
        (7, -1.0),
        (8, 0.0),
        (0, math.inf),
    ):
        rows = x.clone()
        rows[4, column] = bad
        with pytest.raises(ValueError, match=rf"column {column} is of kind .* row 4 .* {bad:g}"):
            head().check_columns(rows)
    with pytest.raises(ValueError, match=r"column 'age' .* a count: a whole number of at least 0"):
        Columns((1,), "poisson").check_columns(torch.tensor([[-3.0]]), ["age"])


@pytest.mark.parametrize(
    ("columns", "error", "words"),
    [
        (["gaussian"], ValueError, "the kind of each of the 2 columns, got 1"),
        (["gaussian", "poison"], ValueError, r"columns\[1\] .*'poison'\. Did you mean 'poisson'"),
        (["gaussian", 3], TypeError, r"columns\[1\] must be the name of a kind or a dict"),
        ("categorical", ValueError, r"columns\[0\] of kind 'categorical' lacks .* 'levels'"),
        ({"kind": "categorical", "levels": 1}, ValueError, "levels must be at least 2"),
        ({"kind": "ordinal", "levels": 2.5}, TypeError, "levels must be an integer"),
        ({"kind": "student_t", "dof": 3}, ValueError, "no option 'dof'. Known: variance, df"),
        ({"kind": "poisson", "rate": 3}, ValueError, "no option 'rate'. It has none"),
        ({"kind": "negative_binomial", "dispersion": -1}, ValueError, "dispersion must be"),
        ({"kind": "spike_and_slab", "points": [1, 1]}, ValueError, "points must be different"),
        ({"kind": "spike_and_slab", "step": 0.0}, ValueError, "step must be a positive number"),
    ],
    ids=str,
)
def test_what_columns_cannot_be_is_refused(columns: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        Columns((2,), columns)


def test_columns_are_saved_as_json_and_move_with_the_module() -> None:
    made = spec.Spec((D,), 2, likelihood="columns", likelihood_options={"columns": KINDS})
    again = spec.Spec.from_dict(json.loads(json.dumps(made.to_dict())))
    one, other = (spec.build(s, rng()).likelihood for s in (made, again))
    assert equal_bits(weights(one), weights(other))
    assert one.columns == other.columns
    p = one.to(torch.float64)(normal(3, *one.in_shape))
    assert p.log_prob(p.sample((), rng())).dtype == torch.float64
    assert set(spec.weights(made)) == set(spec.build(made).state_dict())


# -- columns of one kind ---------------------------------------------------------------------------


def test_columns_that_are_all_normal_are_a_gaussian_with_a_noise_per_feature() -> None:
    x = normal(200, 5, dtype=torch.float32)
    found = []
    for options in (
        {"likelihood": "gaussian", "variance": "per_feature"},
        {"likelihood": "columns"},
    ):
        vae = build((5,), 2, dtype=torch.float32, **options)
        fit(objective.ELBO(vae), x, max_steps=30, seed=0, device="cpu")
        noise, scores = vae.likelihood.noise(), evaluate.log_likelihood(vae, x[:9], samples=20)
        weight = {name.replace("heads.0.", ""): value for name, value in weights(vae).items()}
        found.append({**weight, "x": vae.sample(4, generator=rng()), "nats": scores.value,
                      "noise": noise.variance})  # fmt: skip
        assert (noise.kind, noise.family, noise.normal) == ("per feature", "Gaussian", True)
    assert equal_bits(*found)


# -- oracles ---------------------------------------------------------------------------------------


def of_one_latent() -> VAE:
    """Two numbers, a coin and a count, in each of which z moves the mean."""
    likelihood_head = head(["gaussian", "bernoulli", "poisson", "gaussian"], 4)
    decoder = networks.Linear((1,), likelihood_head.in_shape, rng(1))
    encoder = networks.Linear((4,), (2,), rng(2))
    return VAE(StandardNormal(1), decoder, likelihood_head, encoder, DiagonalNormal(1)).double()


@pytest.mark.parametrize("missing", [False, True])
def test_scores_agree_with_the_integral_over_z(missing: bool) -> None:
    vae = of_one_latent()
    x = vae.sample(30, generator=rng())
    if missing:
        encoder = networks.Masked(networks.Linear((8,), (2,), rng(2))).double()
        vae = VAE(vae.prior, vae.decoder, vae.likelihood, encoder, vae.posterior)
        x = with_holes(x)
    z = torch.linspace(-9, 9, 4001, dtype=torch.float64)[:, None, None]
    joint = vae.decode(z.expand(-1, 30, 1)).log_prob(x) + vae.prior().log_prob(z)
    exact = joint.logsumexp(0) + math.log(18 / 4000)
    for method, settings in (
        ("importance", {"samples": 5_000, "proposal": "mixture"}),
        ("quadrature", {}),
    ):
        found = evaluate.log_likelihood(vae, x, method, **settings)
        atol = 1e-3 if method == "quadrature" else 0.02
        torch.testing.assert_close(found.value, exact.detach(), rtol=0, atol=atol)
    with torch.no_grad():
        elbo, iwae = (loss(vae, 200)(x, rng()).mean() for loss in (objective.ELBO, objective.IWAE))
        assert elbo < iwae < exact.mean() + 0.05


def test_a_table_of_independent_categories_scores_its_entropy() -> None:
    random = np.random.default_rng(0)
    shares = [random.dirichlet(np.ones(k)) for k in (2, 5, 40)]
    x = np.stack([random.choice(len(p), 3000, p=p) for p in shares], 1)
    columns = [{"kind": "categorical", "levels": len(p)} for p in shares]
    vae = build(
        (3,), 2, dtype=torch.float32, likelihood="columns", likelihood_options={"columns": columns}
    )
    rows = torch.from_numpy(x).float()
    fit(objective.ELBO(vae), rows[:2000], max_steps=300, seed=0, device="cpu")
    nats = evaluate.log_likelihood(vae, rows[2000:], "importance", 30).value
    truth = sum(np.log(p)[x[2000:, j]] for j, p in enumerate(shares))
    entropy = -sum(float((p * np.log(p)).sum()) for p in shares)
    assert truth.mean() == pytest.approx(-entropy, abs=0.1)
    # 44 free numbers that are estimated from 2,000 rows cost 44 / 4000 nats
    assert float(nats.mean()) == pytest.approx(truth.mean(), abs=0.05)


# -- where it starts -------------------------------------------------------------------------------


def of_two_factors(n: int, seed: int = 0) -> Tensor:
    """Rows with a column of each kind in `KINDS`, all of which say something of two factors."""
    random, z = rng(seed), normal(n, 2, seed=seed)
    e = 1.2 * z @ normal(2, 64, seed=99)
    noise = torch.randn(n, 6, generator=random, dtype=torch.float64)
    amounts = (1 + 0.6 * e[:, 5] + 0.3 * noise[:, 2]).exp()
    some = torch.rand(n, generator=random) < e[:, 6].sigmoid()
    gamma = torch._standard_gamma(torch.full((n,), 2.0), generator=random) / 2
    return torch.stack(
        [
            40 + 5 * (e[:, 0] + 0.5 * noise[:, 0]),
            torch.multinomial(e[:, 7:10].softmax(1), 1, generator=random)[:, 0].double(),
            torch.poisson((0.4 * e[:, 1] + 1).exp(), generator=random),
            torch.bernoulli((e[:, 2] - 1).sigmoid(), generator=random),
            e[:, 3] + noise[:, 1],
            (e[:, 4] + noise[:, 3] + 1).round().clamp(0, 3),
            torch.poisson((0.4 * e[:, 12] + 1).exp() * gamma, generator=random),
            torch.where(some, amounts, 0.0),
            (0.5 * e[:, 10] + 0.3 * noise[:, 4]).exp(),
            e[:, 11] + torch.from_numpy(np.random.default_rng(seed).standard_t(4, n)),
            e[:, 13] + 0.5 * noise[:, 5],
            torch.multinomial((0.5 * e[:, 14:64]).softmax(1), 1, generator=random)[:, 0].double(),
            torch.where(e[:, 11] > 0, 3.0, (3 * e[:, 3] + noise[:, 0]).round()),
            torch.where(e[:, 12] > 1, 1.5, torch.where(noise[:, 1] > 0, e[:, 5], e[:, 5] + 4)),
        ],
        1,
    )


def test_features_of_marginals_are_where_each_column_fits_best() -> None:
    x = with_holes(of_two_factors(800))
    made = head()
    h = made.at_marginals(x)
    assert h is not None
    level = h[made.features_of() == 1].softmax(0)
    found = torch.stack([(x[:, 1] == k).sum() for k in range(3)]) / (~x[:, 1].isnan()).sum()
    torch.testing.assert_close(level, found.double(), rtol=0, atol=2e-3)
    torch.testing.assert_close(h[made.features_of() == 0][0], x[:, 0].nanmean())
    torch.testing.assert_close(h[made.features_of() == 2].exp()[0], x[:, 2].nanmean(), rtol=1e-2,
                               atol=0)  # fmt: skip
    leaf = h.clone().requires_grad_()
    p = made(leaf.expand(800, -1))
    p.missing = True
    (slope,) = torch.autograd.grad(p.log_prob(x).mean(), leaf)
    moving = {i for i in range(D) if float(slope[made.features_of() == i].abs().max()) > 0.01}
    # Student's t, whose mean is not its best location; logistics on a grid, fitted as if on none
    assert moving <= {9, 12}


def test_points_and_modes_of_a_marginal_are_found() -> None:
    random = np.random.default_rng(0)
    modes = np.where(
        random.random(6000) < 0.3, random.logistic(10, 0.5, 6000), random.logistic(20, 2, 6000)
    )
    x = torch.from_numpy(np.where(random.random(6000) < 0.4, 40.0, modes))[:, None]
    made = Columns((1,), {"kind": "spike_and_slab", "points": [40.0], "components": 2}).double()
    h = made.at_marginals(x)
    assert h is not None
    (p,) = made(h[None]).parts
    torch.testing.assert_close(
        p.logits.softmax(-1).flatten(), torch.tensor([0.4, 0.18, 0.42]).double(), atol=0.02, rtol=0
    )
    torch.testing.assert_close(
        p.loc.flatten(), torch.tensor([10.0, 20.0]).double(), atol=0.2, rtol=0
    )
    torch.testing.assert_close(
        p.scale.flatten(), torch.tensor([0.5, 2.0]).double(), atol=0.1, rtol=0
    )
    nothing = Columns((1,), "spike_and_slab").at_marginals(torch.full((3, 1), math.nan))
    assert nothing is not None
    assert bool(nothing.isfinite().all())


def test_a_start_at_scores_is_better_than_independent_columns() -> None:
    x, held = of_two_factors(3000).float(), of_two_factors(500, seed=1).float()
    options = {"likelihood": "columns", "likelihood_options": {"columns": KINDS}}
    vae = build((D,), 2, dtype=torch.float32, **options)
    alone = vae.likelihood.at_marginals(x)
    assert alone is not None
    independent = vae.likelihood(alone.float().expand(500, -1)).log_prob(held).mean()
    random = evaluate.elbo(vae, held).mean()
    initialize.start_at_scores(vae, x)
    started = evaluate.elbo(vae, held).mean()
    assert started > independent + 1.5 > random
    spread = vae.encode(held).mean.detach().std(0)
    assert float((spread - 1).abs().max()) < 0.3
    fit(objective.ELBO(vae), x, max_steps=100, seed=0, device="cpu")
    assert evaluate.elbo(vae, held).mean() > started + 0.1


def test_a_start_at_scores_of_numbers_is_factor_analysis() -> None:
    x = (normal(4000, 2) @ normal(2, 7, seed=1) + 0.7 * normal(4000, 7, seed=2)).float()
    nats = {}
    for scored in (True, False):
        vae = build((7,), 2, dtype=torch.float32, likelihood="columns")
        if scored:
            initialize.start_at_scores(vae, x)
        else:
            initialize.start_at(vae, initialize.closed_form(vae, x))
        nats[scored] = float(evaluate.log_likelihood(vae, x, "importance", 50).mean)
    assert nats[True] == pytest.approx(nats[False], abs=0.01)


def test_a_start_at_scores_takes_missing_values_and_conditions() -> None:
    x, c = of_two_factors(1500).float(), normal(1500, 3, dtype=torch.float32)
    x = with_holes(x)
    made = Columns((D,), KINDS)
    width = networks.ReadColumns.width(made.readings(), masked=True) + 6
    inner = networks.Residual((width,), (4,), (8,), generator=rng())
    read = networks.ReadColumns(inner, made.readings(), masked=True, generator=rng())
    decoder = networks.Residual((2 + 3,), made.in_shape, (8,), generator=rng())
    vae = VAE(
        StandardNormal(2),
        networks.Conditioned(decoder),
        made,
        networks.Conditioned(networks.Masked(read)),
        DiagonalNormal(2),
    )
    alone = made.at_marginals(x)
    assert alone is not None
    p = made(alone.float().expand(1500, -1))
    p.missing = True
    independent = p.log_prob(x).mean()
    initialize.start_at_scores(vae, x, c)
    assert evaluate.elbo(vae, x, c=c).mean() > independent + 0.5


def test_a_model_that_cannot_start_at_scores_says_so() -> None:
    vae = build((4,), 2, "mlp", dtype=torch.float32, likelihood="columns")
    with pytest.raises(TypeError, match="needs networks with a linear path"):
        initialize.start_at_scores(vae, normal(50, 4, dtype=torch.float32))
    clustered = build((4,), 2, dtype=torch.float32, likelihood="clustered_gaussian")
    with pytest.raises(TypeError, match="a likelihood and a posterior that know it"):
        initialize.start_at_scores(clustered, normal(50, 4, dtype=torch.float32))
    assert likelihood.Gaussian((4,)).features_of().tolist() == [0, 1, 2, 3]
    assert likelihood.Categorical((2,), 2).features_of().tolist() == [0, 0, 1, 1]
    assert likelihood.HeteroscedasticGaussian((2,)).features_of().tolist() == [0, 1, 0, 1]


# -- what reads them -------------------------------------------------------------------------------


def reader(masked: bool = False, further: int = 0) -> tuple[networks.ReadColumns, list[Tensor]]:
    """A network that keeps what it is given, for the columns of `KINDS`."""
    seen: list[Tensor] = []

    class Keep(torch.nn.Module):
        def forward(self, h: Tensor) -> Tensor:
            seen.append(h)
            return h[:, :1]

    readings = head().readings()
    assert networks.ReadColumns.width(readings, masked) == 35 + D * masked
    return networks.ReadColumns(Keep(), readings, masked, generator=rng()).double(), seen


def test_columns_are_read_as_what_they_are() -> None:
    network, seen = reader()
    x = drawn(200)[1]
    network.standardise(x)
    network(x)
    (h,) = seen
    assert h.shape == (200, networks.ReadColumns.width(head().readings()))
    numbers = h[:, :12]  # all columns but the two of categories
    amounts = x[:, 7] > 0
    for j, column in enumerate((0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13)):
        read = numbers[amounts, j] if column == 7 else numbers[:, j]
        torch.testing.assert_close(read.mean(), torch.zeros(()).double(), atol=1e-9, rtol=0)
        torch.testing.assert_close(read.std(correction=0), torch.ones(()).double())
    assert not bool(numbers[~amounts, 6].any())
    count = torch.log1p(x[:, 2])
    torch.testing.assert_close(numbers[:, 1], (count - count.mean()) / count.std(correction=0))
    assert torch.equal(h[:, 12], amounts.double())
    points = torch.stack([x[:, 12] == 0, x[:, 12] == 3, x[:, 13] == 1.5], 1)
    assert torch.equal(h[:, 13:16], points.double())
    assert torch.equal(h[:, 16:19], torch.nn.functional.one_hot(x[:, 1].long(), 3).double())
    assert network.table is not None
    assert torch.equal(h[:, 19:], network.table[x[:, 11].long()])


def test_a_missing_value_is_read_as_zero_and_a_mask() -> None:
    network, seen = reader(masked=True)
    x = drawn(50)[1]
    network.standardise(with_holes(x))
    masked = networks.Masked(network)
    holes = with_holes(x)
    holes[0] = math.nan
    masked(x)
    masked(holes)
    whole, some = seen
    assert not bool(some[0].any())
    assert torch.equal(some[:, -D:], (~holes.isnan()).double())
    assert torch.equal(whole[:, -D:], torch.ones(50, D).double())
    there = ~holes[:, 1].isnan()
    assert torch.equal(some[there, 16:19], whole[there, 16:19])
    assert not bool(some[~there, 16:19].any())
    assert bool(some.isfinite().all())


def test_a_model_of_incomplete_columns_given_a_condition_learns() -> None:
    likelihood, c = head(), normal(300, 2)
    x = with_holes(drawn(300)[1])
    width = networks.ReadColumns.width(likelihood.readings(), masked=True) + 4
    read = networks.ReadColumns(
        networks.Residual((width,), (4,), (8,), generator=rng()), likelihood.readings(), masked=True
    )
    decoder = networks.Residual((2 + 2,), likelihood.in_shape, (8,), generator=rng())
    vae = VAE(
        StandardNormal(2),
        networks.Conditioned(decoder),
        likelihood,
        networks.Conditioned(networks.Masked(read)),
        DiagonalNormal(2),
    ).double()
    read.standardise(x)
    rows = as_rows(x, missing=True, c=c)
    before = evaluate.elbo(vae, x, c=c).mean()
    fit(objective.ELBO(vae), rows, max_steps=60, seed=0, device="cpu")
    assert bool(evaluate.elbo(vae, x, c=c).mean() > before + 1)
    assert all(bool(value.isfinite().all()) for value in vae.state_dict().values())


def test_a_reading_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"readings\[0\] must be read as one of number, count"):
        networks.ReadColumns(torch.nn.Identity(), [{"as": "word"}])
