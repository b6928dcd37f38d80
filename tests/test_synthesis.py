"""How synthetic tables are judged: exact values first, then what is true of tables known to be good
or bad.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nelbo import VariationalAutoencoder
from nelbo.cli import main
from nelbo.synthesis import (
    Tables,
    contingency,
    correlation,
    kolmogorov_smirnov,
    privacy,
    quality,
    shapes,
    total_variation,
    trends,
    usefulness,
)

Array = npt.NDArray[np.float64]
NAMES = ("height", "weight", "city", "smoker")
LEVELS = (False, False, True, True)


def rows(n: int, seed: int) -> Array:
    """Height and weight in normal units, one of five cities, and smoking, which depends on all."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(n, 2))
    city = random.choice(5, n, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    smoker = random.random(n) < 1 / (1 + np.exp(-2 * z[:, 0] - city + 1))
    return np.column_stack([z[:, 0], z @ [0.8, 0.6], city, smoker])


def tables(synthetic: Array, **options: Any) -> Tables:
    return Tables.of(rows(2000, 0), synthetic, rows(1000, 1), NAMES, LEVELS, **options)


def column(*values: float) -> Array:
    return np.array(values)


# -- measures --------------------------------------------------------------------------------------


def test_the_kolmogorov_smirnov_distance_is_the_greatest_of_distribution_functions() -> None:
    a, b = column(1, 2, 2, 4), column(2, 3, 4, 4, 5)
    at = np.arange(7)
    expected = max(abs((a <= x).mean() - (b <= x).mean()) for x in at)
    assert kolmogorov_smirnov(a, b) == pytest.approx(expected) == pytest.approx(0.55)
    assert kolmogorov_smirnov(a, a[::-1]) == 0
    assert kolmogorov_smirnov(a, a + 10) == 1
    assert kolmogorov_smirnov(np.append(a, math.nan), b) == pytest.approx(0.55)
    assert math.isnan(kolmogorov_smirnov(column(math.nan), b))


def test_total_variation_is_half_the_sum_of_differences_of_shares() -> None:
    a, b = column(0, 0, 1, 2), column(0, 1, 1, 1, 3)
    assert total_variation(a, b) == pytest.approx((0.3 + 0.35 + 0.25 + 0.2) / 2)
    assert total_variation(a, np.repeat(a, 3)) == 0
    assert total_variation(column(0, math.nan), column(1)) == 1


def test_a_pair_of_numbers_is_compared_by_its_correlation() -> None:
    a, b = rows(300, 0)[:, :2], rows(200, 1)[:, :2]
    r, s = (np.corrcoef(x.T)[0, 1] for x in (a, b))
    assert correlation(a, b) == pytest.approx(abs(r - s) / 2, abs=1e-14)
    assert correlation(a, a * [1, -1]) == pytest.approx(abs(r))
    assert math.isnan(correlation(a, a * [1, 0]))
    holes = np.vstack([a, [5, math.nan]])
    assert correlation(holes, a) == pytest.approx(0, abs=1e-14)


def test_a_pair_of_levels_is_compared_by_its_contingency_table() -> None:
    a, b = rows(300, 0)[:, 2:], rows(200, 1)[:, 2:]
    shares = [
        np.array([[(x == (i, j)).all(1).mean() for j in (0, 1)] for i in range(5)]) for x in (a, b)
    ]
    assert contingency(a, b) == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)
    equal = np.repeat(np.arange(4.0), 100)
    pair, apart = (
        np.column_stack([equal, equal]),
        np.column_stack([equal, np.tile(np.arange(4), 100)]),
    )
    assert contingency(pair, apart) == pytest.approx(3 / 4)


def test_a_number_beside_levels_is_put_into_bins_of_the_data() -> None:
    data = np.column_stack([np.arange(100.0), np.arange(100) % 2])
    made = data + [0.05, 0.0]  # within the same ten bins
    assert contingency(data, made, (False, True)) == 0
    assert contingency(data, data + [10, 0], (False, True)) == pytest.approx(0.1)


# -- whole tables ----------------------------------------------------------------------------------


def test_a_table_that_is_the_data_has_no_error_and_fresh_rows_a_small_one() -> None:
    same = tables(rows(2000, 0))
    assert not shapes(same).any()
    assert not np.nan_to_num(trends(same)).any()
    fresh = quality(tables(rows(400, 2)))
    assert 0 < fresh.shape_error < 0.05
    assert 0 < fresh.trend_error < 0.12
    assert fresh.two_sample is not None
    assert fresh.two_sample.value == pytest.approx(0.5, abs=3 * fresh.two_sample.standard_error)


