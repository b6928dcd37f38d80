"""What comes in as data: nothing is guessed, dropped or misread in silence."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from torch.utils import data

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


# -- units -------------------------------------------------------------------------------------------


def ages() -> Array:
    rng = np.random.default_rng(3)
    return np.stack([rng.integers(18, 90, 200), rng.integers(0, 250, 200), rng.integers(100, 200, 200)], axis=1)


@pytest.mark.parametrize("frame", [True, False])
def test_a_table_of_bytes_means_the_same_as_its_numbers(frame: bool) -> None:
    X = ages()
    make = (lambda rows: pd.DataFrame(rows, columns=["age", "dose", "weight"])) if frame else (lambda rows: rows)
    as_bytes, as_floats = small_estimator().fit(make(X.astype(np.uint8))), small_estimator().fit(make(X.astype(float)))
    assert as_bytes.recipe_["dequantize"]["value"] is False
    for rows in (X.astype(np.uint8), X.astype(np.int64), X.astype(float)):
        np.testing.assert_allclose(as_bytes.score_samples(make(rows)), as_floats.score_samples(make(rows)), atol=1e-3)
    assert 30 < as_bytes.sample(100)[:, 0].mean() < 80
    assert as_bytes.schema_.mixing is not None or as_floats.schema_.mixing is None


@pytest.mark.filterwarnings("ignore::nelbo.DataWarning")
def test_flags_score_the_same_in_every_type() -> None:
    X = pd.get_dummies(pd.Series(np.random.default_rng(0).integers(0, 4, 120)))
    model = small_estimator().fit(X.astype(np.uint8))
    scores = [model.score(X.astype(kind)) for kind in (np.uint8, bool, np.float32, np.float64)]
    assert np.ptp(scores) < 0.1 + 1e-3 * abs(scores[0])


def test_flattened_pictures_are_8_bit_where_that_is_asked_and_images_always() -> None:
    X = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    assert small_estimator().fit(X).schema_.dequantize
    assert small_estimator(dequantize=True).fit(X.reshape(40, 16)).schema_.dequantize
    assert not small_estimator().fit(X.reshape(40, 16)).schema_.dequantize


@pytest.mark.parametrize("flat", [True, False])
def test_bytes_are_refused_where_fractions_were_fitted(flat: bool) -> None:
    X = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    X = X.reshape(40, 16) if flat else X
    model = small_estimator().fit(X / 255)
    with pytest.raises(ValueError, match=r"X is uint8 with values up to 255.*from 0 to 1.*X / 255"):
        model.score(X)
    with pytest.warns(nelbo.DataWarning, match="hardly be in the units of the training data"):
        model.score(X.astype(float))
    model.score(X[:1] / 255)


def test_other_units_are_told_and_outliers_are_not() -> None:
    X = correlated(200, 4) + 20
    model = small_estimator().fit(pd.DataFrame(X, columns=list("abcd")))
    odd = X.copy()
    odd[:50] += 1e4  # a quarter of the rows: outliers, which are what such a model is asked for
    model.score(pd.DataFrame(odd, columns=list("abcd")))
    with pytest.warns(nelbo.DataWarning, match=r"training data: b is .*most rows have values more than 300 times"):
        model.transform(pd.DataFrame(X * [1, 1000, 1, 1], columns=list("abcd")))


def test_pictures_of_a_tiny_fraction_of_the_range_are_told() -> None:
    X = np.random.default_rng(0).integers(0, 256, (40, 4, 4)).astype(float)
    model = small_estimator().fit(X)
    with pytest.warns(nelbo.DataWarning, match=r"its largest value is 1, where these went from 0 to 255"):
        model.score(X / 255)


def windows(n: int, seed: int = 0) -> Array:
    """Temperature in degrees and pressure in pascals, n windows of 12 times."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=(n, 2, 1))
    values = level + 0.3 * rng.normal(size=(n, 2, 12))
    return np.asarray(np.moveaxis(values * [[5.0], [500.0]] + [[20.0], [101325.0]], 1, 2))


@pytest.mark.parametrize("layout", ["last", "first", "maps"])
def test_sensors_of_different_units_are_scaled_each_by_its_own(layout: str) -> None:
    """A shift of one sensor is found, whatever the other's units are."""
    arrange = {
        "last": lambda x: x,
        "first": lambda x: np.moveaxis(x, 2, 1),
        "maps": lambda x: x.reshape(len(x), 3, 4, 2),
    }[layout]
    train, test, odd = windows(300), windows(100, 1), windows(100, 2)
    odd[..., 0] += 40.0
    model = small_estimator(max_steps=100).fit(arrange(train))
    assert model.recipe_["scale"]["value"] == "per channel"
    scores = [model.score_samples(arrange(rows)) for rows in (test, odd)]
    assert roc_auc_score([1] * 100 + [0] * 100, np.concatenate(scores)) > 0.99
    assert model.noise_variance_.max() > 1000 * model.noise_variance_.min()


