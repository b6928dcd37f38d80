"""Every part answers: each member of each kind, and parts of one's own, through the whole surface.

Whatever stands in ``__all__`` is fitted, scored, sampled, saved, evaluated and diagnosed here, so a
new part is tested by its name; what is special about one is held against an oracle below.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import Independent, MixtureSameFamily, Normal

from helpers import (
    build,
    draw,
    equal_bits,
    linear_gaussian,
    normal,
    rng,
    small_estimator,
    started,
    weights,
)
from nelbo import (
    VAE,
    VariationalAutoencoder,
    diagnose,
    distributions,
    evaluate,
    fit,
    initialize,
    likelihood,
    networks,
    objective,
    posterior,
    prior,
    spec,
)
from nelbo.data import as_rows
from nelbo.fitted.summary import summarise
from nelbo.linear import without_outliers
from nelbo.networks import paths

KINDS = ("likelihood", "prior", "posterior")
OPTIONS: dict[str, dict[str, Any]] = {
    "mixture": {"prior_options": {"components": 2}},
    "vamp": {"prior_options": {"components": 5}},
    "flow": {"prior_options": {"transforms": 1, "width": 4}},
    "columns": {
        "likelihood_options": {
            "columns": [
                "gaussian",
                "poisson",
                {"kind": "categorical", "levels": 3},
                "hurdle_log_normal",
            ]
        }
    },
}
"""What members are tried with, beside their defaults."""


def options_of(kind: str, name: str) -> dict[str, Any]:
    return {key: value for key, value in OPTIONS.get(name, {}).items() if key.startswith(kind)}


QUICK = diagnose.Effort(gap_rows=8, gap_steps=5, samples=20)
MEMBERS = [(kind, name) for kind in KINDS for name in spec.choices(kind)]


def rows_for(name: str, n: int = 60) -> np.ndarray:
    """Rows that a likelihood may have produced."""
    x = draw(linear_gaussian(4, 2), n).numpy()
    takes = spec.resolve("likelihood", name).takes if name in spec.choices("likelihood") else "real"
    if takes == "binary":
        return (x > 0).astype(np.float32)
    if takes == "bytes":
        return np.clip(128 + 30 * x, 0, 255).astype(np.uint8)
    if takes == "columns":
        number, count, level, amount = x.T
        level = np.digitize(level, np.quantile(level, [0.3, 0.7]))
        amount = np.where(amount > np.median(amount), np.exp(amount), 0)
        x = np.stack([number, np.floor(np.exp(count)), level, amount], 1)
    return x.astype(np.float32)


# -- the whole surface -----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), MEMBERS)
def test_a_member_works_everywhere(kind: str, name: str, tmp_path: Path) -> None:
    X = rows_for(name)
    options = options_of(kind, name)
    model = small_estimator(
        **{kind: name}, **options, max_steps=20, scale="auto", score_samples_k=16
    ).fit(X)
    scores = model.score_samples(X)
    assert np.isfinite(scores).all()
    assert model.sample(3).shape == model.reconstruct(X[:3]).shape == (3, 4)
    assert np.isfinite(model.transform(X, return_std=True)).all()
    model.save(tmp_path / "run")
    again = VariationalAutoencoder.load(tmp_path / "run")
    np.testing.assert_array_equal(again.score_samples(X), scores)
    np.testing.assert_array_equal(again.sample(3), model.sample(3))
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"| likelihood | {_family(model)}" in card
    assert f"| {kind} | {name}" in card or kind == "likelihood"
    for method in ("importance", "ais", "auto"):
        found = model.log_likelihood(X[:5], method, 8)
        assert np.isfinite(found.value).all(), method
    own, refined = (model.elbo(X[:30], refined=refined).mean() for refined in (False, True))
    assert own - 0.1 < refined < model.log_likelihood(X[:30], "importance", 100).mean + 0.1
    rows = model.schema_.to_model(X[:30], noise="hash")
    assert diagnose.diagnose(model.model_, rows, effort=QUICK).findings


@pytest.mark.parametrize(("kind", "name"), MEMBERS)
def test_a_member_takes_rows_with_missing_values(kind: str, name: str) -> None:
    x = torch.from_numpy(rows_for(name)).float()
    options = {kind: name, **options_of(kind, name)}
    vae = build((4,), 2, "mlp", dtype=torch.float32, **options)
    x = x / 256 if vae.likelihood.takes == "bytes" else x
    x[torch.rand(x.shape, generator=rng()) < 0.2] = math.nan
    vae.encoder = networks.Masked(networks.MLP((8,), vae.posterior.in_shape, (8,), generator=rng()))
    fit(objective.ELBO(vae), as_rows(x, missing=True), max_steps=10, seed=0, device="cpu")
    bound = evaluate.elbo(vae, x[:20])
    found = evaluate.log_likelihood(vae, x[:20], "importance", 200, proposal="mixture").value
    assert bool(found.isfinite().all())
    assert float((bound - found).mean()) < 0.05
    assert all(bool(parameter.isfinite().all()) for parameter in vae.parameters())


def _family(model: VariationalAutoencoder) -> str:
    return model.model_.likelihood.noise().family


@pytest.mark.parametrize(("kind", "name"), MEMBERS)
def test_what_a_distribution_says_of_noise_is_true(kind: str, name: str) -> None:
    vae = build((4,), 3, **{kind: name}, **options_of(kind, name)).eval()
    q = vae.encode(torch.from_numpy(rows_for(name, 5)).double())
    p = vae.prior()
    for found, batch in ((q, (5,)), (p, ())):
        z = distributions.draw(found, (7,), rng())
        assert found.log_prob(z).shape == (7, *batch)
        if hasattr(found, "from_noise"):
            u = normal(7, *batch, 3, seed=3)
            torch.testing.assert_close(found.to_noise(found.from_noise(u)), u)
    normal_q = vae.posterior.as_normal(q)
    if normal_q is not None:
        loc, scale = normal_q
        triangle = scale if scale.ndim == 3 else torch.diag_embed(scale)
        exact = torch.distributions.MultivariateNormal(loc, scale_tril=triangle)
        z = normal(7, 5, 3, seed=4)
        torch.testing.assert_close(q.log_prob(z), exact.log_prob(z))
    x = vae.decode(normal(7, 5, 3)).mean.detach()
    if spec.resolve("likelihood", "gaussian").takes == vae.likelihood.takes:
        r = vae.likelihood.residuals(vae.decode(normal(7, 5, 3)), x)
        assert r is not None
        if name != "clustered_gaussian":  # whose mean is no median
            assert r.abs().max().item() == 0


@pytest.mark.parametrize("name", spec.choices("likelihood"))
def test_the_slopes_of_a_likelihood_are_its_gradient(name: str) -> None:
    vae = build((4,), 3, likelihood=name, **OPTIONS.get(name, {}))
    x = torch.from_numpy(rows_for(name, 5)).double()
    x = x / 256 if vae.likelihood.takes == "bytes" else x
    h = normal(2, 5, *vae.likelihood.in_shape, seed=1).requires_grad_()
    p = vae.likelihood(h)
    found = vae.likelihood.local_quadratic(p, x)
    assert found is not None
    features, score, information = found
    assert features.shape[:2] == (2, 5)
    assert score.shape == information.shape == features.shape[1:]
    assert bool((information >= 0).all())
    height = p.log_prob(x)[0].sum()
    expected = torch.autograd.grad(height, h, retain_graph=True)[0][0].flatten(1)
    reached = torch.autograd.grad(features[0], h, score.detach())[0][0].flatten(1)
    torch.testing.assert_close(reached, expected)


@pytest.mark.parametrize("name", spec.choices("prior"))
def test_the_slopes_of_a_prior_are_its_gradient(name: str) -> None:
    vae = build((4,), 3, prior=name, **OPTIONS.get(name, {}))
    head = vae.prior
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * normal(*parameter.shape, seed=2))
    z = normal(6, 3, seed=1).requires_grad_()
    (expected,) = torch.autograd.grad(head().log_prob(z).sum(), z)
    slope, precision = head.slopes(z.detach())
    torch.testing.assert_close(slope, expected)
    assert bool((torch.linalg.eigvalsh(precision) > 0).all())
    head.restart()
    if name not in ("mixture", "vamp"):
        torch.testing.assert_close(
            head().log_prob(z), prior.StandardNormal(3).double()().log_prob(z)
        )


@pytest.mark.parametrize("kind", ["likelihood", "prior", "posterior"])
def test_the_shell_knows_every_member(kind: str) -> None:
    from nelbo.cli.options import FitOptions

    for name in spec.choices(kind):
        assert getattr(FitOptions(**{kind: name}).estimator(), kind) == name


# -- parts of one's own ----------------------------------------------------------------------------


class Laplace(likelihood.Likelihood):
    """A foreign likelihood with nothing but a forward."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = self.in_shape = shape
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, h: Tensor) -> torch.distributions.Distribution:
        return Independent(torch.distributions.Laplace(h, self.log_scale.exp()), 1)


