"""Conformal p-values and false discoveries: their guarantees, and exact answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nelbo.detect import Calibration, adjusted, ordinary_share


def test_p_values_are_ranks_among_the_rows_held_out() -> None:
    calibration = Calibration(np.arange(1.0, 25.0))
    found = calibration.p_values(np.array([0.0, 1.0, 12.5, 24.0, 25.0]))
    np.testing.assert_allclose(found, np.array([25, 25, 13, 2, 1]) / 25)


def test_equal_scores_count_so_that_no_p_value_is_too_small() -> None:
    assert Calibration(np.zeros(20)).p_values(np.zeros(1)) == 1.0


def test_p_values_of_ordinary_rows_are_uniform() -> None:
    rng = np.random.default_rng(0)
    found = np.concatenate(
        [Calibration(rng.normal(size=99)).p_values(rng.normal(size=50)) for _ in range(400)]
    )
    for level in (0.01, 0.05, 0.2, 0.5):
        share = (found <= level).mean()
        assert share == pytest.approx(level, abs=4 * np.sqrt(level / len(found) * 5))


@pytest.mark.parametrize(("rows", "confidence"), [(20, 0.9), (101, 0.9), (400, 0.8)])
def test_with_confidence_they_hold_given_the_rows_held_out(rows: int, confidence: float) -> None:
    """The chance that an ordinary row has p <= a, given these rows held out, is a function of the
    uniform numbers behind them: it must not exceed a, for all a at once, with that confidence.
    """
    rng, good, trials = np.random.default_rng(1), 0, 600
    for _ in range(trials):
        held = np.sort(rng.uniform(size=rows))
        calibration = Calibration(held)
        steps = np.append(held, 2.0)  # p is constant between scores held out: at most their gaps
        p = calibration.p_values(np.nextafter(steps, -1), confidence)
        below = 1 - np.concatenate([[0.0], held])  # the chance of a score beyond each gap's start
        good += bool((below <= p + 1e-12).all())
    assert good / trials >= confidence - 3 * np.sqrt(confidence * (1 - confidence) / trials)


def test_with_confidence_no_p_value_falls() -> None:
    rng = np.random.default_rng(2)
    calibration, scores = Calibration(rng.normal(size=500)), rng.normal(2, 2, size=200)
    plain, sure = calibration.p_values(scores), calibration.p_values(scores, 0.9)
    rare = plain < 0.3
    assert rare.sum() > 20
    assert (sure[rare] >= plain[rare]).all()
    order = np.argsort(scores)
    assert (np.diff(sure[order]) <= 0).all()


def test_the_rate_of_false_discoveries_is_kept() -> None:
    rng, wrong, found = np.random.default_rng(3), [], []
    for _ in range(300):
        calibration = Calibration(rng.normal(size=500))
        anomalous = np.arange(100) < 20
        scores = rng.normal(size=100) + 4 * anomalous
        flagged = adjusted(calibration.p_values(scores)) <= 0.2
        wrong.append((flagged & ~anomalous).sum() / max(1, flagged.sum()))
        found.append((flagged & anomalous).mean() * 5)
    assert np.mean(wrong) <= 0.2 * 0.8 + 3 * np.std(wrong) / np.sqrt(300)
    assert np.mean(found) > 0.9


def test_adjusted_p_values_are_those_of_scipy_times_the_ordinary_share() -> None:
    p = np.array([0.001, 0.01, 0.04, 0.3, 0.9])
    q = stats.false_discovery_control(p)
    np.testing.assert_array_equal(adjusted(p), q)
    assert ordinary_share(p) == pytest.approx((1 + 1) / (5 * 0.5))
    np.testing.assert_allclose(adjusted(p, storey=True), q * 0.8)
    assert ordinary_share(np.full(10, 0.9)) == 1.0
    assert len(adjusted(np.array([]))) == 0


@pytest.mark.parametrize("confidence", [0, 1, -0.1, 2])
def test_a_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence must be above 0 and below 1"):
        Calibration(np.arange(20.0)).p_values(np.zeros(3), confidence)


def test_too_few_rows_held_out_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 20 held-out rows.*Hold out more"):
        Calibration(np.arange(19.0))
    with pytest.raises(ValueError, match="NaN"):
        Calibration(np.append(np.arange(30.0), np.nan))
    with pytest.raises(ValueError, match="from 0 to 1"):
        adjusted(np.array([0.5, 1.5]))