def test_pictures_have_one_scale() -> None:
    rng = np.random.default_rng(0)
    X = np.zeros((80, 9, 9))
    X[:, 2:7, 2:7] = rng.random((80, 1, 1)) * rng.random((80, 5, 5))
    X[::7, 1, 4] = 1e-3  # a faint stroke in the margin
    assert small_estimator().fit(X).schema_.scale.ndim == 0
    colour = rng.random((80, 5, 4, 3)) * [1.0, 0.7, 0.5]
    assert small_estimator().fit(colour).schema_.scale.ndim == 0


# -- what is no array --------------------------------------------------------------------------------

ROWS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))


class Pairs(data.Dataset[Any]):
    """Rows (x, y) of known length."""

    def __len__(self) -> int:
        return len(ROWS)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return ROWS[i], i % 2


class Drawn(data.Dataset[Any]):
    """Rows without end."""

    def __getitem__(self, i: int) -> torch.Tensor:
        return ROWS[i % 40]


class Known(Drawn):
    """The same with a length, of whose rows none is ever refused."""

    def __len__(self) -> int:
        return 40


class Stream(data.IterableDataset[Any]):
    """A stream."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(ROWS)


SETS: dict[str, Callable[[], Any]] = {
    "TensorDataset": lambda: data.TensorDataset(ROWS),
    "TensorDataset with labels": lambda: data.TensorDataset(ROWS, torch.arange(40)),
    "Dataset of pairs": Pairs,
    "Dataset without a last row": Known,
    "Subset": lambda: data.Subset(Pairs(), range(40)),
    "DataLoader": lambda: data.DataLoader(data.TensorDataset(ROWS), batch_size=7, shuffle=True, drop_last=True),
    "DataLoader of pairs": lambda: data.DataLoader(Pairs(), batch_size=8),
    "list of tensors": lambda: [row.clone().requires_grad_() for row in ROWS],
    "sparse": lambda: scipy.sparse.csr_array(ROWS.numpy()),
    "sparse tensor": ROWS.to_sparse,
}


@pytest.mark.usefixtures("untouched_random_state")
@pytest.mark.parametrize("name", SETS)
def test_sets_of_rows_of_known_length_are_read_once(name: str) -> None:
    np.testing.assert_array_equal(nelbo.data.validate_array(SETS[name]()), ROWS.numpy())


def test_fit_takes_a_data_loader() -> None:
    loader = data.DataLoader(Pairs(), batch_size=8, shuffle=True)
    np.testing.assert_array_equal(
        small_estimator().fit(loader).score_samples(loader), small_estimator().fit(ROWS).score_samples(ROWS)
    )


ENDLESS: dict[str, tuple[Callable[[], Any], str]] = {
    "Dataset without length": (Drawn, r"Drawn of no known length.*np\.stack\(\[row for row, _ in zip\(X, range"),
    "stream": (Stream, r"Stream of no known length.*zip\(X, range\(1000\)\)"),
    "DataLoader of a stream": (lambda: data.DataLoader(Stream()), r"torch\.cat\(list\(X\)\)"),
    "DataLoader that draws": (
        lambda: data.DataLoader(Pairs(), sampler=data.WeightedRandomSampler([1.0] * 40, 40)),
        r"torch\.cat\(\[batch\[0\] for batch in X\]\)",
    ),
    "generator": (lambda: (row for row in ROWS), r"got generator\. Pass np\.stack\(list"),
    "set": (lambda: {1.0, 2.0}, r"got set\. Pass np\.array\(list"),
    "dict": (lambda: {"a": [1.0, 2.0]}, r"got dict\. Pass pandas\.DataFrame"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_rows_to_be_read_is_refused_with_a_cure(name: str) -> None:
    make, message = ENDLESS[name]
    with pytest.raises(TypeError, match=message) as caught:
        small_estimator().fit(make())
    assert "\n" not in str(caught.value)


def test_the_cures_for_sets_without_an_end_work() -> None:
    assert np.stack([row for row, _ in zip(Drawn(), range(1000), strict=False)]).shape == (1000, 4)
    assert torch.cat(list(data.DataLoader(Stream()))).shape == (40, 4)
    assert torch.cat([batch[0] for batch in data.DataLoader(Pairs(), batch_size=3)]).shape == (40, 4)


@pytest.mark.filterwarnings("ignore::nelbo.DataWarning")
def test_one_hot_columns_come_out_of_a_pipeline_as_they_are() -> None:
    words = np.random.default_rng(0).choice(["a", "b", "c"], (100, 2))
    pipeline = make_pipeline(OneHotEncoder(), small_estimator()).fit(words)
    assert np.isfinite(pipeline.score_samples(words)).all()


def test_sparse_data_beyond_a_stated_size_are_refused_with_a_step_that_helps() -> None:
    X = scipy.sparse.coo_array((10**6, 1000))
    with pytest.raises(ValueError, match=r"7\.5 GiB as a dense array; up to 1 GiB.*TruncatedSVD\(100\)"):
        small_estimator().fit(X)
