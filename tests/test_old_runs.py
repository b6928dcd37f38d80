"""Runs that an older version saved can be read, and give the same results as then: what is drawn
to estimate log p(x), within its error.

`tests/runs/make.py` made them: each folder is a run, and the JSON file of its name its results.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nelbo import VariationalAutoencoder, evaluate, spec
from nelbo.fitted.state import to_numpy

RUNS = Path(__file__).parent / "runs"
NAMES = sorted(path.stem for path in RUNS.glob("*.json"))


@pytest.fixture(params=NAMES)
def run(request: pytest.FixtureRequest) -> tuple[VariationalAutoencoder, dict[str, Any]]:
    """A model read from its folder, and what it said when it was saved; its rows are "rows"."""
    told = json.loads((RUNS / f"{request.param}.json").read_text())
    told["rows"] = np.array(told["rows"], told["dtype"])
    told.setdefault("c", None)  # most are models of p(x)
    return VariationalAutoencoder.load(RUNS / request.param), told


def close(now: Any, then: Any) -> bool:
    """Whether numbers are the same but for the rounding of another processor."""
    then = np.asarray(then)
    size = np.abs(then).max()
    return np.shape(now) == then.shape and bool(np.allclose(now, then, rtol=1e-5, atol=1e-5 * size))


def test_every_run_has_its_record() -> None:
    assert sorted(path.name for path in RUNS.iterdir() if (path / "config.json").exists()) == NAMES
    assert len(NAMES) >= 8


def test_log_p_is_as_before_within_its_error(
    run: tuple[VariationalAutoencoder, dict[str, Any]],
) -> None:
    """Draws may come from better places than then; what they estimate is the same, but the estimate
    of then has an error, too: as large as that of plainer draws.
    """
    model, told = run
    then, rows, c = np.asarray(told["score_samples"]), told["rows"], told["c"]
    error = model.log_likelihood(rows, "importance", c=c).standard_error
    plain = model.log_likelihood(rows, "importance", c=c, proposal="encoder").standard_error
    error = np.hypot(error, plain)
    off = np.abs(model.score_samples(told["rows"], c=told["c"]) - then)
    assert bool((off <= 4 * error + 1e-5 * np.abs(then).max()).all())


@pytest.mark.parametrize("method", ["elbo", "transform", "reconstruct"])
def test_rows_are_judged_and_encoded_as_before(
    run: tuple[VariationalAutoencoder, dict[str, Any]], method: str
) -> None:
    model, told = run
    assert close(getattr(model, method)(told["rows"], c=told["c"]), told[method])


def test_the_same_seed_draws_the_same_rows(
    run: tuple[VariationalAutoencoder, dict[str, Any]],
) -> None:
    model, told = run
    count = len(told["sample"])
    assert close(model.sample(count, random_state=1, c=told["c"]), told["sample"])


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
    scores = (one.score_samples(told["rows"], c=told["c"]) for one in (again, model))
    assert np.array_equal(*scores)


def test_the_torch_model_is_the_estimators(
    run: tuple[VariationalAutoencoder, dict[str, Any]],
) -> None:
    model, told = run
    x = model.schema_.to_model(told["rows"], noise="hash")
    c = model.fitted_.conditions_of(model.fitted_.values(told["rows"], told["c"]))
    bound = evaluate.elbo(model.model_, x, c=c) - model.schema_.log_scale_sum
    assert close(bound, told["elbo"])


# -- pickles ---------------------------------------------------------------------------------------

LATER = ("condition", "likelihood_options", "prior_options", "posterior_options", "network_options")
"""Options that came later."""


def of_older_version(model: VariationalAutoencoder) -> dict[str, Any]:
    """Return the state that a pickle of this estimator held before there was `nelbo.Fitted`."""
    fitted = model.fitted_
    state = {name: value for name, value in vars(model).items() if name not in (*LATER, "fitted_")}
    names = [field.name for field in dataclasses.fields(spec.Spec)]
    old = {name: getattr(fitted.spec, name) for name in names if not name.endswith("_options")}
    del old["condition"]
    arrays = to_numpy(vars(fitted))
    made = spec.Spec.__new__(spec.Spec)
    made.__setstate__({**old, "components": fitted.spec.prior_options.get("components")})
    return {
        **state,
        "spec_": made,
        "schema_": copy.deepcopy(fitted.schema),
        "recipe_": dict(fitted.recipe),
        "history_": fitted.history,
        "seed_": fitted.seed,
        "kept_start_": fitted.kept_start,
        "dtype_": fitted.dtype,
        "known_rows_": fitted.known,
        "n_iter_": fitted.n_iter,
        "n_features_in_": model.n_features_in_,
        "_weights": arrays["weights"],
        "_baseline": arrays.get("baseline"),
    }


def test_a_pickle_of_an_older_version_is_brought_up(
    run: tuple[VariationalAutoencoder, dict[str, Any]], tmp_path: Path
) -> None:
    model, told = run
    if told["c"] is not None:
        pytest.skip("there were no conditions then")
    X = told["rows"]
    again = VariationalAutoencoder.__new__(VariationalAutoencoder)
    again.__setstate__(of_older_version(model))
    for method in ("score_samples", "elbo", "transform"):
        assert np.array_equal(getattr(again, method)(X), getattr(model, method)(X))
    assert np.array_equal(again.sample(3, random_state=1), model.sample(3, random_state=1))
    assert again.spec_ == model.spec_
    assert str(again.recipe_) == str(model.recipe_)
    assert (again.fitted_.kind, again.fitted_.objective) == (
        model.fitted_.kind,
        model.fitted_.objective,
    )
    again.save(tmp_path / "again")
    loaded = VariationalAutoencoder.load(tmp_path / "again")
    assert np.array_equal(loaded.score_samples(X), model.score_samples(X))


def test_an_unfitted_pickle_without_later_options_has_their_defaults() -> None:
    model = VariationalAutoencoder(3, max_steps=2, hidden=(4,))
    state = {name: value for name, value in vars(model).items() if name not in LATER}
    again = VariationalAutoencoder.__new__(VariationalAutoencoder)
    again.__setstate__(state)
    assert again.get_params() == model.get_params()
    assert again.fit(np.random.default_rng(0).normal(size=(30, 4))).latent_dim == 3
