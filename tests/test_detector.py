"""`VAEDetector`: scikit-learn's and PyOD's conventions, and what its scores are."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from nelbo import Fitted, VAEDetector, VariationalAutoencoder
from nelbo.detect import attribute

Array = np.ndarray[Any, Any]


def quick() -> VariationalAutoencoder:
    return VariationalAutoencoder(2, network="linear", max_steps=2)


@pytest.fixture(scope="module")
def rows() -> Array:
    """300 rows of 4 columns that are correlated, in odd units, and 15 anomalies at the end."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(300, 4))
    x[-15:] += rng.normal(size=(15, 4))
    return x * [1, 10, 1e-3, 1e4] + [0, 5, 7, -1e5]


@pytest.fixture(scope="module")
def fitted(rows: Array) -> VAEDetector:
    """A detector whose model saw the first 200 rows. Tests must not change it."""
    return VAEDetector(0.05).fit(rows[:200])


@parametrize_with_checks([VAEDetector(estimator=quick())])
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([VAEDetector()])
def test_scikit_learn_check_of_the_default(estimator: Any, check: Any) -> None:
    check(estimator)


def test_signs_are_those_of_scikit_learn_and_attributes_those_of_pyod(rows: Array) -> None:
    detector = VAEDetector(0.1)
    labels = detector.fit_predict(rows)
    log_p = detector.score_samples(rows)
    np.testing.assert_array_equal(detector.decision_function(rows), log_p - detector.offset_)
    np.testing.assert_array_equal(labels, np.where(log_p < detector.offset_, -1, 1))
    np.testing.assert_array_equal(detector.decision_scores_, -log_p)
    np.testing.assert_array_equal(detector.labels_, labels == -1)
    assert detector.threshold_ == -detector.offset_
    assert detector.labels_.sum() == 30

    theirs = detector.as_pyod()
    np.testing.assert_array_equal(theirs.decision_function(rows), -log_p)
    np.testing.assert_array_equal(theirs.predict(rows), detector.labels_)
    np.testing.assert_array_equal(theirs.labels_, detector.labels_)
    share = theirs.predict_proba(rows)
    assert share.shape == (300, 2)
    assert share[np.argmax(-log_p), 1] == 1
    np.testing.assert_allclose(share.sum(1), 1)
    assert (theirs.threshold_, theirs.contamination) == (detector.threshold_, 0.1)


def test_the_score_is_minus_log_p_of_the_model_in_data_units(
    fitted: VAEDetector, rows: Array
) -> None:
    np.testing.assert_array_equal(fitted.score_samples(rows), fitted.fitted_.score_samples(rows))
    per_unit = VAEDetector(0.05).fit(rows[:200] * 1000).score_samples(rows * 1000)
    np.testing.assert_allclose(
        per_unit, fitted.score_samples(rows) - 4 * np.log(1000), rtol=1e-4, atol=1e-3
    )


def test_two_fits_are_the_same_and_a_row_is_judged_alone(fitted: VAEDetector, rows: Array) -> None:
    again = VAEDetector(0.05).fit(rows[:200])
    np.testing.assert_array_equal(again.score_samples(rows), fitted.score_samples(rows))
    np.testing.assert_allclose(
        fitted.score_samples(rows[7:8]), fitted.score_samples(rows)[7:8], rtol=1e-12
    )


def test_anomalies_are_found(fitted: VAEDetector, rows: Array) -> None:
    anomalous = np.arange(200, 300) >= 285
    assert roc_auc_score(anomalous, -fitted.score_samples(rows[200:])) > 0.95


def test_p_values_and_discoveries_need_rows_held_out(fitted: VAEDetector, rows: Array) -> None:
    with pytest.raises(ValueError, match=r"calibrate\(\).*calibration_fraction"):
        fitted.p_values(rows)
    detector = copy.deepcopy(fitted).calibrate(rows[200:285])
    p = detector.p_values(rows[200:])
    assert p.min() == 1 / 86
    assert (np.argsort(p, kind="stable") == np.argsort(p, kind="stable")).all()
    assert np.median(p[-15:]) < 0.05
    flagged = detector.discoveries(rows[200:], 0.2)
    assert flagged[-15:].mean() > 0.7
    assert flagged[:85].mean() < 0.1
    assert (detector.p_values(rows, confidence=0.9) >= 1e-3).all()
    with pytest.raises(ValueError, match="rate must be above 0 and below 1"):
        detector.discoveries(rows, 0)