def test_columns_drawn_apart_have_right_shapes_and_wrong_trends() -> None:
    random, data = np.random.default_rng(0), rows(2000, 0)
    found = quality(tables(np.column_stack([random.permutation(x) for x in data.T])))
    assert found.shape_error == 0
    assert found.trends[0, 1] == pytest.approx(0.4, abs=0.03)  # half of a correlation of 0.8
    assert np.isnan(found.trends.diagonal()).all()
    assert found.two_sample is not None
    assert found.two_sample.above(0.7)
    worst = {row["name"]: row["pair"] for row in found.columns()}
    assert worst["height"] == "weight"


def test_missing_values_are_left_out_and_counted() -> None:
    data, made = rows(2000, 0), rows(2000, 2)
    holes = data.copy()
    holes[::4, 2] = math.nan
    found = quality(Tables.of(holes, made, None, NAMES, LEVELS))
    assert found.shape_error < 0.03
    np.testing.assert_allclose(found.missing[2], [0.25, 0.0])
    assert "missing" in str(found)
    assert found.two_sample is not None
    assert not found.two_sample.above(0.5)
    assert found.privacy is None
    assert not found.judged_by_new


def test_a_quality_prints_and_has_a_json_twin() -> None:
    found = quality(tables(rows(500, 3)), target="smoker")
    twin = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert twin["shape_error"] == found.shape_error
    assert twin["trends"][0][0] is None
    assert [row["name"] for row in twin["columns"]] == list(NAMES)
    assert twin["rows"] == {"data": 2000, "synthetic": 500, "held_out": 1000}
    text = str(found)
    assert text == repr(found)
    for said in ("column shapes", "pair trends", "exact copies", "memorised", "predicting smoker"):
        assert said in text
    assert max(map(len, text.splitlines())) <= 110


# -- privacy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_rows_that_are_copied_is_found(share: float) -> None:
    made, copied = rows(1500, 4), round(1500 * share)
    made[:copied] = rows(2000, 0)[:copied]
    found = privacy(tables(made))
    assert found.copies == share
    assert found.copies_held_out == 0
    error = found.memorised.standard_error
    assert found.memorised.value == pytest.approx(share, abs=3 * error + 1e-12)
    assert error < 0.06


def test_copies_with_a_little_noise_are_seen_though_none_is_exact() -> None:
    made = rows(2000, 0)[:1500] + np.random.default_rng(0).normal(0, 1e-3, (1500, 4)) * [1, 1, 0, 0]
    found = privacy(tables(made))
    assert found.copies == 0
    assert found.memorised.value > 0.9
    assert found.distance < 0.01 < found.distance_held_out


def test_distances_are_in_standard_deviations_and_one_between_levels() -> None:
    data = np.array([[0.0, 0.0], [2.0, 1.0], [math.nan, 1.0]])
    for row, distance in (
        ([0.0, 0.0], 0.0),
        ([0.0, 1.0], 1.0),
        ([4.0, 1.0], 2.0),  # 2 is two deviations of 0 and 2
        ([math.nan, math.nan], 1.0),
    ):
        found = privacy(Tables.of(data, [row], [[9.0, 0.0]], levels=[False, True]))
        assert found.distance == pytest.approx(distance, abs=1e-7)
    assert privacy(Tables.of(data, data, data[:1], levels=[False, True])).copies == 1


def test_many_levels_need_no_wide_array() -> None:
    random = np.random.default_rng(0)
    data, held, made = (
        np.column_stack([random.integers(0, 5000, n), random.normal(size=n)])
        for n in (3000, 500, 500)
    )
    found = privacy(Tables.of(data, made, held, levels=[True, False]))
    assert found.memorised.value == pytest.approx(0, abs=3 * found.memorised.standard_error)


# -- usefulness ------------------------------------------------------------------------------------


def test_synthetic_rows_of_the_same_law_are_as_useful_as_data() -> None:
    found = usefulness(tables(rows(2000, 2)), "smoker")
    assert found.measure == "AUC"
    assert found.synthetic == pytest.approx(found.data, abs=0.03)
    assert found.data > 0.75
    numbers = usefulness(tables(rows(2000, 2)), "weight")
    assert numbers.measure == "R²"
    assert numbers.synthetic == pytest.approx(numbers.data, abs=0.05)
    few = Tables.of(rows(200, 0), rows(200, 2), rows(200, 1), NAMES, LEVELS)
    assert usefulness(few, "city").measure == "accuracy"


