"""A data frame <-> one array of numbers: what each column is found to be, and why."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nelbo.data import DataWarning, TableSchema
from nelbo.data.table import Constant, LeftOut, Levels, Numbers
from nelbo.data.table.schema import CLASSES
from nelbo.data.table.stream import Stream
from nelbo.likelihood.columns import KINDS, Columns

pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")

N = 400


def frame(n: int = N, seed: int = 0) -> Any:
    """A column of each kind, some of them with holes."""
    random = np.random.default_rng(seed)
    holes = random.random(n) < 0.2
    amount = np.where(random.random(n) < 0.4, 0.0, random.lognormal(5, 1, n).round(2))
    day = np.datetime64("2020-01-01")
    return pandas.DataFrame(
        {
            "key": random.permutation(n) + 1000,
            "name": [f"person {i}" for i in range(n)],
            "city": random.choice(["Rome", "Bonn", "Łódź"], n),
            "held": np.where(holes, None, random.choice(["own", "rent"], n)),
            "grade": pandas.Categorical(
                random.choice(["low", "mid", "high"], n), ["low", "mid", "high"], ordered=True
            ),
            "shop": pandas.Categorical(random.choice([3, 14, 15], n)),
            "member": random.random(n) < 0.3,
            "score": random.integers(1, 6, n),
            "visits": random.poisson(60, n),
            "spread": random.negative_binomial(3, 0.05, n),
            "amount": amount,
            "income": random.lognormal(8, 1.5, n),
            "height": np.where(holes, math.nan, random.normal(1.7, 0.1, n).round(2)),
            "change": random.standard_t(1.5, n),
            "born": day + random.integers(-9000, 0, n).astype("timedelta64[D]"),
            "seen": (day + random.integers(0, 10**6, n).astype("timedelta64[m]")).astype("M8[ns]"),
            "lasted": random.integers(1, 10**5, n).astype("timedelta64[s]"),
            "planet": "Earth",
            "empty": np.full(n, math.nan),
            "number": pandas.array(np.where(holes, None, random.integers(0, 3, n)), dtype="Int64"),
        }
    )


SCHEMA = TableSchema.infer(frame())
WANTED = {
    "key": ("left_out", "a key"),
    "name": ("left_out", "an identifier"),
    "city": ("categorical", "3 different words"),
    "held": ("categorical", "2 different words"),
    "grade": ("ordinal", "said to be ordered"),
    "shop": ("categorical", "3 categories"),
    "member": ("bernoulli", "true or false"),
    "score": ("ordinal", "5 values, whole, 1 to 5: ordered levels"),
    "visits": ("poisson", "count"),
    "spread": ("negative_binomial", "more dispersed"),
    "amount": ("hurdle_log_normal", "zeros beside positive numbers"),
    "income": ("log_normal", "positive and skewed"),
    "height": ("heteroscedastic_gaussian", "a number"),
    "change": ("student_t", "heavy tails"),
    "born": ("heteroscedastic_gaussian", "a date, in days since 1970-01-01"),
    "seen": ("heteroscedastic_gaussian", "a date"),
    "lasted": ("heteroscedastic_gaussian", "a duration, in seconds"),
    "planet": ("constant", "'Earth' in all rows"),
    "empty": ("left_out", "no value at all"),
    "number": ("ordinal", "ordered levels"),
}


@pytest.mark.parametrize("name", WANTED)
def test_the_kind_of_a_column_is_found_with_its_reason(name: str) -> None:
    kind, why = WANTED[name]
    (column,) = (column for column in SCHEMA.columns if column.name == name)
    assert column.kind == kind, column.why
    assert why in column.why
    (line,) = (line for line in str(SCHEMA).splitlines() if line.startswith(f"{name} "))
    assert kind.replace("_", " ") in line


def of_points(n: int = 3000, seed: int = 0) -> Any:
    """Numbers with points, with modes, with one mode, and amounts most of which are repeated."""
    random = np.random.default_rng(seed)
    two = np.where(random.random(n) < 0.5, random.normal(0, 1, n), random.normal(12, 2, n))
    hours = np.where(random.random(n) < 0.5, 40, random.normal(38, 12, n).clip(1, 99).round())
    return pandas.DataFrame(
        {
            "hours": hours.astype(int),
            "price": np.where(random.random(n) < 0.3, 9.99, random.normal(20, 5, n).round(2)),
            "two": two,
            "one": random.normal(size=n),
            "gain": np.where(random.random(n) < 0.9, 0, 5000 + 100 * random.integers(0, 12, n)),
        }
    )


def test_values_that_are_repeated_get_a_probability_of_their_own() -> None:
    found = {column.name: column for column in TableSchema.infer(of_points()).columns}
    for name, points, step in (("hours", [40.0], 1.0), ("price", [9.99], 0.01)):
        column = found[name]
        assert column.kind == "spike_and_slab"
        assert set(points) <= set(column.options["points"])
        assert column.options["step"] == step
        assert "points of their own" in column.why
    assert found["gain"].options["points"] == [0.0, *range(5000, 6200, 100)]
    assert found["two"].of_model == {
        "kind": "spike_and_slab", "points": [], "components": 8
    }  # fmt: skip
    assert "several modes" in found["two"].why
    assert found["one"].kind == "heteroscedastic_gaussian"
    asked = TableSchema.infer(of_points(), given={"one": "spike_and_slab"}).columns[3]
    assert asked.of_model["components"] == 8


def test_points_are_kept_in_files(tmp_path: Path) -> None:
    schema = TableSchema.infer(of_points())
    (tmp_path / "schema.toml").write_text(schema.to_toml(), encoding="utf-8")
    assert TableSchema.from_toml(tmp_path / "schema.toml") == schema
    assert TableSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_points_are_the_same_in_any_precision() -> None:
    schema = TableSchema.infer(of_points())
    x = torch.from_numpy(schema.encode(of_points()))
    likelihood = Columns((5,), [column.of_model for column in schema.columns])
    h = likelihood.at_marginals(x)
    assert h is not None
    nats = [
        head(h.to(dtype)[None]).each(x.to(dtype)).mean(0)
        for dtype, head in ((torch.float32, likelihood), (torch.float64, likelihood.double()))
    ]
    torch.testing.assert_close(nats[0].double(), nats[1], rtol=1e-4, atol=1e-4)


def in_library(X: Any, library: str) -> Any:
    if library == "pandas":
        return X
    X = X.drop(columns="shop")  # whose categories are no text
    if library == "pyarrow":
        return pyarrow.Table.from_pandas(X, preserve_index=False)
    return pytest.importorskip("polars").from_pandas(X)


@pytest.mark.parametrize("library", ["pandas", "pyarrow", "polars"])
def test_a_frame_comes_back_as_it_was(library: str) -> None:
    X = in_library(frame(), library)
    schema = TableSchema.infer(X)
    array = schema.encode(X)
    assert (array.dtype, array.shape) == (np.float64, (N, len(schema.names)))
    again = schema.decode(array, left_out=True)
    names = list(schema.names)
    if library == "pandas":
        pandas.testing.assert_frame_equal(again[names], X[names])
        assert list(again) == list(X)
    elif library == "pyarrow":
        assert again.select(names).equals(X.select(names))
        assert again.column_names == X.column_names
    else:
        assert again.select(names).equals(X.select(names))
        assert again.select(names).schema == X.select(names).schema


def test_missing_cells_are_nan_and_come_back() -> None:
    X = frame()
    array = SCHEMA.encode(X)
    gone = X[list(SCHEMA.names)].isna().to_numpy()
    assert 100 < gone.sum() < 1000
    np.testing.assert_array_equal(np.isnan(array), gone)
    all_gone = SCHEMA.decode(np.full((3, len(SCHEMA.names)), math.nan))
    assert bool(all_gone.isna().all(axis=None))


def test_numbers_are_the_values_themselves_and_levels_their_indices() -> None:
    X = frame()
    of = dict(zip(SCHEMA.names, SCHEMA.encode(X).T, strict=True))
    np.testing.assert_array_equal(of["visits"], X["visits"])
    np.testing.assert_array_equal(of["score"], X["score"] - 1)
    np.testing.assert_array_equal(of["grade"], X["grade"].cat.codes)
    np.testing.assert_array_equal(of["born"], (X["born"] - pandas.Timestamp(0)).dt.days)
    np.testing.assert_array_equal(of["lasted"], X["lasted"].dt.total_seconds())
    assert set(of["planet"]) == {0.0}
    assert SCHEMA.constants == ((SCHEMA.names.index("planet"), 0.0),)
    scaled = {name for name, yes in zip(SCHEMA.names, SCHEMA.continuous, strict=True) if yes}
    assert scaled == {"height", "change", "born", "seen", "lasted"}


def test_what_comes_out_has_the_range_and_the_rounding_of_the_data() -> None:
    values = np.zeros((2, len(SCHEMA.names)))
    for name, value in (("height", 1.23456), ("visits", 51.7), ("member", 0.7), ("score", 1e9)):
        values[0, SCHEMA.names.index(name)] = value
    values[1, SCHEMA.names.index("income")] = 1e99
    values[0, SCHEMA.names.index("seen")] = 18500.10003
    out, X = SCHEMA.decode(values), frame()
    assert out["height"][0] == pytest.approx(max(1.23, X["height"].min()), abs=0)
    assert (out["visits"][0], out["visits"].dtype) == (52, np.dtype("int64"))
    assert bool(out["member"][0])
    assert out["score"][0] == 5
    assert out["income"][1] == X["income"].max()
    assert out["seen"][0] == pandas.Timestamp("2020-08-26 02:24")


def test_the_twins_restore_a_schema(tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(SCHEMA.to_toml(), encoding="utf-8")
    for again in (
        TableSchema.from_dict(json.loads(json.dumps(SCHEMA.to_dict()))),
        TableSchema.from_toml(tmp_path / "schema.toml"),
        TableSchema.infer(frame(), given=SCHEMA.to_dict()),
    ):
        assert again == SCHEMA
        np.testing.assert_array_equal(again.encode(frame()), SCHEMA.encode(frame()))


def test_kinds_are_those_of_the_likelihood() -> None:
    assert set().union(*(one.kinds for one in CLASSES)) == {*KINDS, "constant", "left_out"}
    assert {kind["kind"] for kind in SCHEMA.kinds} <= set(KINDS)
    assert len(SCHEMA.kinds) == len(SCHEMA.names) - 1
    assert {c.kind for c in SCHEMA.columns if isinstance(c, Constant | LeftOut)} == {
        "constant",
        "left_out",
    }


# -- what is said beforehand


def test_what_is_given_takes_the_place_of_what_is_found() -> None:
    given = {
        "score": "categorical",
        "visits": "gaussian",
        "key": "gaussian",
        "change": {"kind": "student_t", "options": {"df": 2.5}},
        "city": {"kind": "ordinal", "levels": ["Bonn", "Rome", "Łódź", "Oslo"]},
        "spread": "left_out",
    }
    schema = TableSchema.infer(frame(), given=given)
    found = {column.name: column for column in schema.columns}
    assert {name: found[name].kind for name in ("score", "visits", "key", "spread")} == {
        "score": "categorical",
        "visits": "gaussian",
        "key": "gaussian",
        "spread": "left_out",
    }
    assert found["change"].of_model == {"kind": "student_t", "df": 2.5}
    assert found["city"].of_model == {"kind": "ordinal", "levels": 4}
    assert found["income"].kind == "log_normal"
    assert "spread" not in schema.names
    assert schema.left_out["spread"] == "as asked"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scoer": "ordinal"}, "column 'scoer', which X has not. Did you mean 'score'"),
        ({"score": "ordnal"}, "cannot be of kind 'ordnal'. Known: bernoulli"),
        ({"city": "gaussian"}, "holds text such as '.*', and cannot be of kind 'gaussian'"),
        ({"city": {"kind": "categorical", "lvls": []}}, "has no field 'lvls'. Known: name"),
        ({"city": {"kind": "bernoulli"}}, "needs two levels, got 3"),
        ({"column": [{"kind": "ordinal"}]}, "needs a name"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TableSchema.infer(frame(), given=given)


def test_files_that_are_no_schema_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        TableSchema.from_toml(tmp_path / "none.toml")
    path = tmp_path / "odd.toml"
    for text, words in (
        ("[[column", "not valid TOML"),
        ("library = 'pandas'", "is not whole"),
        (
            "library = 'pandas'\nmissing = []\n[[column]]\nname = 'a'\nkind = 'b'",
            "unknown kind 'b'",
        ),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            TableSchema.from_toml(path)


# -- frames that come later


def test_columns_are_matched_by_name_and_those_left_out_need_not_be_there() -> None:
    X = frame()
    wanted = SCHEMA.encode(X)
    shuffled = X[sorted(X.columns)].drop(columns=["key", "name", "empty"])
    np.testing.assert_array_equal(SCHEMA.encode(shuffled), wanted)
    table = pyarrow.Table.from_pandas(X.assign(shop=X["shop"].astype(int)), preserve_index=False)
    np.testing.assert_array_equal(SCHEMA.encode(table), wanted)


def test_text_is_read_as_the_numbers_and_dates_that_it_is() -> None:
    words = [f"{i / 2:.1f}" for i in range(40)]
    days = [f"2020-01-{i % 31 + 1:02d}" for i in range(40)]
    X = pandas.DataFrame({"a": ["NA", *words[1:]], "b": ["", *days[1:]]})
    schema = TableSchema.infer(X)
    assert [column.form for column in schema.columns] == ["number", "date"]
    array = schema.encode(X)
    np.testing.assert_array_equal(array[:2], [[math.nan, math.nan], [0.5, 18263.0]])
    pandas.testing.assert_frame_equal(schema.decode(array), X)
    codes = pandas.DataFrame({"zip": ["00501", "10001", "00501"] * 20})
    assert TableSchema.infer(codes).columns[0].kind == "categorical"


LIKE = {
    "they look like dates": ["31.01.2020", "1/31/20 9:30", "31 January 2020", "Jan 31, 2020"],
    "they look like times": ["9:30", "12:05:10", "1:15 pm"],
    "they look like numbers": ["$5", "3 %", "10.2 cm", "1'000"],
    "": ["A1 5", "2nd of May", "Rome", "5-7"],
}


@pytest.mark.parametrize("said", LIKE)
def test_text_that_looks_like_something_else_is_told_how_that_is_written(said: str) -> None:
    words = [f"{word}" for word in LIKE[said]]
    (column,) = TableSchema.infer(pandas.DataFrame({"a": words * 10})).columns
    assert column.kind == "categorical"
    assert said in column.why
    assert ("look like" in column.why) == bool(said)


def test_whole_numbers_that_float64_does_not_hold_are_names() -> None:
    ids = [2**60 + i % 3 for i in range(30)]
    X = pandas.DataFrame({"id": ids, "key": [2**60 + i for i in range(30)], "a": ["x", "y"] * 15})
    schema = TableSchema.infer(X)
    assert [column.kind for column in schema.columns] == ["categorical", "left_out", "categorical"]
    assert schema.decode(schema.encode(X))["id"].tolist() == ids
    days = pandas.DataFrame({"a": ["x", "y"] * 15, "day": [20200101 + i % 20 for i in range(30)]})
    assert "look like dates" in TableSchema.infer(days).columns[1].why


def test_words_among_many_numbers_are_no_categories() -> None:
    a = ["-" if i % 4 == 0 else str(i) for i in range(60)]
    with pytest.raises(ValueError, match=r"mixes numbers and text: row 0 .* has '-'"):
        TableSchema.infer(pandas.DataFrame({"a": a}))
    codes = [["M", "3", "5", "7"][i % 4] for i in range(60)]
    assert TableSchema.infer(pandas.DataFrame({"a": codes})).columns[0].kind == "categorical"


def test_marks_of_missing_cells_are_declared_and_come_back() -> None:
    X = pandas.DataFrame({"a": [1.25, -999.0, 3.5, 2.0] * 20, "b": [" ?", " x", " y", "x"] * 20})
    schema = TableSchema.infer(X, missing=["?", -999])
    array = schema.encode(X)
    np.testing.assert_array_equal(np.isnan(array[:4]), [[0, 1], [1, 0], [0, 0], [0, 0]])
    assert schema.decode(array)["a"].tolist() == X["a"].tolist()
    assert schema.decode(array)["b"][0] == " ?"


def test_blanks_around_a_category_do_not_tell_it_apart() -> None:
    X = pandas.DataFrame({"sex": [" Male", " Female"] * 20})
    schema = TableSchema.infer(X)
    bare = pandas.DataFrame({"sex": ["Male", "Female"] * 20})
    np.testing.assert_array_equal(schema.encode(bare), schema.encode(X))


def test_an_unseen_category_is_an_error_or_missing() -> None:
    X = frame().assign(city=["Oslo", *frame()["city"][1:]])
    with pytest.raises(ValueError, match=r"'city' holds 'Oslo' in row 0 .* 3 categories"):
        SCHEMA.encode(X)
    place = SCHEMA.names.index("city")
    assert (
        np.isnan(SCHEMA.encode(X, unknown="missing")[:, place]).tolist() == [True] + [False] * 399
    )
    with pytest.raises(ValueError, match="unknown must be"):
        SCHEMA.encode(X, unknown="ignore")  # type: ignore[arg-type]


def test_a_number_between_ordered_levels_is_read_as_the_nearest_and_told() -> None:
    X = frame().assign(score=[7, *frame()["score"][1:]])
    with pytest.warns(DataWarning, match=r"'score' holds 7 in row 0 .* read as the nearest"):
        array = SCHEMA.encode(X)
    assert array[0, SCHEMA.names.index("score")] == 4


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda X: X.drop(columns="height"), ValueError, "lacks the column 'height'"),
        (lambda X: X.rename(columns={"height": "hight"}), ValueError, "rename it to 'hight'"),
        (lambda X: X.assign(more=1), ValueError, "the column .more., which the rows"),
        (lambda X: pandas.concat([X, X[["city"]]], axis=1), ValueError, "more than one .* 'city'"),
        (lambda X: X.assign(height=math.inf), ValueError, "'height' holds infinity in row 0"),
        (lambda X: X.assign(height="tall"), ValueError, "'height' holds numbers, but row 0"),
        (lambda X: X.assign(height=X["born"]), ValueError, "holds numbers, but row 0 .*a date"),
        (lambda X: X.assign(visits=-1), ValueError, "must hold a count: .* row 0 .* holds -1"),
        (lambda X: X.assign(income=0.0), ValueError, "must hold a positive number"),
        (lambda X: X.assign(amount=-2.5), ValueError, "must hold an amount"),
        (lambda X: X.assign(planet="Mars"), ValueError, "'planet' is .Earth. in all rows"),
        (lambda X: X.assign(city=[["a"]] * N), TypeError, "'city' holds list in row 0"),
        (lambda X: X.to_numpy(), TypeError, "must be a data frame .* got ndarray"),
    ],
)  # fmt: skip
def test_a_frame_that_does_not_fit_is_refused_by_name(change: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        SCHEMA.encode(change(frame()))


def test_a_column_of_numbers_and_words_is_refused_unless_the_words_are_declared() -> None:
    X = pandas.DataFrame({"a": [1, 2.5, "none yet", 4] * 10})
    with pytest.raises(ValueError, match=r"'a' mixes numbers and text: row 2 .* 'none yet'"):
        TableSchema.infer(X)
    schema = TableSchema.infer(X, missing=["none yet"])
    assert np.isnan(schema.encode(X)[:, 0]).sum() == 10


def test_few_rows_and_none_at_all() -> None:
    X = frame()
    assert SCHEMA.encode(X[:0]).shape == (0, len(SCHEMA.names))
    assert SCHEMA.decode(SCHEMA.encode(X[:0])).shape == (0, len(SCHEMA.names))
    assert SCHEMA.encode(X[:1]).shape == (1, len(SCHEMA.names))
    one = TableSchema.infer(X[:1])
    assert {column.kind for column in one.columns} == {"constant", "left_out"}
    few = TableSchema.infer(pandas.DataFrame({"who": ["a", "b", "c"], "x": [0.5, 1.5, 2.0]}))
    assert [column.kind for column in few.columns] == ["categorical", "heteroscedastic_gaussian"]


def test_ten_thousand_levels_are_quick() -> None:
    words = np.array([f"w{i}" for i in range(10_000)])
    X = pandas.DataFrame({"word": np.random.default_rng(0).choice(words, 40_000)})
    schema = TableSchema.infer(X)
    (column,) = schema.columns
    assert isinstance(column, Levels)
    assert len(column.levels) > 9_500
    assert schema.decode(schema.encode(X)).equals(X)


def test_objects_and_times_with_zones() -> None:
    when = pandas.to_datetime(["2020-01-01 10:00", None, "2021-05-05 11:30"]).tz_localize(
        "Europe/Rome"
    )
    X = pandas.DataFrame(
        {
            "day": [datetime.date(2020, 1, 1), None, datetime.date(2021, 1, 1)],
            "when": when,
            "truth": [True, None, False],
        }
    )
    schema = TableSchema.infer(X)
    assert [column.form for column in schema.columns] == ["date", "date", "truth"]
    again = schema.decode(schema.encode(X))
    pandas.testing.assert_frame_equal(again[["when", "truth"]], X[["when", "truth"]])
    assert again["day"][0] == X["day"][0]
    assert isinstance(schema.columns[0], Numbers)


@pytest.mark.data
def test_adult_is_read_as_one_would(data_dir: Path) -> None:
    X = pandas.read_csv(data_dir / "tables" / "adult.csv")
    schema = TableSchema.infer(X)
    found = {column.name: column.kind for column in schema.columns}
    numbers = {name for name, kind in found.items() if kind == "spike_and_slab"}
    assert numbers == {name for name in X if X[name].dtype.kind == "i"}
    assert "several modes" in next(one.why for one in schema.columns if one.name == "fnlwgt")
    assert {kind for name, kind in found.items() if X[name].dtype.kind != "i"} == {"categorical"}
    array = schema.encode(X)
    np.testing.assert_array_equal(np.isnan(array).sum(0), (X == " ?").to_numpy().sum(0))
    pandas.testing.assert_frame_equal(schema.decode(array), X)


def test_a_large_file_is_read_a_part_at_a_time_as_it_is_at_once(tmp_path: Path) -> None:
    X = frame().drop(columns=["shop", "key", "name"]).assign(city=lambda X: X["city"])
    X.loc[N - 1, "city"] = "Oslo"
    X.to_parquet(tmp_path / "table.parquet", row_group_size=90)
    path = tmp_path / "table.parquet"
    stream = Stream(many=10, batch=64, seen=200)
    assert stream.is_for(path)
    assert not Stream().is_for(path)
    array, schema = stream.read(path) or pytest.fail("no table")
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, schema.encode(X), rtol=1e-6)
    (city,) = (column for column in schema.columns if column.name == "city")
    assert isinstance(city, Levels)
    assert set(city.levels) == {"Bonn", "Rome", "Łódź", "Oslo"}
    known = TableSchema.infer(X[: N - 1])
    with pytest.raises(ValueError, match="'Oslo'"):
        stream.read(path, known)
    again, _ = stream.read(path, known, "missing") or pytest.fail("no table")
    assert np.isnan(again[-1, known.names.index("city")])
