"""Odd data: a finite result of the right shape, type and units,
or one line that says what is wrong. Never NaN.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.decomposition import PCA

import nelbo
from nelbo import VariationalAutoencoder
from nelbo.data.steps.dequantise import hash_uniform

pytestmark = pytest.mark.usefixtures("untouched_random_state")

Array = np.ndarray[Any, Any]


def vae(**options: Any) -> VariationalAutoencoder:
    """An estimator that fits in a tenth of a second."""
    defaults: dict[str, Any] = {
        "latent_dim": 2,
        "hidden": (8,),
        "channels": (4,),
        "max_steps": 20,
        "random_state": 0,
    }
    return VariationalAutoencoder(**(defaults | options))


def normal(*shape: int, seed: int = 0) -> Array:
    """Correlated numbers of mean 1 or so: something for a latent variable to find."""
    rng = np.random.default_rng(seed)
    n, d = shape[0], math.prod(shape[1:])
    x = rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) + 0.3 * rng.normal(size=(n, d)) + 1.0
    return np.asarray(x.reshape(shape))


def check_all(model: VariationalAutoencoder, X: Any) -> None:
    """Call every method on rows X that the fitted model should take, and check what comes back."""
    x = np.asarray(X)
    n, q, shape = len(x), model.latent_dim, model.schema_.data_shape
    dtype = np.float64 if x.dtype.kind in "if" and x.dtype.itemsize == 8 else np.float32
    z = model.transform(X)
    found = {
        "score_samples": (model.score_samples(X), (n,), dtype),
        "elbo": (model.elbo(X), (n,), dtype),
        "transform": (z, (n, q), dtype),
        "inverse_transform": (model.inverse_transform(z), (n, *shape), dtype),
        "reconstruct": (model.reconstruct(X), (n, *shape), dtype),
        "noisy reconstruct": (model.reconstruct(X, noise=True, random_state=1), (n, *shape), dtype),
        "sample": (model.sample(3), (3, *shape), dtype),
        "sample means": (model.sample(3, noise=False, random_state=1), (3, *shape), dtype),
    }
    for name, (value, wanted, kind) in found.items():
        assert np.isfinite(value).all(), name
        assert value.shape == wanted, name
        assert value.dtype == kind, name
    np.testing.assert_array_equal(found["inverse_transform"][0], found["reconstruct"][0])
    np.testing.assert_array_equal(model.transform(X), z)
    np.testing.assert_array_equal(model.score_samples(X), found["score_samples"][0])
    nats, bound = found["score_samples"][0], found["elbo"][0]
    assert model.score(X) == pytest.approx(nats.mean(dtype=np.float64), rel=1e-6)
    slack = 0.3 + 1e-3 * abs(nats.mean(dtype=np.float64))  # both are estimates
    assert bound.mean(dtype=np.float64) <= nats.mean(dtype=np.float64) + slack


def check_units(model: VariationalAutoencoder, X: Any) -> None:
    """Reconstructions are centred where the data are, column by column:
    they are in the units of the data.
    """
    x = np.asarray(X, dtype=np.float64)
    if np.asarray(X).dtype == np.uint8 and model.schema_.dequantize:
        x = (x + 0.5) / 256
    found = model.reconstruct(X).astype(np.float64).reshape(len(x), -1)
    x = x.reshape(len(x), -1)
    gap = np.abs(found.mean(0) - x.mean(0))
    assert (gap <= 0.5 * x.std(0) + 1e-6 * np.abs(x.mean(0)) + 1e-5).all()


# -- tables of every kind
# ----------------------------------------------------------------------------

RNG = np.random.default_rng(1)
TABLES: dict[str, Array] = {
    "200 x 5": normal(200, 5),
    "one column": normal(60, 1),
    "two rows": normal(2, 5),
    "three rows": normal(3, 5),
    "four rows": normal(4, 5),
    "constant columns": np.concatenate(
        [normal(60, 3), np.full((60, 1), 7.0), np.zeros((60, 1))], axis=1
    ),
    "scales 1e-8 and 1e8": normal(60, 4) * [1e-8, 1.0, 1e8, 1.0],
    "scales 1e-100 and 1e100": normal(60, 4) * [1e-100, 1.0, 1e100, 1.0],
    "mean 1e9": normal(60, 4) + 1e9,
    "equal rows": np.tile(normal(1, 4), (40, 1)),
    "all zeros": np.zeros((40, 4)),
    "duplicated columns": np.repeat(normal(60, 2), 2, axis=1),
    "fewer columns than latents": normal(60, 2),
    "more columns than rows": normal(20, 50),
    "Cauchy": RNG.standard_cauchy((100, 4)),
    "one far outlier": np.concatenate([normal(80, 4), np.full((1, 4), 1e6)]),
    "rare ones": (RNG.random((100, 6)) < 0.02).astype(np.float64),
    "integers": RNG.integers(-5, 100, (60, 4)),
    "bool": RNG.random((60, 4)) < 0.5,
    "uint8": RNG.integers(0, 256, (60, 4), dtype=np.uint8),
    "uint8 zeros and ones": RNG.integers(0, 2, (60, 4), dtype=np.uint8),
    "float32": normal(60, 4).astype(np.float32),
    "float16": normal(60, 4).astype(np.float16),
    "Fortran order": np.asfortranarray(normal(60, 4)),
    "not contiguous": normal(120, 8)[::2, ::-2],
    "negative strides": normal(60, 4)[::-1],
    "big endian": normal(60, 4).astype(">f8"),
}
FEW: dict[str, Any] = {"score_samples_k": 16}  # the default, which takes longest, is one variant
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "per feature": {"variance": "per_feature"},
    "heteroscedastic": {"variance": "heteroscedastic"},
    "fixed": {"variance": 0.25},
    "linear": {"network": "linear"},
    "mlp": {"network": "mlp", **FEW},
    "global": {"scale": "global"},
    "all rows": {"validation_fraction": 0.0},
    "iwae": {"objective": "iwae", "objective_samples": 3, "init": "random", **FEW},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", TABLES)
def test_every_method_is_finite_on_odd_tables(name: str, variant: str) -> None:
    X = TABLES[name]
    if name == "scales 1e-100 and 1e100" and variant == "fixed":
        with pytest.raises(ValueError, match=r"variance=0\.25.*squared units of the data.*learned"):
            vae(variance=0.25).fit(X)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a floor was reached; see below
        model = vae(**({"latent_dim": 3} | VARIANTS[variant])).fit(X)
    check_all(model, X)
    if variant == "default":
        check_units(model, X)


def test_a_single_row_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 are needed") as caught:
        vae().fit(normal(1, 5))
    assert "\n" not in str(caught.value)


def test_constant_columns_do_not_raise_the_density_without_limit() -> None:
    X = np.concatenate([normal(200, 3), np.full((200, 2), 5.0)], axis=1)
    with pytest.warns(nelbo.DataWarning, match="Left out of the model: column 3 and column 4"):
        model = vae(network="linear").fit(X)
    assert (model.score_samples(X) < 20).all()
    assert np.min(model.noise_variance_[:3]) > 1e-6


@pytest.mark.filterwarnings("ignore:Computed from others")
def test_columns_are_named_when_their_noise_reaches_its_floor() -> None:
    height, width = normal(200, 1)[:, 0], normal(200, 1, seed=2)[:, 0]
    frame = pd.DataFrame({"height": height, "width": width, "width again": width})
    with pytest.warns(
        UserWarning, match="The noise of width, width again reached its floor"
    ) as caught:
        vae(latent_dim=2, network="linear", variance="per_feature", max_steps=300).fit(frame)
    assert all("\n" not in str(warning.message) for warning in caught)


def test_equal_rows_warn_of_the_floor() -> None:
    with pytest.warns(
        UserWarning, match=r"all columns together \(constant: column 0, .*\) reached its floor"
    ):
        model = vae().fit(TABLES["equal rows"])
    np.testing.assert_allclose(
        model.reconstruct(TABLES["equal rows"]), TABLES["equal rows"], atol=1e-3
    )


def test_columns_of_any_scale_are_fitted_alike() -> None:
    x = normal(200, 4)
    factor = np.array([2.0**-30, 1.0, 2.0**30, 1.0])
    plain, scaled = vae().fit(x), vae().fit(x * factor)
    np.testing.assert_array_equal(plain.transform(x), scaled.transform(x * factor))
    np.testing.assert_allclose(
        plain.score_samples(x) - np.log(factor).sum(), scaled.score_samples(x * factor), rtol=1e-12
    )


def test_a_mean_far_above_the_spread_costs_no_accuracy() -> None:
    x = normal(300, 4)
    near, far = vae(network="linear").fit(x), vae(network="linear").fit(x + 1e9)
    assert far.score(x + 1e9) == pytest.approx(near.score(x), abs=1e-3)
    np.testing.assert_allclose(far.noise_variance_, near.noise_variance_, rtol=1e-3)
    np.testing.assert_allclose(far.reconstruct(x + 1e9) - 1e9, near.reconstruct(x), atol=1e-3)


# -- images
# ------------------------------------------------------------------------------------------


def pictures(*shape: int) -> Array:
    """Smooth 8-bit pictures."""
    x = normal(*shape)
    return np.clip(60 * x + 90, 0, 255).astype(np.uint8)


IMAGES: dict[str, Array] = {
    "grey": pictures(30, 6, 5),
    "channels last": pictures(30, 6, 5, 3),
    "channels first": pictures(30, 3, 6, 5),
    "one channel last": pictures(30, 6, 5, 1),
    "one channel first": pictures(30, 1, 6, 5),
    "one row high": pictures(30, 1, 7),
    "one pixel": pictures(30, 1, 1),
    "odd": pictures(30, 5, 7),
}
IMAGE_VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "conv": {"network": "conv", **FEW},
    "conv encoder": {"encoder": "conv", "decoder": "mlp", **FEW},
    "heteroscedastic conv": {"network": "conv", "variance": "heteroscedastic", **FEW},
    "per feature": {"variance": "per_feature", **FEW},
    "fixed": {"variance": 0.01, **FEW},
}


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("variant", IMAGE_VARIANTS)
@pytest.mark.parametrize("name", IMAGES)
def test_every_method_is_finite_on_images(name: str, variant: str, kind: str) -> None:
    X = IMAGES[name]
    if kind != "uint8":
        X = ((X + 0.5) / 256).astype(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = vae(**IMAGE_VARIANTS[variant]).fit(X)
    check_all(model, X)
    # whose decoder has no closed-form start, and few steps to learn in
    if variant != "conv encoder":
        check_units(model, X)
    flat = X.reshape(len(X), -1)
    np.testing.assert_array_equal(model.score_samples(flat), model.score_samples(X))


def test_the_layout_of_images_changes_nothing_but_the_layout() -> None:
    last = IMAGES["channels last"]
    first = np.ascontiguousarray(np.moveaxis(last, -1, 1))
    a, b = vae(network="linear").fit(last / 256.0), vae(network="linear").fit(first / 256.0)
    np.testing.assert_allclose(
        a.score_samples(last / 256.0), b.score_samples(first / 256.0), rtol=1e-6
    )
    np.testing.assert_allclose(np.moveaxis(a.sample(2), -1, 1), b.sample(2), rtol=1e-5, atol=1e-5)


def test_an_image_model_refuses_other_images() -> None:
    model = vae().fit(IMAGES["grey"])
    with pytest.raises(
        ValueError, match=r"X has 42 features.*expecting 30.*\(n, 6, 5\) or flatten to \(n, 30\)"
    ):
        model.score(pictures(4, 6, 7))
    with pytest.raises(ValueError, match=r"examples of shape \(5, 6\)"):
        model.score(pictures(4, 5, 6))


def test_nats_of_8_bit_images_are_those_of_the_dequantised_density() -> None:
    X = IMAGES["grey"]
    model = vae(network="linear").fit(X)
    x = (X.reshape(30, -1) + hash_uniform(X.reshape(30, -1))) / 256
    nats = model.score_samples(X)
    np.testing.assert_allclose(nats, model.score_samples(x), rtol=1e-4, atol=1e-3)
    d = X[0].size
    bits = model.schema_.bits_per_dimension(nats)
    np.testing.assert_allclose(bits, 8 - nats / (d * math.log(2)), rtol=1e-5)
    # 256 levels of equal probability cost 8 bits each, a density of 1 over the unit cube
    assert model.schema_.bits_per_dimension(0.0) == pytest.approx(8.0)
    assert model.noise_variance_ == pytest.approx(PCA(2).fit(x).noise_variance_, rel=0.1)


def test_8_bit_noise_may_be_switched_off() -> None:
    X = IMAGES["grey"]
    model = vae(dequantize=False, network="linear").fit(X)
    np.testing.assert_allclose(model.reconstruct(X).mean(), X.mean(), rtol=0.05)
    assert model.schema_.bits_per_dimension(0.0) is None


# -- containers
# --------------------------------------------------------------------------------------


def test_containers_give_what_arrays_give() -> None:
    x = normal(40, 3)
    model = vae().fit(x)
    names = ["a", "b", "c"]
    wanted = model.score_samples(x)
    for other in (
        x.tolist(),
        torch.from_numpy(x),
        torch.from_numpy(x).requires_grad_(),
        np.ma.array(x),
    ):
        np.testing.assert_array_equal(model.score_samples(other), wanted)
        np.testing.assert_array_equal(vae().fit(other).score_samples(x), wanted)
    frame = pd.DataFrame(x, columns=names)
    for table in (
        frame,
        frame.convert_dtypes(),
        pa.table({name: x[:, i] for i, name in enumerate(names)}),
    ):
        np.testing.assert_array_equal(vae().fit(table).score_samples(table), wanted)


def test_torch_images_of_half_precision_are_taken() -> None:
    x = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float16, torch.bfloat16):
        model = vae().fit(x.to(dtype))
        assert model.reconstruct(x.to(dtype)).shape == (20, 1, 4, 4)
        assert np.isfinite(model.score(x.to(dtype)))


# -- laws
# --------------------------------------------------------------------------------------------

RICH: dict[str, dict[str, Any]] = {
    "default": {"max_steps": 60, "learning_rate": 0.01, "early_stopping": False},
    "linear": {"network": "linear"},
    "per feature": {"variance": "per_feature", "max_steps": 60, "early_stopping": False},
    "heteroscedastic": {"variance": "heteroscedastic", "max_steps": 60, "early_stopping": False},
}


@pytest.mark.parametrize("variant", RICH)
def test_a_row_scores_the_same_in_any_company_and_order(variant: str) -> None:
    x = normal(80, 5)
    model = vae(**RICH[variant]).fit(x)
    order = np.random.default_rng(0).permutation(80)
    for method in (model.score_samples, model.elbo, model.transform, model.reconstruct):
        whole = method(x)
        np.testing.assert_allclose(method(x[order]), whole[order], rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(
            np.concatenate([method(x[i : i + 1]) for i in range(5)]),
            whole[:5],
            rtol=1e-11,
            atol=1e-12,
        )
        np.testing.assert_allclose(
            method(np.concatenate([x, 1e3 + x]))[:80], whole, rtol=1e-11, atol=1e-12
        )


@pytest.mark.parametrize("variant", RICH)
def test_a_change_of_units_shifts_the_density_by_its_jacobian(variant: str) -> None:
    x = normal(120, 5)
    plain = vae(**RICH[variant]).fit(x)
    # a power of two: not one bit of the scaled data differs
    binary = vae(**RICH[variant]).fit(1024 * x)
    np.testing.assert_allclose(
        binary.score_samples(1024 * x), plain.score_samples(x) - 5 * math.log(1024), rtol=1e-12
    )
    np.testing.assert_allclose(
        binary.reconstruct(1024 * x), 1024 * plain.reconstruct(x), rtol=1e-12
    )
    metric = vae(**RICH[variant]).fit(1000 * x)
    # 100 samples have noise of half the bound here, of their own in each unit: of 20,000 it is a
    # sixth.
    found, wanted = (
        m.log_likelihood(r, "importance", 20_000).mean for m, r in ((metric, 1000 * x), (plain, x))
    )
    assert found == pytest.approx(wanted - 5 * math.log(1000), abs=0.05)
    if variant != "heteroscedastic":
        np.testing.assert_allclose(
            metric.noise_variance_, 1e6 * np.asarray(plain.noise_variance_), rtol=1e-2
        )


@pytest.mark.parametrize("variance", ["learned", 0.25])
def test_a_fixed_variance_is_in_squared_data_units(variance: Any) -> None:
    x = normal(150, 4) * 10
    model = vae(network="linear", scale="global", variance=variance).fit(x)
    noise = np.std(
        model.sample(4000, random_state=3) - model.sample(4000, noise=False, random_state=3)
    )
    assert noise == pytest.approx(math.sqrt(model.noise_variance_), rel=0.03)
    if variance == 0.25:
        assert model.noise_variance_ == pytest.approx(0.25, rel=1e-6)
        z = model.transform(x.astype(np.float64))
        assert z.shape == (150, 2)


def test_a_fixed_variance_holds_for_every_column_of_a_standardised_table() -> None:
    model = vae(variance=0.25).fit(normal(60, 4) * [1.0, 10.0, 100.0, 1000.0])
    np.testing.assert_allclose(model.noise_variance_, np.full(4, 0.25), rtol=1e-5)


@pytest.mark.parametrize("scale", ["global", "standard"])
def test_translation_and_order_of_columns_change_no_density(scale: str) -> None:
    x = normal(150, 4) * [1.0, 3.0, 0.1, 30.0]
    plain = vae(network="linear", scale=scale).fit(x)
    moved = vae(network="linear", scale=scale).fit(x + [5.0, -7.0, 0.3, 100.0])
    np.testing.assert_allclose(
        moved.score_samples(x + [5.0, -7.0, 0.3, 100.0]), plain.score_samples(x), atol=1e-3
    )
    order = [2, 0, 3, 1]
    swapped = vae(network="linear", scale=scale).fit(x[:, order])
    np.testing.assert_allclose(
        swapped.score_samples(x[:, order]), plain.score_samples(x), atol=1e-3
    )


# -- zeros and ones
# ----------------------------------------------------------------------------------


def bits(n: int, *shape: int) -> Array:
    return np.asarray(normal(n, *shape) > 1.0)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("network", ["residual", "linear", "mlp", "conv"])
def test_bernoulli_takes_zeros_and_ones_of_every_type(dtype: Any, network: str) -> None:
    X = bits(40, 4, 4).astype(dtype)
    model = vae(likelihood="bernoulli", network=network).fit(X)
    check_all(model, X)
    assert (model.score_samples(X) < 0).all()
    assert set(np.unique(model.sample(20))) == {0.0, 1.0}
    means = model.reconstruct(X)
    assert means.min() >= 0
    assert means.max() <= 1
    assert not hasattr(model, "noise_variance_")


def test_a_bernoulli_model_is_a_distribution_over_the_corners() -> None:
    x = bits(200, 3).astype(np.float64)
    model = vae(likelihood="bernoulli", max_steps=200, score_samples_k=2000).fit(x)
    corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T.astype(np.float64)
    assert np.exp(model.score_samples(corners)).sum() == pytest.approx(1.0, abs=0.02)
    independent = np.sum(x.mean(0) * np.log(x.mean(0)) + (1 - x.mean(0)) * np.log(1 - x.mean(0)))
    assert model.score(x) > independent


# -- bad input, one line each
# ------------------------------------------------------------------------

X5 = normal(20, 5)
HOLED = X5.copy()
HOLED[3, 2] = np.nan
INFINITE = X5.copy()
INFINITE[4, 1] = np.inf
BAD_FITS: dict[str, tuple[dict[str, Any], Any, str]] = {
    "NaN": (
        {"missing": "refuse"},
        HOLED,
        r"X contains NaN: first at row 3, column 2.*SimpleImputer",
    ),
    "inf": ({}, INFINITE, r"X contains inf: first at row 4, column 1.*SimpleImputer"),
    "NaN in a named column": (
        {"missing": "refuse"},
        pd.DataFrame(HOLED, columns=list("abcde")),
        r"row 3, column 'c'",
    ),
    "strings": (
        {},
        np.array([["a", "b"], ["c", "d"]]),
        r"holds text.*row 0, column 0 is 'a'.*OneHotEncoder",
    ),
    "a column of strings": (
        {"likelihood": "student_t"},
        pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}),
        r"column 'b' is 'x'",
    ),
    "a series": ({}, pd.Series([1.0, 2.0]), r"Expected 2D array.*reshape"),
    "one axis": ({}, X5[0], r"Expected 2D array.*reshape"),
    "five axes": ({}, np.zeros((2, 2, 2, 2, 2)), r"Found array with dim 5.*Flatten"),
    "no rows": ({}, X5[:0], r"0 sample"),
    "no columns": ({}, X5[:, :0], r"0 feature"),
    "complex": ({}, X5 + 1j, r"Complex data not supported"),
    "a string": ({}, "data.csv", r"nelbo\.data\.load"),
    "nothing": ({}, None, r"X must be an array of numbers"),
    "ragged": ({}, [[1.0, 2.0], [3.0]], r"rectangular"),
    "latent_dim 0": ({"latent_dim": 0}, X5, r"latent_dim must be at least 1, got 0"),
    "latent_dim 1.5": ({"latent_dim": 1.5}, X5, r"latent_dim must be an integer, got 1\.5"),
    "unknown activation": (
        {"activation": "rellu"},
        X5,
        r"activation 'rellu' is unknown.*relu.*silu",
    ),
    "unknown network": (
        {"network": "transformer"},
        X5,
        r"network 'transformer' is unknown.*linear, mlp, quadratic, residual",
    ),
    "unknown encoder": ({"encoder": "ml"}, X5, r"network 'ml' is unknown.*Did you mean 'mlp'"),
    "unknown likelihood": (
        {"likelihood": "gausian"},
        X5,
        r"likelihood 'gausian' is unknown.*Did you mean 'gaussian'",
    ),
    "unknown prior": ({"prior": "normal"}, X5, r"prior 'normal' is unknown.*standard_normal"),
    "unknown posterior": ({"posterior": "x"}, X5, r"posterior 'x' is unknown.*diagonal_normal"),
    "unknown objective": (
        {"objective": "elbow"},
        X5,
        r"objective 'elbow' is unknown.*Did you mean 'elbo'",
    ),
    "unknown scale": (
        {"scale": "minmax"},
        X5,
        r"scale must be 'auto', 'global', 'standard', 'whitened' or None",
    ),
    "unknown dequantize": ({"dequantize": "yes"}, X5, r"dequantize must be 'auto', True or False"),
    "unknown init": ({"init": "pca"}, X5, r'init must be "auto", "ppca" or "random"'),
    "no start for mlp": (
        {"init": "ppca", "network": "mlp"},
        X5,
        r"needs networks with a linear path",
    ),
    "unknown device": ({"device": "tpu"}, X5, r"device 'tpu' cannot be used here"),
    "unknown precision": (
        {"precision": "fp8"},
        X5,
        r'precision must be "auto", "bf16" or "float32"',
    ),
    "negative beta^2": (
        {"variance": -1.0},
        X5,
        r"variance is beta\^2 and must be a positive number",
    ),
    "zero beta^2": ({"variance": 0.0}, X5, r"variance is beta\^2 and must be a positive number"),
    "unknown variance": (
        {"variance": "lerned"},
        X5,
        r"one of auto, learned, per_feature, heteroscedastic, got 'lerned'",
    ),
    "negative rate": ({"learning_rate": -0.1}, X5, r"learning_rate must be a positive number"),
    "negative decay": ({"weight_decay": -0.1}, X5, r"weight_decay must be a number of at least 0"),
    "no epochs": ({"max_epochs": 0}, X5, r"max_epochs must be at least 1"),
    "no steps": ({"max_steps": 0}, X5, r"max_steps must be at least 1"),
    "no seconds": ({"max_seconds": 0}, X5, r"max_seconds must be a positive number"),
    "no batch": ({"batch_size": 0}, X5, r"batch_size must be at least 1"),
    "all held out": ({"validation_fraction": 1.0}, X5, r"validation_fraction must be in \[0, 1\)"),
    "no samples": ({"objective_samples": 0}, X5, r"objective_samples must be at least 1"),
    "no importance samples": ({"score_samples_k": 0}, X5, r"score_samples_k must be at least 1"),
    "width 0": ({"hidden": (8, 0)}, X5, r"hidden must be a sequence of positive integers"),
    "a width for a list": ({"hidden": 8}, X5, r"hidden must be a sequence of positive integers"),
    "channels 0": ({"channels": (0,)}, X5, r"channels must be a sequence of positive integers"),
    "conv on a table": ({"network": "conv"}, X5, r"needs an image.*mlp or residual"),
    "bernoulli of numbers": (
        {"likelihood": "bernoulli"},
        X5,
        r"is for zeros and ones, but X holds.*Binarise",
    ),
    "negative seed": ({"random_state": -1}, X5, r"random_state must be"),
    "a word for a seed": ({"random_state": "zero"}, X5, r"random_state"),
    "two columns of one name": (
        {},
        pd.DataFrame(X5[:, :2], columns=["a", "a"]),
        r"more than one column named 'a'",
    ),
}


@pytest.mark.parametrize("name", BAD_FITS)
def test_bad_input_to_fit_is_one_line_with_the_cure(name: str) -> None:
    options, X, message = BAD_FITS[name]
    model = vae(**options)
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        model.fit(X)
    assert "\n" not in str(caught.value)
    assert not hasattr(model, "model_")


def test_bad_input_to_a_fitted_model_is_one_line_with_the_cure() -> None:
    model = vae().fit(X5)
    calls: list[tuple[Any, str]] = [
        (
            lambda: model.score(X5[:, :4]),
            r"X has 4 features.*expecting 5 features.*Pass the same 5 columns",
        ),
        (lambda: model.transform(normal(20, 6)), r"X has 6 features.*expecting 5 features"),
        (lambda: model.elbo(normal(20, 2, 2)), r"X has 4 features.*expecting 5 features"),
        (lambda: model.score_samples(INFINITE), r"X contains inf: first at row 4, column 1"),
        (lambda: model.reconstruct(X5[0]), r"Expected 2D array"),
        (
            lambda: model.inverse_transform(normal(3, 3)),
            r"Z has shape \(3, 3\).*2 latent dimensions.*\(n, 2\)",
        ),
        (
            lambda: model.inverse_transform(np.array([[np.nan, 0.0]])),
            r"Z contains NaN: first at row 0, column 0",
        ),
        (lambda: model.sample(0), r"n_samples must be at least 1, got 0"),
        (
            lambda: model.sample(2.5),  # type: ignore[arg-type]
            r"n_samples must be an integer, got 2\.5",
        ),
        (lambda: model.sample(2, random_state=-3), r"random_state must be"),
    ]
    for call, message in calls:
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
