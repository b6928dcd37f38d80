"""Tables as they are, on the shell: text, dates and numbers in, the same out."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import in_process, without_pages
from nelbo import DataWarning, VariationalAutoencoder
from nelbo.cli.reading import ReadOptions
from nelbo.data import TableSchema

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

Shell = Callable[..., tuple[int, str, str]]
N = 120
SMALL = ["--latent-dim", "1", "--hidden", "8", "--max-steps", "20", "--quiet"]


def table() -> Any:
    random = np.random.default_rng(0)
    z = random.normal(size=N)
    return pandas.DataFrame(
        {
            "size": (10 + z).round(2),
            "kind": np.array(["bird", "cat", "dog"])[np.digitize(z, [-0.5, 0.5])],
            "toys": random.poisson(np.exp(1 + 0.5 * z)),
            "seen": (np.datetime64("2020-01-01") + (90 * z).astype("m8[D]")).astype("U10"),
            "chip": [f"chip {i}" for i in range(N)],
        }
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tables")
    X = table()
    X.assign(toys=X["toys"].astype(str).where(X["toys"] > 0, "?")).to_csv(
        found / "pets.csv", index=False
    )
    X.iloc[:, ::-1].assign(toys=X["toys"].where(X["toys"] > 0)).to_parquet(found / "pets.parquet")
    X.replace("cat", "cow").to_csv(found / "cows.csv", index=False)
    X.rename(columns={"size": "sizes"}).to_csv(found / "renamed.csv", index=False)
    return found


@pytest.fixture
def shell(place: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(place)

    def run(*arguments: str) -> tuple[int, str, str]:
        return in_process(without_pages(arguments))

    return run


@pytest.fixture
def run(shell: Shell, place: Path) -> Path:
    if not (place / "run").exists():
        code, _, err = shell("fit", "pets.csv", "--out", "run", *SMALL)
        assert code == 0, err
    return place / "run"


def test_a_run_holds_its_schema_which_another_fit_takes(
    shell: Shell, run: Path, place: Path
) -> None:
    schema = TableSchema.from_toml(run / "schema.toml")
    assert [column.kind for column in schema.columns][:2] == [
        "heteroscedastic_gaussian",
        "categorical",
    ]
    assert schema.left_out.keys() == {"chip"}
    edited = (run / "schema.toml").read_text().replace('"categorical"', '"left_out"')
    (place / "mine.toml").write_text(edited)
    code, out, err = shell("fit", "pets.csv", "--schema", "mine.toml", "--out", "less", *SMALL[:-1])
    assert code == 0, err
    assert re.search(r"^kind +left out", out, re.MULTILINE), out
    assert "Left out of the model: kind" in err
    assert "less/schema.toml" in out.replace("\\", "/")
    code, out, err = shell("fit", "pets.csv", "--explain")
    assert re.search(r"^toys .* count", out, re.MULTILINE), out


def test_what_stops_a_fit_of_words_names_the_option_to_leave_out(shell: Shell) -> None:
    code, _, err = shell("fit", "pets.csv", "--likelihood", "student_t", "--out", "never")
    assert code == 2
    assert re.search(r"--missing \w+\. Or leave out --likelihood student_t", err), err
    with pytest.raises(ValueError, match="Or leave out scale='global', which is for numbers"):
        VariationalAutoencoder(scale="global").fit(table())


def test_a_map_is_coloured_by_a_column_with_holes(shell: Shell, run: Path, place: Path) -> None:
    from nelbo.cli.report import rows_of
    from nelbo.fitted import Fitted
    from nelbo.fitted.portrait.rows import Limits, of_rows

    model, read = Fitted.load(run), ReadOptions()
    X = table()
    X.loc[::4, ["kind", "size"]] = None
    X.to_csv(place / "holed.csv", index=False)
    for name, levels in (("kind", ("bird", "cat", "dog")), ("size", ())):
        found = rows_of(model, "run", "holed.csv", name, read)
        for labels in (found.labels, X[name]):
            rows = of_rows(model, found.values, labels, name, Limits())
            assert rows.labels is not None
            assert rows.labels[0].levels == levels
            gone = X[name].isna().to_numpy()[rows.numbers]
            np.testing.assert_array_equal(np.isnan(rows.labels[0].values), gone)
    assert (
        "has no column 'kin' to colour by. Did you mean 'kind'?"
        in (shell("report", "run", "holed.csv", "--color", "kin", "--out", "page.html")[2])
    )


def test_a_value_far_from_all_others_is_told_where_it_counts() -> None:
    X = table()
    X.loc[3, "size"] = 1e4
    for kind, told in (("gaussian", "call the column student_t in the schema"), ("student_t", "")):
        model = VariationalAutoencoder(1, hidden=(8,), max_steps=1, schema={"size": kind})
        with pytest.warns(DataWarning) as caught:
            model.fit(X)
        said = " ".join(str(warning.message) for warning in caught)
        assert ("Far from all others" in said) == bool(told)
        assert told in said


def test_files_of_all_kinds_are_scored_alike(shell: Shell, run: Path, place: Path) -> None:
    code, out, err = shell("score", "run", "pets.csv", "--quiet")
    assert code == 0, err
    assert shell("score", "run", "pets.parquet", "--quiet")[1] == out
    X = table()
    model = VariationalAutoencoder.load(run).set_params(score_samples_k=200)
    wanted = model.score_samples(X.assign(toys=X["toys"].where(X["toys"] > 0)))
    np.testing.assert_allclose(np.array(out.split(), dtype=float), wanted, rtol=0, atol=1)
    code, terms, err = shell("score", "run", "pets.csv", "--by-column", "--quiet")
    assert code == 0, err
    found = pandas.read_csv(io.StringIO(terms))
    assert list(found) == ["log_p", "size", "kind", "toys", "seen", "z"]
    np.testing.assert_allclose(found.iloc[:, 1:].sum(axis=1), found["log_p"], rtol=1e-9)
    np.testing.assert_allclose(found["log_p"], wanted, rtol=0, atol=1)


def test_rows_come_out_as_they_go_in(shell: Shell, run: Path, place: Path) -> None:
    code, out, err = shell("sample", "run", "-n", "30")
    assert code == 0, err
    drawn = pandas.read_csv(io.StringIO(out))
    assert list(drawn) == ["size", "kind", "toys", "seen"]
    assert set(drawn["kind"]) <= {"bird", "cat", "dog"}
    assert drawn["toys"].dtype == "int64"
    assert drawn["seen"].str.fullmatch(r"\d{4}-\d\d-\d\d").all()
    code, _, err = shell("sample", "run", "-n", "30", "--out", "drawn.parquet")
    assert code == 0, err
    pandas.testing.assert_frame_equal(
        pandas.read_parquet(place / "drawn.parquet"), drawn, check_dtype=False
    )
    code, out, err = shell("reconstruct", "run", "pets.parquet", "--quiet")
    assert code == 0, err
    assert list(pandas.read_csv(io.StringIO(out))) == list(drawn)
    assert shell("sample", "run", "--out", "drawn.npy")[0] == 2


def test_other_commands_take_such_runs(shell: Shell, run: Path) -> None:
    for command in ("evaluate", "encode"):
        code, _, err = shell(command, "run", "pets.csv", "--quiet")
        assert code == 0, err
    code, out, err = shell("diagnose", "run", "pets.csv", "--rows", "all", "--json", "--quiet")
    assert "missing values" in err + out
    results = json.loads((run / "results.json").read_text())
    assert results["baseline"] is None
    assert "categorical" in results["recipe"]["columns"]["value"]


@pytest.mark.parametrize(
    ("command", "match"),
    [
        (("score", "run", "cows.csv"), "cows.csv: column 'kind' holds 'cow'.*--unknown missing"),
        (("score", "run", "renamed.csv"), "lacks the column 'size'.*rename it to 'sizes'"),
        (("score", "run", "pets.csv", "--unknown", "what"), "--unknown must be error or missing"),
        (("fit", "pets.csv", "--out", "x", "--schema", "no.toml"), "no.toml does not exist"),
        (("fit", "pets.csv", "--out", "x", "--likelihood", "student_t"), "is not of numbers"),
        (("sample", "run", "--out", "x.npy"), "must end in .csv or .parquet"),
    ],
)
def test_what_does_not_fit_is_one_line(
    shell: Shell, run: Path, command: tuple[str, ...], match: str
) -> None:
    code, _, err = shell(*command)
    assert code == 2
    (line,) = err.splitlines()
    assert re.search(match, line), line
    assert shell("score", "run", "cows.csv", "--unknown", "missing", "--quiet")[0] == 0


def test_rows_are_drawn_given_what_is_said(shell: Shell, run: Path, place: Path) -> None:
    draw = ["sample", "run", "-n", "40", "--out", "given.csv", "--overwrite"]
    code, _, err = shell(*draw, "--given", "kind=cat", "toys=2", "--quiet")
    assert (code, err) == (0, "")
    made = pandas.read_csv(place / "given.csv")
    assert set(made["kind"]) == {"cat"}
    assert set(made["toys"]) == {2}
    assert made["size"].nunique() > 10
    code, _, err = shell(*draw, "--given", "seen=2020-02-01", "--given", "kind=dog", "size=99")
    assert code == 0
    told = r"40 rows given seen=2020-02-01, kind=dog, size=99: [\d,]+ effective draws of z stand"
    assert re.search(told, err)
    made = pandas.read_csv(place / "given.csv")
    assert set(made["seen"]) == {"2020-02-01"}
    assert set(made["size"]) == {99.0}  # beyond the data, and as it was given


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--given", "kind"], "--given must be column=value, such as age=40, got 'kind'"),
        (["--given", "kind=cow"], "--given: column 'kind' holds 'cow'"),
        (["--given", "kin=cat"], "names 'kin', which is no column. Did you mean 'kind'?"),
        (["--given", "toys=-1"], "--given: column 'toys'"),
        (["--given", "kind=cat", "kind=dog"], "--given names kind twice"),
        (["--given", "kind=cat", "--with-missing"], "leave --given out"),
        (["--given", "kind=cat", "--quality", "pets.csv"], "leave --given out"),
        (["--quality", "renamed.csv"], "renamed.csv: X lacks the column 'size'"),
        (["--quality", "pets.csv", "--target", "tail"], "'tail' is no column"),
    ],
)
def test_what_cannot_be_drawn_is_told_before_anything_is_written(
    more: list[str], told: str, shell: Shell, run: Path, place: Path
) -> None:
    code, _, err = shell("sample", "run", "--out", "never.csv", *more)
    assert code == 2, err
    assert told in err
    assert err.count("\n") == 1
    assert not (place / "never.csv").exists()


def test_standard_input_is_filled_in(
    shell: Shell, run: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holes = pandas.read_csv(place / "pets.csv", dtype=str, keep_default_na=False)[:6]
    holes.loc[1, ["kind", "seen"]] = ""
    text = holes.to_csv(index=False)

    def filled(text: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return shell("impute", "run", "-", "--quiet")

    code, out, err = filled(text)
    assert code == 0, err
    found = pandas.read_csv(io.StringIO(out), dtype=str, keep_default_na=False)
    assert list(found) == list(holes)
    assert (found["chip"] == holes["chip"]).all()
    assert found.loc[1, "kind"] in ("bird", "cat", "dog")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found.loc[1, "seen"])
    code, _, err = filled(text.replace("bird", "cow"))
    assert (code, err.count("\n")) == (2, 1)
    assert "standard input: column 'kind' holds 'cow'" in err
    assert filled("")[0] == 2


def test_probabilities_of_a_column_are_written_with_its_levels_as_the_header(
    shell: Shell, run: Path
) -> None:
    code, out, err = shell("impute", "run", "pets.csv", "--probabilities", "kind", "--quiet")
    assert code == 0, err
    found = pandas.read_csv(io.StringIO(out))
    assert [*found] == ["bird", "cat", "dog"]
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert len(found) == N
    for column, says in (("size", "size has no levels"), ("knd", "Did you mean 'kind'")):
        code, _, err = shell("impute", "run", "pets.csv", "--probabilities", column)
        assert code == 2
        assert says in err
    code, _, err = shell("impute", "run", "pets.csv", "--probabilities", "kind", "--draws", "2")
    assert code == 2
    assert "--probabilities writes" in err


def test_what_does_not_fit_is_told_by_its_line_and_in_flags(
    shell: Shell, run: Path, place: Path
) -> None:
    X = table()[:5].astype({"size": object})
    X.loc[2, "size"] = "big"
    X.to_csv(place / "odd.csv", index=False)
    code, _, err = shell("score", "run", "odd.csv")
    assert (code, err.count("\n")) == (2, 1)
    assert "column 'size' holds numbers, but line 4 holds 'big'" in err
    assert "declare it by --missing" in err
    table()[:5].rename(columns=str.upper).to_csv(place / "odd.csv", index=False)
    assert "Did you rename it to 'SIZE'?" in shell("score", "run", "odd.csv")[2]
    table()[:5].to_csv(place / "odd.csv", index=False, header=False)
    assert "its columns have no names" in shell("score", "run", "odd.csv")[2]
    err = shell("sample", "run", "--given", "size=big", "-n", "2")[2]
    assert "column 'size' holds numbers, got 'big'." in err