class Shifted(prior.Prior):
    """A foreign prior with nothing but a forward, whose draws take no generator."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.loc = nn.Parameter(torch.zeros(latent_dim))

    def forward(self) -> torch.distributions.Distribution:
        return Independent(Normal(self.loc, torch.ones_like(self.loc)), 1)


class TwoNormals(posterior.Posterior):
    """A foreign posterior that is no normal."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.in_shape = (2 * latent_dim,)

    def forward(self, h: Tensor) -> torch.distributions.Distribution:
        loc, raw = h.unflatten(-1, (2, -1)).unbind(-2)
        both = torch.stack([loc - 0.3, loc + 0.3], -2)
        scale = nn.functional.softplus(raw).unsqueeze(-2).expand_as(both)
        weight = torch.distributions.Categorical(logits=both.new_zeros(both.shape[:-1]))
        return MixtureSameFamily(weight, Independent(Normal(both, scale), 1))


class Bump(nn.Module):
    """A foreign network."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.layer(x).sin()


def foreign(**parts: Any) -> VAE:
    torch.manual_seed(0)
    made: dict[str, Any] = {
        "prior": prior.StandardNormal(2),
        "likelihood": likelihood.Gaussian((4,)),
        "posterior": posterior.DiagonalNormal(2),
        **parts,
    }
    head, q = made["likelihood"], made["posterior"]
    decoder = parts.get("decoder", Bump(2, math.prod(head.in_shape)))
    encoder = Bump(4, math.prod(q.in_shape))
    return VAE(made["prior"], decoder, head, encoder, q)


@pytest.mark.parametrize(
    ("parts", "loss"),
    [
        ({}, objective.ELBO),
        ({"likelihood": Laplace((4,))}, objective.ELBO),
        ({"prior": Shifted(2)}, objective.ELBO),
        ({"posterior": TwoNormals(2)}, objective.ELBO),
    ],
    ids=["network", "likelihood", "prior", "posterior"],
)
def test_a_part_of_ones_own_works_everywhere(
    parts: dict[str, Any], loss: Callable[..., Any]
) -> None:
    x = draw(linear_gaussian(4, 2), 60).float()
    vae = foreign(**parts)
    fit(loss(vae), x, max_steps=20, seed=0, device="cpu")
    assert vae.sample(3, generator=rng()).shape == (3, 4)
    importance = evaluate.log_likelihood(vae, x[:5], "importance", 64, proposal="mixture").value
    annealed = evaluate.log_likelihood(vae, x[:5], "ais", 8).value
    assert float((importance - annealed).abs().max()) < 1.0
    assert diagnose.diagnose(vae, x[:30]).findings
    assert vae.likelihood.noise().kind in ("learned", "from z")


def test_a_part_of_ones_own_says_what_it_cannot_start_at() -> None:
    x = draw(linear_gaussian(4, 2), 60).float()
    for parts in ({"likelihood": Laplace((4,))}, {"posterior": TwoNormals(2)}):
        vae = foreign(**parts)
        assert initialize.closed_form_start(vae, x, "auto") is None
        with pytest.raises(ValueError, match="ppca"):
            initialize.closed_form_start(vae, x, "ppca")
        with pytest.raises(TypeError, match="linear path"):
            initialize.start_at(vae, linear_gaussian(4, 2))
    with pytest.raises(NotImplementedError, match="Laplace has no closed-form step"):
        Laplace((4,)).squared_residual(vae.likelihood(x), x)


def test_a_network_says_its_name_and_its_linear_path() -> None:
    for name in spec.choices("network"):
        shape = (1, 4, 4) if name == "conv" else (5,)
        decoder = "mlp" if name == "factor_encoder" else name  # which has a posterior to give
        network = spec.build(spec.Spec(shape, 2, name, decoder)).encoder
        assert paths.name_of(network) == name
        assert paths.is_linear(network) == (name == "linear")
        assert (paths.linear_path(network) is None) == (name in ("mlp", "factor_encoder"))
        assert (paths.random_features(network) is None) == (name != "residual")
    stranger = Bump(5, 4)
    assert paths.name_of(stranger) == "custom"
    assert paths.linear_path(stranger) is None
    before = stranger.layer.weight.clone()
    paths.silence(stranger)
    assert torch.equal(stranger.layer.weight, before)


# -- options belong to the part --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"likelihood": "student_t", "likelihood_options": {"dof": 4}},
            r"likelihood 'student_t' has no option 'dof'\. Did you mean 'df'\? Known: df\.",
        ),
        (
            {"likelihood_options": {"df": 4}},
            r"likelihood 'gaussian' has no option 'df'\. It has none\.",
        ),
        (
            {"prior": "mixture", "prior_options": {"component": 3}},
            r"Did you mean 'components'\? Known: components, learned\.",
        ),
        ({"prior_options": {"components": 3}}, "prior_options are for a prior by name"),
        ({"posterior_options": {"top": 1}}, "posterior 'diagonal_normal' has no option 'top'"),
        ({"network_options": {"widht": 3}}, "network 'residual' has no option 'widht'"),
        (
            {"likelihood": "heteroscedastic_gaussian", "variance": 0.5},
            "'heteroscedastic_gaussian' takes no variance, got variance=0.5. Its noise is read",
        ),
        (
            {"likelihood": "student_t", "likelihood_options": {"df": -1}},
            "df must be .*a positive number, got -1",
        ),
    ],
    ids=str,
)
def test_an_option_that_a_part_does_not_know_is_refused(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        small_estimator(**options).fit(rows_for("gaussian"))


def test_a_variance_for_coin_flips_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"likelihood='bernoulli' takes no variance, got variance=3.0. Zeros and ones have no "
        r"noise besides their probabilities. Leave variance out, or use likelihood='gaussian'.",
    ):
        small_estimator(likelihood="bernoulli", variance=3.0, scale="auto").fit(
            rows_for("bernoulli")
        )
    with pytest.raises(TypeError, match="likelihood_options must be a dict such as"):
        small_estimator(likelihood_options="df=4").fit(rows_for("gaussian"))


def test_options_reach_the_part_and_the_file_and_the_shell() -> None:
    from nelbo.cli.options import FitOptions

    asked = FitOptions(likelihood="student_t", likelihood_options="df=4").estimator()
    assert asked.likelihood_options == {"df": 4}
    assert FitOptions(likelihood_options="df=learned").estimator().likelihood_options == {
        "df": "learned"
    }
    with pytest.raises(ValueError, match="--prior-options must be name=value"):
        FitOptions(prior_options="components").estimator()
    made = spec.Spec(
        (4,), 3, likelihood="student_t", likelihood_options={"df": 4.0}, prior="hierarchical",
        prior_options={"top": 2}, network_options={"activation": "tanh"}, hidden=(4,),
    )  # fmt: skip
    assert spec.Spec.from_dict(made.to_dict()) == made
    vae = spec.build(made, rng())
    assert vae.likelihood.df.item() == 4
    assert vae.prior.top == 2
    assert any(isinstance(layer, nn.Tanh) for layer in vae.decoder.modules())


def test_configurations_of_older_versions_are_read_as_what_they_were() -> None:
    old = {"shape": [4], "latent_dim": 2, "prior": "mixture", "components": 3}
    vae = spec.build(spec.Spec.from_dict(old))
    assert vae.prior.components == 3
    assert not list(vae.prior.parameters())
    ignored = {"shape": [4], "latent_dim": 2, "likelihood": "bernoulli", "variance": 0.5}
    assert spec.build(spec.Spec.from_dict(ignored)).likelihood.takes == "binary"


# -- Student's t -----------------------------------------------------------------------------------


def test_student_t_is_scipys() -> None:
    variance = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    head = likelihood.StudentT((3,), variance=variance, df=2.5)
    loc, x = normal(40, 3), 4 * normal(40, 3, seed=1)
    p = head(loc)
    expected = stats.t.logpdf(x, 2.5, loc, variance.sqrt()).sum(1)
    np.testing.assert_allclose(p.log_prob(x), expected, rtol=1e-12)
    np.testing.assert_allclose(p.variance[0], stats.t.var(2.5, scale=variance.sqrt()), rtol=1e-12)
    r = head.residuals(p, x)
    assert r is not None
    expected = stats.norm.ppf(stats.t.cdf(x, 2.5, loc, variance.sqrt()))
    np.testing.assert_allclose(r, expected, rtol=1e-6)
    drawn = p.sample((4000,), rng())
    pit = stats.kstest(((drawn - loc) / variance.sqrt()).flatten()[::7], stats.t(2.5).cdf)
    assert pit.pvalue > 1e-3


@pytest.mark.parametrize("df", [1.0, 2.0])
def test_student_t_may_have_no_variance(df: float) -> None:
    head = likelihood.StudentT((3,), variance=0.5, df=df)
    assert bool(head(normal(2, 3)).variance.isinf().all())
    variance = head.noise().variance
    assert variance is not None
    assert variance.item() == pytest.approx(0.5)


@pytest.mark.parametrize("df", [1.0, 2.0, 4.0, "per_feature"])
def test_the_noise_of_student_t_is_its_squared_scale_in_units_of_the_data(
    df: float | str, tmp_path: Path
) -> None:
    """A scale exists whatever df is; it is what the option ``variance`` fixes."""
    X = rows_for("gaussian")
    options = {"likelihood": "student_t", "likelihood_options": {"df": df}, "max_steps": 5}
    model = small_estimator(**options, variance=0.5).fit(X)
    assert model.noise_variance_ == pytest.approx(0.5)
    model.save(tmp_path / "run")
    card = (tmp_path / "run" / "README.md").read_text()
    assert "fixed beta = 0.707107 (data units)" in card
    found = summarise(model.fitted_, X, None)
    assert found.noise.largest == pytest.approx(0.5**0.5)
    learned = small_estimator(**options, variance="per_feature").fit(X).noise_variance_
    assert np.isfinite(learned).all()
    assert model.fitted_.diagnose(X)["noise level"].verdict != "skipped"


def with_outlier(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return rows, and the same with one value a million out."""
    clean = draw(linear_gaussian(4, 2), n).numpy()
    spoiled = clean.copy()
    spoiled[7, 1] = 1e6
    return clean, spoiled


