"""The portrait against independent computations, and the page as text: whole, escaped, offline."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from nelbo import Fitted, VariationalAutoencoder
from nelbo.fitted.portrait import Limits, portray
from nelbo.report import Absent, to_html

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(140, 3)) @ RNG.normal(size=(3, 5)) + 0.2 * RNG.normal(size=(140, 5)) + 5
SHADES = RNG.normal(size=(90, 3)) @ RNG.normal(size=(3, 30)) + RNG.normal(size=(90, 30))
IMAGES = (128 + 25 * SHADES).clip(0, 255).astype(np.uint8).reshape(90, 6, 5)
QUICK = Limits(examine=False)
EVIL = '<script>alert("x")</script> $\\frac{'


def fitted(X: Any, **options: Any) -> VariationalAutoencoder:
    options = {"latent_dim": 3, "hidden": (8,), "max_steps": 20, "random_state": 0, **options}
    return VariationalAutoencoder(**options).fit(X)


@pytest.fixture(scope="module")
def table() -> Fitted:
    return fitted(TABLE[:110]).fitted_


@pytest.fixture(scope="module")
def seen(table: Fitted) -> Any:
    """The portrait of the table: 30 of its rows were held out."""
    return portray(table, TABLE)


# -- what is found


def test_the_verdict_is_about_rows_that_the_model_has_not_seen(table: Fitted, seen: Any) -> None:
    level, linear, gain = seen.verdict.levels
    found = table.log_likelihood(TABLE[110:], table.plain_method(TABLE[110:]), 200)
    assert level.mean == pytest.approx(found.mean)
    assert level.error == pytest.approx(found.mean_standard_error)
    exact = table.with_baseline(TABLE[:110]).baseline(TABLE[110:])
    assert exact is not None
    assert linear.mean == pytest.approx(exact.mean())
    assert gain.mean == pytest.approx((found.value - exact).mean())
    assert "30 rows held out" in seen.verdict.sentences[0]
    assert seen.diagnosis.rows == 30
    assert seen.diagnosis.train_rows == 110
    unseen = seen.diagnosis["train against unseen"].values[1]
    assert unseen.number.value == pytest.approx(level.mean)


def test_the_map_is_that_of_principal_components(table: Fitted, seen: Any) -> None:
    means = table.encode(TABLE[110:])[0]
    expected = PCA(2).fit_transform(means)
    for mine, theirs in zip(seen.map.points.T, expected.T, strict=True):
        assert abs(mine @ theirs) == pytest.approx(theirs @ theirs, rel=1e-4)
    assert np.array_equal(seen.map.numbers, np.arange(110, 140))


def test_a_traversal_varies_one_dimension_about_a_row(table: Fitted, seen: Any) -> None:
    found = seen.traversals
    z = table.encode(TABLE[[found.number]])[0].repeat(len(found.values[0]), 0)
    z[:, found.dimensions[0]] = found.values[0]
    assert np.allclose(found.decoded[0], table.decode(z), atol=1e-5)


def test_a_line_begins_and_ends_at_reconstructions_of_rows(table: Fitted, seen: Any) -> None:
    first, last = seen.interpolations.numbers[0]
    ends = seen.interpolations.decoded[0][[0, -1]]
    assert np.allclose(ends, table.reconstruct(TABLE[[first, last]]), atol=1e-5)


def test_neighbours_are_the_nearest_training_rows(seen: Any) -> None:
    found, unit = seen.neighbours, TABLE[:110].std(0)
    search = NearestNeighbors(n_neighbors=3).fit(TABLE[:110] / unit)
    distance, which = search.kneighbors(found.samples / unit)
    assert np.array_equal(found.numbers, which)
    assert np.allclose(found.distances, distance, atol=1e-6)


def test_extremes_are_in_order_of_log_p(seen: Any) -> None:
    low, middle, high = seen.extremes.log_p
    assert low.max() <= middle.min() <= middle.max() <= high.min()
    assert low[0] == seen.extremes.all_log_p.min()


def test_the_fingerprint_is_of_the_rows_whatever_their_order() -> None:
    def fingerprint(rows: Any) -> str:
        facts = portray(fitted(rows, max_steps=1, validation_fraction=0).fitted_).provenance
        return {fact.name: fact.value for fact in facts}["fingerprint of the rows fitted"]

    rows = TABLE[:40]
    assert fingerprint(rows) == fingerprint(rows[::-1].copy())
    assert fingerprint(rows) != fingerprint(rows + 1)


def test_without_rows_a_report_says_what_it_lacks(table: Fitted) -> None:
    found = portray(table)
    assert isinstance(found.map, Absent)
    assert "Pass them" in found.map.why
    assert not isinstance(found.traversals, Absent)
    assert "Not shown" in to_html(found)


def test_labels_are_one_for_each_row(table: Fitted) -> None:
    with pytest.raises(ValueError, match=r"3 entries, but X has 140 rows"):
        portray(table, TABLE, labels=[1, 2, 3])


def test_a_page_that_was_not_examined_says_how_the_model_does_beside_ppca(table: Fitted) -> None:
    found = portray(table, TABLE, limits=QUICK).verdict
    assert found.tone == "open"
    better = found.levels[2].mean > 2 * found.levels[2].error
    assert found.headline.startswith(("As good as", "Better than")[better])
    few = portray(table, TABLE[100:128])  # 18 of them are new
    assert few.diagnosis.why == (
        "An examination needs at least 20 rows for standard errors, and there are 18 held out."
    )


# -- the page


def test_a_page_is_one_offline_file_with_a_json_twin(tmp_path: Path) -> None:
    labels = [EVIL, "b"] * 45
    model = fitted(IMAGES[:60], variance="per_feature")
    page = model.report(tmp_path / "report.html", IMAGES, labels=labels, title=EVIL)
    text = page.read_text(encoding="utf-8")
    assert len(text) < 5_000_000
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    links = set(re.findall(r"""(?:src|href|url)\(?=?["']?(https?:[^"')]*)""", text))
    assert links == set()
    twin = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert twin["verdict"]["levels"][0]["name"] == "this model"
    assert twin["diagnosis"]["rows"] == 30
    assert twin["title"] == EVIL
    assert len(twin["noise"]["beta"]) == 30


@pytest.mark.parametrize(
    ("width", "latents"), [(1, 1), (6, 200)], ids=["one column", "200 latents"]
)
def test_any_number_of_columns_and_latents_is_shown(width: int, latents: int) -> None:
    rows = RNG.normal(size=(60, width))
    model = fitted(rows[:30], latent_dim=latents, max_steps=2).fitted_
    assert len(to_html(portray(model, rows, limits=QUICK))) < 3_000_000


def test_missing_values_are_shown_incomplete_rows_examined_and_names_are_text() -> None:
    import pandas as pd

    rows = np.where(RNG.random(TABLE.shape) < 0.03, np.nan, TABLE)
    frame = pd.DataFrame(rows, columns=[f"{EVIL} {j}" for j in range(5)])
    found = portray(fitted(frame[:110]).fitted_, frame)
    assert not isinstance(found.missing, Absent)
    assert np.allclose(found.missing.share, np.isnan(rows[:110]).mean(0))
    lost = np.isnan(rows).any(1)
    assert (found.missing.incomplete, found.missing.rows) == (lost[:110].sum(), 110)
    assert not isinstance(found.diagnosis, Absent)
    assert found.diagnosis.rows == len(rows[110:])
    text = to_html(found)
    assert f"{lost[:110].sum()} of 110 rows trained on lack at least one value." in text
    assert f"{lost[110:].sum()} of {len(rows[110:])} rows lack values" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_a_model_of_complete_rows_is_judged_by_such_and_says_so(table: Fitted) -> None:
    rows = TABLE.copy()
    rows[110:120, 0] = np.nan
    found = portray(table, rows, limits=QUICK)
    assert found.verdict.warnings[0].startswith("10 of 140 rows lack values and are left out")
    assert not isinstance(found.map, Absent)
    assert not set(found.map.numbers) & {*range(110, 120)}
    rows[:, 0] = np.nan
    with pytest.raises(
        ValueError, match="Every row that the model is to be judged by lacks a value"
    ):
        portray(table, rows, limits=QUICK)


def test_categories_have_their_names() -> None:
    import pandas as pd

    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"age": rng.normal(40, 9, 90), "pay": rng.normal(3, 1, 90)})
    frame["sex"] = np.where(frame["age"] > 40, "woman", EVIL)
    found = portray(fitted(frame[:60]).fitted_, frame, limits=QUICK)
    column = found.look.columns[2]
    assert set(column.levels) == {"woman", EVIL}
    assert not isinstance(found.synthetic, Absent)
    shares = found.synthetic.marginals[2].data
    assert shares[column.levels.index("woman")] == pytest.approx((frame["age"][:60] > 40).mean())
    assert found.look.numbers == [0, 1]


