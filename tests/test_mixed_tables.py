"""A table whose columns are of different kinds, through the estimator: frame in, frame out."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nelbo import Fitted, VAEDetector, VAEImputer, VariationalAutoencoder
from nelbo.data import DataWarning, TableSchema

pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")

N = 400


def frame(n: int = N, seed: int = 0) -> Any:
    """Columns of many kinds that all say something of one factor."""
    random = np.random.default_rng(seed)
    z = random.normal(size=n)
    noise = random.normal(size=(n, 3))
    return pandas.DataFrame(
        {
            "id": [f"row {i}" for i in range(n)],
            "height": 170 + 8 * z + 4 * noise[:, 0],
            "team": np.array(["a", "b", "c"])[np.digitize(z + noise[:, 1], [-0.5, 0.5])],
            "goals": random.poisson(np.exp(1 + 0.5 * z)),
            "fee": np.where(random.random(n) < 0.3, 0.0, np.exp(3 + z).round(2)),
            "fit": z + noise[:, 2] > 0,
            "born": np.datetime64("1990-01-01") + (900 * z).astype("timedelta64[D]"),
            "where": "Rome",
        },
        index=np.arange(n) + 100,
    )


def quick(**options: Any) -> VariationalAutoencoder:
    usual = {
        "max_steps": 30,
        "score_samples_k": 60,
        "prior": "standard_normal",
        "validation_fraction": 0,
    }
    return VariationalAutoencoder(2, **{**usual, "random_state": 0, **options})


@pytest.fixture(scope="module")
def fitted() -> VariationalAutoencoder:
    return quick(validation_fraction=0.1).fit(frame())


def test_the_kinds_of_the_columns_are_found_and_told(fitted: VariationalAutoencoder) -> None:
    table = fitted.schema_.table
    assert table is not None
    assert fitted.recipe_["data"]["value"] == "mixed"
    assert fitted.recipe_["start"]["value"] == "scores"
    assert fitted.spec_.likelihood == "columns"
    assert [column.kind for column in table.columns] == [
        "left_out",
        "heteroscedastic_gaussian",
        "categorical",
        "negative_binomial",
        "hurdle_log_normal",
        "bernoulli",
        "heteroscedastic_gaussian",
        "constant",
    ]
    assert fitted.baseline_ is None
    assert fitted.n_features_in_ == 7
    assert list(fitted.feature_names_in_) == list(frame())[1:]


def test_only_numbers_are_scaled_and_only_they_have_a_jacobian(
    fitted: VariationalAutoencoder,
) -> None:
    schema, X = fitted.schema_, frame()
    wanted = [X["height"].std(ddof=0), 1, 1, 1, 1]
    np.testing.assert_allclose(schema.scale[:5], wanted, rtol=1e-12)
    assert not schema.shift[1:5].any()
    days = (X["born"] - pandas.Timestamp(0)).dt.days.std(ddof=0)
    assert schema.log_scale_sum == pytest.approx(math.log(wanted[0]) + math.log(days))


def test_what_columns_add_sums_to_the_score(fitted: VariationalAutoencoder) -> None:
    X = frame(40, seed=1)
    X.loc[X.index[:20], "team"] = None
    found = fitted.score_columns(X)
    np.testing.assert_array_equal(found.value.sum(1) + found.of_z, found.total)
    # scores look again at rows whose weights have a heavy tail; those of all others are the same
    away = np.abs(found.total - fitted.score_samples(X))
    assert np.mean(away < 1e-5) > 0.7
    assert away.max() < 1
    assert found.columns == tuple(list(X)[1:])
    assert dict(zip(found.columns, found.measures, strict=True)) == {
        "height": "density",
        "team": "probability",
        "goals": "probability",
        "fee": "probability at 0, density above",
        "fit": "probability",
        "born": "density",
        "where": "density",
    }
    at = found.columns.index("team")
    assert not found.value[:20, at].any()
    assert bool((found.value[20:, at] < 0).all())
    assert "log p(x)" in str(found)


def test_a_term_is_in_nats_per_unit_of_the_data() -> None:
    X = frame()
    tall = X.assign(height=X["height"] * 100)
    one, other = (quick().fit(rows).score_columns(rows[:50]) for rows in (X, tall))
    lost = one.value[:, 0] - other.value[:, 0]
    np.testing.assert_allclose(lost, math.log(100), rtol=0, atol=0.02)
    np.testing.assert_allclose(one.value[:, 1:], other.value[:, 1:], rtol=0, atol=0.02)


def test_what_comes_out_is_a_frame_like_the_one_that_went_in(
    fitted: VariationalAutoencoder,
) -> None:
    X = frame()
    seen = list(X)[1:]
    drawn = fitted.sample(200, random_state=1)
    assert list(drawn) == seen
    assert drawn.dtypes.equals(X[seen].dtypes)
    for name in ("height", "goals", "fee", "born"):
        assert X[name].min() <= drawn[name].min() <= drawn[name].max() <= X[name].max()
    assert set(drawn["team"]) == {"a", "b", "c"}
    assert bool(((drawn["fee"] * 100).round(6) % 1 == 0).all())
    assert set(drawn["where"]) == {"Rome"}
    assert drawn.equals(fitted.sample(200, random_state=1))
    again = fitted.reconstruct(X[:9])
    assert list(again) == seen
    assert again.dtypes.equals(X[seen].dtypes)
    assert list(again.index) == list(X.index[:9])
    pandas.testing.assert_frame_equal(again, fitted.reconstruct(X[:9]))
    means = fitted.inverse_transform(fitted.transform(X[:9]))
    assert means.reset_index(drop=True).equals(again.reset_index(drop=True))


def test_samples_are_like_the_rows_fitted() -> None:
    X = frame(2000)
    drawn = quick(max_steps=150).fit(X).sample(4000, random_state=0)
    assert drawn["height"].mean() == pytest.approx(X["height"].mean(), abs=1)
    assert drawn["fit"].mean() == pytest.approx(X["fit"].mean(), abs=0.05)
    assert (drawn["fee"] == 0).mean() == pytest.approx((X["fee"] == 0).mean(), abs=0.05)
    for rows in (X, drawn):
        assert rows["height"].corr(rows["goals"]) > 0.4
        assert rows.groupby("team")["height"].mean().is_monotonic_increasing


def test_columns_are_matched_by_name_and_libraries_agree(fitted: VariationalAutoencoder) -> None:
    X = frame(60, seed=2)
    wanted = fitted.score_samples(X)
    shuffled = X[sorted(X)].drop(columns="id")
    np.testing.assert_array_equal(fitted.score_samples(shuffled), wanted)
    table = pyarrow.Table.from_pandas(X, preserve_index=False)
    np.testing.assert_array_equal(fitted.score_samples(table), wanted)
    codes = fitted.schema_.table.encode(X)
    np.testing.assert_array_equal(fitted.score_samples(codes), wanted)
    assert fitted.trained_on(frame()).all()
    assert not fitted.trained_on(X).any()


def test_a_saved_model_scores_the_same_bits(fitted: VariationalAutoencoder, tmp_path: Path) -> None:
    fitted.save(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["schema"]["table"]["column"][2]["levels"] == ["a", "b", "c"]
    X = frame(30, seed=3)
    again = VariationalAutoencoder.load(tmp_path / "run")
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    assert again.sample(5, random_state=2).equals(fitted.sample(5, random_state=2))
    assert Fitted.load(tmp_path / "run").schema == fitted.schema_


def test_missing_cells_are_left_out_and_said() -> None:
    X = frame()
    X.loc[X.index[::3], "team"] = None
    X.loc[X.index[1::4], "height"] = math.nan
    model = quick().fit(X)
    assert "3 of 7 columns" not in model.recipe_["missing"]["reason"]
    assert "2 of 7 columns" in model.recipe_["missing"]["reason"]
    assert np.isfinite(model.score_samples(X)).all()
    assert not model.reconstruct(X)["team"].isna().any()
    nothing = X[:1].drop(columns="id").astype(object)
    nothing.loc[:, :] = None
    assert model.score_samples(nothing)[0] == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="contains NaN"):
        quick(missing="refuse").fit(X)


def test_a_table_of_independent_categories_scores_its_entropy() -> None:
    random = np.random.default_rng(0)
    shares = {"x": [0.5, 0.3, 0.2], "y": [0.7, 0.1, 0.1, 0.1], "w": [0.9, 0.1]}
    X = pandas.DataFrame(
        {
            name: random.choice([f"{name}{i}" for i in range(len(p))], 6000, p=p)
            for name, p in shares.items()
        }
    )
    model = quick(max_steps=200).fit(X[:5000])
    entropy = sum(-np.sum(p * np.log(p)) for p in map(np.array, shares.values()))
    assert -model.score(X[5000:]) == pytest.approx(entropy, abs=0.05)
    assert not model.model_.likelihood.density


def test_probabilities_of_discrete_columns_sum_to_one() -> None:
    X = frame()[["team", "fit"]]
    model = quick().fit(X)
    every = pandas.DataFrame({"team": [*"abcabc"], "fit": [True] * 3 + [False] * 3})
    total = np.exp(model.log_likelihood(every, samples=4000).value).sum()
    assert total == pytest.approx(1, abs=0.01)


def test_probabilities_of_a_frame_have_its_index_and_the_levels_as_columns(
    fitted: VariationalAutoencoder,
) -> None:
    X = frame(20, seed=4)
    found = fitted.probabilities(X, "team")
    assert found.index.equals(X.index)
    assert found.columns.name == "team"
    assert [*found] == [*fitted.levels("team")] == ["a", "b", "c"]
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    hidden = fitted.impute(X.assign(team=None))["team"]
    pandas.testing.assert_series_equal(
        found.idxmax(axis=1), hidden, check_dtype=False, check_names=False
    )
    assert fitted.levels("fit") == (False, True)
    for other in (X.drop(columns="team"), X.assign(team="never seen")):
        pandas.testing.assert_frame_equal(fitted.probabilities(other, "team"), found)
    of_arrow = fitted.probabilities(pyarrow.Table.from_pandas(X, preserve_index=False), "team")
    assert of_arrow.column_names == ["a", "b", "c"]
    np.testing.assert_array_equal(of_arrow.to_pandas(), found)
    with pytest.raises(ValueError, match="height has no levels"):
        fitted.levels("height")


def test_what_is_no_frame_or_has_no_rows_is_told_what_was_expected(
    fitted: VariationalAutoencoder,
) -> None:
    X = frame(5)
    with pytest.raises(ValueError, match="pass a data frame with height, team"):
        fitted.score(X.drop(columns="id").to_numpy())
    with pytest.raises(ValueError, match=r"0 sample\(s\) .* Pass at least one row"):
        quick().fit(X[:0])
    with pytest.raises(ValueError, match=r"holds text.*VariationalAutoencoder\(\).fit\(X\).impute"):
        VAEImputer().fit(X)
    with pytest.raises(TypeError, match="A model is passed as estimator="):
        VAEDetector(fitted).fit(X)  # type: ignore[arg-type]


def test_columns_that_are_left_out_are_named_with_the_reason() -> None:
    with pytest.warns(DataWarning, match=r"Left out of the model: id \(400 different words"):
        model = quick(max_steps=2).fit(frame())
    assert "an identifier" in model.recipe_["ignored"]["value"]["id"]
    assert "2 heteroscedastic gaussian" in model.recipe_["columns"]["value"]


def test_what_is_missing_is_filled_in_and_all_else_stays(fitted: VariationalAutoencoder) -> None:
    X = frame(30, seed=4)
    X.loc[X.index[::2], "team"] = None
    X.loc[X.index[1], "height"] = 400.0
    filled = fitted.impute(X)
    assert list(filled) == list(X)
    assert set(filled["team"]) <= {"a", "b", "c"}
    there = X["team"].notna()
    pandas.testing.assert_frame_equal(filled[there], X[there])
    rest = list(X.columns.drop("team"))
    pandas.testing.assert_frame_equal(filled[rest], X[rest])
    drawn = fitted.impute(X, draws=2)
    assert [list(one) for one in drawn] == [list(X)] * 2


def test_rows_are_drawn_given_values_as_people_write_them(fitted: VariationalAutoencoder) -> None:
    drawn = fitted.sample(50, given={"team": "c", "born": "1990-06-01"}, random_state=0)
    assert set(drawn["team"]) == {"c"}
    assert set(drawn["born"]) == {pandas.Timestamp("1990-06-01")}
    with pytest.raises(ValueError, match="'team' holds 'd'"):
        fitted.sample(5, given={"team": "d"})


def test_a_diagnosis_leaves_out_what_is_for_numbers_alone(fitted: VariationalAutoencoder) -> None:
    found = {one.name: one for one in fitted.fitted_.diagnose(frame(60, seed=9), limit=60).findings}
    assert found["against pPCA"].verdict == "skipped"
    assert found["explained variance"].values


@pytest.mark.parametrize("given", ["dict", "toml", "schema"])
def test_what_columns_are_may_be_said(given: str, tmp_path: Path) -> None:
    X = frame()
    said: Any = {"goals": "ordinal", "fee": "left_out"}
    if given != "dict":
        said = TableSchema.infer(X, given=said)
    if given == "toml":
        (tmp_path / "schema.toml").write_text(said.to_toml())
        said = tmp_path / "schema.toml"
    model = clone(quick(schema=said)).fit(X)
    found = {column.name: column.kind for column in model.schema_.table.columns}
    assert (found["goals"], found["fee"]) == ("ordinal", "left_out")
    assert "fee" not in model.sample(2)
    model.save(tmp_path / "run")


def test_numbers_alone_stay_as_they_were_unless_kinds_are_asked_for() -> None:
    X = frame()[["height", "goals"]]
    one, other = quick(max_steps=3).fit(X), quick(max_steps=3).fit(X.to_numpy())
    assert one.schema_.table is None
    np.testing.assert_array_equal(one.score_samples(X), other.score_samples(X.to_numpy()))
    asked = quick(schema="infer").fit(X)
    assert [column.kind for column in asked.schema_.table.columns] == [
        "heteroscedastic_gaussian",
        "negative_binomial",
    ]


def test_conditions_may_be_columns_of_a_mixed_table() -> None:
    X = frame()
    model = quick(condition=["team"], max_steps=80).fit(X)
    assert "team" not in model.schema_.columns
    drawn = model.sample(300, c={"team": "c"}, random_state=0)
    other = model.sample(300, c={"team": "a"}, random_state=0)
    assert drawn["height"].mean() > other["height"].mean() + 1
    assert np.isfinite(model.score_samples(X[:9])).all()


def test_a_fit_goes_on_with_the_schema_that_it_has(fitted: VariationalAutoencoder) -> None:
    model = quick(warm_start=True).fit(frame())
    before = model.schema_
    X = frame(200, seed=5).assign(team="a")
    assert model.fit(X).schema_ == before


def test_it_is_a_step_of_a_pipeline(fitted: VariationalAutoencoder) -> None:
    found = make_pipeline(quick(max_steps=5), StandardScaler()).fit_transform(frame(100))
    assert found.shape == (100, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"likelihood": "student_t", "schema": "infer"}, "likelihood='student_t' is one for all"),
        ({"scale": "global", "schema": "infer"}, "scale='global' is for tables of numbers"),
        ({"schema": {"age": "poisson"}}, "column 'age', which X has not"),
        ({"unknown": "ignore"}, "unknown must be 'error' or 'missing'"),
        ({"schema": "none.toml"}, "none.toml does not exist"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        quick(**options).fit(frame())
    with pytest.raises(TypeError, match="schema must be"):
        quick(schema=3).fit(frame())


def test_rows_that_do_not_fit_are_refused_by_name(fitted: VariationalAutoencoder) -> None:
    X = frame(20)
    for rows, words in (
        (X.assign(team="d"), "'team' holds 'd' in row 0"),
        (X.drop(columns="goals"), "lacks the column 'goals'"),
        (X.assign(goals=0.5), "'goals' is of kind 'negative_binomial' and must hold a count"),
        (X.assign(height=math.inf), "'height' holds infinity"),
        (X[:0], "0 sample"),
        (np.full((2, 7), 9.0), "'team' must hold the index of a level"),
        (np.zeros((2, 3)), "X has 3 features, but .* expecting 7"),
    ):
        with pytest.raises(ValueError, match=words):
            fitted.score_samples(rows)
    lenient = clone(fitted).set_params(unknown="missing", max_steps=5).fit(frame())
    assert np.isfinite(lenient.score_samples(X.assign(team="d"))).all()
    with pytest.raises(ValueError, match="no column to model"):
        quick().fit(X[["id", "where"]])
    with pytest.raises(ValueError, match="at least 2"):
        quick().fit(X[:1])
    with pytest.raises(ValueError, match=r"no column that a model can learn from \(id: "):
        quick().fit(X[["id"]])


@pytest.mark.data
@pytest.mark.slow
def test_the_tutorial_runs(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    page = (Path(__file__).parent.parent / "docs" / "tables.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    short = code.replace("random_state=0).fit", "random_state=0, max_steps=100).fit")
    pandas.read_csv(data_dir / "tables" / "adult.csv").to_csv(tmp_path / "adult.csv", index=False)
    monkeypatch.chdir(tmp_path)
    session: dict[str, Any] = {}
    exec(short.replace("30_000", "32_000"), session)
    assert "hours-per-week" in capsys.readouterr().out
    assert not session["filled"]["occupation"].isna().any()
    assert set(session["women"]["sex"]) == {"Female"}
    assert list(session["drawn"]) == list(session["people"])


# -- synthetic rows


def test_what_is_drawn_is_judged_by_rows_trained_on_and_others(
    fitted: VariationalAutoencoder,
) -> None:
    both = pandas.concat([frame(), frame(200, seed=1)])
    found = fitted.quality(both, target="fit")
    seen = fitted.trained_on(both).sum()
    assert found.rows == {"data": seen, "synthetic": seen, "held_out": len(both) - seen}
    assert dict(zip(found.names, found.levels, strict=True)) == {
        "height": False, "team": True, "goals": False, "fee": False, "fit": True, "born": False,
        "where": True,
    }  # fmt: skip
    assert found.shape_error < 0.15
    assert found.usefulness is not None
    assert found.usefulness.measure == "AUC"
    assert found.privacy is not None
    assert found.privacy.copies == 0
    assert str(fitted.quality(both, target="fit")) == str(found)
    copies = fitted.quality(both, frame()).privacy
    assert copies is not None
    assert copies.copies == 1
    assert copies.memorised.value == pytest.approx(1)
    new = fitted.quality(frame(200, seed=1))
    assert new.privacy is None
    assert new.judged_by_new
    with pytest.raises(ValueError, match="rows that were not trained on"):
        fitted.quality(frame(200, seed=1), target="fit")


def test_holes_come_out_as_they_went_in() -> None:
    X = frame()
    X.loc[X["height"] > 175, ["team", "goals"]] = None
    model = quick(max_steps=100).fit(X)
    assert not model.sample(500).isna().any().any()
    made = model.sample(500, missing=True)
    assert (made.dtypes == X.drop(columns="id").dtypes).all()
    gone = made.isna()
    assert (gone["team"] == gone["goals"]).all()
    assert gone["team"].mean() == pytest.approx(X["team"].isna().mean(), abs=0.08)
    assert not gone["height"].any()


def test_the_shell_draws_and_judges(
    fitted: VariationalAutoencoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from nelbo.cli import main

    data, run, out = (str(tmp_path / name) for name in ("data.csv", "run", "made.parquet"))
    pandas.concat([frame(), frame(90, seed=1)]).to_csv(data, index=False)
    fitted.save(run)
    draw = ["sample", run, "-n", "90", "--quiet"]
    assert main([*draw, "--out", out, "--quality", data]) == 0
    said = capsys.readouterr().out
    assert "column shapes" in said
    assert "memorised" in said
    made = pandas.read_parquet(out)
    assert list(made) == list(frame())[1:]
    for more, words in (
        (["--target", "fit"], "--target belongs to --quality"),
        (["--quality", data, "--target", "shoe"], "'shoe' is no column"),
        (["--with-missing"], "--with-missing: no values were missing in the rows"),
    ):
        assert main([*draw, *more]) == 2
        assert words in capsys.readouterr().err