@pytest.mark.parametrize(("variance", "near"), [("learned", 0.15), ("per_feature", 0.7)])
@torch.no_grad()
def test_one_outlier_does_not_set_where_student_t_starts(variance: str, near: float) -> None:
    found = []
    for rows in with_outlier():
        x = torch.from_numpy(rows)
        vae = build((4,), 2, likelihood="student_t", variance=variance)
        initialize.closed_form_start(vae, x, "ppca")
        assert initialize.closed_form(vae, as_rows(x)) is not None  # read a part at a time
        found.append((vae.likelihood.variance, vae.decoder.linear.weight.norm(dim=0)))
    for clean, spoiled in zip(*found, strict=True):
        assert float((spoiled / clean).log().abs().max()) < near


@pytest.mark.parametrize("options", [{}, {"variance": "per_feature"}, {"scale": "global"}])
def test_one_outlier_hardly_changes_a_model_of_student_t(options: dict[str, Any]) -> None:
    test = draw(linear_gaussian(4, 2), 200, seed=9).numpy()
    made = {"likelihood": "student_t", "network": "linear", "max_steps": 20, **options}
    clean, spoiled = (
        small_estimator(**made).fit(rows)
        for rows in with_outlier()  # and nothing is warned of
    )
    assert spoiled.score(test) == pytest.approx(clean.score(test), abs=0.15)
    assert spoiled.schema_.extent is not None
    assert spoiled.schema_.extent[1] == 1e6
    assert "hardly counts" in spoiled.recipe_["far_cells"]["reason"]


