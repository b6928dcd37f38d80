"""Graphs, and what the explorer draws, of tables with columns of different kinds and holes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from nelbo import VariationalAutoencoder, distributions
from nelbo.explore.draws import Drawing, drawn, noise_size, share
from nelbo.export import Score, export

pandas = pytest.importorskip("pandas")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def frame(holes: bool = True) -> Any:
    """A column of every kind that is inferred."""
    random = np.random.default_rng(0)
    z = random.normal(size=150)
    found = pandas.DataFrame(
        {
            "kind": np.array(["bird", "cat", "dog"])[np.digitize(z, [-0.5, 0.5])],
            "seen": np.datetime64("2020-01-01") + (90 * z).astype("timedelta64[D]"),
            "size": 10 + z + random.normal(size=150),
            "toys": random.poisson(np.exp(1 + 0.5 * z)),
            "fee": np.where(z < -0.4, 0.0, np.exp(3 + z).round(2)),
            "fit": z > 0,
            "grade": pandas.Categorical.from_codes(
                np.digitize(z, [-1, 1]), ["low", "mid", "top"], ordered=True
            ),
        }
    )
    if holes:
        found["toys"] = found["toys"].astype(float)
        found.loc[::7, ["kind", "toys"]] = None
    return found


def quick() -> VariationalAutoencoder:
    return VariationalAutoencoder(2, max_steps=10, hidden=(8,), random_state=0)


@pytest.fixture(scope="module")
def fitted() -> VariationalAutoencoder:
    return quick().fit(frame())


@pytest.mark.slow
def test_graphs_take_what_the_schema_encodes_and_agree_with_torch(
    fitted: VariationalAutoencoder, tmp_path: Path
) -> None:
    found = export(fitted.fitted_, tmp_path / "onnx", samples=20)
    assert max(graph.gap for graph in found.graphs) <= 1e-4
    told = json.loads((tmp_path / "onnx" / "graphs.json").read_text())
    assert told["missing"]
    names = ["kind", "seen", "size", "toys", "fee", "fit", "grade"]
    assert [column["name"] for column in told["columns"]] == names
    assert told["columns"][0]["levels"] == ["bird", "cat", "dog"]
    assert told["columns"][1]["form"] == "date"

    X = frame()[:20]
    x = fitted.schema_.table.encode(X).astype(np.float32)
    levels = told["columns"][0]["levels"]
    assert [levels[int(k)] for k in x[1:4, 0]] == X["kind"][1:4].tolist()

    def run(name: str, **feed: Any) -> Any:
        session = onnxruntime.InferenceSession(tmp_path / "onnx" / f"{name}.onnx")
        return session.run(None, feed)

    mean, deviation = run("encoder", x=x)
    z, s = fitted.transform(X, return_std=True)
    np.testing.assert_allclose(mean, z, atol=1e-4)
    np.testing.assert_allclose(deviation, s, atol=1e-4)
    x_hat, _ = run("decoder", z=mean)
    decoded = fitted.schema_.table.decode(x_hat)
    pandas.testing.assert_frame_equal(decoded, fitted.inverse_transform(z), rtol=1e-3, atol=0.02)
    (log_p,) = run("score", x=x)
    assert np.isfinite(log_p).all()
    assert np.abs(log_p - fitted.score_samples(X)).mean() < 2


def test_the_score_of_a_row_counts_the_scale_of_what_is_there() -> None:
    """The same rows in units of a thousandth: log p is so many nats less for each number there."""
    random = np.random.default_rng(0)
    z = random.normal(size=(200, 1))
    rows = z * [1, 2, 3] + random.normal(size=(200, 3))
    rows[random.random((200, 3)) < 0.2] = np.nan
    nats = []
    for unit in (1, 1000):
        model = VariationalAutoencoder(1, max_steps=4, network="mlp", random_state=0)
        score = Score(model.fit(rows * unit).fitted_, samples=10)
        with torch.no_grad():
            nats.append(score(torch.from_numpy((rows[:30] * unit).astype(np.float32))))
    there = (~np.isnan(rows[:30])).sum(1)
    np.testing.assert_allclose(nats[0] - nats[1], there * np.log(1000), atol=1e-2)


def test_the_page_draws_what_the_model_draws() -> None:
    loc, generator = torch.tensor([[0.3]]), torch.Generator().manual_seed(0)
    for p in (
        distributions.Ordinal(loc, torch.tensor([[-1.0, 0.0, 2.0]])),
        distributions.LogNormal(loc, torch.tensor([[0.6]])),
        distributions.SpikeAndSlab(
            torch.tensor([[[0.2, 0.0, 0.5, -0.3]]]),
            torch.tensor([[[2.0, 5.0]]]),
            torch.tensor([[[0.5, 0.3]]]),
            torch.tensor([0.0, 4.0]),
            step=0.5,
        ),
    ):
        u = torch.randn(20_000, noise_size(p), generator=generator)
        mine = drawn(_expanded(p, len(u)), u).flatten().numpy()
        theirs = p.sample((20_000,), generator=generator).flatten().numpy()
        assert stats.ks_2samp(mine, theirs).pvalue > 1e-3


def _expanded(p: Any, rows: int) -> Any:
    """Return the distribution of many rows of the same."""
    if isinstance(p, distributions.Ordinal):
        return distributions.Ordinal(p.loc.expand(rows, -1), p.thresholds)
    if isinstance(p, distributions.LogNormal):
        return distributions.LogNormal(p.log.mean.expand(rows, -1), p.log.stddev.expand(rows, -1))
    logits, loc, scale = (part.expand(rows, -1, -1) for part in (p.logits, p.loc, p.scale))
    return distributions.SpikeAndSlab(logits, loc, scale, p.points, p.step)


def test_the_page_tells_how_probable_a_level_is(fitted: VariationalAutoencoder) -> None:
    drawing = Drawing(fitted.fitted_)
    z = torch.zeros(1, 2)
    noise = [torch.zeros(1, drawing.noise)] * bool(drawing.noise)
    with torch.no_grad():
        found = dict(zip(drawing.names, drawing(z, *noise), strict=True))
        p = fitted.model_.decode(z)
    assert found["share"][0, 0] == pytest.approx(float(p.probabilities(0).max()), abs=1e-6)
    assert found["share"][0, 2] == 1
    assert (share(p)[0, [0, 5, 6]] < 1).all()
