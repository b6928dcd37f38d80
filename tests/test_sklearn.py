"""The manners of scikit-learn:
its own conformance checks, and the tools an estimator is used with.
"""

from __future__ import annotations

import copy
import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from nelbo import VariationalAutoencoder


def small(**options: Any) -> VariationalAutoencoder:
    """An estimator that fits in a fraction of a second."""
    defaults: dict[str, Any] = {
        "latent_dim": 2,
        "hidden": (16,),
        "max_steps": 30,
        "random_state": 0,
    }
    return VariationalAutoencoder(**(defaults | options))


@pytest.fixture(scope="module")
def iris() -> np.ndarray:
    return np.asarray(load_iris().data, dtype=np.float64)


@pytest.fixture(scope="module")
def fitted(iris: np.ndarray) -> VariationalAutoencoder:
    """A small model that has left its closed-form start. Tests must not change it."""
    model = small(max_steps=200, learning_rate=0.01, early_stopping=False).fit(iris)
    assert not model.kept_start_
    return model


# -- conformance
# -------------------------------------------------------------------------------------


@parametrize_with_checks(
    [
        small(),
        small(network="linear"),
        small(network="mlp"),
        small(variance="per_feature", validation_fraction=0.0),
    ]
)
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    check(estimator)


# -- composition
# -------------------------------------------------------------------------------------


def test_a_pipeline_embeds_decodes_and_scores(iris: np.ndarray) -> None:
    pipeline = make_pipeline(MinMaxScaler(), small(network="linear")).fit(iris)
    alone = small(network="linear").fit(MinMaxScaler().fit_transform(iris))
    scaled = pipeline[0].transform(iris)
    np.testing.assert_array_equal(pipeline.transform(iris), alone.transform(scaled))
    assert pipeline.score(iris) == alone.score(scaled)
    back = pipeline.inverse_transform(pipeline.transform(iris))
    np.testing.assert_allclose(
        back, PCA(2).fit(iris).inverse_transform(PCA(2).fit_transform(iris)), atol=0.5
    )
    assert list(pipeline.get_feature_names_out()) == [
        "variationalautoencoder0",
        "variationalautoencoder1",
    ]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_grid_search_picks_the_model_of_the_best_held_out_density(
    iris: np.ndarray, n_jobs: int
) -> None:
    search = GridSearchCV(
        small(network="linear"), {"latent_dim": [1, 3], "variance": ["learned", 100.0]}, cv=3
    )
    search.set_params(n_jobs=n_jobs).fit(iris)
    assert search.best_params_ == {"latent_dim": 3, "variance": "learned"}
    best = small(network="linear", latent_dim=3)
    by_hand = cross_val_score(best, iris, cv=3)
    assert search.best_score_ == pytest.approx(by_hand.mean(), abs=1e-12)


def test_fits_in_threads_give_what_fits_in_turn_give(iris: np.ndarray) -> None:
    def score(seed: int) -> np.ndarray:
        return (
            small(random_state=seed, max_steps=40, early_stopping=False)
            .fit(iris)
            .score_samples(iris)
        )

    in_turn = [score(seed) for seed in range(4)]
    in_threads = joblib.Parallel(n_jobs=2, backend="threading")(
        joblib.delayed(score)(seed) for seed in range(4)
    )
    np.testing.assert_array_equal(in_turn, in_threads)
    assert not np.array_equal(in_turn[0], in_turn[1])


# -- copies
# ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched_random_state")
@pytest.mark.parametrize("random_state", [0, None])
def test_global_random_states_are_left_alone(iris: np.ndarray, random_state: int | None) -> None:
    model = small(random_state=random_state).fit(iris)
    model.reconstruct(iris, noise=True)
    model.sample(3)
    model.score(iris)
    model.elbo(iris)
    copy.deepcopy(model)


