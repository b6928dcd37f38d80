"""`VAEImputer` keeps scikit-learn's conventions, and `nelbo impute` rows, columns and names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.utils.estimator_checks import parametrize_with_checks

from nelbo import VAEImputer
from nelbo.cli import main
from test_missing_values import holes, small, table


def imputer(**options: Any) -> VAEImputer:
    return VAEImputer(small(max_steps=10), random_state=0, **options)


@parametrize_with_checks([imputer()])
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    check(estimator)


def test_what_is_there_stays_and_what_is_missing_is_filled() -> None:
    x = holes(table())
    filled = imputer().fit_transform(x)
    there = ~np.isnan(x)
    np.testing.assert_array_equal(filled[there], x[there])
    mean = SimpleImputer().fit_transform(x)
    error = [np.square((rows - table()) / table().std(0)).mean() for rows in (filled, mean)]
    assert error[0] < 0.95 * error[1]
    drawn = [imputer(sample_posterior=True).set_params(random_state=i).fit(x) for i in range(2)]
    first, second = (one.transform(x) for one in drawn)
    assert (first[~there] != second[~there]).all()


def test_names_indicators_and_empty_columns_follow_scikit_learn() -> None:
    x = holes(table())
    x[:, 1] = np.nan
    frame = pd.DataFrame(x, columns=list("abcde"), index=range(5, 95))
    for keep in (False, True):
        for add in (False, True):
            ours = imputer(keep_empty_features=keep, add_indicator=add)
            theirs = SimpleImputer(keep_empty_features=keep, add_indicator=add)
            ours.set_output(transform="pandas")
            found, expected = ours.fit_transform(frame), theirs.fit(frame)
            assert list(found.columns) == list(expected.get_feature_names_out())
            assert list(found.index) == list(frame.index)
            assert not found.isna().any().any()
            if keep:
                assert (found["b"] == 0).all()
    with pytest.raises(ValueError, match="X holds no value"):
        imputer().fit(np.full((4, 2), np.nan))
    coded = np.where(np.isnan(x), -999.0, x)
    again = imputer(missing_values=-999.0).fit_transform(coded)
    np.testing.assert_array_equal(again, imputer().fit_transform(x))


def test_the_shell_fills_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(holes(table()), columns=["a b", "c", "d", "e", "f"])
    frame.to_csv("x.csv", index=False)
    small(max_steps=5).fit(frame).save("run")
    assert main(["impute", "run", "x.csv", "--out", "filled.csv"]) == 0
    assert "values filled in" in capsys.readouterr().err
    filled = pd.read_csv("filled.csv")
    assert list(filled.columns) == list(frame.columns)
    assert not filled.isna().any().any()
    there = frame.notna()
    pd.testing.assert_frame_equal(filled[there], frame[there])
    assert main(["impute", "run", "x.csv", "--draws", "2", "--out", "d.csv", "--quiet"]) == 0
    one, two = (pd.read_csv(f"d-{i}.csv") for i in (1, 2))
    assert (one[~there] != two[~there]).to_numpy()[~there].all()
    for wrong, told in (
        (("--statistic", "max"), "statistic must be one of mean, median, mode"),
        (("--draws", "2"), "--draws writes several files"),
    ):
        assert main(["impute", "run", "x.csv", *wrong]) == 2
        assert told in capsys.readouterr().err


def test_the_shell_fills_columns_of_any_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    colour = random.choice(["red", "green", "blue"], 120)
    size = np.where(colour == "red", 5.0, 1.0) + random.normal(size=120).round(1)
    frame = pd.DataFrame({"colour": colour, "size": size, "count": random.poisson(3, 120)})
    lost = random.random(frame.shape) < 0.2
    frame.mask(lost).to_csv("x.csv", index=False)
    small(max_steps=5).fit(frame.mask(lost)).save("run")
    assert main(["impute", "run", "x.csv", "--out", "filled.csv", "--quiet"]) == 0
    filled = pd.read_csv("filled.csv")
    assert list(filled.columns) == list(frame.columns)
    assert not filled.isna().any().any()
    assert set(filled["colour"]) == {"red", "green", "blue"}
    assert (filled["colour"] == frame["colour"])[~lost[:, 0]].all()
    assert (filled["size"] == frame["size"])[~lost[:, 1]].all()
