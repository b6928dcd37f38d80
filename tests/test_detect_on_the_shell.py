"""`nelbo detect`: improbable rows in files, whole and in order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nelbo import VAEDetector
from nelbo.cli import main


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(200, 4))
    x[17, 2] += 5
    return pd.DataFrame(x, columns=["a", "b", "c", "d"])


@pytest.fixture
def table(frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    frame.to_csv("t.csv", index=False)
    return "t.csv"


def test_every_row_is_written_the_most_improbable_first(table: str, frame: pd.DataFrame) -> None:
    assert main(["detect", table, "--out", "out.csv", "--quiet"]) == 0
    out = pd.read_csv("out.csv")
    assert sorted(out.row) == list(range(200))
    assert (np.diff(out.log_p) >= 0).all()
    detector = VAEDetector().fit(frame)
    np.testing.assert_allclose(out.log_p, detector.score_samples(frame)[out.row], rtol=1e-9)
    np.testing.assert_array_equal(out.flagged, detector.labels_[out.row])
    np.testing.assert_array_equal(out.p_value, np.arange(1, 201) / 200)
    first = out.iloc[0]
    assert (first.row, first.column_1) == (17, "c")
    assert first.value_1 == pytest.approx(frame.c[17])
    assert abs(first.expected_1 - (frame.c[17] - 5)) < 1
    assert list(out.columns)[4:8] == ["column_1", "value_1", "expected_1", "excess_1"]


def test_rows_held_out_give_p_values(table: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    new = frame[100:].reset_index(drop=True)
    new.to_csv("new.csv", index=False)
    frame[:100].to_csv("ordinary.csv", index=False)
    arguments = ["detect", "ordinary.csv", "new.csv", "--quiet", "--out", "out.parquet"]
    assert main([*arguments, "--save", "run", "--columns", "1"]) == 0
    out = pd.read_parquet("out.parquet")
    assert len(out) == 100
    assert out.p_value.min() >= 1 / 21
    assert "column_2" not in out.columns

    assert main(["detect", "run", "new.csv", "--quiet", "--out", "again.json"]) == 0
    again = pd.DataFrame(json.loads(Path("again.json").read_text()))
    np.testing.assert_array_equal(again.log_p, out.log_p)
    np.testing.assert_array_equal(again.p_value, out.p_value)


def test_json_says_what_was_found(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", table, "--json", "--first", "2", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["flagged"], len(told["first"])) == (200, 20, 2)
    assert told["first"][0]["row"] == 17


def test_text_says_what_makes_a_row_improbable(
    table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", table, "--first", "1", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("t.csv: 20 of 200 rows flagged")
    assert lines[3].startswith("   17*")
    assert "c " in lines[3]
    assert "not " in lines[3]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["t.csv", "--rate", "7"], "--rate must be above 0 and below 1, got 7.0"),
        (["t.csv", "--contamination", "0"], "--contamination must be above 0"),
        (["t.csv", "--columns", "-1"], "--columns must be 0 or more"),
        (["t.csv", "--out", "x.npy"], "must end in .csv, .parquet, .json"),
        (["t.csv", "--calibration", "t.csv"], "200 of these 200 rows were fitted"),
        (["none.csv"], "none.csv does not exist"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], told: str, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", *arguments, "--quiet"]) == 2
    assert told in capsys.readouterr().err
