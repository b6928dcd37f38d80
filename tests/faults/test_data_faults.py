"""What comes in as data: nothing is guessed, dropped or misread in silence."""

from __future__ import annotations

import gzip
import json
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from PIL import Image
from sklearn.datasets import load_iris, load_wine
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from torch.utils import data

import nelbo
from helpers import small_estimator
from nelbo import VariationalAutoencoder
from nelbo.cli import main
from nelbo.data.read.load import load_frame

pytestmark = pytest.mark.fault

Array = np.ndarray[Any, Any]


def correlated(n: int, d: int, seed: int = 0) -> Array:
    """Columns with something in common, as rows (n, d)."""
    rng = np.random.default_rng(seed)
    return np.asarray(
        rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) + 0.5 * rng.normal(size=(n, d))
    )


def with_constant(X: Array, value: float = 5.0, place: int = 1) -> Array:
    return np.insert(X, place, value, axis=1)


# -- columns of one value
# ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 5.0, -1e9, 0.1])
def test_a_constant_column_changes_nothing_about_the_other_columns(value: float) -> None:
    X = correlated(150, 4)
    plain = small_estimator().fit(X)
    with pytest.warns(
        nelbo.DataWarning, match="Left out of the model: column 1, with one value in all rows"
    ) as caught:
        model = small_estimator().fit(with_constant(X, value))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(
        model.score_samples(with_constant(X, value)), plain.score_samples(X)
    )
    np.testing.assert_array_equal(model.transform(with_constant(X, value)), plain.transform(X))
    assert model.recipe_["left_out"]["value"] == {"column 1": value}
    assert model.n_features_in_ == 5


@pytest.mark.filterwarnings("ignore:Left out")
@pytest.mark.parametrize(
    "options",
    [{}, {"variance": 0.3}, {"variance": "learned", "scale": "standard"}, {"network": "mlp"}],
)
def test_results_hold_the_constant_and_its_noise_is_none(
    options: dict[str, Any], tmp_path: Path
) -> None:
    X = with_constant(correlated(100, 3), 7.0)
    model = small_estimator(**options).fit(X)
    for rows in (
        model.sample(5),
        model.reconstruct(X, noise=True),
        model.inverse_transform(model.transform(X)),
    ):
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
        with pytest.warns(
            nelbo.DataWarning,
            match=r"X holds in unit another value.*first 6 in row 3 .*2 of 100 rows",
        ):
            found = judge(odd)
        assert np.flatnonzero(~np.isfinite(found)).tolist() == [3, 8]
        assert (found[[3, 8]] == -math.inf).all()
    np.testing.assert_array_equal(model.score_samples(frame.astype(np.float32)) > -math.inf, True)
    with pytest.raises(ValueError, match=r"leaves unit out.*warm_start=False"):
        model.set_params(warm_start=True).fit(odd)


def test_columns_of_zeros_and_ones_keep_their_probability_where_the_likelihood_is_one() -> None:
    """A value that was never seen has a probability under a Bernoulli likelihood,
    small as it may be.
    """
    X = with_constant((correlated(100, 3) > 0).astype(float), 0.0)
    model = small_estimator(likelihood="bernoulli").fit(X)
    X[0, 1] = 1.0
    assert np.isfinite(model.score_samples(X)).all()


def test_the_shell_counts_impossible_rows_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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


# -- units
# -------------------------------------------------------------------------------------------


def ages() -> Array:
    rng = np.random.default_rng(3)
    return np.stack(
        [rng.integers(18, 90, 200), rng.integers(0, 250, 200), rng.integers(100, 200, 200)], axis=1
    )


@pytest.mark.parametrize("frame", [True, False])
def test_a_table_of_bytes_means_the_same_as_its_numbers(frame: bool) -> None:
    X = ages()
    make = (
        (lambda rows: pd.DataFrame(rows, columns=["age", "dose", "weight"]))
        if frame
        else (lambda rows: rows)
    )
    as_bytes, as_floats = (
        small_estimator().fit(make(X.astype(np.uint8))),
        small_estimator().fit(make(X.astype(float))),
    )
    assert as_bytes.recipe_["dequantize"]["value"] is False
    for rows in (X.astype(np.uint8), X.astype(np.int64), X.astype(float)):
        np.testing.assert_allclose(
            as_bytes.score_samples(make(rows)), as_floats.score_samples(make(rows)), atol=1e-3
        )
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
    with pytest.warns(
        nelbo.DataWarning, match=r"training data: b is .*most rows have values more than 300 times"
    ):
        model.transform(pd.DataFrame(X * [1, 1000, 1, 1], columns=list("abcd")))


