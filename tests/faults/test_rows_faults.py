"""A run knows its rows: no number on rows that were trained on is shown as if they were new."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import datasets

from nelbo import VariationalAutoencoder
from nelbo.data.known import KnownRows, Use

pytestmark = pytest.mark.fault

Array = np.ndarray[Any, Any]


def wine() -> Array:
    return np.asarray(datasets.load_wine().data)


def fitted(train: Any, **options: Any) -> VariationalAutoencoder:
    options = {"hidden": (8,), "max_steps": 3, "random_state": 0, **options}
    return VariationalAutoencoder(2, **options).fit(train)


# -- in Python ---------------------------------------------------------------------------------------


def test_rows_are_known_again_in_any_order_and_floating_type() -> None:
    x = wine()
    model, expected = fitted(x[:100]), np.arange(178) < 100
    for rows in (x, x.astype(np.float32), torch.tensor(x), x.tolist()):
        assert (model.trained_on(rows) == expected).all()
    order = np.random.default_rng(1).permutation(178)
    assert (model.trained_on(x[order]) == expected[order]).all()
    assert not model.trained_on(x + 1e-3).any()


def test_rows_fitted_in_single_precision_are_known_in_double_precision() -> None:
    x = wine().astype(np.float32)
    assert (fitted(x[:100]).trained_on(x.astype(np.float64)) == (np.arange(178) < 100)).all()


def test_bytes_are_known_as_whole_numbers_and_in_every_layout() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 5), dtype=np.uint8)
    model, expected = fitted(images[:40], likelihood="discretized_gaussian"), np.arange(60) < 40
    for rows in (images, images[:, None], images.reshape(60, 20), images.astype(np.float64)):
        assert (model.trained_on(rows) == expected).all()


def test_a_negative_zero_is_a_zero() -> None:
    x = np.where(np.arange(300).reshape(60, 5) % 7 == 0, 0.0, wine()[:60, :5])
    assert fitted(x).trained_on(np.where(x == 0, -0.0, x)).all()


def test_rows_that_differ_beyond_single_precision_are_told_apart() -> None:
    x = 1e9 + np.random.default_rng(0).normal(size=(100, 2))
    assert (fitted(x[:60]).trained_on(x) == (np.arange(100) < 60)).all()


def test_rows_for_validation_count_as_trained_on() -> None:
    x = wine()
    assert fitted(x, validation_fraction=0.5).trained_on(x).all()


def test_a_warm_start_remembers_the_rows_of_both_fits() -> None:
    x = wine()
    model = fitted(x[:80], warm_start=True)
    model.fit(x[80:120])
    assert (model.trained_on(x) == (np.arange(178) < 120)).all()


def test_rows_stay_with_the_model_for_8_bytes_each(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(3000, 4))
    small, model = fitted(x[:100]), fitted(x)
    for one, name in ((small, "small"), (model, "model")):
        one.save(tmp_path / name)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("small", "model")]
    assert sizes[1] - sizes[0] < 10 * 2900
    for kept in (VariationalAutoencoder.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert kept.trained_on(x).all()
        assert not kept.trained_on(x + 0.1).any()


def test_a_model_saved_before_rows_were_remembered_loads_and_says_that_it_does_not_know(tmp_path: Path) -> None:
    model = fitted(wine())
    model.known_rows_ = model.baseline_ = None  # what such a model lacks
    model.save(tmp_path / "old")
    old = VariationalAutoencoder.load(tmp_path / "old")
    assert old.log_likelihood(wine(), "importance", 5).trained is None
    with pytest.raises(ValueError, match=r"unknown\. Fit and save it again"):
        old.trained_on(wine())


def test_a_log_likelihood_says_which_rows_were_trained_on_and_both_means() -> None:
    x = wine()
    found = fitted(x[:100]).log_likelihood(x, "importance", 5)
    assert (found.trained == (np.arange(178) < 100)).all()
    seen, new = found.value[:100].mean(), found.value[100:].mean()
    told = f"178 rows, 100 of them trained on (mean {seen:.2f}; the others {new:.2f})"
    assert told in str(found)
    assert told in repr(found)
    assert "trained on" not in str(fitted(x[:100]).log_likelihood(x[100:], "importance", 5))


def test_plain_scores_of_rows_that_were_trained_on_do_not_warn() -> None:
    x = wine()
    model = fitted(x)
    assert np.isfinite([model.score(x), model.score_samples(x).mean(), model.elbo(x).mean()]).all()


# -- equal rows --------------------------------------------------------------------------------------


def remembered(trained: Array, held: Array) -> KnownRows:
    return KnownRows.of(trained).with_held_out(held)


def test_of_equal_rows_as_many_are_held_out_as_were_then() -> None:
    trained, held = np.array([[1.0], [1], [1], [2]]), np.array([[1.0], [3]])
    found = remembered(trained, held).uses(np.concatenate([held, trained, [[4.0]]]))
    assert sorted(found.tolist()) == [Use.NEW] + 4 * [Use.TRAINED] + 2 * [Use.HELD_OUT]
    assert found[1] == Use.HELD_OUT
    assert found[-1] == Use.NEW


def test_a_file_of_held_out_rows_is_held_out_though_some_equal_rows_were_trained_on() -> None:
    trained, held = np.array([[1.0], [1], [2]]), np.array([[1.0], [3]])
    known = remembered(trained, held)
    assert (known.uses(held) == Use.HELD_OUT).all()
    assert (known.uses(trained) == Use.TRAINED).all()


def test_different_rows_of_few_values_have_different_keys() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(40.0)] * 3), -1).reshape(-1, 3)
    known = KnownRows.of(grid[::2])
    assert (known.uses(grid) == np.where(np.arange(len(grid)) % 2 == 0, Use.TRAINED, Use.NEW)).all()
