"""Runs that an older version saved can be read, and give the same results as then.

`tests/runs/make.py` made them: each folder is a run, and the JSON file of its name its results.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nelbo import VariationalAutoencoder, evaluate

RUNS = Path(__file__).parent / "runs"
NAMES = sorted(path.stem for path in RUNS.glob("*.json"))


@pytest.fixture(params=NAMES)
def run(request: pytest.FixtureRequest) -> tuple[VariationalAutoencoder, dict[str, Any]]:
    """A model read from its folder, and what it said when it was saved; its rows are "rows"."""
    told = json.loads((RUNS / f"{request.param}.json").read_text())
    told["rows"] = np.array(told["rows"], told["dtype"])
    return VariationalAutoencoder.load(RUNS / request.param), told


def close(now: Any, then: Any) -> bool:
    """Whether numbers are the same but for the rounding of another processor."""
    then = np.asarray(then)
    size = np.abs(then).max()
    return np.shape(now) == then.shape and bool(np.allclose(now, then, rtol=1e-5, atol=1e-5 * size))


def test_every_run_has_its_record() -> None:
    assert sorted(path.name for path in RUNS.iterdir() if (path / "config.json").exists()) == NAMES
    assert len(NAMES) >= 8


@pytest.mark.parametrize("method", ["score_samples", "elbo", "transform", "reconstruct"])
def test_rows_are_judged_and_encoded_as_before(
    run: tuple[VariationalAutoencoder, dict[str, Any]], method: str
) -> None:
    model, told = run
    assert close(getattr(model, method)(told["rows"]), told[method])


def test_the_same_seed_draws_the_same_rows(
    run: tuple[VariationalAutoencoder, dict[str, Any]],
) -> None:
    model, told = run
    assert close(model.sample(3, random_state=1), told["sample"])


def test_the_noise_is_as_before(run: tuple[VariationalAutoencoder, dict[str, Any]]) -> None:
    model, told = run
    if told["noise_variance_"] is None:
        with pytest.raises(AttributeError, match="noise_variance_"):
            _ = model.noise_variance_
    else:
        assert close(model.noise_variance_, told["noise_variance_"])


def test_rows_that_it_was_fitted_to_are_known(
    run: tuple[VariationalAutoencoder, dict[str, Any]],
) -> None:
    model, told = run
    assert model.trained_on(told["rows"]).tolist() == told["trained_on"]


def test_a_run_that_is_saved_again_says_the_same(
    run: tuple[VariationalAutoencoder, dict[str, Any]], tmp_path: Path
) -> None:
    model, told = run
    model.save(tmp_path / "again")
    again = VariationalAutoencoder.load(tmp_path / "again")
    assert np.array_equal(again.score_samples(told["rows"]), model.score_samples(told["rows"]))


def test_the_torch_model_is_the_estimators(
    run: tuple[VariationalAutoencoder, dict[str, Any]],
) -> None:
    model, told = run
    x = model.schema_.to_model(told["rows"], noise="hash")
    bound = evaluate.elbo(model.model_, x) - model.schema_.log_scale_sum
    assert close(bound, told["elbo"])
