"""What comes in as data: nothing is guessed, dropped or misread in silence."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nelbo
from helpers import small_estimator
from nelbo import VariationalAutoencoder
from nelbo.cli import main

pytestmark = pytest.mark.fault

Array = np.ndarray[Any, Any]


def correlated(n: int, d: int, seed: int = 0) -> Array:
    """Columns with something in common, as rows (n, d)."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) + 0.5 * rng.normal(size=(n, d)))


def with_constant(X: Array, value: float = 5.0, place: int = 1) -> Array:
    return np.insert(X, place, value, axis=1)


# -- columns of one value ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 5.0, -1e9, 0.1])
def test_a_constant_column_changes_nothing_about_the_other_columns(value: float) -> None:
    X = correlated(150, 4)
    plain = small_estimator().fit(X)
    with pytest.warns(nelbo.DataWarning, match="Left out of the model: column 1, with one value in all rows") as caught:
        model = small_estimator().fit(with_constant(X, value))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(model.score_samples(with_constant(X, value)), plain.score_samples(X))
    np.testing.assert_array_equal(model.transform(with_constant(X, value)), plain.transform(X))
    assert model.recipe_["left_out"]["value"] == {"column 1": value}
    assert model.n_features_in_ == 5


@pytest.mark.filterwarnings("ignore:Left out")
@pytest.mark.parametrize(
    "options", [{}, {"variance": 0.3}, {"variance": "learned", "scale": "global"}, {"scale": None, "network": "mlp"}]
)
def test_results_hold_the_constant_and_its_noise_is_none(options: dict[str, Any], tmp_path: Path) -> None:
    X = with_constant(correlated(100, 3), 7.0)
    model = small_estimator(**options).fit(X)
    for rows in (model.sample(5), model.reconstruct(X, noise=True), model.inverse_transform(model.transform(X))):
        np.testing.assert_array_equal(rows[:, 1], 7.0)
        assert rows.shape[1] == 4
    if "variance" in options and not isinstance(options["variance"], str):
        assert model.noise_variance_ == pytest.approx(0.3)
    else:
        assert model.noise_variance_.shape == (4,)
        np.testing.assert_array_equal(model.noise_variance_ == 0, [False, True, False, False])
    model.save(tmp_path / "run")
    again = VariationalAutoencoder.load(tmp_path / "run")
    np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
    assert again.recipe_ == model.recipe_


@pytest.mark.filterwarnings("ignore:Left out")
def test_a_row_with_another_value_in_a_constant_column_is_impossible() -> None:
    frame = pd.DataFrame(with_constant(correlated(100, 3)), columns=["a", "unit", "b", "c"])
    model = small_estimator().fit(frame)
    odd = frame.copy()
    odd.loc[[3, 8], "unit"] = 6.0
    for judge in (model.score_samples, model.elbo, lambda rows: model.log_likelihood(rows).value):
        with pytest.warns(nelbo.DataWarning, match=r"X holds in unit another value.*first 6 in row 3 .*2 of 100 rows"):
            found = judge(odd)
        assert np.flatnonzero(~np.isfinite(found)).tolist() == [3, 8]
        assert (found[[3, 8]] == -math.inf).all()
    np.testing.assert_array_equal(model.score_samples(frame.astype(np.float32)) > -math.inf, True)
    with pytest.raises(ValueError, match=r"leaves unit out.*warm_start=False"):
        model.set_params(warm_start=True).fit(odd)


def test_columns_of_zeros_and_ones_keep_their_probability_where_the_likelihood_is_one() -> None:
    """A value that was never seen has a probability under a Bernoulli likelihood, small as it may be."""
    X = with_constant((correlated(100, 3) > 0).astype(float), 0.0)
    model = small_estimator(likelihood="bernoulli").fit(X)
    X[0, 1] = 1.0
    assert np.isfinite(model.score_samples(X)).all()


def test_the_shell_counts_impossible_rows_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    X = with_constant(correlated(80, 3))
    train, test = X[:60], X[60:].copy()
    test[4, 1] = 9.0
    for name, rows in (("train", train), ("test", test)):
        pd.DataFrame(rows, columns=list("abcd")).to_csv(tmp_path / f"{name}.csv", index=False)
    run = str(tmp_path / "run")
    fit = ["fit", str(tmp_path / "train.csv"), "--out", run, "--test", str(tmp_path / "test.csv")]
    assert main([*fit, "--max-steps", "20", "--hidden", "8", "--latent-dim", "2"]) == 0
    shown = capsys.readouterr()
    assert "Left out of the model: b" in shown.out
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["density"]["impossible"] == 1
    assert results["density"]["rows"] == 19
    assert math.isfinite(results["density"]["mean"])
    assert math.isfinite(results["baseline"]["gain"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["evaluate", run, str(tmp_path / "test.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["impossible"] == 1