def test_columns_drawn_apart_are_of_no_use() -> None:
    random = np.random.default_rng(0)
    apart = np.column_stack([random.permutation(x) for x in rows(2000, 0).T])
    assert usefulness(tables(apart), "smoker").synthetic == pytest.approx(0.5, abs=0.06)
    never = rows(2000, 2)
    never[:, 3] = 0
    assert usefulness(tables(never), "smoker").synthetic == 0.5


# -- what is refused -------------------------------------------------------------------------------


def test_tables_that_do_not_fit_are_refused() -> None:
    data = rows(50, 0)
    for arguments, words in (
        ((data, data[:, :3]), "synthetic has 3 columns, but data has 4"),
        ((data, data[:0]), r"synthetic must be rows, of shape \(n, d\), got shape \(0, 4\)"),
        ((data[0], data), "data must be rows"),
        ((data, data + np.inf), "synthetic holds infinite values"),
        ((data, data, None, NAMES[:2]), "names must be of 4 columns, got 2"),
    ):
        with pytest.raises(ValueError, match=words):
            Tables.of(*arguments)
    alone = Tables.of(data, data, None, NAMES, LEVELS)
    with pytest.raises(ValueError, match="Hold some out"):
        privacy(alone)
    with pytest.raises(ValueError, match="not trained on"):
        quality(alone, target="smoker")
    with pytest.raises(ValueError, match=r"target 'age' is no column.*height, weight"):
        usefulness(tables(data), "age")


# -- the tutorial ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.data
def test_the_tutorial_runs_on_some_of_its_rows(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_csv(data_dir / "tables" / "adult.csv").head(1500)
    rows.to_csv(tmp_path / "adult.csv", index=False)
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parent.parent / "docs" / "synthesis.md"
    session: dict[str, Any] = {}
    for code in re.findall(r"^```py\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        exec(code, session)
    assert session["quality"].shape_error < 0.1
    assert session["quality"].rows["held_out"] == 300


# -- through a fitted model ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted() -> VariationalAutoencoder:
    options = {"network": "linear", "max_steps": 60, "random_state": 0}
    return VariationalAutoencoder(2, **options).fit(rows(400, 0)[:, :3])


def test_a_model_judges_what_it_draws_by_the_rows_it_knows_and_others(
    fitted: VariationalAutoencoder,
) -> None:
    both = np.vstack([rows(400, 0), rows(150, 1)])[:, :3]
    found = fitted.quality(both)
    seen = int(fitted.trained_on(both).sum())
    assert found.rows == {"data": seen, "synthetic": seen, "held_out": 550 - seen}
    assert found.privacy is not None
    assert found.privacy.copies == 0
    assert str(fitted.quality(both)) == str(found)
    copies = fitted.quality(both, rows(400, 0)[:, :3]).privacy
    assert copies is not None
    assert copies.copies == 1
    assert copies.memorised.value == pytest.approx(1)
    new = fitted.quality(rows(150, 1)[:, :3])
    assert new.privacy is None
    assert new.judged_by_new
    with pytest.raises(ValueError, match="rows that were not trained on"):
        fitted.quality(rows(150, 1)[:, :3], target="column 0")


def test_the_shell_draws_and_judges(
    fitted: VariationalAutoencoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, out = (str(tmp_path / name) for name in ("data.npy", "run", "made.npy"))
    np.save(data, np.vstack([rows(400, 0), rows(90, 1)])[:, :3])
    fitted.save(run)
    draw = ["sample", run, "-n", "90", "--quiet"]
    assert main([*draw, "--out", out, "--quality", data]) == 0
    said = capsys.readouterr().out
    assert "column shapes" in said
    assert "memorised" in said
    assert np.load(out).shape == (90, 3)
    for more, words in (
        (["--target", "x0"], "--target belongs to --quality"),
        (["--quality", data, "--target", "shoe"], "'shoe' is no column"),
        (["--with-missing"], "--with-missing: no values were missing in the rows"),
    ):
        assert main([*draw, *more]) == 2
        assert words in capsys.readouterr().err