def _joblib(model: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


COPIES = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "joblib": _joblib,
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_the_same_model(
    name: str, fitted: VariationalAutoencoder, iris: np.ndarray
) -> None:
    copied = COPIES[name](fitted)
    assert copied.get_params() == fitted.get_params()
    np.testing.assert_array_equal(copied.score_samples(iris), fitted.score_samples(iris))
    np.testing.assert_array_equal(copied.sample(5), fitted.sample(5))
    assert copied.history_ == fitted.history_
    np.testing.assert_array_equal(copied.noise_variance_, fitted.noise_variance_)


def test_a_pickle_holds_numpy_and_no_torch(fitted: VariationalAutoencoder) -> None:
    words = {
        str(argument)
        for _, argument, _ in pickletools.genops(pickle.dumps(fitted))
        if argument is not None
    }
    assert any(word.startswith("numpy") for word in words)
    assert not [word for word in words if word.split(".")[0].split(" ")[0] == "torch"]


def test_a_deep_copy_shares_no_weights(fitted: VariationalAutoencoder, iris: np.ndarray) -> None:
    before = fitted.score(iris)
    copied = copy.deepcopy(fitted)
    for parameter in copied.model_.parameters():
        parameter.data.zero_()
    assert fitted.score(iris) == before


def test_a_clone_is_unfitted_and_fits_to_the_same(
    fitted: VariationalAutoencoder, iris: np.ndarray
) -> None:
    cloned = clone(fitted)
    with pytest.raises(NotFittedError):
        cloned.transform(iris)
    np.testing.assert_array_equal(cloned.fit(iris).score_samples(iris), fitted.score_samples(iris))


# -- types and names
# ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_goes_in_as_a_type_comes_out_as_it(
    dtype: Any, fitted: VariationalAutoencoder, iris: np.ndarray
) -> None:
    x = iris.astype(dtype)
    z = fitted.transform(x)
    found = [
        z,
        fitted.inverse_transform(z),
        fitted.reconstruct(x),
        fitted.score_samples(x),
        fitted.elbo(x),
    ]
    assert [part.dtype for part in found] == [dtype] * 5
    assert fitted.transform(x.tolist()).dtype == np.float64
    assert fitted.transform(x.astype(int)).dtype == np.float64


def test_float64_is_computed_in_float64(fitted: VariationalAutoencoder, iris: np.ndarray) -> None:
    single, double = fitted.score_samples(iris.astype(np.float32)), fitted.score_samples(iris)
    np.testing.assert_allclose(
        fitted.transform(iris.astype(np.float32)), fitted.transform(iris), atol=1e-4
    )
    assert np.abs(double.astype(np.float32) - double).max() > 0
    # another dtype is another row: other importance samples
    assert abs(single.mean() - double.mean()) < 0.1


def test_a_data_frame_goes_in_and_out(iris: np.ndarray) -> None:
    frame = pd.DataFrame(iris, columns=["a", "b", "c", "d"], index=np.arange(150) + 7)
    model = small().set_output(transform="pandas").fit(frame)
    z = model.transform(frame)
    assert list(z.columns) == list(model.get_feature_names_out())
    assert list(z.index) == list(frame.index)
    assert list(model.feature_names_in_) == ["a", "b", "c", "d"]
    assert model.n_features_in_ == 4
    np.testing.assert_array_equal(z.to_numpy(), small().fit(iris).transform(iris))
    rebuilt = model.reconstruct(frame)
    assert list(rebuilt.columns) == ["a", "b", "c", "d"]
    assert list(rebuilt.index) == list(frame.index)


def test_other_column_names_are_refused(iris: np.ndarray) -> None:
    frame = pd.DataFrame(iris, columns=["a", "b", "c", "d"])
    model = small(network="linear").fit(frame)
    for wrong in (frame[["b", "a", "c", "d"]], frame.rename(columns={"a": "z"})):
        with pytest.raises(ValueError, match="feature names should match"):
            model.score(wrong)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.score(iris)
    model.fit(iris)
    assert not hasattr(model, "feature_names_in_")


def test_the_page_and_the_text_of_an_estimator_show_its_options(
    fitted: VariationalAutoencoder,
) -> None:
    page = small(latent_dim=3)._repr_html_()
    assert "VariationalAutoencoder" in page
    assert "latent_dim" in page
    assert "latent_dim=2" in repr(fitted)
    assert repr(VariationalAutoencoder()) == "VariationalAutoencoder()"


def test_unfitted_methods_say_so(iris: np.ndarray, tmp_path: Path) -> None:
    model = small()
    calls: list[Any] = [
        lambda: model.transform(iris),
        lambda: model.inverse_transform(iris[:, :2]),
        lambda: model.reconstruct(iris),
        model.sample,
        lambda: model.score_samples(iris),
        lambda: model.score(iris),
        lambda: model.elbo(iris),
        lambda: model.save(tmp_path / "run"),
        model.get_feature_names_out,
        lambda: model.noise_variance_,
    ]
    for call in calls:
        with pytest.raises(NotFittedError):
            call()
