"""What `fit` promises:
the right decision, limits that hold, interruptions and failures that spoil nothing.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.exceptions import NotFittedError

from helpers import flat_weights as weights
from helpers import ring
from helpers import small_estimator as vae
from nelbo import (
    VariationalAutoencoder,
    likelihood,
    networks,
    objective,
    posterior,
    prior,
    start,
)
from nelbo.checkpoint import CheckpointError
from nelbo.data import Values
from nelbo.data.order import stream_seed
from nelbo.fitting.prepare import split
from nelbo.recipe import Facts
from nelbo.training import Record

pytestmark = pytest.mark.usefixtures("untouched_random_state")

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def iris() -> Array:
    return np.asarray(load_iris().data, dtype=np.float64)


WINNING: dict[str, Any] = {
    "scale": "global",
    "learning_rate": 0.01,
    "hidden": (32,),
    "max_steps": 200,
}
"""Options with which training on `ring` soon beats pPCA."""


# -- the closed form, and when it is left
# ------------------------------------------------------------


@pytest.mark.parametrize("q", [1, 2, 3])
def test_a_linear_fit_is_probabilistic_pca(iris: Array, q: int) -> None:
    train, test = iris[::2], iris[1::2]
    model = vae(latent_dim=q, network="linear", scale="global").fit(train)
    exact = PCA(q).fit(train)
    assert model.kept_start_
    assert model.history_.best_step == 0
    # ours divides by n, scikit-learn by n - 1
    assert model.noise_variance_ == pytest.approx(exact.noise_variance_ * 74 / 75, rel=1e-4)
    assert model.score(test) == pytest.approx(exact.score(test), abs=0.05)
    # posterior means lie nearer to 0 than projections
    shrink = 1 - exact.noise_variance_ / exact.explained_variance_
    wanted = exact.inverse_transform(exact.transform(train) * shrink)
    np.testing.assert_allclose(model.reconstruct(train), wanted, atol=1e-2)


def test_a_linear_fit_with_noise_per_feature_is_factor_analysis(iris: Array) -> None:
    # as factor analysis of iris does
    with pytest.warns(UserWarning, match="column 2 reached its floor"):
        model = vae(network="linear", variance="per_feature").fit(iris)
    exact = FactorAnalysis(2, tol=1e-5, max_iter=20000, svd_method="lapack").fit(iris)
    assert model.score(iris) == pytest.approx(exact.score(iris), abs=0.01)


def test_training_that_wins_nothing_keeps_the_start() -> None:
    gaussian = np.random.default_rng(0).normal(size=(300, 4)) @ np.diag([3.0, 1.0, 1.0, 1.0])
    model = vae(
        latent_dim=1, scale="global", learning_rate=0.05, hidden=(64, 64), max_steps=150
    ).fit(gaussian)
    assert model.kept_start_
    test = np.random.default_rng(1).normal(size=(300, 4)) @ np.diag([3.0, 1.0, 1.0, 1.0])
    assert model.score(test) == pytest.approx(PCA(1).fit(gaussian).score(test), abs=0.02)


def test_training_that_wins_is_kept() -> None:
    model = vae(**WINNING).fit(ring(400))
    assert not model.kept_start_
    assert model.score(ring(200, seed=1)) > PCA(2).fit(ring(400)).score(ring(200, seed=1)) + 0.3


@pytest.mark.filterwarnings("ignore:The noise:UserWarning")  # two rows lie on a line
@pytest.mark.parametrize("n", [2, 3])
def test_too_few_rows_to_judge_by_keep_the_start(n: int) -> None:
    model = vae(latent_dim=1).fit(ring(n))
    assert model.kept_start_
    np.testing.assert_allclose(
        model.score_samples(ring(9)),
        vae(latent_dim=1, network="linear").fit(ring(n)).score_samples(ring(9)),
        rtol=1e-5,
    )


def test_the_split_is_a_partition_that_a_seed_decides() -> None:
    for n in (4, 5, 17, 100, 1000):
        count = Facts(Values(np.zeros((n, 2))), 0.1).held_out(10)
        rows, held = split(n, count, seed=3)
        assert held is not None
        np.testing.assert_array_equal(np.sort(np.concatenate([rows, held])), np.arange(n))
        assert len(rows) >= 2
        assert len(held) == max(int(np.ceil(0.1 * n)), min(10, n // 4))
        np.testing.assert_array_equal(held, split(n, count, seed=3)[1])
    assert not np.array_equal(split(100, 10, 0)[1], split(100, 10, 1)[1])
    assert Facts(Values(np.zeros((100, 2))), 0.0).held_out(10) == 0
    assert split(100, 0, 0)[1] is None


# -- seeds
# -------------------------------------------------------------------------------------------


def test_a_seed_decides_everything(iris: Array) -> None:
    first, again, other = vae().fit(iris), vae().fit(iris), vae(random_state=1).fit(iris)
    np.testing.assert_array_equal(weights(first), weights(again))
    assert not np.array_equal(weights(first), weights(other))
    np.testing.assert_array_equal(first.sample(4), again.sample(4))
    np.testing.assert_array_equal(first.sample(4, random_state=5), again.sample(4, random_state=5))
    assert not np.array_equal(first.sample(4, random_state=5), first.sample(4, random_state=6))


def test_a_random_state_instance_is_drawn_from(iris: Array) -> None:
    state = np.random.RandomState(0)
    first, second = vae(random_state=state).fit(iris), vae(random_state=state).fit(iris)
    again = vae(random_state=np.random.RandomState(0)).fit(iris)
    np.testing.assert_array_equal(weights(first), weights(again))
    assert not np.array_equal(weights(first), weights(second))
    a, b = (
        first.sample(3, random_state=np.random.RandomState(1)),
        first.sample(3, random_state=np.random.RandomState(1)),
    )
    np.testing.assert_array_equal(a, b)


def test_without_a_seed_every_fit_is_another(iris: Array) -> None:
    first, second = vae(random_state=None).fit(iris), vae(random_state=None).fit(iris)
    assert not np.array_equal(weights(first), weights(second))


# -- generation
# --------------------------------------------------------------------------------------


def test_samples_have_the_moments_of_the_model() -> None:
    x = ring(500)
    model = vae(latent_dim=2, network="linear", scale="global").fit(x)
    drawn = model.sample(20000, random_state=1)
    np.testing.assert_allclose(drawn.mean(0), x.mean(0), atol=0.03)
    np.testing.assert_allclose(np.cov(drawn.T), PCA(2).fit(x).get_covariance(), atol=0.03)
    means = model.sample(20000, noise=False, random_state=1)
    assert np.linalg.matrix_rank(np.cov(means.T), tol=1e-4) == 2
    assert (drawn - means).var() == pytest.approx(model.noise_variance_, rel=0.03)


def test_reconstruction_noise_is_asked_for_and_seeded(iris: Array) -> None:
    model = vae(scale="global").fit(iris)
    plain = model.reconstruct(iris)
    noisy = model.reconstruct(iris, noise=True, random_state=1)
    np.testing.assert_array_equal(noisy, model.reconstruct(iris, noise=True, random_state=1))
    assert np.square(noisy - plain).mean() == pytest.approx(model.noise_variance_, rel=0.2)
    np.testing.assert_array_equal(plain, model.inverse_transform(model.transform(iris)))


# -- limits
# ------------------------------------------------------------------------------------------


def test_limits_end_training_where_they_say(iris: Array) -> None:
    steps = vae(max_steps=7).fit(iris).history_
    assert (steps.records[-1].step, steps.stopped) == (7, "steps")
    epochs = vae(max_steps=None, max_epochs=3, batch_size=10).fit(iris)
    assert epochs.n_iter_ == 3
    assert epochs.history_.records[-1].epoch == 3
    assert vae(max_steps=5, batch_size=10_000).fit(iris).n_iter_ == 5


def test_a_time_limit_holds_for_the_whole_of_fit() -> None:
    x = ring(20_000)
    vae(max_steps=1).fit(x)  # whatever happens once in a process
    begun = time.monotonic()
    model = vae(max_steps=None, max_seconds=0.5, hidden=(64, 64), variance="learned").fit(x)
    # one step and the judgement at the end may be late on a busy machine
    assert 0.4 < time.monotonic() - begun < 3
    assert model.history_.stopped == "seconds"
    assert model.history_.records[-1].step > 5


def test_all_rows_are_trained_on_when_none_are_held_out(iris: Array) -> None:
    seen: list[Record] = []
    model = vae(validation_fraction=0.0, batch_size=150, max_steps=20, callbacks=[seen.append]).fit(
        iris
    )
    assert model.history_.records[-1].epoch == 20
    assert all(record.validation is None for record in seen)
    assert not model.kept_start_
    assert model.history_.best_step == 20


def test_early_stopping_restores_the_best_weights() -> None:
    # nothing to learn but noise
    x, test = (np.random.default_rng(seed).normal(size=(60, 2, 5)) for seed in (1, 2))
    options: dict[str, Any] = {
        "hidden": (64,),
        "learning_rate": 0.02,
        "max_steps": 400,
        "init": "random",
    }
    model = vae(**options).fit(x)
    best, _ = max(model.history_.judged(), key=lambda judged: judged[1])
    assert model.history_.best_step == best.step < model.history_.records[-1].step < 400
    assert model.history_.stopped == "early"
    to_the_end = vae(**options, early_stopping=False).fit(x)
    assert to_the_end.history_.best_step == to_the_end.history_.records[-1].step == 400
    assert model.score(test) > to_the_end.score(test) + 0.1


# -- callbacks, progress, interruption
# ---------------------------------------------------------------


def test_callbacks_see_every_record_and_may_stop(iris: Array) -> None:
    seen: list[Record] = []

    def stop(record: Record) -> bool:
        seen.append(record)
        return record.step >= 20

    model = vae(max_steps=1000, callbacks=[stop]).fit(iris)
    assert model.history_.stopped == "callback"
    assert seen == model.history_.records
    assert 20 <= seen[-1].step < 1000
    with pytest.raises(TypeError, match="callbacks must be a sequence of callables"):
        vae(callbacks=print).fit(iris)


def test_records_are_in_data_units(iris: Array) -> None:
    options: dict[str, Any] = {"max_steps": 20, "scale": "standard", "variance": "learned"}
    plain = vae(**options).fit(iris).history_
    scaled = vae(**options).fit(1024 * iris).history_
    shift = 4 * np.log(1024)
    for a, b in zip(plain.records, scaled.records, strict=True):
        expected = a.validation - shift  # type: ignore[operator]
        assert b.validation == pytest.approx(expected, rel=1e-9)
        assert b.beta == pytest.approx(1024 * a.beta, rel=1e-9)  # type: ignore[operator]


def test_progress_is_shown_on_standard_error(
    iris: Array, capsys: pytest.CaptureFixture[str]
) -> None:
    vae(progress=True).fit(iris)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err != ""


def interrupt_at(step: int) -> Any:
    def callback(record: Record) -> None:
        if record.step >= step:
            raise KeyboardInterrupt

    return callback


def test_an_interruption_leaves_the_best_model_so_far() -> None:
    x = ring(400)
    model = vae(**(WINNING | {"max_steps": 210}), callbacks=[interrupt_at(180)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(x)
    assert model.history_.stopped == "interrupted"
    assert model.history_.records[-1].step >= 180
    best, _ = max(model.history_.judged(), key=lambda judged: judged[1])
    assert model.history_.best_step == best.step
    assert model.score(ring(100, seed=1)) > PCA(2).fit(x).score(ring(100, seed=1)) + 0.1
    assert np.isfinite(model.sample(3)).all()


def test_an_interruption_before_anything_was_reached_leaves_nothing(
    iris: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    model = vae()
    monkeypatch.setattr(start, "closed_form_start", stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(iris)
    with pytest.raises(NotFittedError):
        model.transform(iris)


@pytest.mark.parametrize(
    "variant", [{}, {"validation_fraction": 0.0}, {"network": "mlp", "variance": "per_feature"}]
)
@pytest.mark.parametrize("seed", [0, None])
def test_an_interrupted_fit_resumes_bit_for_bit(
    tmp_path: Path, variant: dict[str, Any], seed: int | None
) -> None:
    options: dict[str, Any] = {
        "max_steps": 120,
        "learning_rate": 0.01,
        "random_state": seed,
    } | variant
    x, folder, other = ring(150), tmp_path / "state", tmp_path / "other"
    whole = vae(**options, checkpoint_dir=other).fit(x)
    with pytest.raises(KeyboardInterrupt):
        vae(**options, checkpoint_dir=folder, callbacks=[interrupt_at(30)]).fit(x)
    assert folder.is_dir()
    seen: list[Record] = []
    resumed = vae(**options, checkpoint_dir=folder, callbacks=[seen.append]).fit(x)
    np.testing.assert_array_equal(weights(whole), weights(resumed))
    assert seen[0].step > 30
    for name in ("step", "validation", "train", "kl", "beta"):
        assert whole.history_.column(name) == resumed.history_.column(name)
    assert folder.is_dir()  # nobody has saved the model yet
    resumed.save(tmp_path / "run")
    assert not folder.exists()
    again = vae(**options, checkpoint_dir=other, callbacks=[seen.append])
    seen.clear()
    np.testing.assert_array_equal(weights(whole), weights(again.fit(x)))
    assert seen == []  # it was finished, and is taken up as it was


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    x = ring(150)
    with pytest.raises(KeyboardInterrupt):
        vae(checkpoint_dir=tmp_path / "state", callbacks=[interrupt_at(30)]).fit(x)
    for other, data in (
        (vae(random_state=1), x),
        (vae(latent_dim=1), x),
        (vae(learning_rate=0.5), x),
        (vae(), x[::-1]),
    ):
        other.checkpoint_dir = tmp_path / "state"
        with pytest.raises(CheckpointError, match="other data or options") as caught:
            other.fit(data)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "state").is_dir()


# -- fitting again
# -----------------------------------------------------------------------------------


def test_a_warm_start_goes_on() -> None:
    x, test = ring(400), ring(200, seed=1)
    elbo: dict[str, Any] = {"objective": "elbo", "prior": "standard_normal"}
    model = vae(**WINNING, **elbo, warm_start=True).fit(x)
    _, held = split(400, model.recipe_["held_out"]["value"], model.seed_)
    noise = torch.Generator().manual_seed(stream_seed(model.seed_, "validation"))
    rows = model.schema_.to_model(x[held], noise="centre")
    reached = (
        float(objective.ELBO(model.model_).eval()(rows, noise).detach().mean())
        - model.schema_.log_scale_sum
    )
    before = model.score(test)
    model.set_params(random_state=None).fit(x)
    assert model.history_.records[0].validation == pytest.approx(reached, abs=1e-4)
    assert model.score(test) > before + 0.1
    cold = vae(**WINNING).fit(x)
    np.testing.assert_array_equal(weights(cold), weights(cold.fit(x)))


def test_a_warm_start_refuses_another_model(iris: Array) -> None:
    model = vae(warm_start=True).fit(iris)
    with pytest.raises(ValueError, match=r"X has 3 features.*expecting 4"):
        model.fit(iris[:, :3])
    model.set_params(latent_dim=3)
    with pytest.raises(
        ValueError, match=r"latent_dim=2, but that is now 3.*warm_start=False"
    ) as caught:
        model.fit(iris)
    assert "\n" not in str(caught.value)
    assert model.transform(iris).shape == (150, 2)


@pytest.mark.parametrize("warm", [False, True])
def test_a_fit_that_fails_leaves_the_last_one_as_it_was(iris: Array, warm: bool) -> None:
    frame = pd.DataFrame(iris, columns=["a", "b", "c", "d"])
    model = vae(warm_start=warm).fit(frame)
    before = {name: value for name, value in vars(model).items() if name.endswith("_")}
    old_weights, old_score = weights(model), model.score(frame)

    def fail(record: Record) -> None:
        if record.step > 10:
            raise RuntimeError("from a callback")

    model.callbacks = [fail]
    renamed = frame if warm else pd.DataFrame(ring(50), columns=["x", "y", "z"])
    with pytest.raises(RuntimeError, match="from a callback"):
        model.fit(renamed)
    assert {name: value for name, value in vars(model).items() if name.endswith("_")} == before
    np.testing.assert_array_equal(weights(model), old_weights)
    assert model.score(frame) == old_score


def test_a_second_fit_forgets_the_first(iris: Array) -> None:
    frame = pd.DataFrame(iris, columns=["a", "b", "c", "d"])
    model = vae().fit(frame)
    model.fit(ring(100))
    fresh = vae().fit(ring(100))
    assert vars(model).keys() == vars(fresh).keys()
    np.testing.assert_array_equal(weights(model), weights(fresh))
    assert model.n_features_in_ == 3


# -- parts of one's own
# ------------------------------------------------------------------------------


def test_a_network_may_be_a_factory(iris: Array) -> None:
    def network(in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> torch.nn.Module:
        return networks.MLP(in_shape, out_shape, (5,), "tanh", torch.Generator().manual_seed(0))

    model = vae(network=network).fit(iris)
    assert model.model_.encoder.layers[0].out_features == 5
    assert model.transform(iris).shape == (150, 2)
    mixed = vae(encoder=network, decoder="linear").fit(iris)
    assert isinstance(mixed.model_.decoder, networks.Linear)


def test_options_reach_the_model(iris: Array) -> None:
    model = vae(hidden=(7, 5, 3), activation="tanh", network="mlp", latent_dim=3).fit(iris)
    sizes = [
        layer.out_features
        for layer in model.model_.encoder.layers
        if isinstance(layer, torch.nn.Linear)
    ]
    assert sizes == [7, 5, 3, 6]
    assert isinstance(model.model_.encoder.layers[1], torch.nn.Tanh)
    assert isinstance(model.model_.prior, prior.StandardNormal)
    assert isinstance(model.model_.posterior, posterior.DiagonalNormal)
    assert isinstance(model.model_.likelihood, likelihood.HeteroscedasticGaussian)
    default = VariationalAutoencoder(max_steps=1).fit(iris)
    assert isinstance(default.model_.decoder, networks.Residual)
    assert default.transform(iris).shape == (150, 8)
    apart = vae(encoder="mlp", decoder="linear").fit(iris)
    assert isinstance(apart.model_.encoder, networks.MLP)
    assert isinstance(apart.model_.decoder, networks.Linear)


def test_the_scale_decides_where_one_noise_is_one(iris: Array) -> None:
    assert isinstance(vae(scale="global").fit(iris).noise_variance_, float)
    assert isinstance(vae(scale=None).fit(iris).noise_variance_, float)
    standard = vae(scale="standard", variance="learned").fit(iris).noise_variance_
    assert isinstance(standard, np.ndarray)
    np.testing.assert_allclose(
        standard / iris.var(0), np.full(4, standard[0] / iris[:, 0].var()), rtol=1e-6
    )
    assert vae().fit(iris).schema_.mixing is not None
    assert isinstance(vae(dequantize=True).fit((iris * 20).astype(np.uint8)).noise_variance_, float)


def test_more_importance_samples_tighten_the_score() -> None:
    x = ring(400)
    model = vae(**WINNING, score_samples_k=1).fit(x)
    assert not model.kept_start_
    scores = [model.set_params(score_samples_k=k).score(x) for k in (1, 10, 100, 1000)]
    assert scores[0] < scores[1] < scores[2]
    assert scores[3] == pytest.approx(scores[2], abs=0.01)
    assert model.elbo(x).mean() < scores[1]


def test_a_model_that_stayed_linear_is_scored_exactly(iris: Array) -> None:
    model = vae(network="linear", score_samples_k=1, scale="global").fit(iris)
    exact = PCA(2).fit(iris).score_samples(iris)
    np.testing.assert_allclose(model.score_samples(iris), exact, atol=0.1)
    np.testing.assert_array_equal(
        model.set_params(score_samples_k=50).score_samples(iris), model.score_samples(iris)
    )


def test_the_plain_autoencoder_reconstructs_best() -> None:
    x = ring(300)
    options: dict[str, Any] = {
        "latent_dim": 1,
        "max_steps": 400,
        "learning_rate": 0.01,
        "validation_fraction": 0.0,
    }
    auto = vae(objective="autoencoder", **options).fit(x)
    bound = vae(**options).fit(x)
    assert np.square(auto.reconstruct(x) - x).mean() < np.square(bound.reconstruct(x) - x).mean()
    assert auto.score(x) < bound.score(x)


def test_a_fit_of_little_time_ends_at_random_features_where_training_got_nowhere() -> None:
    options = {"variance": "learned", "scale": "global", "hidden": (16, 16), "learning_rate": 1e-30}
    X, test = ring(2000), ring(500, seed=1)
    slow = vae(**options, max_steps=3).fit(X)
    quick = vae(**options, max_steps=3, max_seconds=60.0).fit(X)
    assert slow.kept_start_
    assert not quick.kept_start_
    assert quick.history_.best_step == 0
    assert quick.score(test) > slow.score(test) + 0.2