def test_pictures_of_a_tiny_fraction_of_the_range_are_told() -> None:
    X = np.random.default_rng(0).integers(0, 256, (40, 4, 4)).astype(float)
    model = small_estimator().fit(X)
    with pytest.warns(
        nelbo.DataWarning, match=r"its largest value is 1, where these went from 0 to 255"
    ):
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


# -- what is no array
# --------------------------------------------------------------------------------

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
    "DataLoader": lambda: data.DataLoader(
        data.TensorDataset(ROWS), batch_size=7, shuffle=True, drop_last=True
    ),
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
        small_estimator().fit(loader).score_samples(loader),
        small_estimator().fit(ROWS).score_samples(ROWS),
    )


ENDLESS: dict[str, tuple[Callable[[], Any], str]] = {
    "Dataset without length": (
        Drawn,
        r"Drawn of no known length.*np\.stack\(\[row for row, _ in zip\(X, range",
    ),
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
    assert torch.cat([batch[0] for batch in data.DataLoader(Pairs(), batch_size=3)]).shape == (
        40,
        4,
    )


@pytest.mark.filterwarnings("ignore::nelbo.DataWarning")
def test_one_hot_columns_come_out_of_a_pipeline_as_they_are() -> None:
    words = np.random.default_rng(0).choice(["a", "b", "c"], (100, 2))
    pipeline = make_pipeline(OneHotEncoder(), small_estimator()).fit(words)
    assert np.isfinite(pipeline.score_samples(words)).all()


def test_sparse_data_beyond_a_stated_size_are_refused_with_a_step_that_helps() -> None:
    X = scipy.sparse.coo_array((10**6, 1000))
    with pytest.raises(
        ValueError, match=r"7\.5 GiB as a dense array; up to 1 GiB.*TruncatedSVD\(100\)"
    ):
        small_estimator().fit(X)


# -- files of text
# -----------------------------------------------------------------------------------

TABLE = correlated(30, 3).round(4)
FRAME = pd.DataFrame(TABLE, columns=["a", "b", "c"])


def told(path: Path, **options: Any) -> tuple[nelbo.data.Source, list[str]]:
    """What was read, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = nelbo.data.load(path, **options)
    assert {warning.filename for warning in caught} <= {__file__}
    assert {str(warning.message) for warning in caught} <= set(source.notes)
    return source, [str(warning.message) for warning in caught]


SHUFFLED = FRAME.sample(frac=1, random_state=0)
INDEXED: dict[str, tuple[str, Array]] = {
    "pandas after a split": (SHUFFLED.to_csv(), SHUFFLED.to_numpy()),
    "pandas, read and written again": (
        SHUFFLED.reset_index().to_csv(),
        np.c_[SHUFFLED.index, SHUFFLED],
    ),
    "from 1, as R writes": (FRAME.set_axis(range(1, 31)).to_csv(), TABLE),
    "strings of numbers": (
        '"","a","b"\n"1",1.5,2\n"2",2.5,3\n"10",3,4\n',
        np.array([[1.5, 2], [2.5, 3], [3, 4]]),
    ),
    "names of rows": ('"","a"\n"Mazda RX4",1.5\n"Datsun 710",2.5\n', np.array([[1.5], [2.5]])),
    "R's line of names, one less": (
        '"a","b"\n"1",1.5,2\n"2",2.5,3\n',
        np.array([[1.5, 2], [2.5, 3]]),
    ),
    "dates": (FRAME.set_axis(pd.date_range("2020-01-01", periods=30)).to_csv(), TABLE),
    "Unnamed: 0": (
        SHUFFLED.rename_axis("Unnamed: 0").reset_index().to_csv(index=False),
        SHUFFLED.to_numpy(),
    ),
    "Unnamed: 0, indexed": (
        SHUFFLED.rename_axis("Unnamed: 0").reset_index().to_csv(),
        SHUFFLED.to_numpy(),
    ),
}


@pytest.mark.parametrize("name", INDEXED)
def test_a_first_column_without_name_that_numbers_the_rows_is_left_out_and_told(
    name: str, tmp_path: Path
) -> None:
    text, expected = INDEXED[name]
    (tmp_path / "t.csv").write_text(text)
    source, warned = told(tmp_path / "t.csv")
    np.testing.assert_allclose(source.array, expected)
    assert source.columns is not None
    assert "left out its first column, which has no name" in warned[0]


def test_which_column_is_left_out_can_be_said(tmp_path: Path) -> None:
    SHUFFLED.to_csv(tmp_path / "t.csv")
    kept, warned = told(tmp_path / "t.csv", index_column="none")
    assert (kept.array.shape, warned) == ((30, 4), [])
    for asked in ("b", 2, "2"):
        source, warned = told(tmp_path / "t.csv", index_column=asked)
        assert (source.columns, warned) == (("column 0", "a", "c"), [])
    with pytest.raises(
        ValueError, match=r"no column 'z' to leave out. Pass one of 0 to 3, or '', 'a', 'b' and 'c'"
    ):
        nelbo.data.load(tmp_path / "t.csv", index_column="z")
    FRAME.assign(id=range(1, 31)).to_csv(tmp_path / "u.csv", index=False)
    source, warned = told(tmp_path / "u.csv")
    assert source.array.shape == (30, 4)
    assert "column 'id' numbers the rows; index_column='id' leaves it out" in warned[0]
    FRAME.set_axis(range(5, 35)).rename_axis("k").to_parquet(tmp_path / "t.parquet")
    assert nelbo.data.load(tmp_path / "t.parquet").columns == ("a", "b", "c")
    pd.concat([FRAME, FRAME]).to_csv(tmp_path / "v.csv")
    source, warned = told(tmp_path / "v.csv")
    assert source.array.shape == (60, 4)
    assert "kept its first column, which has no name but does not number the rows" in warned[0]


def spectra(names: str, rows: int = 20) -> str:
    values = np.random.default_rng(0).random((rows, names.count(",") + 1)).round(3)
    return names + "\n" + "\n".join(",".join(map(str, row)) for row in values) + "\n"


NUMBERED = ["400,402,404", "400,450,500,620", "1990,1991,1992,1993", "1,2,3,4", "404,402,400"]


@pytest.mark.parametrize("names", NUMBERED)
@pytest.mark.parametrize("rows", [3, 20])
def test_numbers_in_the_first_line_that_are_no_row_are_names(
    names: str, rows: int, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(spectra(names, rows))
    source, warned = told(tmp_path / "t.csv")
    assert source.columns == tuple(names.split(","))
    assert len(source.array) == rows
    assert "is taken for names; where it is a row, say header=False" in warned[0]
    assert told(tmp_path / "t.csv", header=False)[0].array.shape[0] == rows + 1


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3\n4,5,6\n7,8,9\n",
        "1,2,3\n3,1,2\n4,1,5\n2,2,2\n0,3,1\n",
        "0.1,0.2,0.3\n0.5,0.1,0.9\n0.2,0.2,0.8\n",
        "1,2\n3,4\n",
        "10,20,30\n11.5,20.5,31.5\n12.1,22.1,33.1\n",
    ],
)
def test_rows_of_numbers_stay_rows(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    source, warned = told(tmp_path / "t.csv")
    assert (source.columns, len(source.array), warned) == (None, text.count("\n"), [])
    assert told(tmp_path / "t.csv", header=True)[0].columns == tuple(
        text.split("\n", maxsplit=1)[0].split(",")
    )


CELLS: dict[str, tuple[str, list[list[float]], str]] = {
    "a mark after a blank": ("a,b\n1, ?\n2,3\n", [[1, math.nan], [2, 3]], ""),
    "True and False": (
        "a,b\nTrue,1\nFalse,2\n",
        [[1, 1], [0, 2]],
        "True and False are read as 1 and 0 in column 'a'",
    ),
    "TRUE and missing": (
        '"a","b"\nTRUE,1\nNA,2\n',
        [[1, 1], [math.nan, 2]],
        "True and False are read",
    ),
    "thousands": (
        'a,b\n"1,234",1\n"12,345.5",2\n',
        [[1234, 1], [12345.5, 2]],
        "commas separate thousands in column 'a'",
    ),
    "decimal commas": (
        "a;b\n1,5;2\n2,25;3\n",
        [[1.5, 2], [2.25, 3]],
        "commas are decimal points in column 'a'",
    ),
    "decimal commas, no names": (
        "1,5;2\n2,25;3\n",
        [[1.5, 2], [2.25, 3]],
        "commas are decimal points in column 0",
    ),
    "blanks between thousands": (
        "a;b\n1 234,5;1\n12;2\n",
        [[1234.5, 1], [12, 2]],
        "blanks separate thousands in column 'a'",
    ),
    "apostrophes": (
        "a,b\n1'234.5,1\n-2'345'678,2\n",
        [[1234.5, 1], [-2345678, 2]],
        "apostrophes separate thousands in column 'a'",
    ),
    "dots between thousands": (
        "a;b\n1.234,5;1\n12,25;2\n1.000.000,0;3\n",
        [[1234.5, 1], [12.25, 2], [1e6, 3]],
        "dots separate thousands in column 'a'",
    ),
    "decimal points are no thousands": ("a;b\n1.234;1\n2.5;2\n", [[1.234, 1], [2.5, 2]], ""),
    "percent": (
        "a,b\n12.5%,1\n-3 %,2\n",
        [[12.5, 1], [-3, 2]],
        "percent signs are left out in column 'a'",
    ),
    "money": (
        'a,b\n"$1,234.50",1\n-$2,2\n($3),3\n',
        [[1234.5, 1], [-2, 2], [-3, 3]],
        "numbers in parentheses are negative in column 'a'",
    ),
    "euros": ("a;b\n1,5 €;1\n2 €;2\n", [[1.5, 1], [2, 2]], "€ is left out in column 'a'"),
    "a minus of printers": ("a,b\n−1,1\n3,2\n", [[-1, 1], [3, 2]], ""),
    "comments": (
        "# by x\n# on y\na,b\n1,2\n# late\n3,4\n",
        [[1, 2], [3, 4]],
        "comments, marked by #, are left out",
    ),
    "names in a comment": (
        "# a,b\n1,2\n3,4\n",
        [[1, 2], [3, 4]],
        "the comment above the first row names the columns",
    ),
    "blanks": ("1.5   2\n3 4\n", [[1.5, 2], [3, 4]], "fields are separated by blanks"),
    "bars": ("a|b\n1|2\n3|4\n", [[1, 2], [3, 4]], "fields are separated by '|'"),
}


@pytest.mark.parametrize("name", CELLS)
def test_cells_are_read_as_people_write_them_and_what_was_decided_is_noted(
    name: str, tmp_path: Path
) -> None:
    text, expected, note = CELLS[name]
    (tmp_path / "t.csv").write_text(text)
    source, warned = told(tmp_path / "t.csv")
    np.testing.assert_array_equal(source.array, expected)
    assert any(note in line for line in source.notes) or not note
    assert warned == []


BROKEN: dict[str, tuple[bytes, str]] = {
    "Latin-1": ("größe,b\n1,2\n".encode("latin-1"), "line 1 holds the byte 0xF6, which is 'ö' in"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), r"is UTF-16 text, not UTF-8\. Save it as UTF-8"),
    "no BOM": ("a,b\n1,2\n".encode("utf-16-le"), "holds a zero byte in line 1"),
    "gzip": (gzip.compress(b"a,b\n1,2\n"), r"is packed by gzip.* Let it end in \.csv\.gz"),
    "Excel": (b"PK\x03\x04\xff\xff", "is a workbook or a zip archive, not text. Save the table as"),
    "a long cell": (b"a,b\n" + b"x" * 140_000 + b",1\n", "more than 131,072 characters in line 2"),
    "an open quote": (b'a,b\n1,2\n3,"4\n5,6\n', "not closed|is not of numbers"),
    "ragged": (b"a,b\nx,2\n3,4\n3,4,5\n", "has 3 fields in line 4, but 2 in its first"),
    "a title": (b"Our data\n\na,b,c\n1,2,3\n", "has 3 fields in line 3.* Delete titles above"),
    "one in ten": (b"a,b\n" + b"1%,2\n" * 9 + b"1,3\n", "'a' is not of numbers: line 2 has '1%'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_tables_are_named_with_the_cure(name: str, tmp_path: Path) -> None:
    data, said = BROKEN[name]
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(ValueError, match=said):
        nelbo.data.load(tmp_path / "t.csv")


def test_digits_that_are_names_stay_as_they_are(tmp_path: Path) -> None:
    rows = [f"x{i % 3},{i * 377:05d},{2**53 + 2 * i + 1},{i:02d}" for i in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["t,zip,id,day", *rows]))
    found = load_frame(tmp_path / "t.csv")
    assert found is not None
    frame, notes = found
    assert frame["zip"].to_pylist()[1] == "00377"
    assert frame["id"].to_pylist()[0] == str(2**53 + 1)
    assert frame["day"].to_pylist() == [*range(30)]
    assert "digits with zeros before them, such as 00000, are kept as text" in " ".join(notes)
    assert "whole numbers beyond 2^53" in " ".join(notes)
    (tmp_path / "n.csv").write_text(f"a,b\n1,{2**53 + 1}\n3,4\n")
    assert "which are rounded" in " ".join(told(tmp_path / "n.csv")[1])


def test_a_schema_says_whether_some_words_are_missing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\nx,1\nn/a,n/a\ny,3\n")
    found = load_frame(tmp_path / "t.csv")
    assert found is not None
    assert found[0]["a"].to_pylist() == ["x", "n/a", "y"]  # older ones have it as a category
    assert found[0]["b"].to_pylist() == [1, None, 3]
    encoded = nelbo.data.TableSchema.infer(found[0]).encode(found[0])
    assert np.isnan(encoded[1]).all()
    said = load_frame(tmp_path / "t.csv", missing="n/a")
    assert said is not None
    assert said[0]["a"].to_pylist() == ["x", None, "y"]


def test_words_that_occur_again_are_no_names_of_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("cat,red\ndog,blue\ncat,blue\n")
    found = load_frame(tmp_path / "t.csv")
    assert found is not None
    assert (found[0].num_rows, found[0].column_names) == (3, ["column 0", "column 1"])


def test_packed_files_are_read(tmp_path: Path) -> None:
    for suffix in ("gz", "bz2", "xz"):
        FRAME.to_csv(tmp_path / f"t.csv.{suffix}", index=False)
        source = nelbo.data.load(tmp_path / f"t.csv.{suffix}")
        np.testing.assert_array_equal(source.array, TABLE)
        assert (source.name, source.columns) == ("t", ("a", "b", "c"))
    whole = (tmp_path / "t.csv.gz").read_bytes()
    (tmp_path / "t.csv.gz").write_bytes(whole[:60])
    with pytest.raises(ValueError, match=r"t\.csv\.gz cannot be (unpacked|read)"):
        nelbo.data.load(tmp_path / "t.csv.gz")


def test_lines_of_any_length_are_read(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).normal(size=(3, 20_000))
    for names in (None, [f"pixel{j:05d}" for j in range(20_000)]):
        pd.DataFrame(wide, columns=names).to_csv(
            tmp_path / "t.csv", index=False, header=names is not None
        )
        assert (tmp_path / "t.csv").read_text().index("\n") > 131_072
        np.testing.assert_array_equal(nelbo.data.load(tmp_path / "t.csv").array, wide)


def test_delimiter_and_marks_of_missing_cells_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a:b\n1:-999\n3:unknown\n")
    source = nelbo.data.load(tmp_path / "t.csv", delimiter=":", missing=["-999", "unknown"])
    np.testing.assert_array_equal(source.array, [[1, math.nan], [3, math.nan]])
    with pytest.raises(ValueError, match=r"line 3 has 'unknown'.*missing='unknown'"):
        nelbo.data.load(tmp_path / "t.csv", delimiter=":", missing="-999")
    with pytest.raises(ValueError, match="delimiter must be one character"):
        nelbo.data.load(tmp_path / "t.csv", delimiter="::")
    np.save(tmp_path / "t.npy", TABLE)
    with pytest.raises(ValueError, match=r"header is not for .*a \.npy file"):
        nelbo.data.load(tmp_path / "t.npy", header=True)


def test_text_without_a_line_of_names_is_told_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("5.1,3.5,setosa\n4.9,3.0,setosa\n")
    with pytest.raises(ValueError, match="column 2 is not of numbers: line 1 has 'setosa'"):
        nelbo.data.load(tmp_path / "t.csv")


QUICK = ["--max-steps", "20", "--hidden", "8", "--latent-dim", "2", "--no-report"]


# a picture of one far row
@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning")
def test_the_shell_tells_what_was_decided_about_a_file_and_takes_other_orders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_, run = str(tmp_path / "t.csv"), str(tmp_path / "run")
    SHUFFLED.to_csv(data_)
    assert main(["fit", data_, "--out", run, *QUICK]) == 0
    shown = capsys.readouterr()
    note = (
        f"{data_}: left out its first column, which has no name and numbers the rows; "
        "--index-column none keeps it."
    )
    assert f"nelbo: {note}\n" in shown.err
    assert note in shown.out
    assert note in json.loads((tmp_path / "run" / "results.json").read_text())["warnings"]
    assert "Warning" not in shown.err
    for command in ("score", "encode", "reconstruct", "evaluate"):
        assert main([command, run, data_]) == 0
        assert f"nelbo: {note}\n" in capsys.readouterr().err
        assert main([command, run, data_, "--index-column", "none"]) == 2
        assert "X has" in capsys.readouterr().err
    assert main(["diagnose", run, data_, "--index-column", "0"]) == 0
    assert "left out" not in capsys.readouterr().err
    assert (
        main(["fit", data_, "--out", str(tmp_path / "all"), "--index-column", "none", *QUICK]) == 0
    )
    results = json.loads((tmp_path / "all" / "results.json").read_text())
    assert results["shape"] == [4]
    assert 'index_column = "none"' in (tmp_path / "all" / "run.toml").read_text()
    (tmp_path / "u.csv").write_text(spectra("400,402,404"))
    for flags, columns in ((["--header"], ["400", "402", "404"]), (["--no-header"], None)):
        assert (
            main(["fit", str(tmp_path / "u.csv"), "--out", run, "--overwrite", *flags, *QUICK]) == 0
        )
        assert (
            json.loads((tmp_path / "run" / "config.json").read_text())["schema"]["columns"]
            == columns
        )


def test_names_with_blanks_around_them_are_the_same_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(FRAME.to_csv(index=False).replace("a,b,c", "a, b, c"))
    spaced, run = pd.read_csv(tmp_path / "t.csv"), str(tmp_path / "run")
    assert list(spaced.columns) == ["a", " b", " c"]
    model = small_estimator().fit(spaced)
    model.score(spaced.rename(columns=str.strip))
    model.save(run)
    assert main(["evaluate", run, str(tmp_path / "t.csv")]) == 0
    assert main(["fit", str(tmp_path / "t.csv"), "--out", run, "--overwrite", *QUICK]) == 0
    VariationalAutoencoder.load(run).score(spaced)
    with pytest.raises(ValueError, match="feature names"):
        model.score(spaced[["a", " c", " b"]])


# -- pictures
# ----------------------------------------------------------------------------------------


def deep_png(values: Array) -> bytes:
    """A PNG of 16 bits of (h, w, c) values: grey, grey and alpha, colours, colours and alpha."""
    height, width, channels = values.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_of_16_bits_keep_both_bytes(channels: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, channels)).astype(np.uint16)
    # dark: nothing in the high byte
    values[0] = np.random.default_rng(1).integers(0, 256, (7, channels))
    if channels in (2, 4):
        values[..., -1] = 65535
    (tmp_path / "a.png").write_bytes(deep_png(values))
    found = nelbo.data.load(tmp_path).array
    assert found.dtype == np.uint16
    expected = values[..., :-1] if channels in (2, 4) else values
    np.testing.assert_array_equal(found[0], expected[..., 0] if channels < 3 else expected)


def test_a_tiff_of_16_bits_keeps_both_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (4, 6, 3)).astype("<u2")
    pixels = values.tobytes()
    tags = [
        (256, 6),
        (257, 4),
        (258, 8),
        (259, 1),
        (262, 2),
        (273, 200),
        (277, 3),
        (278, 4),
        (279, len(pixels)),
    ]
    entries = [
        struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, v)
        for tag, v in tags
    ]
    entries[2] = struct.pack("<HHII", 258, 3, 3, 150)  # three numbers of 16 bits, which lie at 150
    head = (
        b"II*\0"
        + struct.pack("<I", 8)
        + struct.pack("<H", len(tags))
        + b"".join(entries)
        + b"\0\0\0\0"
    )
    body = bytearray(head.ljust(200, b"\0"))
    body[150:156] = struct.pack("<HHH", 16, 16, 16)
    (tmp_path / "a.tif").write_bytes(bytes(body) + pixels)
    np.testing.assert_array_equal(nelbo.data.load(tmp_path).array[0], values)


def save(path: Path, *shape: int) -> Array:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_pictures_in_folders_of_classes_are_read_with_those_beside_them(tmp_path: Path) -> None:
    places = ["a/1.png", "a/2.png", "b/deep/3.png", "beside.png"]
    pixels = [save(tmp_path / place, 4, 5) for place in places]
    save(tmp_path / ".thumbnails/x.png", 9, 9)
    (tmp_path / "notes.txt").write_text("no picture")
    source, _ = told(tmp_path)
    assert source.files == tuple(places)
    np.testing.assert_array_equal(source.array, pixels)
    assert any(
        "folders a (2) and b/deep (1), and 1 beside them, are read as one set" in note
        for note in source.notes
    )
    assert any("left out what is not a picture: notes.txt" in note for note in source.notes)


def test_pictures_of_several_sizes_are_brought_to_one_where_that_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    for i in range(12):
        save(folder / f"{i:02d}.png", 6 + i % 2, 8)
    with pytest.raises(
        ValueError, match=r"7 high by 8 wide.*resize=\(6, 8\) brings them to one size"
    ):
        nelbo.data.load(folder)
    assert nelbo.data.load(folder, resize=(3, 4)).array.shape == (12, 3, 4)
    flat = nelbo.data.load(folder, resize=(6, 8)).array
    np.testing.assert_array_equal(flat[0], np.asarray(Image.open(folder / "00.png")))
    run = str(tmp_path / "run")
    assert main(["fit", str(folder), "--out", run, *QUICK]) == 2
    assert "--resize" in capsys.readouterr().err
    assert main(["fit", str(folder), "--out", run, "--resize", "6x8", *QUICK]) == 0
    assert (
        main(["score", run, str(folder), "--resize", "6x8", "--out", str(tmp_path / "s.csv")]) == 0
    )
    assert pd.read_csv(tmp_path / "s.csv")["file"].tolist() == [f"{i:02d}.png" for i in range(12)]


def test_a_folder_named_like_built_in_data_is_read_where_it_holds_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        save(tmp_path / "digits" / f"{i}.png", 4, 4)
    with pytest.warns(
        nelbo.DataWarning, match=r"'digits' is the folder .*digits, not the built-in data set"
    ):
        assert nelbo.data.load("digits").array.shape == (3, 4, 4)
    for path in (tmp_path / "digits").iterdir():
        path.unlink()
    with pytest.warns(nelbo.DataWarning, match="'digits' is the built-in data set; what lies at"):
        assert nelbo.data.load("digits").array.shape == (1797, 8, 8)


# -- columns of which a density says less than it seems
# ----------------------------------------------


def said(X: Any, **options: Any) -> tuple[VariationalAutoencoder, list[str]]:
    """A model, and what `fit` warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = small_estimator(**({"max_steps": 200} | options)).fit(X)
    assert {warning.filename for warning in caught} <= {__file__}
    assert {warning.category for warning in caught} <= {nelbo.DataWarning}
    assert all("\n" not in str(warning.message) for warning in caught)
    return model, [str(warning.message) for warning in caught]


def named(**columns: Array) -> pd.DataFrame:
    return pd.DataFrame({name: values.astype(float) for name, values in columns.items()})


def normals(n: int = 300) -> Array:
    return np.random.default_rng(5).normal(size=(n, 6))


def computed(kind: str) -> tuple[pd.DataFrame, set[str]]:
    """A table with columns that follow from others, and which these are."""
    x = normals()
    base = named(p=x[:, 0], q=x[:, 1] * 1e4, r=x[:, 2] + 7, s=x[:, 3])
    if kind == "twin":
        return base.assign(t=base["q"]), {"q", "t"}
    if kind == "other unit":
        return base.assign(t=base["q"] * 2.54 - 3), {"q", "t"}
    if kind == "total":
        return base.assign(t=base["p"] + base["r"] + base["s"]), {"p", "r", "s", "t"}
    groups = pd.get_dummies(
        pd.Series(np.random.default_rng(0).integers(0, 3, 300)), prefix="g"
    ).astype(float)
    return pd.concat([base, groups], axis=1), {"g_0", "g_1", "g_2"}


@pytest.mark.parametrize(
    "options", [{}, {"variance": "heteroscedastic", "scale": "standard"}, {"network": "linear"}]
)
@pytest.mark.parametrize("kind", ["twin", "other unit", "total", "one-hot"])
def test_columns_computed_from_others_are_named(kind: str, options: dict[str, Any]) -> None:
    frame, columns = computed(kind)
    model, warned = said(frame, **options)
    assert set(model.recipe_["dependent_columns"]["value"]) == columns
    text = next(line for line in warned if "Computed from others" in line)
    assert all(name in text for name in columns)
    assert "raises log p(x) as far as the floor of the noise allows. Drop one" in text


def test_columns_that_follow_from_others_in_a_curve_are_named_where_noise_reaches_its_floor() -> (
    None
):
    x = normals(400)
    frame = named(p=x[:, 0], q=x[:, 1], r=np.exp(x[:, 0]))
    _, warned = said(frame, max_steps=600, hidden=(64,))
    assert any("reached its floor" in line and " r" in line for line in warned)


def test_ordinary_tables_say_nothing() -> None:
    for X in (normals(), correlated(200, 5), load_wine().data, load_iris().data):
        model, warned = said(X)
        assert warned == []
        assert not {"few_values", "repeated_values", "dependent_columns", "far_cells"} & set(
            model.recipe_
        )


def test_a_cell_that_makes_most_of_a_columns_variance_is_named_by_row_and_column() -> None:
    x = normals()
    frame = named(p=x[:, 0], q=x[:, 1], r=x[:, 2])
    frame.loc[17, "q"] = 999_999
    model, warned = said(frame)
    assert warned[0].startswith("Far from all others: 999999 in q, row 17 (rows count from 0).")
    assert model.recipe_["far_cells"]["value"] == ["999999 in q, row 17"]
    frame.loc[::40, "q"] = -999.0  # a mark of missing cells, in several rows
    frame.loc[17, "q"] = 0.0
    assert "-999 in q, row 0 and 7 more" in said(frame)[1][0]
    array = x.copy()
    array[4, 5] = 1e7
    assert "column 5, row 4" in said(array)[1][0]


def test_columns_of_few_values_are_named_with_what_the_score_means(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.concat(
        [
            named(
                p=normals()[:, 0],
                q=normals()[:, 1],
                flag=rng.random(300) < 0.2,
                grade=rng.integers(1, 6, 300),
            ),
            pd.get_dummies(pd.Series(rng.integers(0, 4, 300)), prefix="kind").astype(float),
        ],
        axis=1,
    )
    model, warned = said(frame)
    assert len(warned) == 1
    assert "flag, grade, kind_0, kind_1, kind_2 and 1 more take few values" in warned[0]
    assert "neither a probability nor what continuous data would score" in warned[0]
    assert "likelihood='discretized_gaussian'" in warned[0]
    assert len(model.recipe_["few_values"]["value"]) == 6
    model.save(tmp_path / "run")
    assert VariationalAutoencoder.load(tmp_path / "run").recipe_ == model.recipe_
    discrete = frame.loc[:, "flag":]  # type: ignore[misc]
    for options in ({"likelihood": "discretized_gaussian"}, {"variance": 0.1}):
        assert not any("few values" in line for line in said(discrete, **options)[1])
    flags = discrete.drop(columns="grade")
    assert said(flags, likelihood="bernoulli")[1] == []


def test_values_that_repeat_a_lot_are_named_with_the_remedy() -> None:
    x = normals(1000)
    spiked = np.where(np.random.default_rng(0).random(1000) < 0.4, 0.0, x[:, 1])
    frame = named(p=x[:, 0], spiked=spiked, rounded=x[:, 2].round(1), fine=x[:, 3].round(3))
    model, warned = said(frame)
    assert model.recipe_["repeated_values"]["value"] == ["spiked", "rounded"]
    assert "spiked and rounded repeat values a lot" in warned[0]
    assert "add uniform noise as wide as a column's step before fit" in warned[0]


def test_the_shell_tells_of_such_columns_in_its_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = named(p=normals()[:, 0], flag=normals()[:, 1] > 1, q=normals()[:, 2])
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert main(["fit", str(tmp_path / "t.csv"), "--out", str(tmp_path / "run"), *QUICK]) == 0
    shown = capsys.readouterr()
    for text in (shown.err, shown.out):
        assert "flag takes few values" in text
        assert "--likelihood discretized_gaussian" in text
        assert "DataWarning" not in text
    assert any(
        "flag takes few" in t
        for t in json.loads((tmp_path / "run" / "results.json").read_text())["warnings"]
    )
