"""Graphs in ONNX compute what the model does, in the units of the data, for any number of rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats

from nelbo import VariationalAutoencoder

pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")

from nelbo.export import export, halved  # noqa: E402
from nelbo.export.decompose import lgamma, solve_triangular  # noqa: E402

RNG = np.random.default_rng(0)
OPTIONS: dict[str, Any] = {"hidden": (8,), "max_steps": 20, "random_state": 0}


def table() -> np.ndarray[Any, Any]:
    """Five columns with units of their own; the third has one value."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(120, 2)) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(120, 5))
    rows = 100 + rows * [1, 10, 0, 0.1, 1]
    return rows.astype(np.float32)


def run(folder: Path, name: str, **inputs: Any) -> list[np.ndarray[Any, Any]]:
    session = runtime.InferenceSession(folder / f"{name}.onnx")
    found: list[np.ndarray[Any, Any]] = session.run(
        None, {key: np.asarray(value, dtype=np.float32) for key, value in inputs.items()}
    )
    return found


@pytest.fixture(scope="module")
def whitened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A table whose noise turns, with a column that is left out."""
    model = VariationalAutoencoder(2, init="random", **OPTIONS).fit(table())
    folder = tmp_path_factory.mktemp("onnx") / "table"
    export(model.fitted_, folder, samples=30)
    return model, folder


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_table_goes_in_and_comes_out_in_its_units(whitened: Any, rows: int) -> None:
    model, folder = whitened
    x = table()[:rows]
    mean, deviation = run(folder, "encoder", x=x)
    np.testing.assert_allclose(mean, model.transform(x), atol=1e-4)
    np.testing.assert_allclose(deviation, model.transform(x, return_std=True)[1], rtol=1e-4)
    x_hat, _ = run(folder, "decoder", z=mean)
    assert x_hat.shape == x.shape
    np.testing.assert_allclose(x_hat, model.inverse_transform(mean), rtol=1e-5)


def test_deviations_are_those_of_draws(whitened: Any) -> None:
    model, folder = whitened
    z = np.zeros((20_000, 2), dtype=np.float32)
    x = model.fitted_._decode(torch.from_numpy(z), torch.Generator().manual_seed(0), None)
    _, deviation = run(folder, "decoder", z=z[:2])
    np.testing.assert_allclose(deviation[0], x.std(0), rtol=0.05)


def test_the_score_is_a_bound_between_elbo_and_log_p(whitened: Any) -> None:
    model, folder = whitened
    x = table()
    (score,) = run(folder, "score", x=x)
    exact = model.log_likelihood(x, "quadrature").value
    assert model.elbo(x).mean() < score.mean() < exact.mean() + 0.05
    (again,) = run(folder, "score", x=x[5:6])
    assert again[0] == pytest.approx(score[5], abs=1e-4)


def test_colour_images_given_labels(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, size=(60, 6, 5, 3), dtype=np.uint8)
    labels = np.repeat([0, 1, 2], 20)
    parts: dict[str, Any] = {"prior": "mixture", "posterior": "full_normal", "init": "random"}
    model = VariationalAutoencoder(2, **parts, **OPTIONS).fit(images, c=labels)
    export(model.fitted_, tmp_path / "images", samples=5)
    x, c = (images[:4] + 0.5) / 256, np.eye(3)[labels[:4]]
    mean, wide = run(tmp_path / "images", "encoder", x=x, c=c)
    z, std = model.transform(images[:4], return_std=True, c=labels[:4])
    np.testing.assert_allclose(mean, z, atol=1e-4)
    np.testing.assert_allclose(wide, std, atol=1e-4)
    x_hat, deviation = run(tmp_path / "images", "decoder", z=mean, c=c)
    np.testing.assert_allclose(x_hat, model.inverse_transform(mean, c=labels[:4]), atol=1e-5)
    np.testing.assert_allclose(deviation, model.noise_variance_**0.5, rtol=1e-5)
    told = json.loads((tmp_path / "images" / "graphs.json").read_text())
    assert told["graphs"][0]["inputs"] == {"x": ["n", 6, 5, 3], "c": ["n", 3]}
    assert told["graphs"][0]["gap"] < 1e-4
    assert [one["values"] for one in told["condition"]] == [[0, 1, 2]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"likelihood": "student_t"},
        {"likelihood": "student_t", "posterior": "full_normal"},
        {"prior": "mixture"},
        {},
    ],
)
def test_other_parts(options: dict[str, Any], tmp_path: Path) -> None:
    size = {} if not options else {"latent_dim": 2}
    model = VariationalAutoencoder(**size, **options, random_state=0, max_steps=30)
    model.fit(table())
    found = export(model.fitted_, tmp_path / "run")
    assert max(graph.gap for graph in found.graphs) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["mixture", "flow"])
def test_tables_with_holes_given_conditions(prior: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    x = table()
    x[RNG.random(x.shape) < 0.2] = np.nan
    team = np.where(RNG.random(120) < 0.1, None, np.repeat(["a", "b", "c"], 40))
    X = pandas.DataFrame({"size": x[:, 0], "weight": x[:, 3], "team": team})
    c = pandas.DataFrame({"where": np.tile(["in", "out"], 60), "age": RNG.normal(size=120)})
    parts: dict[str, Any] = {"prior": prior, "posterior": "full_normal", "init": "random"}
    model = VariationalAutoencoder(2, **parts, **OPTIONS).fit(X, c=c)
    found = export(model.fitted_, tmp_path / "run", samples=5)
    assert found.missing
    assert max(graph.gap for graph in found.graphs) < 1e-4
    inputs = {
        "x": model.schema_.table.encode(X),
        "c": model.fitted_.conditions_of(model._values(X, c)),
    }
    mean, deviation = run(tmp_path / "run", "encoder", **inputs)
    z, std = model.transform(X, return_std=True, c=c)
    np.testing.assert_allclose(mean, z, atol=1e-4)
    np.testing.assert_allclose(deviation, std, atol=1e-4)
    (score,) = run(tmp_path / "run", "score", **inputs)
    assert model.elbo(X, c=c).mean() < score.mean() < model.score_samples(X, c=c).mean() + 0.2


@pytest.mark.slow
def test_rounded_values(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, size=(60, 6, 5), dtype=np.uint8)
    model = VariationalAutoencoder(2, likelihood="discretized_gaussian", **OPTIONS).fit(images)
    found = export(model.fitted_, tmp_path / "run", samples=5)
    assert max(graph.gap for graph in found.graphs) < 1e-4


@pytest.mark.slow
def test_convolutions(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, size=(60, 12, 12), dtype=np.uint8)
    model = VariationalAutoencoder(2, network="conv", random_state=0, max_steps=30).fit(images)
    export(model.fitted_, tmp_path / "run")
    z = RNG.normal(size=(3, 2)).astype(np.float32)
    (x_hat, _) = run(tmp_path / "run", "decoder", z=z)
    np.testing.assert_allclose(x_hat, model.inverse_transform(z), atol=1e-5)


def test_weights_of_16_bits_take_half_and_decode_nearly_the_same(whitened: Any) -> None:
    import onnx

    model, folder = whitened
    half = halved((folder / "decoder.onnx").read_bytes(), fewest=16)
    kinds = [weight.data_type for weight in onnx.load_from_string(half).graph.initializer]
    assert onnx.TensorProto.FLOAT16 in kinds
    z = RNG.normal(size=(5, 2)).astype(np.float32)
    x_hat, _ = runtime.InferenceSession(half).run(None, {"z": z})
    unit = 1 + table().std(0)
    gap = (x_hat - model.inverse_transform(z)) / unit
    assert 0 < np.abs(gap).max() < 5e-3


def test_what_onnx_lacks_is_written_in_what_it_has() -> None:
    x = torch.logspace(-3, 4, 200, dtype=torch.float64)
    np.testing.assert_allclose(lgamma(x), special.gammaln(x.numpy()), rtol=1e-9, atol=1e-9)
    a = torch.randn(4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    b = torch.randn(4, 5, 3, dtype=torch.float64)
    for upper in (False, True):
        for unit in (False, True):
            arguments: dict[str, bool] = {"upper": upper, "unitriangular": unit}
            side = a.triu() if upper else a.tril()
            wanted = torch.linalg.solve_triangular(side, b, **arguments)
            np.testing.assert_allclose(solve_triangular(a, b, **arguments), wanted, rtol=1e-6)
            wanted = torch.linalg.solve_triangular(side, b.mT, left=False, **arguments)
            found = solve_triangular(a, b.mT, left=False, **arguments)
            np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_the_shell_writes_them_and_a_linear_model_is_scored_exactly(tmp_path: Path) -> None:
    model = VariationalAutoencoder(1, network="linear", **OPTIONS).fit(table())
    model.save(tmp_path / "run")

    def nelbo(*arguments: str) -> Any:
        command = [sys.executable, "-m", "nelbo", "export", "run", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "Add --onnx" in nelbo().stderr
    done = nelbo("--onnx", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert {graph["name"] for graph in json.loads(done.stdout)["graphs"]} == {
        "encoder",
        "decoder",
        "score",
    }
    found = {path.name for path in (tmp_path / "run" / "onnx").iterdir()}
    assert found == {"encoder.onnx", "decoder.onnx", "score.onnx", "graphs.json"}
    assert "exact" in json.loads(done.stdout)["graphs"][2]["says"]
    (score,) = run(tmp_path / "run" / "onnx", "score", x=table())
    np.testing.assert_allclose(score, model.score_samples(table()), atol=1e-3)
    again = nelbo("--onnx")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


def test_draws_have_the_distribution_that_they_say() -> None:
    from nelbo import distributions
    from nelbo.explore.draws import drawn, noise_size

    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([[0.3, 1.2, -0.5]])
    p = distributions.GatedNormals(
        logits.log_softmax(-1), torch.tensor([[[0.0, 1.0], [4.0, -2.0], [-3.0, 0.5]]]),
        torch.tensor([[[0.5, 0.0], [0.3, 0.2]]]).repeat(3, 1, 1), (2,),
    )  # fmt: skip
    u = torch.randn(40_000, noise_size(p), generator=generator)
    wide = distributions.GatedNormals(
        p.log_weight.expand(40_000, -1), p.loc.expand(40_000, -1, -1), p.scale_tril, (2,)
    )
    x = drawn(wide, u)
    other = p.sample((40_000,), generator)[:, 0]
    for j in range(2):
        assert stats.ks_2samp(x[:, j], other[:, j]).pvalue > 1e-3
    assert np.corrcoef(x.T)[0, 1] == pytest.approx(np.corrcoef(other.T)[0, 1], abs=0.02)
    categories = distributions.Categorical(logits[:, None].expand(40_000, 1, 3))
    found = drawn(categories, u[:, :1])
    share = [(found == k).float().mean().item() for k in range(3)]
    assert share == pytest.approx(logits.softmax(-1)[0].tolist(), abs=0.01)
