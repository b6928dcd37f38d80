"""What z says of the data is measured and told: beside PCA, and for values that few rows have."""

from __future__ import annotations

import copy
import functools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA

from nelbo import VariationalAutoencoder, diagnose, initialize
from nelbo.cli import main
from nelbo.linear import LinearGaussian
from nelbo.prior import Mixture

pytestmark = pytest.mark.fault


def wine() -> tuple[np.ndarray, np.ndarray]:
    X = load_wine().data
    order = np.random.default_rng(0).permutation(len(X))
    return X[order[:107]], X[order[107:]]


def r_squared(x: np.ndarray, x_hat: np.ndarray, train: np.ndarray) -> float:
    """On columns standardised by the training rows."""
    mean, spread = train.mean(0), train.std(0)
    return 1 - float(np.sum(((x - x_hat) / spread) ** 2) / np.sum(((x - mean) / spread) ** 2))


def pca_explains(x: np.ndarray, train: np.ndarray, q: int) -> float:
    mean, spread = train.mean(0), train.std(0)
    pca = PCA(q).fit((train - mean) / spread)
    x_hat = pca.inverse_transform(pca.transform((x - mean) / spread)) * spread + mean
    return r_squared(x, x_hat, train)


def test_a_diagnosis_tells_the_held_out_share_of_variance_beside_that_of_standardised_pca() -> None:
    train, test = wine()
    model = VariationalAutoencoder(
        2, network="linear", scale="standard", max_steps=5, random_state=0
    ).fit(train)
    ours, pca, _ = (
        value.number.value
        for value in model.fitted_.diagnose(test, train)["explained variance"].values
    )
    assert ours == pytest.approx(r_squared(test, model.reconstruct(test), train), abs=1e-6)
    assert pca == pytest.approx(pca_explains(test, train, 2), abs=1e-6)


def silent(model: VariationalAutoencoder) -> None:
    """Let z say nothing of the columns' common variance:
    it is a noisy copy of the column least like the others.
    """
    features = model.n_features_in_
    weight = torch.zeros(features, model.latent_dim, dtype=torch.float64)
    weight[2, 0], weight[0, 1] = 0.5, 0.5
    start = LinearGaussian(
        weight, torch.zeros(features, dtype=torch.float64), torch.tensor(0.9, dtype=torch.float64)
    )
    initialize.start_at(model.model_, start)


@pytest.mark.parametrize("with_training_rows", [True, False])
def test_a_model_whose_z_explains_little_is_not_healthy(with_training_rows: bool) -> None:
    train, test = wine()
    model = VariationalAutoencoder(
        2, network="linear", scale="standard", max_steps=5, random_state=0
    ).fit(train)
    known = train if with_training_rows else None
    assert model.fitted_.diagnose(test, known)["explained variance"].verdict == "ok"
    silent(model)
    found = model.fitted_.diagnose(test, known)
    assert not found.healthy
    told = found["explained variance"]
    assert (told.verdict, told.cause) == ("problem", "z explains little of the data")
    assert told.advice
    share = 100 * r_squared(test, model.reconstruct(test), train)
    assert f"z explains {share:.0f} % of the variance" in told.sentence or not with_training_rows


def test_components_that_only_reproduce_noise_are_no_reproach() -> None:
    """Independent columns: PCA(2) of 5 has two fifths of the variance, and no model of z should."""
    x = np.random.default_rng(0).normal(size=(500, 5))
    model = VariationalAutoencoder(2, network="linear", max_steps=5, random_state=0).fit(x[:300])
    found = model.fitted_.diagnose(x[300:], x[:300])["explained variance"]
    ours, pca = found.values[0].number.value, found.values[1].number.value
    assert ours < pca - 0.1
    assert found.verdict == "ok"


def test_images_are_judged_on_one_scale() -> None:
    X = load_digits().images.astype(np.float32)
    train, test = X[:600], X[600:900]
    model = VariationalAutoencoder(3, network="linear", max_steps=5, random_state=0).fit(train)
    ours, pca = (
        value.number.value
        for value in model.fitted_.diagnose(test, train)["explained variance"].values[:2]
    )
    x, x_hat, mean = test, model.reconstruct(test), train.mean(0)
    assert ours == pytest.approx(1 - np.sum((x - x_hat) ** 2) / np.sum((x - mean) ** 2), abs=1e-5)
    flat = PCA(3).fit(train.reshape(600, -1))
    again = flat.inverse_transform(flat.transform(test.reshape(300, -1))).reshape(test.shape)
    assert pca == pytest.approx(1 - np.sum((x - again) ** 2) / np.sum((x - mean) ** 2), abs=1e-5)