def test_rows_kept_from_the_fit_calibrate(rows: Array) -> None:
    detector = VAEDetector(calibration_fraction=0.3).fit(rows[:285])
    assert detector.calibration_ is not None
    assert len(detector.calibration_.scores) == 86
    seen = detector.fitted_.trained_on(rows[:285])
    held = np.sort(detector.decision_scores_[~seen])
    np.testing.assert_array_equal(detector.calibration_.scores, held)


def test_rows_of_the_fit_do_not_calibrate(fitted: VAEDetector, rows: Array) -> None:
    with pytest.raises(ValueError, match="100 of these 100 rows were fitted"):
        copy.deepcopy(fitted).calibrate(rows[:100])


def test_a_tenth_of_a_table_of_numbers_has_no_part_by_default(rows: Array) -> None:
    same = VAEDetector(trim=0.1).fit(rows).score_samples(rows)
    np.testing.assert_array_equal(VAEDetector().fit(rows).score_samples(rows), same)


def test_trimming_leaves_the_least_probable_rows_out(rows: Array) -> None:
    trimmed = VAEDetector(estimator=quick(), trim=0.05).fit(rows)
    assert trimmed.fitted_.trained_on(rows).sum() == 285
    assert trimmed.decision_scores_.shape == (300,)


def test_a_cluster_of_anomalies_among_the_rows_fitted_is_found() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 4))
    x[:60] = 5 + 0.1 * rng.normal(size=(60, 4))
    anomalous = np.arange(1000) < 60
    assert roc_auc_score(anomalous, VAEDetector().fit(x).decision_scores_) == 1.0
    untrimmed = VAEDetector(trim=0).fit(x).decision_scores_
    assert roc_auc_score(anomalous, untrimmed) < 0.999


def test_one_absurd_value_among_the_rows_fitted_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3))
    anomalous = np.arange(100) < 20
    new = rng.normal(size=(100, 3)) + 6 * anomalous[:, None] * np.array([1.0, 0, 0])
    plain = VAEDetector().fit(x).score_samples(new)
    x[0, 0] = 999_999
    absurd = VAEDetector().fit(x).score_samples(new)
    assert roc_auc_score(anomalous, -absurd) > 0.99
    assert np.corrcoef(plain, absurd)[0, 1] > 0.95


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"contamination": 0}, ValueError, "contamination must be above 0 and at most 0.5"),
        ({"contamination": 0.7}, ValueError, "contamination"),
        ({"trim": 1}, ValueError, "trim must be from 0 to below 1"),
        ({"calibration_fraction": -1}, ValueError, "calibration_fraction must be"),
        ({"estimator": 3}, TypeError, "estimator must be a nelbo.VariationalAutoencoder"),
    ],
)
def test_options_out_of_range_are_refused(
    options: dict[str, Any], error: type[Exception], match: str, rows: Array
) -> None:
    with pytest.raises(error, match=match):
        VAEDetector(**options).fit(rows)


def test_an_estimator_of_ones_own_takes_the_place_of_the_default(rows: Array) -> None:
    own = quick().set_params(random_state=0)
    detector = VAEDetector(estimator=own, trim=0).fit(rows)
    alone = clone(own).fit(rows)
    np.testing.assert_array_equal(detector.score_samples(rows), alone.score_samples(rows))
    assert not hasattr(own, "fitted_")


def test_a_frame_keeps_its_names_and_columns_may_not_be_renamed(rows: Array) -> None:
    frame = pd.DataFrame(rows, columns=["a", "b", "c", "d"])
    detector = make_pipeline(VAEDetector()).fit(frame)[0]
    assert list(detector.feature_names_in_) == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="feature names"):
        detector.predict(frame.rename(columns={"a": "z"}))
    assert detector.attribute(frame[:3]).columns == ("a", "b", "c", "d")


def test_a_value_that_a_constant_column_never_had_counts_by_the_rule_of_succession(
    rows: Array,
) -> None:
    wide = np.column_stack([rows[:, :2], np.full(300, 3.0), rows[:, 2:]])
    detector = VAEDetector().fit(wide[:200])
    changed = wide[200:].copy()
    changed[::2, 2] = 4.0
    difference = detector.score_samples(wide[200:]) - detector.score_samples(changed)
    np.testing.assert_allclose(difference[::2], np.log(202), rtol=1e-6)
    np.testing.assert_array_equal(difference[1::2], 0)
    found = detector.attribute(changed)
    np.testing.assert_allclose(found.nats[::2, 2], np.log(202))
    np.testing.assert_array_equal(found.nats[1::2, 2], 0)
    np.testing.assert_array_equal(found.expected[:, 2], 3.0)


