"""The defaults of tables: what is decided from the data, and that it does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from helpers import flat_weights as weights
from helpers import ring
from helpers import small_estimator as vae
from nelbo import VariationalAutoencoder, training
from nelbo import objective as nelbo_objective
from nelbo.data import Rows, Schema, Values, as_rows
from nelbo.data.jitter import Jittered, silverman
from nelbo.data.rows import Batch
from nelbo.data.steps import whitening
from nelbo.fitting import story
from nelbo.options import Options
from nelbo.recipe import Facts, Recipe, Widths, build, many, plain
from nelbo.recipe.whitening import whitens

pytestmark = pytest.mark.usefixtures("untouched_random_state")

Array = np.ndarray[Any, Any]


def correlated(n: int, seed: int = 0) -> Array:
    """Five columns, of which two are close to combinations of the others:
    more correlation than two latents hold.
    """
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 5)) @ rng.normal(size=(5, 5))
    return np.asarray(z * [1, 10, 0.1, 3, 100] + 7)


def decided(x: Array, **options: Any) -> Recipe:
    """Return what is decided about some rows before anything is built."""
    return build(Options(**options), Facts(Values(x), 0.1))


def test_tables_are_whitened_where_held_out_rows_bear_it_out() -> None:
    assert whitens(Values(correlated(300)), 2)
    # noise: pPCA knows it is round
    assert not whitens(Values(np.random.default_rng(0).normal(size=(24, 20))), 2)
    model = vae(early_stopping=True, max_steps=20).fit(correlated(300))
    assert shares(correlated(300)) == 0
    t = model.schema_.to_model(correlated(300), noise="hash", dtype=torch.float64).numpy()
    variances = np.linalg.eigvalsh(np.cov(t.T, bias=True))
    # what the two latents leave is noise N(0, I)
    np.testing.assert_allclose(variances[:3], 1, atol=1e-6)
    assert (variances[3:] > 1 / 0.9 - 1e-6).all()
    assert (variances[3:] < 1 / 0.05 + 1e-6).all()
    np.testing.assert_allclose(
        model.schema_.from_model(torch.tensor(t)), correlated(300), rtol=1e-9
    )


def test_whitened_data_leave_principal_axes_to_z_and_reconstruct_what_they_hold() -> None:
    """Reconstructions leave out rho^2 of each axis, 1 % of all along them (1.5 % with all axes),
    at one noise level.
    """
    x = correlated(300)
    s = (x - x.mean(0)) / x.std(0)
    values, vectors = np.linalg.eigh(np.corrcoef(x.T))
    for q in (1, 2, 5, 8):
        axes = whitening.Axes.of(x, x.mean(0), x.std(0), q)
        lead = values[::-1][:q]
        np.testing.assert_allclose(axes.values[: len(lead)], lead, atol=1e-12)
        assert len(axes.noise) == min(q, 5)
        left, least = (0.01, 0.05) if q < 5 else (0.015, 0.1)
        inside = (axes.noise > least) & (axes.noise < 0.9)
        np.testing.assert_allclose(np.ptp((axes.noise * lead)[inside]), 0, atol=1e-9)
        assert float(lead @ axes.noise**2) == pytest.approx(left * lead.sum(), rel=1e-6)
        # in units of t the linear model has every correlation
        model = axes.root @ (axes.weight @ axes.weight.T + np.eye(5)) @ axes.root
        np.testing.assert_allclose(model, np.corrcoef(x.T), atol=1e-9)
        # and its posterior means are the principal components, but for their length
        t = s @ np.linalg.inv(axes.root)
        weight = axes.weight
        z = t @ weight @ np.linalg.inv(weight.T @ weight + np.eye(weight.shape[1]))
        scores = s @ vectors[:, ::-1][:, : len(lead)]
        np.testing.assert_allclose(
            np.abs(np.corrcoef(z.T, scores.T)[: len(lead), len(lead) :].diagonal()), 1
        )


def shares(x: Array) -> float:
    """Return which share of the correlations is taken away."""
    t = torch.from_numpy((x - x.mean(0)) / x.std(0))
    return whitening.shrinkage(t, t.T @ t / len(t))


def test_correlations_of_few_rows_are_shrunk_as_far_as_it_predicts_others() -> None:
    rng, wide = np.random.default_rng(0), (16, 12)
    assert shares(rng.normal(size=wide)) == 0.3  # there are none
    # and where that is known, it costs nothing to say so
    assert shares(rng.normal(size=(20_000, 12))) >= 0.1
    mixing = rng.normal(size=(12, 12))
    assert shares(rng.normal(size=(20_000, 12)) @ mixing) == 0
    few, many = (rng.normal(size=(n, 12)) @ mixing for n in (20, 4000))
    schema = Schema.infer(few, scale="whitened")
    np.testing.assert_array_equal(schema.mixing, Schema.infer(few, scale="whitened").mixing)
    correlation = np.corrcoef(few.T)
    share = shares(few)
    assert share > 0
    expected = (1 - share) * correlation + share * np.eye(12)
    np.testing.assert_allclose(schema.mixing @ schema.mixing, expected, atol=1e-12)
    covariances = [np.outer(few.std(0), few.std(0)) * c for c in (correlation, expected)]
    raw, shrunk = (multivariate_normal(few.mean(0), c).logpdf(many).mean() for c in covariances)
    assert shrunk > raw + 1


def test_a_rare_value_does_not_decide_for_all_correlations() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 12)) @ rng.normal(size=(12, 12))
    rare = np.zeros(1000)
    rare[17] = 1
    assert shares(x) == shares(np.c_[x, rare]) == 0


def test_few_rows_are_one_batch_in_both_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the second run would have another number of steps in a pass."""
    steps: list[tuple[int, int, Any]] = []
    fit = training.fit

    def spy(objective: Any, x: Rows, **options: Any) -> training.History:
        steps.append((len(x), options["batch_size"], options["max_steps"]))
        return fit(objective, x, **options)

    monkeypatch.setattr(training, "fit", spy)
    vae(max_steps=200).fit(ring(100))
    assert steps == [(75, 75, 200), (100, 100, 200)]