def test_fit_tells_on_the_terminal_and_in_its_results_what_z_explains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = wine()
    for name, rows in (("train", train), ("test", test)):
        np.save(tmp_path / f"{name}.npy", rows)
    command = ["fit", str(tmp_path / "train.npy"), "--test", str(tmp_path / "test.npy")]
    command += [
        "--latent-dim",
        "2",
        "--network",
        "linear",
        "--max-steps",
        "5",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(command) == 0
    said = json.loads((tmp_path / "run" / "results.json").read_text())["explained"]
    model = VariationalAutoencoder.load(tmp_path / "run")
    assert said["held_out"]
    assert said["rows"] == len(test)
    assert said["share"] == pytest.approx(r_squared(test, model.reconstruct(test), train), abs=1e-6)
    assert said["pca"] == pytest.approx(pca_explains(test, train, 2), abs=1e-6)
    line = (
        f"z explains {100 * said['share']:.0f} % of the variance (PCA: {100 * said['pca']:.0f} %)"
    )
    assert line in capsys.readouterr().out


# -- rare values
# -------------------------------------------------------------------------------------


def flagged(rows: int = 2000, share: float = 0.025) -> np.ndarray:
    """Three normals and a column of zeros and ones."""
    g = np.random.default_rng(1)
    return np.column_stack([g.normal(size=(rows, 3)), np.arange(rows) < share * rows])


def test_rare_values_that_are_drawn_too_rarely_are_a_problem_with_both_shares() -> None:
    X = flagged()
    model = VariationalAutoencoder(2, network="linear", max_steps=5, random_state=0).fit(X)
    found = model.fitted_.diagnose(X)
    told = found["rare values"]
    data, samples = (value.number.value for value in told.values[:2])
    assert data == 0.025
    drawn = model.sample(50_000, random_state=1)[:, 3]
    assert samples == pytest.approx(np.mean(drawn > 0.5), abs=0.003)
    assert told.verdict == "problem"
    assert "column 3 = 1" in told.sentence
    assert "2.50 % of the data" in told.sentence
    assert 'prior="mixture"' in told.advice
    assert not found.healthy


def test_rare_values_that_are_drawn_as_often_as_they_are_there_are_no_problem() -> None:
    """The same model, and data that it could have drawn: shares of rounded normals."""
    X = flagged()
    model = VariationalAutoencoder(2, network="linear", max_steps=5, random_state=0).fit(X[:, :3])
    drawn = np.round(model.sample(4000, random_state=3))
    x = model.schema_.to_model(drawn, noise="hash", dtype=torch.float64)
    found = diagnose.rare_values(model.model_, x, model.fitted_.units)
    assert {f"column {j} = 2" for j in range(3)} <= {entry.name for entry in found}
    assert diagnose.Judge().rare(found).verdict == "ok"


# -- how many latent dimensions
# ----------------------------------------------------------------------


def plane(rows: int = 400, latents: int = 3, columns: int = 12) -> np.ndarray:
    """Rows of a linear model with so many latents, all columns of one variance."""
    g = np.random.default_rng(5)
    weight = g.normal(size=(latents, columns))
    weight /= np.linalg.norm(weight, axis=0)
    return g.normal(size=(rows, latents)) @ weight + 0.3 * g.normal(size=(rows, columns))


def auto(**options: object) -> VariationalAutoencoder:
    settings = {"network": "linear", "max_steps": 30, "random_state": 0, **options}
    return VariationalAutoencoder(latent_dim="auto", **settings)


def test_the_smallest_size_that_holds_the_data_is_chosen_and_the_reason_told() -> None:
    model = auto().fit(plane())
    told = model.recipe_["latent_dim"]
    # of 1, 2, 4, 8
    assert told["value"] == model.model_.latent_dim == model.transform(plane()[:5]).shape[1] == 4
    assert told["reason"].startswith("4 ")
    assert "held-out rows" in told["reason"]
    assert "1: +0.00" in told["reason"]
    assert model.get_params()["latent_dim"] == "auto"


def test_noise_alone_gets_one_latent_dimension_and_few_columns_no_more_than_there_are() -> None:
    x = np.random.default_rng(0).normal(size=(300, 6))
    assert auto().fit(x).model_.latent_dim == 1
    assert auto().fit(plane(columns=3)).model_.latent_dim <= 3
    assert auto().fit(x[:, :1]).model_.latent_dim == 1
    assert auto().fit(x[:4]).model_.latent_dim == 1


def test_a_chosen_size_is_kept_by_files_copies_and_warm_starts(tmp_path: Path) -> None:
    model = auto(warm_start=True).fit(plane())
    model.save(tmp_path / "run")
    again = VariationalAutoencoder.load(tmp_path / "run")
    assert again.recipe_ == model.recipe_
    assert again.get_params()["latent_dim"] == "auto"
    assert np.array_equal(again.transform(plane()), model.transform(plane()))
    assert clone(again).fit(plane()).model_.latent_dim == 4
    model.fit(plane())  # goes on, in the size that it has
    assert model.model_.latent_dim == model.recipe_["latent_dim"]["value"] == 4


def test_choosing_a_size_is_the_same_whenever_it_is_done_and_leaves_torchs_random_state_alone() -> (
    None
):
    state = torch.random.get_rng_state()
    first, second = (auto().fit(plane()) for _ in range(2))
    assert first.recipe_ == second.recipe_
    assert np.array_equal(first.transform(plane()), second.transform(plane()))
    fixed = VariationalAutoencoder(4, network="linear", max_steps=30, random_state=0).fit(plane())
    assert np.array_equal(first.transform(plane()), fixed.transform(plane()))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_size_is_a_number_or_auto() -> None:
    with pytest.raises(TypeError, match='latent_dim must be an integer or "auto"'):
        VariationalAutoencoder(latent_dim="many").fit(plane())


def test_the_shell_chooses_a_size_too_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "plane.npy", plane())
    command = ["fit", str(tmp_path / "plane.npy"), "--latent-dim", "auto", "--network", "linear"]
    command += ["--no-report"]
    assert main([*command, "--max-steps", "30", "--out", str(tmp_path / "run")]) == 0
    told = json.loads((tmp_path / "run" / "results.json").read_text())
    assert told["latent_dim"] == told["recipe"]["latent_dim"]["value"] == 4
    assert "Latent size   4 " in capsys.readouterr().out
    again = [
        "fit",
        "--config",
        str(tmp_path / "run" / "run.toml"),
        "--no-report",
        "--quiet",
        "--out",
        str(tmp_path / "again"),
    ]
    assert main(again) == 0
    assert VariationalAutoencoder.load(tmp_path / "again").model_.latent_dim == 4