def test_rows_without_outliers_are_left_as_they_are() -> None:
    x = torch.from_numpy(with_outlier()[0])
    assert without_outliers(x) is x
    tied = torch.zeros(400, 2)
    tied[:30] = normal(30, 2).float()  # most values are equal: there is no scale
    assert without_outliers(tied) is tied
    both = torch.cat([x, tied], 1)
    both[0, 0] = -1e9
    (parts,) = without_outliers(both).split(400)
    assert torch.equal(parts[1:], both[1:])
    assert torch.equal(parts[0, 1:], both[0, 1:])
    assert -20 < float(parts[0, 0] - x[:, 0].mean()) < -5


def test_the_em_step_of_student_t_climbs_to_where_its_gradient_is_zero() -> None:
    head = likelihood.StudentT((3,), df=3.0).double()
    loc = torch.zeros(400, 3, dtype=torch.float64)
    x = torch.from_numpy(stats.t.rvs(3, scale=0.4, size=(400, 3), random_state=0))
    before = -math.inf
    for _ in range(60):
        p = head(loc)
        height = p.log_prob(x).mean().item()
        assert height >= before - 1e-12
        before = height
        with torch.no_grad():
            head.log_variance.copy_(head.squared_residual(p, x).mean().log())
    head(loc).log_prob(x).mean().backward()
    assert abs(head.log_variance.grad.item()) < 1e-6