def test_what_has_no_gaussian_noise_is_shown_and_says_so() -> None:
    rows = (TABLE > 5).astype(np.float32)
    found = portray(fitted(rows[:100], likelihood="bernoulli").fitted_, rows, limits=QUICK)
    assert isinstance(found.noise, Absent)
    assert isinstance(found.calibration, Absent)


def test_without_jinja_the_extra_is_named(
    table: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"jinja2 is not installed.*nelbo\[report\]"):
        table.report(tmp_path / "report.html")


def test_a_page_ends_in_html(table: Fitted, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.html, got 'report\.pdf'"):
        table.report(tmp_path / "report.pdf")


# -- in a notebook


def test_notebooks_show_models_histories_and_diagnoses_and_escape_what_they_hold() -> None:
    import pandas as pd

    frame = pd.DataFrame(TABLE[:40], columns=[EVIL, "b", "c", "d", "e"])
    model = fitted(frame, max_steps=2)
    html = model._repr_html_()
    assert "3 latent dimensions" in html
    assert "sk-estimator" in html or "sk-top-container" in html
    assert "<table>" in model.history_._repr_html_()
    found = model.fitted_.diagnose(frame, limit=20)
    assert "what was seen" in found._repr_html_()
    for text in (html, model.history_._repr_html_(), found._repr_html_()):
        assert "<script>alert" not in text
    assert "3 latent" not in VariationalAutoencoder(3)._repr_html_()