# -- where samples start
# -----------------------------------------------------------------------------


def clusters(rows: int = 600) -> np.ndarray:
    """Three clusters in a plane of 5 columns."""
    g = np.random.default_rng(3)
    centres = np.array([[-4.0, 0.0], [3.0, 3.0], [3.0, -3.0]])[g.integers(3, size=rows)]
    return (centres + 0.5 * g.normal(size=(rows, 2))) @ g.normal(size=(2, 5)) + 0.2 * g.normal(
        size=(rows, 5)
    )


def mixed(X: np.ndarray, **options: object) -> VariationalAutoencoder:
    settings = {"latent_dim": 2, "max_steps": 150, "hidden": (16,), "random_state": 0, **options}
    return VariationalAutoencoder(**settings).fit(X)


@functools.cache
def of_clusters() -> VariationalAutoencoder:
    return mixed(clusters()[:400])


@pytest.mark.slow
def test_rare_values_are_drawn_about_as_often_as_they_are_in_the_data() -> None:
    g = np.random.default_rng(0)
    plane = g.normal(size=(1500, 2)) @ g.normal(size=(2, 5)) + 0.5 * g.normal(size=(1500, 5))
    X = np.column_stack([plane, g.random(1500) < 0.0227, g.random(1500) < 0.01])
    model = VariationalAutoencoder(8, random_state=0).fit(X)
    drawn = model.sample(40_000, random_state=1)
    # N(0, I) draws a third of the one and an eighth of the other
    for column, least in ((5, 0.75), (6, 0.4)):
        assert least < np.mean(drawn[:, column] > 0.5) / X[:, column].mean() < 1.33
    assert "rare values" in model.recipe_["prior"]["reason"]


