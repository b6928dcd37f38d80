"""The summary against independent computations, and the picture against the data it shows."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from nelbo import VariationalAutoencoder, evaluate
from nelbo.fitted.measure import Density, density
from nelbo.fitted.portrait.look import telling_columns
from nelbo.fitted.summary import summarise
from nelbo.picture import draw, write_picture
from nelbo.report.tiles import mosaic

pytest.importorskip("matplotlib")

RNG = np.random.default_rng(0)
TABLE = (
    RNG.normal(size=(120, 2)) @ RNG.normal(size=(2, 4))
    + 0.2 * RNG.normal(size=(120, 4)) * [1, 2, 3, 4]
    + 5
)
TRAIN, HELD_OUT = TABLE[:100], TABLE[100:]


def fitted(X: Any, **options: Any) -> VariationalAutoencoder:
    options = {"latent_dim": 2, "hidden": (8,), "max_steps": 20, "random_state": 0, **options}
    return VariationalAutoencoder(**options).fit(X)


@pytest.fixture(scope="module")
def table() -> VariationalAutoencoder:
    return fitted(TRAIN)


def exact_ppca(train: np.ndarray, latent_dim: int) -> Any:
    """Tipping & Bishop (1999) written out, N(mean, W W^T + sigma^2 I),
    of variances over n - 1 as scikit-learn has.
    """
    covariance = np.cov(train.T)
    values, vectors = np.linalg.eigh(covariance)
    sigma2 = values[:-latent_dim].mean()
    leading = vectors[:, -latent_dim:]
    shape = leading @ np.diag(values[-latent_dim:] - sigma2) @ leading.T
    return multivariate_normal(train.mean(0), shape + sigma2 * np.eye(len(values))), math.sqrt(
        sigma2
    )


# -- summary
# -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["standard", "global", None])
def test_the_baseline_is_exact_ppca_in_the_units_of_the_data(scale: str | None) -> None:
    model = fitted(TRAIN, scale=scale)
    found = summarise(model.fitted_, TRAIN, HELD_OUT, samples=20).baseline
    assert found is not None
    unit = TRAIN.std(0) if scale == "standard" else np.ones(4)
    law, sigma = exact_ppca(TRAIN / unit, 2)
    expected = law.logpdf(HELD_OUT / unit) - np.log(unit).sum()
    assert found.density.mean == pytest.approx(expected.mean(), rel=1e-6)
    assert found.density.standard_error == pytest.approx(
        expected.std(ddof=1) / math.sqrt(20), rel=1e-6
    )
    assert (found.noise.smallest, found.noise.largest) == pytest.approx(
        ((sigma * unit).min(), (sigma * unit).max())
    )
    method = evaluate.plain_method(model.model_)
    gains = model.log_likelihood(HELD_OUT, method, 20).value - expected
    assert found.gain == pytest.approx(gains.mean(), rel=1e-5)
    assert found.gain_error == pytest.approx(gains.std(ddof=1) / math.sqrt(20), rel=1e-5)


def test_a_linear_model_is_exact_and_gains_nothing_on_ppca() -> None:
    model = fitted(TRAIN, network="linear", validation_fraction=0, max_steps=1, learning_rate=1e-12)
    found = summarise(model.fitted_, TRAIN, HELD_OUT)
    assert found.density is not None
    assert found.baseline is not None
    assert (found.density.method, found.density.effective_samples, found.density.unreliable) == (
        "exact",
        None,
        None,
    )
    assert found.baseline.gain == pytest.approx(0, abs=0.01)
    assert found.noise.largest == pytest.approx(found.baseline.noise.largest, rel=0.01)
    assert found.active_units == 2


@pytest.mark.parametrize(
    ("variance", "kind"),
    [
        ("learned", "learned"),
        (0.25, "fixed"),
        ("per_feature", "per feature"),
        ("heteroscedastic", "from z"),
    ],
)
def test_beta_is_told_by_its_kind_in_the_units_of_the_data(variance: Any, kind: str) -> None:
    found = summarise(fitted(TRAIN, variance=variance, scale="global").fitted_, TRAIN, None).noise
    assert found.kind == kind
    assert found.smallest is not None
    assert found.largest is not None
    if kind in ("learned", "fixed"):
        assert found.smallest == pytest.approx(found.largest)
    if kind == "fixed":
        assert found.largest == pytest.approx(0.5, rel=1e-6)
    assert 0.01 < found.smallest <= found.largest < 5


def test_zeros_and_ones_have_no_beta_and_no_ppca() -> None:
    binary = (TABLE > 5).astype(np.float32)
    found = summarise(
        fitted(binary[:100], likelihood="bernoulli").fitted_, binary[:100], binary[100:], samples=5
    )
    assert (found.noise.kind, found.noise.largest, found.baseline) == ("none", None, None)
    assert found.density is not None
    assert found.density.mean < 0


def test_the_json_twin_holds_every_number(table: VariationalAutoencoder) -> None:
    found = summarise(table.fitted_, TRAIN, HELD_OUT[:1], samples=5, notes=("A note.",))
    twin = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert twin["warnings"][0] == "A note."
    assert found.density is not None
    assert Density(**twin["density"]) == found.density
    assert found.density.standard_error is None  # one row


def test_few_samples_for_a_sharp_posterior_are_told(table: VariationalAutoencoder) -> None:
    sharp = fitted(TRAIN, network="mlp", max_steps=1)  # an encoder that knows nothing yet
    found = density(sharp.log_likelihood(HELD_OUT, "importance", 50), sharp.schema_)
    assert found.unreliable is not None
    assert bool(found.warnings()) == (found.unreliable > 0.05)


def test_a_row_with_few_chains_does_not_hide_the_share_of_unreliable_rows(
    table: VariationalAutoencoder,
) -> None:
    found = table.log_likelihood(HELD_OUT[:4], "importance", 50)
    khat = np.array([0.1, 0.9, math.nan, -math.inf])
    error = np.array([0.1, 0.1, 0.6, 0.0])
    ess = np.array([30.0, 2.0, 3.0, math.inf])
    parts = {"khat": khat, "standard_error": error, "ess": ess, "samples": np.array([50, 50, 8, 0])}
    judged = density(
        dataclasses.replace(found, method="quadrature + importance + ais", **parts), table.schema_
    )
    assert (judged.unreliable, judged.samples, judged.effective_samples) == (0.5, 50, 3.0)
    assert "50% of the rows log p(x) is unreliable" in judged.warnings()[0]


def test_bits_per_dimension_are_those_of_the_schema() -> None:
    rows = RNG.integers(0, 256, size=(40, 6), dtype=np.uint8)
    found = summarise(fitted(rows, dequantize=True).fitted_, rows, rows, samples=5).density
    assert found is not None
    assert found.bits_per_dimension == pytest.approx(8 - found.mean / (6 * math.log(2)))


# -- picture
# -----------------------------------------------------------------------------------------


def picture(model: VariationalAutoencoder, train: Any, held_out: Any, title: str = "data") -> Any:
    return draw(
        model.fitted_, train, held_out, summarise(model.fitted_, train, held_out, samples=5), title
    )


def axes_by_title(figure: Any) -> dict[str, Any]:
    return {(axes.get_title(loc="left") or axes.get_title()): axes for axes in figure.axes}


def test_images_are_shown_as_they_are_and_noise_is_what_parts_two_rows_of_samples() -> None:
    rows = RNG.integers(0, 256, size=(60, 6, 6), dtype=np.uint8)
    model = fitted(rows[:40], variance=0.01)
    axes = axes_by_title(picture(model, rows[:40], rows[40:]))
    (shown,) = [axes[text] for text in axes if text.startswith("Data (held out)")]
    assert np.allclose(shown.images[0].get_array()[:6, :6, 0], (rows[40] + 0.5) / 256)
    (means,) = [axes[text] for text in axes if text.startswith("Samples without noise")]
    (noisy,) = [axes[text] for text in axes if text.startswith("Samples with noise")]
    assert "= 0.1 (fixed)" in noisy.get_title(loc="left")
    difference = np.array(noisy.images[0].get_array()) - np.array(means.images[0].get_array())
    assert difference[difference != 0].std() == pytest.approx(0.1, rel=0.2)


def test_a_mosaic_puts_each_tile_in_its_place() -> None:
    tiles = np.arange(3 * 2 * 4 * 3).reshape(3, 2, 4, 3) / 100
    sheet = mosaic(tiles, 2)
    assert sheet.shape == (5, 9, 3)
    assert np.array_equal(sheet[:2, 5:], tiles[1])
    assert np.array_equal(sheet[3:, :4], tiles[2])
    assert (sheet[2] == 1).all()
    assert (sheet[3:, 5:] == 1).all()


@pytest.mark.parametrize("shape", [(4, 4, 3), (3, 4, 4), (1, 9), (9, 1), (4, 4, 2)])
def test_any_shape_of_image_is_drawn(shape: tuple[int, ...], tmp_path: Path) -> None:
    rows = RNG.random((30, *shape)).astype(np.float32)
    model = fitted(rows, max_steps=1)
    write_picture(
        tmp_path / "p.png", model.fitted_, rows, None, summarise(model.fitted_, rows, None)
    )
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


def test_a_table_is_shown_by_its_two_most_correlated_columns(table: VariationalAutoencoder) -> None:
    a, b = RNG.normal(size=(2, 50))
    assert set(telling_columns(np.stack([a, 0 * a, b, -a + 0.01 * b], 1))[:2]) == {0, 3}
    axes = axes_by_title(picture(table, TRAIN, HELD_OUT))
    offsets = np.array(axes["Data (held out)"].collections[0].get_offsets())
    i, j = telling_columns(HELD_OUT)[:2]
    assert np.array_equal(offsets, HELD_OUT[:, [i, j]])


@pytest.mark.filterwarnings("ignore:Computed from others")  # columns stand twice
@pytest.mark.parametrize("columns", [[0], [0, 1], [0, 1, 2, 3, 0, 1, 2, 3]])
def test_any_number_of_columns_is_drawn(columns: list[int], tmp_path: Path) -> None:
    rows = TRAIN[:, columns]
    model = fitted(rows, max_steps=1)
    write_picture(
        tmp_path / "p.png",
        model.fitted_,
        rows,
        None,
        summarise(model.fitted_, rows, None),
        title="cost in $ and $ again",
    )
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_rows_that_do_not_vary_are_drawn(tmp_path: Path) -> None:
    rows = np.ones((20, 3))
    with pytest.warns(UserWarning, match="floor"):
        model = fitted(rows, max_steps=1)
    write_picture(
        tmp_path / "p.png", model.fitted_, rows, None, summarise(model.fitted_, rows, None)
    )


def test_the_bound_is_drawn_as_it_was_recorded(table: VariationalAutoencoder) -> None:
    axes = axes_by_title(picture(table, TRAIN, HELD_OUT))["The bound during training"]
    (line,) = [line for line in axes.lines if line.get_label() == "validation rows"]
    records = table.history_.records
    assert np.array_equal(line.get_xydata(), [(r.epoch, r.validation) for r in records])
    assert "DReG bound, nats" in axes.get_ylabel()


def test_drawing_leaves_the_state_of_matplotlib_alone(table: VariationalAutoencoder) -> None:
    import matplotlib

    before, modules = dict(matplotlib.rcParams), set(sys.modules)
    picture(table, TRAIN, HELD_OUT)
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in set(sys.modules) - modules