def test_student_t_learns_tails_and_beats_a_gaussian_where_they_are_heavy() -> None:
    random = np.random.default_rng(0)
    signal = random.standard_normal((1200, 2)) @ random.standard_normal((2, 5))
    X = signal + 0.3 * random.standard_t(3, (1200, 5))
    made = {"network": "linear", "latent_dim": 2, "max_steps": 400, "scale": "standard"}
    made["validation_fraction"] = 0  # no row judges the start
    heavy = small_estimator(**made, likelihood="student_t").fit(X[:900])
    light = small_estimator(**made, variance="learned").fit(X[:900])
    assert heavy.score(X[900:]) > light.score(X[900:]) + 0.1
    no_tails = signal[:900] + 0.3 * random.standard_normal((900, 5))
    other = small_estimator(**made, likelihood="student_t").fit(no_tails)
    assert heavy.model_.likelihood.df.item() < 7
    assert other.model_.likelihood.df.item() > 12
    annealed = heavy.log_likelihood(X[900:940], "ais", 16)
    sampled = heavy.log_likelihood(X[900:940], "importance", 1000)
    assert annealed.mean == pytest.approx(sampled.mean, abs=0.05)


# -- a learned mixture -----------------------------------------------------------------------------


def test_a_learned_mixture_finds_the_one_that_the_data_are_drawn_from() -> None:
    random = torch.Generator().manual_seed(0)
    weights = torch.tensor([0.5, 0.3, 0.2])
    means = torch.tensor([[2.5, 0.0], [-2.0, 2.0], [-2.0, -2.0]])
    chosen = torch.multinomial(weights, 3000, True, generator=random)
    z = means[chosen] + 0.4 * torch.randn(3000, 2, generator=random)
    weight = torch.linalg.qr(torch.randn(6, 2, generator=random)).Q
    x = z @ weight.T + 0.1 * torch.randn(3000, 6, generator=random)
    # x given the component is normal, so that log p(x) of the truth is exact
    covariance = 0.16 * weight @ weight.T + 0.01 * torch.eye(6)
    parts = torch.distributions.MultivariateNormal((means @ weight.T), covariance)
    truth = (parts.log_prob(x[2000:, None]) + weights.log()).logsumexp(1)
    vae = build((6,), 2, "linear", prior="mixture", prior_options={"components": 3}).float()
    initialize.start_at(vae, initialize.closed_form(vae, x[:2000]))
    fit(objective.IWAE(vae, 8), x[:2000], max_steps=1200, seed=0, device="cpu", learning_rate=0.02)
    found = evaluate.log_likelihood(vae, x[2000:], "importance", 300, proposal="mixture").value
    assert float((truth - found).mean()) < 0.05
    assert sorted(vae.prior().log_weight.exp().tolist()) == pytest.approx([0.2, 0.3, 0.5], abs=0.05)