def test_a_mixture_is_the_prior_of_the_model_where_held_out_rows_bear_it_out() -> None:
    X = clusters()
    train, test = X[:400], X[400:]
    plain, model = mixed(train, prior="standard_normal"), of_clusters()
    assert plain.recipe_["prior"] == {"value": "standard_normal", "reason": "As asked."}
    told = model.recipe_["prior"]
    assert told["value"] == f"mixture of {model.model_.prior.components} normals"
    assert "beside N(0, I)" in told["reason"]
    assert model.score(test) > plain.score(test) + 0.1
    z = model.model_.prior().sample((4000,), generator=torch.Generator().manual_seed(0))
    assert z.mean(0).numpy() == pytest.approx(model.transform(train).mean(0), abs=0.2)
    # all but the prior is the same
    assert np.array_equal(model.transform(test), plain.transform(test))
    assert np.array_equal(model.reconstruct(test), plain.reconstruct(test))


def test_log_p_is_that_of_the_model_with_the_mixture_by_every_method() -> None:
    model, rows = of_clusters(), clusters()[400:404]
    assert model.spec_.prior == "mixture"
    grid = model.log_likelihood(rows, "quadrature").value
    assert model.log_likelihood(rows, "importance", 4000).value == pytest.approx(grid, abs=0.1)
    annealed = model.log_likelihood(rows, "ais", 64)
    assert np.all(np.abs(annealed.value - grid) < 4 * annealed.standard_error + 0.05)
    assert np.mean(model.elbo(rows)) < np.mean(grid)


def test_the_density_of_a_mixture_integrates_to_one_and_its_samples_follow_it() -> None:
    g = torch.Generator().manual_seed(0)
    tril = torch.tensor([[[1.0, 0.0], [0.5, 0.3]], [[0.2, 0.0], [-0.1, 0.7]]])
    found = Mixture.of(
        torch.tensor([0.3, 0.7]), torch.tensor([[0.0, 0.0], [2.0, -1.0]]), tril @ tril.mT
    )().sample((4,))
    p = Mixture.of(
        torch.tensor([0.3, 0.7]), torch.tensor([[0.0, 0.0], [2.0, -1.0]]), tril @ tril.mT
    )()
    axis = torch.linspace(-8, 8, 400)
    area = p.log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(area) == pytest.approx(1, abs=1e-3)
    z = p.sample((40_000,), generator=g)
    assert found.shape == (4, 2)
    assert z.mean(0).numpy() == pytest.approx(p.mean.numpy(), abs=0.03)
    assert z.var(0).numpy() == pytest.approx(p.variance.numpy(), rel=0.05)
    assert torch.equal(z, p.sample((40_000,), generator=torch.Generator().manual_seed(0)))


def test_a_mixture_is_kept_by_files_and_left_behind_where_training_goes_on(tmp_path: Path) -> None:
    X, model = clusters(), copy.deepcopy(of_clusters())
    model.save(tmp_path / "run")
    again = VariationalAutoencoder.load(tmp_path / "run")
    assert (again.spec_, again.recipe_) == (model.spec_, model.recipe_)
    assert np.array_equal(again.score_samples(X), model.score_samples(X))
    assert np.array_equal(again.sample(9), model.sample(9))
    copied = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copied.sample(9), model.sample(9))
    model.set_params(warm_start=True, max_steps=20).fit(X[:400])
    assert model.spec_.prior == "mixture"
    assert model.score(X) > again.score(X) - 0.5


def test_a_mixture_is_like_what_training_rows_occupy() -> None:
    X = clusters()
    assert of_clusters().fitted_.diagnose(X[400:], limit=100)["q(z) against p(z)"].verdict == "ok"


def test_a_mixture_is_not_fitted_where_nothing_is_gained_or_it_was_not_asked_for() -> None:
    normal = np.random.default_rng(0).normal(size=(300, 5))
    assert mixed(normal, max_steps=30).spec_.prior == "standard_normal"
    assert mixed(clusters(), network="linear", max_steps=5).spec_.prior == "standard_normal"
    assert mixed(clusters(), validation_fraction=0, max_steps=50).spec_.prior == "standard_normal"
    forced = mixed(
        clusters(), network="linear", max_steps=5, prior="mixture", validation_fraction=0
    )
    assert forced.spec_.prior == "mixture"
    assert np.isfinite(forced.score(clusters()))
    images = load_digits().images[:200].astype(np.float32)
    assert mixed(images, prior="mixture", max_steps=20).sample(3).shape == (3, 8, 8)
