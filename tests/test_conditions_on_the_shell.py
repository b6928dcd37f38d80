"""Conditions on the shell: columns by name, of whatever holds the rows."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import in_process, without_pages
from nelbo import Fitted, VariationalAutoencoder
from nelbo.data import load

Shell = Callable[..., tuple[int, str, str]]
RNG = np.random.default_rng(0)
N = 90
LABEL = RNG.integers(0, 3, N)
X = RNG.normal(size=(N, 3)) + 4 * LABEL[:, None]
WORDS = np.array(["bird", "cat", "dog"])[LABEL]
TABLE = pd.DataFrame({"a": X[:, 0], "kind": WORDS, "b": X[:, 1], "c": X[:, 2]})
SMALL = ["--latent-dim", "1", "--hidden", "8", "--max-steps", "20", "--quiet"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("conditions")
    TABLE.to_csv(found / "pets.csv", index=False)
    TABLE.to_parquet(found / "pets.parquet")
    TABLE.drop(columns=["kind"]).to_csv(found / "blind.csv", index=False)
    TABLE.replace("cat", "cow").to_csv(found / "other.csv", index=False)
    TABLE.replace("cat", "").to_csv(found / "gaps.csv", index=False)
    np.save(found / "pets.npy", np.column_stack([X, LABEL]))
    images = X[:, :, None] * np.ones((1, 1, 3))
    np.savez(
        found / "images.npz", x_train=images, y_train=LABEL, x_test=images[:9], y_test=LABEL[:9]
    )
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
        code, _, err = shell("fit", "pets.csv", "--condition", "kind", "--out", "run", *SMALL)
        assert code == 0, err
    return place / "run"


def test_a_run_reads_its_conditions_by_name(shell: Shell, run: Path) -> None:
    code, out, err = shell("score", "run", "pets.csv", "--quiet")
    assert code == 0, err
    model = VariationalAutoencoder.load(run)
    expected = Fitted.load(run).log_likelihood(TABLE, "importance", 200).value
    np.testing.assert_allclose(np.array(out.split(), dtype=float), expected, rtol=1e-5)
    np.testing.assert_array_equal(shell("score", "run", "pets.parquet", "--quiet")[1], out)
    assert model.condition_ is not None
    assert model.condition_.names == ("kind",)
    code, out, err = shell("evaluate", "run", "pets.csv", "--rows", "all", "--json", "--quiet")
    assert code == 0, err
    found = json.loads(out)
    assert found["baseline"]["gain"] > -0.1
    code, out, err = shell("evaluate", "run", "pets.csv", "--quiet")
    assert code == 0, err
    assert "log p(x|c)" in out
    assert "pPCA given c" in out
    for command in ("encode", "reconstruct"):
        code, out, err = shell(command, "run", "pets.csv", "--quiet")
        assert code == 0, err
        assert len(out.splitlines()) == N + 1
    assert "kind" not in out.splitlines()[0]


def test_sample_takes_one_condition_or_a_file_of_them(shell: Shell, run: Path, place: Path) -> None:
    means = {}
    for word in ("bird", "dog"):
        asked = ("--condition", f"kind={word}", "-n", "200", "--out", "drawn.npy", "--overwrite")
        code, _, err = shell("sample", "run", *asked)
        assert code == 0, err
        means[word] = np.load(place / "drawn.npy").mean(0)
    np.testing.assert_allclose(means["bird"], 0, atol=1)
    np.testing.assert_allclose(means["dog"], 8, atol=1)
    code, out, err = shell("sample", "run", "--condition", "other.csv")
    assert code == 2
    assert "kind = cow in row" in err
    code, out, err = shell("sample", "run", "--condition", "pets.csv")
    assert code == 0, err
    drawn = pd.read_csv(io.StringIO(out))
    assert len(drawn) == N
    assert np.corrcoef(drawn["a"], LABEL)[0, 1] > 0.8


def test_diagnose_and_explain_know_the_condition(shell: Shell, run: Path) -> None:
    code, out, err = shell("diagnose", "run", "pets.csv", "--rows", "all", "--json", "--quiet")
    assert code == 0, err
    names = {finding["name"]: finding for finding in json.loads(out)["findings"]}
    assert names["against pPCA"]["verdict"] == "ok"
    code, out, err = shell("fit", "pets.csv", "--condition", "kind", "--explain")
    assert code == 0, err
    assert "kind: 3 labels (bird, cat and dog)" in " ".join(out.split())


def test_arrays_images_and_digits_have_conditions_too(shell: Shell, place: Path) -> None:
    for data, name in (("pets.npy", "3"), ("images.npz", "y")):
        code, _, err = shell("fit", data, "--condition", name, "--out", f"run-{name}", *SMALL)
        assert code == 0, err
        code, out, err = shell("score", f"run-{name}", data, "--quiet")
        assert code == 0, err
        assert len(out.split()) == N
    assert len(shell("score", "run-y", "images.npz:x_test", "--quiet")[1].split()) == 9
    digits = load("digits", condition=["label"])
    assert digits.conditions is not None
    assert sorted({*digits.conditions.columns[0]}) == [*range(10)]


@pytest.mark.parametrize(
    ("command", "match"),
    [
        (("score", "run", "blind.csv"), "blind.csv has no column 'kind' to condition on"),
        (("score", "run", "other.csv"), "kind = cow in row"),
        (("score", "run", "gaps.csv"), "no value of 'kind' in"),
        (("sample", "run"), "--condition is missing.*kind=VALUE, or a file"),
        (("sample", "run", "--condition", "size=3"), "c must have the columns kind"),
        (("sample", "run", "--condition", "kind="), "--condition must be kind=VALUE"),
        (("sample", "run", "--condition", "nowhere.csv"), "nowhere.csv does not exist"),
        (("sample", "run", "-n", "3", "--condition", "pets.csv"), "90 conditions, but 3 rows"),
        (("fit", "pets.csv", "--out", "x", "--condition", "kinds"), "Did you mean 'kind'"),
        (("fit", "pets.csv", "--out", "x", "--condition", ","), "--condition names no column"),
        (("fit", "digits", "--out", "x", "--condition", "y"), "no 'y' to condition on.*'label'"),
        (
            ("fit", "pets.csv", "--out", "x", "--likelihood", "student_t"),
            "column 'kind' is not of numbers",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(
    shell: Shell, run: Path, command: tuple[str, ...], match: str
) -> None:
    code, _, err = shell(*command)
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("nelbo: ")
    assert re.search(match, line), line


def test_the_text_of_a_fit_and_its_options_name_the_condition(
    shell: Shell, run: Path, place: Path
) -> None:
    assert 'condition = "kind"' in (run / "run.toml").read_text()
    code, _, err = shell("fit", "--config", "run/run.toml", "--out", "again", "--quiet")
    assert code == 0, err
    one, other = (Fitted.load(place / name) for name in ("run", "again"))
    np.testing.assert_array_equal(one.elbo(TABLE), other.elbo(TABLE))
    results: dict[str, Any] = json.loads((run / "results.json").read_text())
    assert "kind: 3 labels" in results["recipe"]["condition"]["value"]
    assert shell("report", "run", "--quiet")[0] == 0
    assert (run / "report.html").exists()
    code, out, err = shell("fit", "pets.csv", "--condition", "kind", "--out", "told", *SMALL[:-1])
    assert code == 0, err
    for said in ("Given c       kind: 3 labels", "held-out log p(x|c)", "pPCA given c"):
        assert said in out


def test_pictures_are_conditioned_on_their_folder(shell: Shell, place: Path) -> None:
    for i in range(40):
        folder = place / "pictures" / ("dark", "light")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        grey = RNG.integers(0, 60, (4, 4), dtype=np.uint8) + 180 * (i % 2)
        Image.fromarray(grey.astype(np.uint8)).save(folder / f"{i}.png")
    code, _, err = shell("fit", "pictures", "--condition", "folder", "--out", "by-folder", *SMALL)
    assert code == 0, err
    asked = ("--condition", "folder=light", "-n", "20", "--out", "light.npy", "--quiet")
    assert shell("sample", "by-folder", *asked)[0] == 0
    assert np.load(place / "light.npy").mean() > 0.6