@pytest.mark.parametrize("constant", [1, 3])
def test_a_constant_column_counts_for_nothing_in_shrinkage(constant: int) -> None:
    x = np.random.default_rng(0).normal(size=(16, 12))
    without = shares(x)
    t = torch.from_numpy(np.c_[(x - x.mean(0)) / x.std(0), np.zeros((16, constant))])
    assert whitening.shrinkage(t, t.T @ t / len(t)) == without
    x[:, 3] = 7.0
    mixing = Schema.infer(x, scale="whitened").mixing
    assert mixing is not None
    np.testing.assert_allclose(mixing[3], np.eye(12)[3], atol=1e-12)


def test_what_nobody_watched_over_is_kept_only_if_it_is_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All rows are trained on in the end, without any to look at;
    that went astray in some fits of many latents.
    """

    def astray(objective: nelbo_objective.Objective, *_: object, **__: object) -> None:
        with torch.no_grad():
            for parameter in objective.vae.encoder.parameters():
                parameter *= 100

    x = ring(300)
    good = VariationalAutoencoder(2, max_steps=300, random_state=0).fit(x)
    monkeypatch.setattr(story, "refit", astray)
    kept = VariationalAutoencoder(2, max_steps=300, random_state=0).fit(x)
    assert not kept.kept_start_
    assert kept.score(x) > good.score(x) - 1


def test_whitening_has_its_jacobian_counted() -> None:
    x = correlated(400)
    # stays at the normal with every correlation
    model = vae(max_steps=1, latent_dim=5, learning_rate=1e-9).fit(x)
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


def differing(one: Recipe, other: Recipe) -> set[str]:
    """Return the names of the decisions in which two recipes differ."""
    ours, theirs = one.entries(), other.entries()
    return {name for name in ours if ours[name]["value"] != theirs[name]["value"]}


@pytest.mark.parametrize(
    ("options", "replaced"),
    [
        ({"network": "auto", "likelihood": "gaussian", "variance": "auto"}, set()),
        ({"posterior": "diagonal_normal", "init": "auto", "prior": "auto"}, set()),
        ({"variance": "heteroscedastic"}, {"clusters"}),
        ({"hidden": (64,)}, {"hidden", "clusters"}),
        ({"init": "random"}, {"clusters"}),  # which `started` knows of
        ({"network": "mlp"}, {"encoder", "decoder", "clusters"}),
        ({"encoder": "mlp"}, {"encoder", "clusters"}),
        ({"scale": "standard"}, {"scale"}),
        ({"objective": "iwae"}, {"objective", "clusters"}),
        ({"objective": "dreg"}, {"clusters"}),
        ({"objective": "stl"}, {"objective", "objective_samples", "clusters"}),
        ({"objective_samples": 7}, {"objective_samples"}),
        ({"prior": "standard_normal"}, {"prior", "clusters"}),
        ({"max_steps": 9}, {"max_steps", "clusters"}),
        ({"batch_size": 9}, {"batch_size"}),
        ({"learning_rate": 0.1}, {"learning_rate"}),
        ({"score_samples_k": 9}, {"score_samples"}),
        ({"early_stopping": False}, {"early_stopping", "refit", "clusters"}),
        # and what depends on it: whitening would mix such noise, and its floor is for noise from z
        ({"variance": "learned"}, {"variance", "scale", "least_variance", "clusters"}),
        ({"variance": 0.5}, {"variance", "scale", "least_variance", "clusters"}),
        ({"scale": "global"}, {"variance", "scale", "least_variance", "clusters"}),
    ],
)
def test_an_option_replaces_itself_and_what_depends_on_it(
    options: dict[str, Any], replaced: set[str]
) -> None:
    x = correlated(300)
    assert differing(decided(x), decided(x, **options)) == replaced
    for name in options.keys() & replaced:
        assert getattr(decided(x, **options), name).reason == "As asked."


def test_naming_a_default_changes_no_bit() -> None:
    x = correlated(60)
    plainly = vae(max_steps=20).fit(x).score_samples(x)
    named = vae(
        max_steps=20,
        network="auto",
        likelihood="gaussian",
        posterior="diagonal_normal",
        variance="heteroscedastic",
        init="ppca",
    ).fit(x)
    np.testing.assert_array_equal(named.score_samples(x), plainly)


@pytest.mark.parametrize(
    "options",
    [
        {"network": "linear"},
        {"objective": "autoencoder"},
        {"dequantize": True},
        {"likelihood": "bernoulli"},
    ],
)
def test_what_is_no_table_of_numbers_gets_no_rules_for_tables(options: dict[str, Any]) -> None:
    x = np.random.default_rng(0).integers(0, 2, (100, 5)).astype(np.uint8)
    found = decided(x, **options)
    assert found.data.value == "plain"
    assert found.variance.value == {"bernoulli": "none"}.get(options.get("likelihood"), "learned")
    assert not found.jitter.value
    assert not found.refit.value
    assert decided(x[:19]).data.value == decided(x[:, :1]).data.value == "plain"
    assert decided(x.reshape(20, 5, 5)).data.value == "images"


def test_the_start_is_replaced_with_the_rate_that_suits_it() -> None:
    x = correlated(300)
    one, other = (vae(init=init).explain(x) for init in ("auto", "random"))
    assert {name for name in one if one[name]["value"] != other[name]["value"]} == {
        "start",
        "learning_rate",
    }
    assert other["learning_rate"]["value"] == one["learning_rate"]["value"] / 2
    asked = vae(init="random", learning_rate=0.01).explain(x)["learning_rate"]
    assert asked == {"value": 0.01, "reason": "As asked."}
    assert one["start"]["value"] == "principal axes"
    assert other["start"] == {"value": "random", "reason": "As asked."}
    assert vae(variance="per_feature").explain(x)["start"]["value"] == "ppca"


def test_what_is_explained_is_what_is_done_and_nothing_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = ring(100)
    done = vae(max_steps=200).fit(x).recipe_
    monkeypatch.setattr(training, "fit", None)
    told = vae(max_steps=200).explain(x)
    assert list(told) == list(done)
    assert {n for n in told if told[n] != done[n]} <= {"prior", "start"}
    assert all(entry["reason"] for entry in told.values())
    assert "auto" not in [entry["value"] for entry in told.values()]
    lines = str(told).splitlines()
    assert max(map(len, lines)) <= 100
    assert [line.split()[0] for line in lines if line[0] != " "] == list(told)


def test_jitter_fades_to_nothing_and_is_correlated_as_the_rows_are() -> None:
    x = correlated(200)
    rows = torch.from_numpy(x / x.std(0)).float()
    jittered, g = Jittered(as_rows(rows)), torch.Generator().manual_seed(0)
    many = Batch(rows[:1].expand(50_000, -1))
    noise = (jittered.prepare(many, g, torch.zeros(())).x - many.x).double().numpy()
    np.testing.assert_allclose(np.corrcoef(noise.T), np.corrcoef(rows.numpy().T), atol=0.03)
    bandwidth = silverman(200, 5)
    np.testing.assert_allclose(noise.std(0), bandwidth * rows.numpy().std(0), rtol=0.03)
    np.testing.assert_array_equal(jittered.prepare(Batch(rows), g, torch.ones(())).x, rows)


def test_a_table_is_trained_on_all_rows_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """For as many passes as were best: the rows that were held out before make them longer."""
    seen: list[tuple[int, int]] = []
    runs: list[training.History] = []
    refit, run = story.refit, training.fit

    def spy(objective: Any, x: Rows, before: int, *rest: Any, **more: Any) -> None:
        seen.append((len(x), before))
        refit(objective, x, before, *rest, **more)

    def keep(*arguments: Any, **options: Any) -> training.History:
        runs.append(run(*arguments, **options))
        return runs[-1]

    monkeypatch.setattr(story, "refit", spy)
    monkeypatch.setattr(training, "fit", keep)
    model = vae(max_steps=300, hidden=(32,), batch_size=32).fit(ring(400))
    assert not model.kept_start_
    assert seen == [(400, 300)]
    best, every = model.history_.best_step, runs[1].records[1].step
    stretched = round(13 / 10 * best)  # batches of 32 from 400 and from 300 rows
    assert stretched <= runs[1].records[-1].step < stretched + every
    # Where the rate and the jitter stand is a matter of progress.
    assert runs[1].records[-1].progress == pytest.approx(best / 300, abs=every / 300)
    again = vae(max_steps=300, hidden=(32,), batch_size=32).fit(ring(400))
    np.testing.assert_array_equal(weights(model), weights(again))


def test_noise_that_depends_on_z_never_meets_an_outlier_with_nothing() -> None:
    def least(model: VariationalAutoencoder) -> float:
        """The standard deviation of p(x|z) where the decoder says that there is none."""
        with torch.no_grad():
            model.model_.decoder.linear.bias[5:] = -1e4
            return float(model.model_.decode(torch.zeros(1, 2)).stddev.max())

    assert least(vae(max_steps=3).fit(correlated(300))) == pytest.approx(0.05)
    plainly = vae(max_steps=3, variance="heteroscedastic", scale="global").fit(correlated(300))
    assert least(plainly) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        (9_999, {}, Widths((256, 256), (512, 512))),
        (9_999, {"likelihood": "bernoulli"}, Widths((512, 512))),
        (9_999, {"network": "mlp"}, Widths((512, 512))),
        (10_000, {}, Widths((256, 256), (512, 512, 1024))),
        (10_000, {"latent_dim": 7}, Widths((256, 256), (512, 512, 512))),
        (10_000, {"max_steps": 2_999}, Widths((256, 256), (512, 512, 512))),
        (10_000, {"max_seconds": 29}, Widths((256, 256), (512, 512, 512))),
        (10_000, {"likelihood": "bernoulli"}, Widths((256, 256), (512, 512, 512))),
        (10_000, {"network": "conv"}, Widths((512, 512))),
        (10_000, {"decoder": "conv"}, Widths((512, 512))),
        (10_000, {"hidden": (9,)}, Widths((9,))),
        (10_000, {"hidden": ()}, Widths(())),
        (10_000, {"decoder_hidden": ()}, Widths((256, 256), ())),
        (10_000, {"decoder_hidden": np.array([4, 5])}, Widths((256, 256), (4, 5))),
        (100, {"hidden": [9], "decoder_hidden": [7, 8]}, Widths((9,), (7, 8))),
    ],
)
def test_widths_by_the_rows_and_by_what_is_asked(
    rows: int, options: dict[str, Any], expected: Widths
) -> None:
    assert decided(np.zeros((rows, 2, 2)), **options).hidden.value == expected


def test_widths_of_tables() -> None:
    x = np.random.default_rng(0).normal(size=(20_000, 3))
    assert decided(x).hidden.value == Widths((128, 128))
    assert decided(x, decoder_hidden=(3,)).hidden.value == Widths((128, 128), (3,))


def test_the_decoders_widths_are_its_own_and_are_kept(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4, 4)).astype(np.float32)
    model = vae(hidden=(7,), decoder_hidden=(5, 6), max_steps=5).fit(x)
    assert model.model_.encoder.hidden == (7,)
    assert model.model_.decoder.hidden == (5, 6)
    model.save(tmp_path / "model")
    again = VariationalAutoencoder.load(tmp_path / "model")
    np.testing.assert_array_equal(again.score_samples(x), model.score_samples(x))
    with pytest.raises(ValueError, match="decoder_hidden must be a sequence of positive integers"):
        vae(decoder_hidden=(0,)).fit(x)


def test_a_warm_start_keeps_widths_that_were_left_open_and_refuses_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4, 4)).astype(np.float32)
    model = vae(hidden=None, max_steps=5, warm_start=True).fit(x)
    monkeypatch.setattr(plain, "PLAIN", plain.Plain(many_rows=50))  # by now they would be others
    model.fit(x)
    assert model.spec_.hidden == (512, 512)
    with pytest.raises(ValueError, match="decoder_hidden=None, but that is now"):
        model.set_params(decoder_hidden=(64,)).fit(x)


def test_options_of_an_objective_are_those_of_the_elbo() -> None:
    x = correlated(100)
    assert decided(x).objective.value == "dreg"
    asked = decided(x, objective_options={"corruption": 0.1})
    assert (asked.objective.value, asked.objective_samples.value) == ("elbo", 1)


def test_networks_of_few_images_are_kept_from_overfitting_where_that_was_found_to_help() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4, 5))
    regular = (0.4, 0.1, 0.01)

    def found(x: Array, **options: Any) -> tuple[float, float, float]:
        recipe = decided(x, **options)
        assert recipe.budget["weight_decay"] == recipe.weight_decay.value
        return recipe.input_noise.value, recipe.weight_decay.value, recipe.average.value

    assert found(x) == found(x, max_steps=1_000) == found(x, max_epochs=1_000) == regular
    assert decided(x).max_steps.value == 1_200 + round(0.3 * 40)
    assert decided(x, max_steps=3_000).max_steps.value == 3_000
    assert found(np.random.default_rng(0).normal(size=(50, 300))) == regular
    assert found(x, input_noise=0) == (0, *regular[1:])
    assert found(x, input_noise=0.2, weight_decay=0) == (0.2, 0, 0.01)
    for other in (
        {"network": "linear"},
        {"decoder": "mlp"},
        {"objective": "stl"},
        {"likelihood": "bernoulli"},
        {"likelihood": "discretized_gaussian"},
        {"max_steps": 999},
        {"max_epochs": 1},
        {"max_seconds": 60},
    ):
        assert found(x, **other) == (0, 0, 0)
    assert found(np.zeros((10_000, 2, 2))) == (0.3, 0.05, 0)
    assert found(np.zeros((10_000, 2, 2)), latent_dim=4) == (0, 0, 0)
    assert found(correlated(100)) == (0, 0, 0.01)
    table = decided(correlated(100), input_noise=0.2)
    assert (table.objective.value, table.input_noise.value) == ("elbo", 0.2)


def test_the_prior_of_images_is_judged_where_there_is_time_for_it() -> None:
    x = np.zeros((10_000, 2, 2))

    def found(x: Array, **options: Any) -> str:
        return str(decided(x, **options).prior.value)

    assert found(x) == found(x, max_steps=1_000) == found(x, max_seconds=30) == "judged"
    assert found(x, likelihood="bernoulli") == found(x, network="conv") == "judged"
    assert found(x, prior="mixture") == "fitted mixture"
    for other in (
        {"prior": "standard_normal"},
        {"network": "linear"},
        {"objective": "iwae"},
        {"max_steps": 999},
        {"max_epochs": 1},
        {"max_seconds": 29},
    ):
        assert found(x, **other) == "standard_normal"
    assert found(x[:200]) == found(np.zeros((200, 257))) == "judged"
    assert found(x[:199]) == found(x.reshape(len(x), -1), scale=None) == "standard_normal"


def test_many_images_get_a_prior_that_is_where_their_z_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "PLAIN", plain.Plain(many_rows=300))
    monkeypatch.setattr(many, "MANY", many.Many(shortest=100))
    rng = np.random.default_rng(0)
    centres = 5 * np.eye(9)[rng.integers(3, size=300)]
    x = (centres + 0.1 * rng.normal(size=(300, 9))).reshape(300, 3, 3)
    options = {"latent_dim": 2, "hidden": (16,), "max_steps": 150, "random_state": 0}
    plainly = VariationalAutoencoder(prior="standard_normal", **options).fit(x)
    model = VariationalAutoencoder(**options).fit(x)
    assert model.recipe_["prior"]["value"].startswith("mixture of ")
    assert model.score(x) > plainly.score(x)
    np.testing.assert_array_equal(model.transform(x), plainly.transform(x))
    timed = VariationalAutoencoder(max_seconds=30, **options).fit(x)
    assert timed.recipe_["prior"]["value"].startswith("mixture of ")
    # more training, however short, ends with a prior for the z of then
    timed.set_params(warm_start=True, max_steps=20, max_seconds=None).fit(x)
    assert timed.recipe_["prior"]["value"].startswith("mixture of ")


def test_noise_on_what_the_encoder_sees_is_refused_where_nothing_would_come_of_it() -> None:
    with pytest.raises(ValueError, match=r"objective 'iwae' has no option 'input_noise'"):
        vae(objective="iwae", input_noise=0.1).fit(correlated(40))
    with pytest.raises(ValueError, match="input_noise must be a number of at least 0"):
        vae(input_noise=-0.1).fit(correlated(40))


def test_what_was_left_open_is_told_with_its_reason(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = VariationalAutoencoder(2, max_steps=2, random_state=0).fit(correlated(300))
    found = {name: entry["value"] for name, entry in table.recipe_.items()}
    assert found["scale"] == "whitened"
    assert found["variance"] == "heteroscedastic"
    assert found["objective"] == "dreg"
    assert found["hidden"] == {"encoder": [128, 128], "decoder": [128, 128]}
    assert all(entry["reason"].endswith(".") for entry in table.recipe_.values())
    table.save(tmp_path / "model")
    assert VariationalAutoencoder.load(tmp_path / "model").recipe_ == table.recipe_
    few = VariationalAutoencoder(2, max_steps=2, random_state=0).fit(rng.normal(size=(24, 20)))
    assert few.recipe_["scale"]["value"] == "standard"
    kept = VariationalAutoencoder(2, max_steps=2, learning_rate=1e-9, random_state=0).fit(
        correlated(300)
    )
    assert kept.recipe_["start"]["value"] == "kept"
    images = VariationalAutoencoder(2, max_steps=2, random_state=0).fit(rng.normal(size=(60, 4, 4)))
    assert {
        n: e["value"] for n, e in images.recipe_.items() if n in ("scale", "variance", "objective")
    } == {
        "scale": "global",
        "variance": "learned",
        "objective": "elbo",
    }
    asked = vae(scale="standard", variance="learned", objective="elbo").fit(correlated(300))
    told = {asked.recipe_[name]["reason"] for name in ("scale", "variance", "objective")}
    assert told == {"As asked."}


def test_the_reason_for_rows_held_out_says_what_becomes_of_them() -> None:
    x = np.random.default_rng(0).standard_normal((60, 3))

    def why(**options: Any) -> str:
        return str(VariationalAutoencoder(2, **options).explain(x)["held_out"]["reason"])

    assert "in the end they are trained on" in why()
    assert "measure" in why(early_stopping=False)
    assert why(validation_fraction=0) == "Every row is trained on."


def test_the_reason_for_stopping_early_or_not_is_told() -> None:
    x = np.random.default_rng(0).standard_normal((60, 3))

    def told(name: str, **options: Any) -> tuple[object, str]:
        entry = VariationalAutoencoder(2, **options).explain(x)[name]
        return entry["value"], str(entry["reason"])

    assert told("early_stopping")[0] is True
    assert told("early_stopping", early_stopping=False) == (False, "As asked.")
    value, reason = told("early_stopping", validation_fraction=0)
    assert (value, "No rows are held out" in reason) == (False, True)
    assert "early stopping" in told("refit", early_stopping=False)[1]
    assert "on all rows already" in told("refit", validation_fraction=0)[1]
    assert "time" in told("refit", max_seconds=5)[1]


@pytest.mark.parametrize("name", ["dreg", "iwae", "miwae", "piwae", "ciwae"])
def test_an_objective_of_several_samples_has_several_wherever_it_is_named(name: str) -> None:
    """With one it would be the ELBO, by another gradient at most."""
    images = np.random.default_rng(0).standard_normal((60, 3, 3))
    for x in (images, correlated(60)):
        found = decided(x, objective=name).objective_samples
        assert (found.value, "one it would be the ELBO" in found.reason) == (4, True)
        asked = decided(x, objective=name, objective_samples=1).objective_samples
        assert (asked.value, asked.reason) == (1, "As asked.")
    assert decided(images, objective="stl").objective_samples.value == 1


@pytest.mark.parametrize(
    ("likelihood", "value", "words"),
    [
        ("gaussian", "learned", "closed form"),
        ("student_t", "learned", "EM, in which outliers weigh little"),
        ("discretized_gaussian", "learned", "steps of EM"),
        ("heteroscedastic_gaussian", "heteroscedastic", "read from z"),
        ("clustered_gaussian", "learned", "its own covariance"),
        ("bernoulli", "none", "no noise besides their probabilities"),
    ],
)
def test_the_reason_for_the_noise_is_that_of_the_likelihood(
    likelihood: str, value: str, words: str
) -> None:
    x = np.random.default_rng(0).integers(0, 2, (60, 3, 3)).astype(np.float32)
    found = VariationalAutoencoder(2, likelihood=likelihood, hidden=(4,)).explain(x)["variance"]
    assert found["value"] == value
    assert words in found["reason"]
