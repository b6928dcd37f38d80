"""Anomalies in tables as they are: columns of different kinds, and cells that are missing."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nelbo import VAE, VAEDetector, VariationalAutoencoder, evaluate, likelihood, posterior, prior
from nelbo.cli import main
from nelbo.detect import attribute
from nelbo.estimator.detector import FirstFit

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

Array = np.ndarray[Any, Any]
KINDS = ["gaussian", {"kind": "categorical", "levels": 3}, "poisson"]


class Encoder(nn.Module):
    """q(z|x) = p(z), whatever is missing."""

    takes_missing = True

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 2)


def by_hand(weight: float) -> VAE:
    """One latent, and columns that depend on it by so much."""
    decoder = nn.Linear(1, likelihood.Columns((3,), KINDS).in_shape[0]).double()
    with torch.no_grad():
        slope = torch.tensor([1.0, 1.0, -0.5, -1.0, 0.7][: decoder.weight.numel()]).double()
        decoder.weight.copy_(weight * slope[:, None])
        decoder.bias.copy_(torch.tensor([0.3, 0.2, 0.0, -0.4, 0.5]).double())
    found = VAE(
        prior.StandardNormal(1),
        decoder,
        likelihood.Columns((3,), KINDS),
        Encoder(),
        posterior.DiagonalNormal(1),
    )
    return found.double()


def rows() -> Tensor:
    x = torch.tensor([[0.5, 1.0, 2.0], [-3.0, 2.0, 9.0], [4.0, 0.0, 0.0], [0.1, 2.0, 1.0]])
    x[3, 0] = torch.nan
    return x.double()


def log_marginal(vae: VAE, x: Tensor) -> Tensor:
    """log p of what is there, by quadrature."""
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    with torch.no_grad():
        p = vae.decode(torch.from_numpy(z)[:, None, None].expand(-1, len(x), 1))
        each = p.each_observed(x).sum(-1)
    log_weight = torch.from_numpy(weight / weight.sum()).log()
    return (each + log_weight[:, None]).logsumexp(0)


def test_columns_that_say_nothing_of_each_other_have_their_own_probabilities() -> None:
    vae = by_hand(0.0)
    x = rows()
    found, _ = evaluate.given_others(vae, x, samples=10)
    alone = x.clone()
    for j in range(3):
        alone = torch.full_like(x, torch.nan)
        alone[:, j] = x[:, j]
        np.testing.assert_allclose(found[:, j], log_marginal(vae, alone), atol=1e-9)


def test_what_others_say_of_a_value_is_what_quadrature_says() -> None:
    vae = by_hand(1.0)
    x = rows()
    found, expected = evaluate.given_others(vae, x, samples=20_000)
    whole = log_marginal(vae, x)
    for j in range(3):
        others = x.clone()
        others[:, j] = torch.nan
        np.testing.assert_allclose(found[:, j], whole - log_marginal(vae, others), atol=0.02)
    assert found[3, 0] == 0
    assert expected[3, 0] > -1  # what is missing is told by the others
    levels = torch.stack([log_marginal(vae, _with(x, 1, level)) for level in range(3)])
    np.testing.assert_array_equal(expected[:, 1], levels.argmax(0))


def _with(x: Tensor, column: int, value: float) -> Tensor:
    x = x.clone()
    x[:, column] = value
    return x


def test_incomplete_rows_of_a_linear_model_are_exact() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(200, 4))
    model = VariationalAutoencoder(2, network="linear", random_state=0, max_steps=2).fit(x).fitted_
    x = x[:6].copy()
    x[np.arange(6), np.arange(6) % 4] = np.nan
    found = attribute(model, x, draws=8)
    for i, j in np.ndindex(x.shape):
        there = ~np.isnan(x[i]) & (np.arange(4) != j)
        given = np.where(there, x[i], np.nan)[None]
        if not np.isnan(x[i, j]):
            both = np.where(there | (np.arange(4) == j), x[i], np.nan)[None]
            log_p = model.score_samples(both)[0] - model.score_samples(given)[0]
            assert found.nats[i, j] == pytest.approx(-log_p, abs=1e-4)
        else:
            assert found.nats[i, j] == 0
        assert found.expected[i, j] == pytest.approx(model.impute(given)[0, j], abs=1e-5)


# -- frames


def frame(n: int = 200, seed: int = 0) -> Any:
    """A team has its own height, and its players as many goals as they are old."""
    random = np.random.default_rng(seed)
    team = random.integers(3, size=n)
    year = random.integers(10, size=n)
    found = pandas.DataFrame(
        {
            "height": 160 + 15 * team + random.normal(size=n),
            "team": np.array(["ajax", "boca", "celtic"])[team],
            "goals": random.poisson(1 + 5 * team),
            "born": np.datetime64("1990-01-01") + (365 * year).astype("timedelta64[D]"),
            "fit": team > 0,
        }
    )
    found.loc[::17, "height"] = np.nan
    found.loc[::23, "team"] = None
    return found


def quick() -> VariationalAutoencoder:
    return VariationalAutoencoder(
        2, max_steps=80, score_samples_k=40, prior="standard_normal", random_state=0
    )


def odd() -> Any:
    """Rows of which one value does not fit the others, and where."""
    rows = frame(40, seed=5).dropna()[:8].reset_index(drop=True)
    rows["height"] = 160 + 15.0 * rows["team"].map({"ajax": 0, "boca": 1, "celtic": 2})
    rows.loc[0, "height"] = 230.0
    rows.loc[1, "goals"] = 60
    rows.loc[2, "fit"] = not rows.loc[2, "fit"]
    return rows


@pytest.fixture(scope="module")
def fitted() -> VAEDetector:
    return VAEDetector(0.05, estimator=quick(), trim=0, calibration_fraction=0.2).fit(frame())


def test_the_column_that_does_not_fit_is_named_in_the_words_of_the_frame(
    fitted: VAEDetector,
) -> None:
    rows = odd()
    why = fitted.attribute(rows)
    assert why.columns == ("height", "team", "goals", "born", "fit")
    assert [why.columns[j] for j in why.most(1)[:3, 0]] == ["height", "goals", "fit"]
    expected = why.expected_frame
    assert list(expected.dtypes) == list(frame().dtypes)
    assert expected.loc[2, "fit"] != rows.loc[2, "fit"]
    assert set(expected["team"]) <= {"ajax", "boca", "celtic"}
    told, words = why.told(fitted.fitted_.values(rows).array)
    assert told[0, 1] == rows.loc[0, "team"]
    assert told[0, 3] == str(rows.loc[0, "born"].date())
    assert words[2, 4] == str(not rows.loc[2, "fit"])


def test_rows_are_judged_beside_rows_held_out(fitted: VAEDetector) -> None:
    p = fitted.p_values(odd())
    assert p[:2].max() < 0.05
    assert np.median(fitted.p_values(frame(100, seed=3))) > 0.2
    assert fitted.discoveries(odd(), 0.2)[:2].all()
    again = odd()[["fit", "born", "goals", "team", "height"]]
    np.testing.assert_array_equal(fitted.score_samples(again), fitted.score_samples(odd()))


def test_trimming_fits_again_without_the_least_probable_rows() -> None:
    X = pandas.concat([frame(120), odd()[:2]], ignore_index=True)
    detector = VAEDetector(estimator=quick().set_params(max_steps=10), trim=0.1).fit(X)
    trained = detector.fitted_.trained_on(X)
    assert trained.sum() == 109  # 90 % of them
    assert not trained[-2:].any()
    assert detector.decision_scores_.shape == (122,)


def test_all_rows_of_a_mixed_table_are_fitted_unless_a_share_is_to_be_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quickly = dataclasses.replace(FirstFit(), steps=2)
    monkeypatch.setattr("nelbo.estimator.detector.VariationalAutoencoder", _two_steps)
    monkeypatch.setattr("nelbo.estimator.detector.FirstFit", lambda: quickly)
    X = frame(60)
    for detector, count in ((VAEDetector(), 60), (VAEDetector(trim=0.1), 54)):
        assert detector.fit(X).fitted_.trained_on(X).sum() == count
    own = VAEDetector(estimator=_two_steps(random_state=0)).fit(X)
    whole = VAEDetector().fit(X)
    np.testing.assert_array_equal(own.decision_scores_, whole.decision_scores_)


def test_what_does_not_fit_is_refused_by_name(fitted: VAEDetector) -> None:
    for change, told in (
        ({"team": "dynamo"}, "'team' holds 'dynamo'"),
        ({"goals": -1}, "'goals'"),
        ({"height": np.inf}, "inf"),
    ):
        with pytest.raises(ValueError, match=told):
            fitted.score_samples(odd().assign(**change))
    with pytest.raises(ValueError, match="lacks the column 'goals'"):
        fitted.score_samples(odd().drop(columns="goals"))
    with pytest.raises(ValueError, match="more than one column named"):
        fitted.score_samples(pandas.concat([odd(), odd()[["fit"]]], axis=1))
    with pytest.raises(ValueError, match="0 sample"):
        fitted.score_samples(odd()[:0])
    empty = odd().astype(object)
    empty.loc[0] = None
    assert fitted.score_samples(empty)[0] == pytest.approx(0, abs=1e-6)  # nothing is there
    assert (fitted.attribute(empty[:1]).nats == 0).all()


def test_unknown_categories_may_be_missing() -> None:
    estimator = quick().set_params(max_steps=2, unknown="missing")
    detector = VAEDetector(estimator=estimator, trim=0).fit(frame(60))
    new = odd()[:2].assign(team=["dynamo", None])
    same = odd()[:2].assign(team=[None, None])
    np.testing.assert_array_equal(detector.score_samples(new), detector.score_samples(same))


def test_the_shell_speaks_the_words_of_the_file(
    fitted: VAEDetector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    fitted.save("run")
    odd().to_csv("new.csv", index=False)
    for out in ("out.csv", "out.json"):
        assert main(["detect", "run", "new.csv", "--quiet", "--out", out]) == 0
    text = capsys.readouterr().out
    assert "height 230, not 1" in text
    told = pandas.read_csv("out.csv").set_index("row").sort_index()
    assert told.loc[2, "column_1"] == "fit"
    assert {str(told.loc[2, "value_1"]), str(told.loc[2, "expected_1"])} == {"True", "False"}
    lines = json.loads(Path("out.json").read_text())
    p_values = [line["p_value"] for line in sorted(lines, key=lambda line: int(line["row"]))]
    np.testing.assert_array_equal(p_values, fitted.p_values(odd()))
    assert {line["column_1"] for line in lines} <= {*odd().columns}


def test_the_shell_fits_to_a_mixed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nelbo.estimator.detector.VariationalAutoencoder", _two_steps)
    frame(60).to_csv("t.csv", index=False)
    assert main(["detect", "t.csv", "--quiet", "--out", "out.parquet", "--trim", "0"]) == 0
    assert sorted(pandas.read_parquet("out.parquet")["row"]) == list(range(60))


def _two_steps(**options: Any) -> VariationalAutoencoder:
    return VariationalAutoencoder(1, max_steps=2, score_samples_k=20, **options)


@pytest.mark.slow
@pytest.mark.data
def test_the_tutorial_runs_on_some_of_its_rows(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pandas.read_csv(data_dir / "tables" / "adult.csv").to_csv("adult.csv", index=False)
    page = (Path(__file__).parent.parent / "docs" / "anomalies.md").read_text("utf-8")
    code = "\n".join(re.findall(r"^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    session: dict[str, Any] = {}
    exec(code.replace("[:8000]", "[:1000]").replace("8000:10_000", "8000:8100"), session)
    assert session["why"].most(3)[2].tolist().count(4) == 1  # education-num