def three_clusters(n: int, seed: int) -> np.ndarray:
    """Return rows of three clusters whose covariance is that of a sphere: no axis shows them."""
    random = np.random.default_rng(seed)
    angle = 2 * np.pi / 3 * random.integers(0, 3, n)
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.asarray(centres + 0.25 * random.standard_normal((n, 2)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("network", ["linear", "residual"])
def test_a_learned_mixture_finds_clusters_at_the_default_rate(network: str, seed: int) -> None:
    x, test = three_clusters(600, seed), three_clusters(400, seed + 100)
    found = GaussianMixture(3, n_init=3, random_state=0).fit(x).score(test)
    made = {"network": network, "max_steps": 60, "random_state": seed, "variance": "learned"}
    model = small_estimator(prior="mixture", prior_options={"components": 3}, **made).fit(x)
    assert model.score(test) > found - 0.2  # one normal is 2.4 nats behind
    assert sorted(model.model_.prior().log_weight.exp().tolist()) == pytest.approx(
        [1 / 3] * 3, abs=0.08
    )


@torch.no_grad()
def test_torch_starts_a_mixture_where_z_of_rows_are() -> None:
    x = torch.from_numpy(three_clusters(600, 0))
    for variance in ("learned", "per_feature", 0.02):
        options: dict[str, Any] = {"prior_options": {"components": 3}, "variance": variance}
        vae = build((2,), 2, "linear", prior="mixture", **options)
        initialize.closed_form_start(vae, x, "ppca")
        means = vae.decode(vae.prior().loc).mean
        nearest = torch.cdist(x, means).amin(1)
        assert float(nearest.square().mean()) == pytest.approx(2 * 0.25**2, rel=0.1)
        vae.prior.restart()  # near N(0, I) again
        moments = vae.prior.moments()
        torch.testing.assert_close(moments[1], torch.ones(2).double(), atol=0.2, rtol=0)
    few = prior.Mixture(2, 5)
    before = weights(few)
    few.start_at(normal(4, 2).float())
    assert equal_bits(weights(few), before)


def test_a_mixture_of_one_is_standard_normal_at_first() -> None:
    z = normal(9, 3).float()
    one = prior.Mixture(3, components=1)()
    torch.testing.assert_close(one.log_prob(z), prior.StandardNormal(3)().log_prob(z))


# -- a full normal ---------------------------------------------------------------------------------


def test_a_full_posterior_is_exact_where_a_diagonal_one_is_not() -> None:
    variance = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    model = linear_gaussian(6, 3, orthogonal=False, variance=variance)
    x = draw(model, 200)
    exact = model.log_prob(x).mean()
    gaps = {}
    for name in ("full_normal", "diagonal_normal"):
        vae = started(model, "linear", "per_feature", posterior=name)
        gaps[name] = float(exact - evaluate.elbo(vae, x).mean())
    assert gaps["full_normal"] == pytest.approx(0, abs=1e-9)
    assert gaps["diagonal_normal"] > 0.2


def test_a_full_posterior_learns_to_be_exact() -> None:
    variance = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    model = linear_gaussian(6, 3, orthogonal=False, variance=variance)
    x = draw(model, 2000)
    gaps = {}
    for name in ("full_normal", "diagonal_normal"):
        vae = started(model, "linear", "per_feature", posterior=name)
        for parameter in (*vae.decoder.parameters(), *vae.likelihood.parameters()):
            parameter.requires_grad_(False)
        with torch.no_grad():
            vae.encoder.linear.weight.mul_(0.5)
            vae.encoder.linear.bias.add_(0.3)
        optimiser = torch.optim.Adam(vae.encoder.parameters(), lr=0.03)
        for step in range(500):
            optimiser.param_groups[0]["lr"] *= 0.99
            loss = -vae.terms(x[step % 20 :: 20], 1, rng(step)).log_weight.mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        gaps[name] = float((model.log_prob(x) - evaluate.elbo(vae, x)).mean())
    assert gaps["full_normal"] < 0.05
    assert gaps["diagonal_normal"] > 0.2


def test_the_kl_of_a_full_posterior_is_torchs() -> None:
    q = posterior.FullNormal(3)(normal(5, 9))
    same = torch.distributions.MultivariateNormal(q.loc, scale_tril=q.scale_tril)
    other = torch.distributions.MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    torch.testing.assert_close(
        distributions.closed_form_kl(q, prior.StandardNormal(3).double()()),
        torch.distributions.kl_divergence(same, other),
    )
    torch.testing.assert_close(q.entropy(), same.entropy())
    torch.testing.assert_close(q.variance, same.variance)


# -- two layers ------------------------------------------------------------------------------------


def test_the_score_of_two_layers_is_that_of_annealing() -> None:
    random = torch.Generator().manual_seed(0)
    upper = torch.randn(800, 1, generator=random)
    lower = torch.cat([upper.square() - 1, (2 * upper).sin()], 1)
    lower = lower + 0.2 * torch.randn(800, 2, generator=random)
    x = lower @ torch.randn(2, 5, generator=random) + 0.2 * torch.randn(800, 5, generator=random)
    options = {"prior": "hierarchical", "posterior": "hierarchical", "hidden": (16,)}
    options |= {"prior_options": {"top": 1}, "posterior_options": {"top": 1}}
    vae = build((5,), 3, dtype=torch.float32, **options)
    initialize.start_at(vae, initialize.closed_form(vae, x[:600]))
    fit(objective.ELBO(vae), x[:600], max_steps=300, seed=0, device="cpu")
    assert not vae.prior.standard
    sampled = evaluate.log_likelihood(vae, x[600:630], "importance", 2000, proposal="mixture")
    annealed = evaluate.log_likelihood(vae, x[600:630], "ais", 16)
    assert float((sampled.value - annealed.value).mean()) == pytest.approx(0, abs=0.05)
    assert float((evaluate.elbo(vae, x[600:630]) - annealed.value).mean()) < 0.02


@pytest.mark.parametrize("top", [0, 3, 1.5])
def test_two_layers_need_a_latent_each(top: Any) -> None:
    for head in (prior.Hierarchical, posterior.Hierarchical):
        with pytest.raises(ValueError, match="top must be an integer from 1 to latent_dim - 1"):
            head(3, top=top)


@pytest.mark.parametrize("top", [None, 2])
def test_the_number_of_latents_is_found_among_those_that_both_layers_can_share(
    top: int | None,
) -> None:
    x = normal(60, 4).numpy()
    options = {} if top is None else {"top": top}
    told = small_estimator(
        latent_dim="auto", prior="hierarchical", prior_options=options, max_steps=3
    ).explain(x)
    assert told["latent_dim"]["value"] in {None: (2, 4), 2: (3, 4)}[top]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "hierarchical", "prior_options": {"width": "a"}}, "width must be a positive"),
        ({"prior": "hierarchical", "prior_options": {"top": 1.5}}, "top must be an integer from"),
        ({"prior": "hierarchical", "latent_dim": 1}, "Two layers need latent_dim=2 or more"),
        ({"prior": "mixture", "prior_options": {"learned": "maybe"}}, "learned must be True or"),
        ({"network_options": {"hidden": 3}}, "must be a sequence of positive integers"),
        (
            {"likelihood": "student_t", "likelihood_options": {"df": math.inf}},
            "must be finite, got inf",
        ),
    ],
)
def test_an_option_of_the_wrong_kind_is_refused_in_words(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        small_estimator(**options).fit(normal(30, 3).numpy())


def test_integers_of_numpy_are_integers() -> None:
    assert prior.Mixture(2, np.int64(3)).components == 3
    assert prior.Hierarchical(3, top=np.int64(1)).top == 1


def test_no_options_of_a_prior_left_open_are_no_options() -> None:
    told = small_estimator(prior_options={}).explain(normal(30, 3).numpy())
    assert told["prior"] == small_estimator().explain(normal(30, 3).numpy())["prior"]


@torch.no_grad()
def test_the_width_of_a_two_layer_posterior_is_that_given_the_upper_layers_mean() -> None:
    """And its mean is where no noise leads."""
    head = posterior.Hierarchical(5, top=2, width=8, generator=rng(1)).double()
    for parameter in head.network.last.parameters():  # at first layers do not depend on each other
        parameter.copy_(normal(*parameter.shape, seed=3))
    q = head(normal(4, 10, seed=2))
    u = normal(20_000, 4, 5, seed=4)
    u[..., :2] = 0
    given = q.from_noise(u)
    torch.testing.assert_close(given.mean(0), q.mean, atol=0.05, rtol=0.02)
    torch.testing.assert_close(given.std(0)[:, 2:], q.stddev[:, 2:], atol=0, rtol=0.03)
    assert torch.equal(q.mean, q.from_noise(torch.zeros(4, 5).double()))
    whole = q.from_noise(normal(20_000, 4, 5, seed=5))
    torch.testing.assert_close(whole.std(0)[:, :2], q.stddev[:, :2], atol=0, rtol=0.03)
    assert bool((whole.std(0)[:, 2:] > q.stddev[:, 2:]).any())  # the upper layer moves the lower


def test_the_estimator_returns_the_width_of_a_two_layer_posterior() -> None:
    X = rows_for("gaussian")
    model = small_estimator(posterior="hierarchical", network="linear").fit(X)
    means, widths = model.transform(X, return_std=True)
    q = model.model_.encode(model.fitted_.rows(X, "centre"))
    np.testing.assert_allclose(means, q.mean.detach(), rtol=1e-6)
    np.testing.assert_allclose(widths, q.stddev.detach(), rtol=1e-6)