def test_a_detector_is_saved_and_pickled(fitted: VAEDetector, rows: Array, tmp_path: Path) -> None:
    detector = copy.deepcopy(fitted).calibrate(rows[200:285])
    detector.save(tmp_path / "run")
    loaded = VAEDetector.load(tmp_path / "run")
    for other in (loaded, pickle.loads(pickle.dumps(detector))):
        np.testing.assert_array_equal(other.score_samples(rows), detector.score_samples(rows))
        np.testing.assert_array_equal(other.p_values(rows), detector.p_values(rows))
        assert (other.offset_, other.contamination) == (detector.offset_, 0.05)
    plain = Fitted.load(tmp_path / "run").score_samples(rows)
    np.testing.assert_array_equal(plain, detector.score_samples(rows))
    assert json.loads((tmp_path / "run" / "detector.json").read_text())["contamination"] == 0.05
    fitted.fitted_.save(tmp_path / "model")
    with pytest.raises(ValueError, match="no detector"):
        VAEDetector.load(tmp_path / "model")


def test_what_is_not_fitted_says_so(rows: Array) -> None:
    for method in ("score_samples", "predict", "p_values", "attribute"):
        with pytest.raises(NotFittedError):
            getattr(VAEDetector(), method)(rows)


# -- attribution


def test_attribution_of_a_linear_gaussian_model_is_exact(rows: Array) -> None:
    """Against the normal's conditionals, by scipy."""
    model = VariationalAutoencoder(2, network="linear", scale="standard", random_state=0)
    fitted = model.fit(rows[:200]).fitted_
    found = attribute(fitted, rows[200:210])
    scale = fitted.schema.scale
    w = fitted.vae.decoder.linear.weight.detach().double().numpy()
    noise = float(np.mean(fitted.noise / scale**2))
    covariance = (w @ w.T + noise * np.eye(4)) * np.outer(scale, scale)
    mean = fitted.decode(np.zeros((1, 2)))[0]
    for j in range(4):
        others = np.delete(np.arange(4), j)
        gain = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, j])
        expected = mean[j] + (rows[200:210, others] - mean[others]) @ gain
        variance = covariance[j, j] - covariance[j, others] @ gain
        nats = -stats.norm.logpdf(rows[200:210, j], expected, np.sqrt(variance))
        np.testing.assert_allclose(found.expected[:, j], expected, rtol=1e-4)
        np.testing.assert_allclose(found.nats[:, j], nats, rtol=1e-3, atol=1e-3)


def test_attribution_of_a_mixture_is_log_p_less_the_marginal(
    fitted: VAEDetector, rows: Array
) -> None:
    """Against numerical integration over one column."""
    found, row = fitted.attribute(rows[:1]), rows[0]
    for j in range(4):
        spread = rows[:, j].std()
        grid = np.linspace(row[j] - 12 * spread, row[j] + 12 * spread, 8001)
        many = np.repeat(row[None], len(grid), 0)
        many[:, j] = grid
        density = np.exp(fitted.score_samples(many))
        total = np.trapezoid(density, grid)
        nats = np.log(total) - fitted.score_samples(rows[:1])[0]
        assert found.nats[0, j] == pytest.approx(nats, abs=1e-3)
        mean = np.trapezoid(density * grid, grid) / total
        assert found.expected[0, j] == pytest.approx(mean, abs=1e-3 * spread)


def test_a_wrong_value_is_attributed_to_its_column() -> None:
    wine = load_wine().data
    wrong = wine[:20].copy()
    column = np.arange(20) % wine.shape[1]
    wrong[np.arange(20), column] += 8 * wine.std(0)[column]
    detector = make_pipeline(StandardScaler(), VAEDetector()).fit(wine[20:])
    scaled = detector[0].transform(wrong)
    found = detector[1].attribute(scaled)
    np.testing.assert_array_equal(found.most(1)[:, 0], column)
    was = detector[0].transform(wine[:20])[np.arange(20), column]
    assert np.median(np.abs(found.expected[np.arange(20), column] - was)) < 1.0
    assert found.most(3).shape == (20, 3)
    assert found.most(99).shape == wine[:20].shape
