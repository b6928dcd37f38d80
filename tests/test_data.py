"""data: x = shift + scale * t and back, its Jacobian, dequantisation, and every refusal by name."""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from nelbo.data import Schema, Values, load, to_uint8, validate_array
from nelbo.data import values as door
from nelbo.data.moments import feature_moments

pd = pytest.importorskip("pandas")
Image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, size=(40, 6, 5), dtype=np.uint8)

LAYOUTS = {  # data -> the model's shape
    "flat": ((30, 7), (7,)),
    "hw": ((30, 6, 5), (1, 6, 5)),
    "hwc": ((30, 6, 5, 3), (3, 6, 5)),
    "chw": ((30, 3, 6, 5), (3, 6, 5)),
}


def one_line(match: str) -> Any:
    """A ValueError or TypeError whose message is one line that matches."""
    return pytest.raises((ValueError, TypeError), match=rf"\A[^\n]*{match}[^\n]*\Z")


# -- scaling is an affine bijection with a counted Jacobian


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale", ["auto", "global", "standard", None])
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_from_model_inverts_to_model(layout: str, scale: Any, kind: Any) -> None:
    shape, event = LAYOUTS[layout]
    X = RNG.integers(0, 256, size=shape).astype(kind)
    schema = Schema.infer(X, scale=scale)
    t = schema.to_model(X, noise="centre", dtype=torch.float64)
    assert (schema.layout, schema.shape, tuple(t.shape)) == (layout, event, (30, *event))
    assert schema.dequantize == (kind is np.uint8 and layout != "flat")
    back = schema.from_model(t)
    assert back.shape == X.shape
    np.testing.assert_allclose(
        back, (X + 0.5) / 256 if schema.dequantize else X, rtol=1e-12, atol=1e-12
    )
    assert schema.from_model(t.float()).dtype == np.float32
    np.testing.assert_array_equal(schema.from_model(t.numpy()), back)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_reach_the_model_first(layout: str) -> None:
    X = RNG.normal(size=LAYOUTS[layout][0])
    t = Schema.infer(X, scale=None).to_model(X, noise="hash", dtype=torch.float64).numpy()
    expected = {"hw": X[:, None], "hwc": np.moveaxis(X, -1, 1)}.get(layout, X)
    np.testing.assert_array_equal(t, expected)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((2, 9, 9, 4), "hwc"),
        ((2, 4, 9, 9), "chw"),
        ((2, 3, 9, 3), "hwc"),
        ((2, 9, 9, 6), "hwc"),
        ((2, 6, 9, 9), "chw"),
        ((2, 9, 9, 9), "chw"),
    ],
)
def test_layout_is_read_off_the_shape(shape: tuple[int, ...], layout: str) -> None:
    assert Schema.infer(np.zeros(shape)).layout == layout


def test_standard_scale_is_the_standard_score() -> None:
    X = RNG.normal(size=(500, 4)) * [1e-8, 1e8, 1e-3, 2.0] + [0, 0, 1e6, -5]
    schema = Schema.infer(X)
    np.testing.assert_allclose(
        schema.shift, X.astype(np.longdouble).mean(0).astype(float), rtol=1e-14, atol=1e-20
    )
    np.testing.assert_allclose(
        schema.scale, X.astype(np.longdouble).std(0).astype(float), rtol=1e-9
    )
    t = schema.to_model(X, noise="hash")
    torch.testing.assert_close(t.std(0, correction=0), torch.ones(4), rtol=1e-5, atol=0)


def test_global_scale_is_the_root_of_the_mean_variance() -> None:
    X = RNG.normal(size=(300, 3)) * [1.0, 2.0, 5.0] + 7
    schema = Schema.infer(X, scale="global")
    assert schema.scale.shape == ()
    assert float(schema.scale) == pytest.approx(math.sqrt(X.var(0).mean()), rel=1e-13)
    assert schema.log_scale_sum == pytest.approx(3 * math.log(math.sqrt(X.var(0).mean())))


def test_dequantised_moments_include_the_noise() -> None:
    schema = Schema.infer(IMAGES)
    x = (IMAGES.reshape(40, -1) + 0.5) / 256
    np.testing.assert_allclose(schema.shift.ravel(), x.mean(0), rtol=1e-13)
    assert float(schema.scale) ** 2 == pytest.approx(x.var(0).mean() + 1 / (12 * 256**2), rel=1e-12)


@pytest.mark.parametrize("scale", ["global", "standard"])
def test_log_density_changes_by_the_jacobian(scale: Any) -> None:
    X = RNG.normal(size=(50, 3)) * [0.1, 10.0, 1.0] + 3
    schema = Schema.infer(X, scale=scale)
    t = schema.to_model(X, noise="hash", dtype=torch.float64)
    v = 0.3  # N(t | 0, v I) in the model is N(x | shift, variance_from_model(v)) in data units
    log_t = torch.distributions.Normal(0.0, math.sqrt(v)).log_prob(t).sum(1)
    deviation = torch.as_tensor(schema.variance_from_model(v)).sqrt()
    log_x = (
        torch.distributions.Normal(torch.tensor(schema.shift), deviation)
        .log_prob(torch.tensor(X))
        .sum(1)
    )
    torch.testing.assert_close(log_x, log_t - schema.log_scale_sum)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale", ["global", "standard"])
def test_variances_cross_over_and_back(layout: str, scale: Any) -> None:
    X = RNG.normal(size=LAYOUTS[layout][0])
    schema = Schema.infer(X, scale=scale)
    inner = schema.variance_to_model(0.7)
    assert inner.shape == (() if scale == "global" else schema.shape)
    outer = schema.variance_from_model(inner)
    np.testing.assert_allclose(outer, 0.7)
    assert isinstance(outer, float) == (scale == "global")
    per_feature = RNG.uniform(1, 2, size=X.shape[1:])
    ordered = Schema.infer(per_feature[None], scale=None).to_model(
        per_feature[None], noise="hash", dtype=torch.float64
    )
    expected = per_feature * (X.var(0) if scale == "standard" else X.reshape(30, -1).var(0).mean())
    np.testing.assert_allclose(schema.variance_from_model(ordered[0]), expected.ravel())


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 1 / 3, -1e300, 5e-324])
@pytest.mark.parametrize("scale", ["global", "standard"])
def test_constant_columns_are_named_and_stay_finite(value: float, scale: Any) -> None:
    X = np.column_stack([np.full(1000, value), RNG.normal(size=1000), np.full(1000, value)])
    schema = Schema.infer(X, scale=scale, columns=["a", "b", "c"])
    assert schema.constant == (0, 2)
    assert schema.constant_features() == ["a", "c"]
    t = schema.to_model(X, noise="hash")
    assert not t[:, [0, 2]].any()
    assert scale == "global" or schema.scale[0] == 1.0


def test_columns_that_vary_below_float_resolution_are_constant() -> None:
    X = np.full((100, 1), 1e6)
    X[::2] = np.nextafter(1e6, 2e6)
    assert Schema.infer(X).constant_features() == ["column 0"]
    X[::2] = 1e6 + 1e-3
    assert Schema.infer(X).constant == ()


@pytest.mark.parametrize(
    "X", [np.ones((5, 3)), np.array([[1.0, 2.0]]), np.ones((4, 2, 2)), np.zeros((3, 2), np.uint8)]
)
@pytest.mark.parametrize("scale", ["auto", "global", "standard", None])
def test_all_equal_rows_make_a_usable_schema(X: Any, scale: Any) -> None:
    schema = Schema.infer(X, scale=scale)
    assert (schema.scale > 0).all()
    assert np.isfinite(schema.log_scale_sum)
    assert torch.isfinite(schema.to_model(X, noise="hash")).all()


def test_pixels_are_named_by_place() -> None:
    X = RNG.normal(size=(9, 4, 5))
    X[:, 2, 3] = 1.0
    assert Schema.infer(X).constant_features() == ["pixel (2, 3)"]


def test_values_whose_variance_overflows_are_refused() -> None:
    with one_line("feature 1 has a variance beyond float64"):
        Schema.infer(np.array([[0.0, 1e300], [1.0, -1e300]]))


@pytest.mark.parametrize("X", [IMAGES, RNG.normal(size=(9, 3)), RNG.normal(size=(9, 4, 5, 3))])
@pytest.mark.parametrize("scale", ["auto", "standard", None])
def test_schema_survives_json(X: Any, scale: Any) -> None:
    schema = Schema.infer(X, scale=scale, columns=["a", "b", "é"] if X.ndim == 2 else None)
    again = Schema.from_dict(json.loads(json.dumps(schema.to_dict(), allow_nan=False)))
    assert again == schema
    assert again.scale.shape == schema.scale.shape
    assert hash(again) == hash(schema)
    np.testing.assert_array_equal(again.shift, schema.shift)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 0.0},
        {"shape": [2, 2]},
        {"layout": "whc"},
        {"columns": ["a"]},
        {"constant": [7]},
        {"dequantize": 1},
        {"shift": [math.nan] * 3},
        {"extra": 1},
    ],
)
def test_contradictory_schemas_are_refused(change: dict[str, Any]) -> None:
    with one_line("schema fields"):
        Schema.from_dict(Schema.infer(RNG.normal(size=(9, 3))).to_dict() | change)


# -- 8-bit data


@given(st.integers(1, 7), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_hash_noise_depends_on_the_row_alone(pieces: int, seed: int) -> None:
    schema = Schema.infer(IMAGES)
    whole = schema.to_model(IMAGES, noise="hash")
    parts = torch.cat(
        [schema.to_model(part, noise="hash") for part in np.array_split(IMAGES, pieces)]
    )
    assert torch.equal(parts, whole)
    order = np.random.default_rng(seed).permutation(len(IMAGES))
    assert torch.equal(schema.to_model(IMAGES[order], noise="hash"), whole[order])
    assert torch.equal(schema.to_model(IMAGES.reshape(40, -1), noise="hash"), whole)


@pytest.mark.parametrize("noise", ["hash", "generator"])
def test_noise_is_uniform_and_independent(noise: str) -> None:
    X = np.zeros((4000, 16), np.uint8)
    X[:, :2] = np.arange(4000)[:, None] // [256, 1]  # every row differs, by one or two bytes alone
    schema = Schema.infer(X, scale=None, dequantize=True)
    source: Any = torch.Generator().manual_seed(0) if noise == "generator" else noise
    U = schema.to_model(X, noise=source, dtype=torch.float64).numpy() * 256 - X
    assert U.min() >= 0
    assert U.max() < 1
    counts = np.histogram(U, bins=64, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 63 + 6 * math.sqrt(126)  # chi-square, 6 sigma
    assert abs(np.corrcoef(U.T) - np.eye(16)).max() < 6 / math.sqrt(4000)
    assert abs(np.corrcoef(U[:-1].ravel(), U[1:].ravel())[0, 1]) < 6 / math.sqrt(64000)


def test_hash_noise_is_frozen() -> None:
    """Published scores rest on these bits: they may not change between versions or machines."""
    X = np.array([[0, 1, 255]], np.uint8)
    U = (
        Schema.infer(X, scale=None, dequantize=True)
        .to_model(X, noise="hash", dtype=torch.float64)
        .numpy()
        * 256
        - X
    )
    np.testing.assert_allclose(U[0], FROZEN, atol=1e-12)


# SplitMix64 in plain Python integers
FROZEN = [0.5158716451006609, 0.19288395775298017, 0.7626945242815172]


def test_generator_noise_is_reproducible_and_leaves_the_global_state_alone() -> None:
    schema, before = Schema.infer(IMAGES), torch.get_rng_state()
    a, b, c = (
        schema.to_model(IMAGES, noise=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("scale", ["global", "standard", None])
def test_stored_bytes_become_what_they_stand_for(scale: str | None) -> None:
    colour = RNG.integers(0, 256, size=(40, 6, 5, 3), dtype=np.uint8)
    schema = Schema.infer(colour, scale=scale)
    rows, dequantize = schema.stored(colour)
    assert rows.dtype == torch.uint8
    assert rows.shape == (40, 3, 6, 5)
    assert dequantize is not None
    t = torch.stack([dequantize(rows, torch.Generator().manual_seed(i)) for i in range(200)])
    x = 256 * schema.from_model(t.flatten(0, 1).double())  # u8 + U, in the layout of the data
    u = x.reshape(200, *colour.shape) - colour
    assert -1e-3 < u.min() < 0.01
    assert 0.99 < u.max() < 1.001
    assert abs(u.mean() - 0.5) < 1e-3
    assert abs(u.var() - 1 / 12) < 1e-3
    middle = schema.to_model(colour, noise="centre")
    torch.testing.assert_close(
        t.mean(0), middle, rtol=0, atol=0.1 / 256 / float(schema.scale.min())
    )
    with pytest.raises(AssertionError):
        torch.testing.assert_close(t[0], t[1])  # new noise at every visit


def test_stored_floats_are_scaled_at_once() -> None:
    X = RNG.normal(size=(9, 4))
    schema = Schema.infer(X)
    rows, transform = schema.stored(X)
    assert transform is None
    assert torch.equal(rows, schema.to_model(X, noise="hash"))


def test_moments_of_bytes_are_those_of_the_numbers() -> None:
    X = RNG.integers(0, 256, size=(1000, 7), dtype=np.uint8)
    X[:, 3] = 255
    mean, variance = feature_moments(X)
    np.testing.assert_allclose(mean, X.mean(0), rtol=1e-13)
    np.testing.assert_allclose(variance, X.var(0), rtol=1e-12)
    assert variance[3] == 0


def test_to_uint8_rounds_to_nearest() -> None:
    levels = np.arange(256)
    for offset in (0.01, 0.5, 0.99):
        np.testing.assert_array_equal(to_uint8((levels + offset) / 256), levels)
    np.testing.assert_array_equal(to_uint8(torch.tensor([-3.0, 0.0, 1.0, 9.0])), [0, 0, 255, 255])
    with one_line("NaN"):
        to_uint8([math.nan])


def test_bits_per_dimension_of_the_uniform_density_are_eight() -> None:
    assert Schema.infer(IMAGES).bits_per_dimension(0.0) == pytest.approx(8.0)
    assert Schema.infer(IMAGES).bits_per_dimension(np.array([30 * math.log(256)]))[
        0
    ] == pytest.approx(0.0)
    assert Schema.infer(IMAGES / 256.0).bits_per_dimension(0.0) is None


def test_units_of_floats_and_bytes_are_kept_apart() -> None:
    schema = Schema.infer(IMAGES)
    x = (IMAGES + 0.5) / 256
    torch.testing.assert_close(
        schema.to_model(x, noise="hash"), schema.to_model(IMAGES, noise="centre")
    )
    with one_line(r"uint8.*\(u8 \+ U\) / 256"):
        schema.to_model(IMAGES.astype(np.float32), noise="hash")
    with one_line("uint8"):
        Schema.infer(IMAGES.astype(np.int64), dequantize=True)
    plain = Schema.infer(IMAGES, dequantize=False, scale=None)
    np.testing.assert_array_equal(plain.to_model(IMAGES, noise="hash")[:, 0], IMAGES)
    assert Schema.infer(x, dequantize=True).dequantize


# -- fitting what comes later to what came first


@pytest.mark.parametrize("layout", LAYOUTS)
def test_flat_rows_and_images_are_one(layout: str) -> None:
    X = RNG.normal(size=LAYOUTS[layout][0])
    images, rows = Schema.infer(X, scale="global"), Schema.infer(X.reshape(30, -1), scale="global")
    t = images.to_model(X, noise="hash")
    assert torch.equal(images.to_model(X.reshape(30, -1), noise="hash"), t)
    np.testing.assert_array_equal(
        rows.to_model(X, noise="hash"), rows.to_model(X.reshape(30, -1), noise="hash")
    )


def test_wrong_shapes_are_refused_with_the_cure() -> None:
    schema = Schema.infer(np.zeros((2, 28, 28), np.uint8))
    fitted = "X has 28 features, but this model was fitted on 784"
    with one_line(re.escape(f"{fitted}. Pass images of shape (n, 28, 28) or flatten to (n, 784).")):
        schema.to_model(np.zeros((2, 28)), noise="hash")
    with one_line(r"\(14, 56\).*\(n, 28, 28\)"):
        schema.to_model(np.zeros((2, 14, 56)), noise="hash")
    assert schema.to_model(np.zeros((2, 1, 28, 28)), noise="hash").shape == (2, 1, 28, 28)
    assert schema.to_model(np.zeros((2, 28, 28, 1)), noise="hash").shape == (2, 1, 28, 28)
    with one_line(r"fitted on \(6, 5, 3\)"):
        Schema.infer(np.zeros((2, 6, 5, 3))).to_model(np.zeros((2, 3, 6, 5)), noise="hash")
    with one_line("X has 2 features, but this model was fitted on 3"):
        Schema.infer(np.zeros((2, 3))).to_model(np.zeros((2, 2)), noise="hash")
    with one_line(r"t must have shape \(n, 3\)"):
        Schema.infer(np.zeros((2, 3))).from_model(torch.zeros(2, 2))


def test_columns_in_another_order_are_refused() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    schema = Schema.infer(frame)
    assert schema.columns == ("a", "b")
    with one_line("column 'b' in place 0.*fitted on 'a'"):
        schema.to_model(frame[["b", "a"]], noise="hash")
    with one_line("column 'c' in place 1"):
        schema.to_model(frame.to_numpy(), noise="hash", columns=["a", "c"])


@pytest.mark.parametrize(
    ("option", "value"), [("scale", "minmax"), ("dequantize", "no"), ("dequantize", None)]
)
def test_unknown_options_list_those_known(option: str, value: Any) -> None:
    with one_line(f"{option} must be 'auto'"):
        Schema.infer(np.eye(3), **{option: value})


def test_unknown_noise_is_refused() -> None:
    with one_line("noise must be 'hash', 'centre'"):
        Schema.infer(np.eye(3)).to_model(np.eye(3), noise=0)  # type: ignore[arg-type]
    with one_line("dtype must be a floating type, got torch.int64"):
        Schema.infer(np.eye(3)).to_model(np.eye(3), noise="hash", dtype=torch.int64)


# -- validate_array: what is taken

TABLE = np.arange(12.0).reshape(4, 3)

TAKEN: dict[str, Callable[[], Any]] = {
    "list": TABLE.tolist,
    "list of ints": lambda: TABLE.astype(int).tolist(),
    "float32": lambda: TABLE.astype(np.float32),
    "float16": lambda: TABLE.astype(np.float16),
    "long double": lambda: TABLE.astype(np.longdouble),
    "big-endian": lambda: TABLE.astype(">f4"),
    "big-endian ints": lambda: TABLE.astype(">i2"),
    "int64": lambda: TABLE.astype(np.int64),
    "uint8": lambda: TABLE.astype(np.uint8),
    "objects": lambda: TABLE.astype(object),
    "Fortran": lambda: np.asfortranarray(TABLE),
    "strided": lambda: np.repeat(TABLE, 2, axis=1)[:, ::2],
    "reversed": lambda: TABLE[::-1].copy()[::-1],
    "read-only": lambda: np.frombuffer(TABLE.tobytes()).reshape(4, 3),
    "masked, nothing hidden": lambda: np.ma.array(TABLE),
    "tensor": lambda: torch.tensor(TABLE, requires_grad=True),
    "bfloat16": lambda: torch.tensor(TABLE, dtype=torch.bfloat16),
    "strided tensor": lambda: torch.tensor(TABLE).T.contiguous().T,
    "data frame": lambda: pd.DataFrame(TABLE, columns=list("abc")),
    "data frame without names": lambda: pd.DataFrame(TABLE),
    "data frame of objects": lambda: pd.DataFrame(TABLE, dtype=object),
    "data frame of nullable ints": lambda: pd.DataFrame(TABLE).astype("Int64"),
    "mixed data frame": lambda: pd.DataFrame(
        {"a": TABLE[:, 0].astype(np.int8), "b": TABLE[:, 1], "c": TABLE[:, 2].astype("f4")}
    ),
    "arrow": lambda: pytest.importorskip("pyarrow").table(pd.DataFrame(TABLE, columns=list("abc"))),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_tables_of_numbers_are_taken(kind: str) -> None:
    given_ = TAKEN[kind]()
    array = validate_array(given_)
    np.testing.assert_array_equal(array, TABLE)
    assert array.flags.c_contiguous
    assert array.dtype.isnative
    assert array.dtype in (np.uint8, np.float32, np.float64)
    t = Schema.infer(given_).to_model(given_, noise="centre")
    assert torch.isfinite(t).all()


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (np.zeros((2, 2), bool), np.float32),
        (np.zeros((2, 2), np.float16), np.float32),
        (np.zeros((2, 2), np.int8), np.float64),
        (np.zeros((2, 2), np.uint8), np.uint8),
        (torch.zeros(2, 2, dtype=torch.bool), np.float32),
        (pd.DataFrame({"a": np.zeros(2, np.uint8), "b": np.zeros(2, np.uint8)}), np.uint8),
        (pd.DataFrame({"a": np.zeros(2, np.float32), "b": np.zeros(2, bool)}), np.float32),
        (pd.DataFrame({"a": np.zeros(2, np.float32), "b": np.zeros(2, int)}), np.float64),
    ],
)
def test_types_are_kept_or_widened(given_: Any, kept: Any) -> None:
    assert validate_array(given_).dtype == kept


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_a_good_array_is_not_copied(kind: Any) -> None:
    X = TABLE.astype(kind)
    assert np.shares_memory(validate_array(X), X)


# -- validate_array: what is refused, one line each


def _with(value: Any, kind: Any = float) -> Any:
    X = TABLE.astype(kind)
    X[2, 1] = value
    return X


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "NaN": (lambda: _with(np.nan), "X contains NaN: first at row 2, column 1, 1 NaN or inf in all"),
    "inf": (lambda: _with(-np.inf), "X contains inf: first at row 2, column 1"),
    "NaN in a frame": (
        lambda: pd.DataFrame(_with(np.nan), columns=list("abc")),
        "NaN: first at row 2, column 'b'",
    ),
    "NA": (
        lambda: pd.DataFrame(TABLE).astype("Int64").mask(TABLE == 7),
        "NaN: first at row 2, column 1",
    ),
    "None": (lambda: _with(None, object), "NaN: first at row 2, column 1"),
    "masked": (lambda: np.ma.masked_equal(TABLE.astype(int), 7), "NaN: first at row 2, column 1"),
    "NaN in images": (
        lambda: np.where(np.arange(60).reshape(3, 4, 5) > 46, np.nan, 0),
        r"row 2, pixel \(1, 2\), 13 NaN",
    ),
    "long double": (lambda: _with(np.longdouble("1e4000"), np.longdouble), "inf"),
    "huge int": (lambda: _with(10**400, object), "beyond float64"),
    "text": (lambda: _with("spam", object), "text.*row 2, column 1 is 'spam'.*encode"),
    "text in a list": (lambda: [[1, 2], [3, "x"]], "text.*row 1, column 1 is 'x'"),
    "numbers as text": (lambda: TABLE.astype(str), r"row 0, column 0 is '0\.0'.*astype\(float\)"),
    "text in a frame": (
        lambda: pd.DataFrame({"a": [1, 2], "b": ["1", "2"]}),
        "text.*row 0, column 'b' is '1'.*astype",
    ),
    "objects in a frame": (
        lambda: pd.DataFrame({"a": [1, 2], "b": [1, "u"]}, dtype=object),
        "row 1, column 'b' is 'u'",
    ),
    "categories": (lambda: pd.DataFrame({"a": pd.Categorical(["u", "v"])}), "column 'a'"),
    "dates": (lambda: pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}), "column 'a'"),
    "dates in an array": (lambda: np.zeros((2, 2), "M8[s]"), "datetime64"),
    "dict in a cell": (
        lambda: _with({"foo": "bar"}, object),
        "argument must be a string or a real number",
    ),
    "complex": (lambda: TABLE + 1j, "Complex data not supported"),
    "complex cell": (lambda: _with(1j, object), "Complex data not supported"),
    "complex frame": (lambda: pd.DataFrame(TABLE + 1j), "Complex data not supported"),
    "complex tensor": (
        lambda: torch.zeros(2, 2, dtype=torch.complex64),
        "Complex data not supported",
    ),
    "large and sparse": (lambda: sparse.coo_array((10**6, 10**4)), "[Ss]parse"),
    "one axis": (lambda: TABLE[0], "Expected 2D array, got 1D array instead.*Reshape your data"),
    "no axis": (lambda: 3.0, "Expected 2D array, got scalar array instead.*Reshape your data"),
    "series": (lambda: pd.Series([1.0, 2.0]), "Reshape your data"),
    "empty list": (list, "Reshape your data"),
    "five axes": (lambda: np.zeros((1, 1, 1, 1, 1)), "dim 5"),
    "no rows": (
        lambda: np.empty((0, 3)),
        r"0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1 is required\.",
    ),
    "no columns": (
        lambda: np.empty((12, 0)),
        r"0 feature\(s\) \(shape=\(12, 0\)\) while a minimum of 1 is required\.",
    ),
    "no rows, frame": (lambda: pd.DataFrame({"a": []}), r"0 sample\(s\)"),
    "no columns, frame": (
        lambda: pd.DataFrame(index=range(12)),
        r"0 feature\(s\) \(shape=\(12, 0\)\)",
    ),
    "ragged": (lambda: [[1, 2], [3]], "rectangular"),
    "structured": (
        lambda: np.zeros(3, [("a", float), ("b", int)]),
        "structured array with fields a, b",
    ),
    "nothing": (lambda: None, "NoneType"),
    "dict": (lambda: {"a": [1]}, "dict"),
    "object": (object, "object"),
    "path": (lambda: "data.csv", "nelbo.data.load"),
    "twin columns": (
        lambda: pd.DataFrame(TABLE, columns=["a", "b", "a"]),
        "more than one column named 'a'",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_a_table_of_numbers_is_refused(kind: str) -> None:
    make, message = REFUSED[kind]
    with one_line(message):
        validate_array(make())


def test_errors_use_the_given_names() -> None:
    with one_line("^Z contains NaN: first at row 2, column 'b'"):
        validate_array(_with(np.nan), name="Z", columns=["a", "b", "c"])
    with one_line("3 columns, but 2 column names"):
        validate_array(TABLE, columns=["a", "b"])


# -- load


def test_digits_need_no_file() -> None:
    source = load("digits")
    assert (source.name, source.array.shape, source.columns) == ("digits", (1797, 8, 8), None)
    assert (source.array.min(), source.array.max()) == (0, 16)


def test_arrays_are_read_back(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(TABLE))
    np.savez(tmp_path / "one.npz", anything=TABLE)
    np.savez(tmp_path / "two.npz", y_train=np.arange(4), x_train=TABLE, x_test=TABLE[:1])
    np.savez(tmp_path / "odd.npz", left=TABLE, right=TABLE + 1)
    for name in ("a.npy", "one.npz", "two.npz", "odd.npz:left"):
        np.testing.assert_array_equal(load(tmp_path / name).array, TABLE)
    assert load(str(tmp_path / "two.npz:x_test")).array.shape == (1, 3)
    with one_line(r"holds several arrays: left, right.*odd\.npz:left"):
        load(tmp_path / "odd.npz")
    with one_line(r"no array 'u'; it holds left, right"):
        load(tmp_path / "odd.npz:u")
    with one_line(r"shape \(4,\)"):
        load(tmp_path / "two.npz:y_train")


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "ran"),))

    cells = np.empty((1, 1), dtype=object)
    cells[0, 0] = Trap()
    np.save(tmp_path / "a.npy", cells, allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=np.array([[{}]], dtype=object))
    for name in ("a.npy", "b.npz"):
        with one_line(f"{name}.*pickle"):
            load(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.csv", "a.parquet"])
def test_empty_and_broken_files_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    with one_line(f"{name} is empty"):
        load(path)
    path.write_bytes(b"\x93\xff\x00 not a table\n" * 40)
    with one_line(name):
        load(path)


def test_truncated_archives_are_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=RNG.normal(size=(100, 10)))
    whole = bytearray(buffer.getvalue())
    whole[2000:2100] = bytes(100)  # a damaged middle, found only when the array is read
    for i, content in enumerate((bytes(whole), buffer.getvalue()[:3000])):
        (tmp_path / f"{i}.npz").write_bytes(content)
        with one_line(rf"{i}\.npz is not a readable"):
            load(tmp_path / f"{i}.npz")


def test_missing_files_suggest_what_is_there(tmp_path: Path) -> None:
    np.save(tmp_path / "flowers.npy", TABLE)
    with one_line(r"flower\.npy does not exist\. Did you mean flowers\.npy\?"):
        load(tmp_path / "flower.npy")
    with one_line("Did you mean digits"):
        load("digit")
    with one_line("no folder"):
        load(tmp_path / "absent" / "x.npy")
    (tmp_path / "x.doc").write_text("1")
    with one_line(r"x\.doc is of no known kind \(\.doc\)"):
        load(tmp_path / "x.doc")


def test_named_data_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NELBO_DATA", raising=False)
    with one_line("'mnist'.*NELBO_DATA.*not set"):
        load("mnist")
    monkeypatch.setenv("NELBO_DATA", str(tmp_path))
    with one_line(r"mnist\.npz, which does not exist"):
        load("mnist")
    np.savez(tmp_path / "mnist.npz", x_train=IMAGES, x_test=IMAGES[:2], y_train=np.arange(40))
    np.savez(tmp_path / "frey_faces.npz", x=np.zeros((3, 560), np.uint8))
    assert load("mnist").array.shape == (40, 6, 5)
    assert load("mnist:x_test").array.shape == (2, 6, 5)
    assert load("frey_faces").array.shape == (3, 28, 20)


@pytest.mark.skipif("NELBO_DATA" not in os.environ, reason="NELBO_DATA is not set")
def test_real_tables_are_read() -> None:
    folder = Path(os.environ["NELBO_DATA"])
    for name, shape in {
        "banknote": (1372, 5),
        "concrete": (1030, 9),
        "wine_red": (1599, 12),
    }.items():
        source = load(folder / "tables" / f"{name}.csv")
        assert source.array.shape == shape
        np.testing.assert_array_equal(
            source.array, pd.read_csv(folder / "tables" / f"{name}.csv", sep=None, engine="python")
        )
        assert Schema.infer(source.array, columns=source.columns).columns == source.columns
    with one_line("column 'workclass' is not of numbers: line 2 has 'State-gov'"):
        load(folder / "tables" / "adult.csv")
    assert load("fashion_mnist").array.shape == (60000, 28, 28)


# -- tables

CSV = {
    "comma": ("a,b\n1,2\n3,4\n", ("a", "b")),
    "semicolon": ("a;b\n1;2\n3;4\n", ("a", "b")),
    "tab": ("a\tb\n1\t2\n3\t4\n", ("a", "b")),
    "quoted": ('"a, or so","b;c"\n"1","2"\n3,4\n', ("a, or so", "b;c")),
    "no names": ("1,2\n3,4\n", None),
    "spaces, blank lines, no last newline": ("\n a , b \n 1, 2\n\n3 ,4", ("a", "b")),
    "Windows, byte-order mark": ("\ufeffa,b\r\n1,2\r\n3,4\r\n", ("a", "b")),
    "a name over two lines": ('"a\n1",b\n1,2\n3,4\n', ("a\n1", "b")),
    "an unnamed column": ("a,\n1,2\n3,4\n", ("a", "column 1")),
}


@pytest.mark.parametrize("kind", CSV)
def test_csv_dialects(tmp_path: Path, kind: str) -> None:
    text, names = CSV[kind]
    (tmp_path / "t.csv").write_bytes(text.encode())
    source = load(tmp_path / "t.csv")
    np.testing.assert_array_equal(source.array, [[1, 2], [3, 4]])
    assert (source.columns, source.name, source.array.dtype) == (names, "t", np.float64)


BAD_CSV = {
    "text": ("a,b\n1,2\n3,red\n", r"column 'b' is not of numbers: line 3 has 'red'\. Drop"),
    "text late": (
        "a,b\n" + "1,2\n" * 400_000 + "1,x\n",
        "column 'b' is not of numbers: line 400002 has 'x'",
    ),
    "text, no names": ("1,2\n3,red\n", "column 1 is not of numbers: line 2 has 'red'"),
    "ragged": ("a,b\n1,2\n3\n", "1 fields in line 3, but 2"),
    "twins": ("a,b,a\n1,2,3\n", "more than one column named 'a'"),
    "names only": ("a,b\n", "empty"),
    "blank": ("\n\n", "empty"),
}


@pytest.mark.parametrize("kind", BAD_CSV)
def test_csv_errors_name_the_place(tmp_path: Path, kind: str) -> None:
    text, message = BAD_CSV[kind]
    (tmp_path / "t.csv").write_text(text)
    with one_line(rf"t\.csv.*{message}"):
        load(tmp_path / "t.csv")


def test_missing_cells_are_nan_and_named_later(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c\n1,?,3\n4,NA,\n")
    source = load(tmp_path / "t.csv")
    np.testing.assert_array_equal(source.array, [[1, np.nan, 3], [4, np.nan, np.nan]])
    with one_line("NaN: first at row 0, column 'b', 3 NaN"):
        validate_array(source.array, columns=source.columns)


def test_a_pandas_index_is_not_a_feature(tmp_path: Path) -> None:
    frame = pd.DataFrame(TABLE, columns=list("abc"))
    frame.to_csv(tmp_path / "t.csv")
    with pytest.warns(UserWarning, match="left out its first column"):
        source = load(tmp_path / "t.csv")
    np.testing.assert_array_equal(source.array, TABLE)
    assert source.columns == ("a", "b", "c")
    pd.DataFrame(TABLE).to_csv(tmp_path / "u.csv", index=False)
    assert load(tmp_path / "u.csv").columns == ("0", "1", "2")
    frame.set_index(pd.Index([7, 5, 3, 1], name="id")).to_parquet(tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").columns == ("a", "b", "c")


def test_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, None], "c": [True, False]})
    frame.to_parquet(tmp_path / "t.parquet")
    source = load(tmp_path / "t.parquet")
    np.testing.assert_array_equal(source.array, [[1, 0.5, 1], [2, np.nan, 0]])
    assert source.columns == ("a", "b", "c")
    frame.assign(d=["u", "v"]).to_parquet(tmp_path / "u.parquet")
    with one_line(r"u\.parquet.*column 'd' is 'u'"):
        load(tmp_path / "u.parquet")
    frame[:0].to_parquet(tmp_path / "v.parquet")
    with one_line(r"v\.parquet is empty"):
        load(tmp_path / "v.parquet")


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("t.csv", "pyarrow", "table"), ("t.parquet", "pyarrow", "table"), ("", "PIL", "image")],
)
def test_an_absent_reader_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    (tmp_path / (name or "a.png")).write_text("a,b\n1,2\n")
    for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=re.escape(f'pip install "nelbo[{extra}]"')):
        load(tmp_path / name)


# -- folders of images


def _save(folder: Path, name: str, pixels: Any, **options: Any) -> None:
    Image.fromarray(np.asarray(pixels, np.uint8)).save(folder / name, **options)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "gif"])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
def test_pictures_come_in_order_of_name(
    tmp_path: Path, suffix: str, shape: tuple[int, ...]
) -> None:
    pictures = RNG.integers(0, 256, size=(3, *shape), dtype=np.uint8)
    for name, picture in zip(["c", "a", "b"], pictures, strict=True):
        _save(tmp_path, f"{name}.{suffix.upper() if name == 'a' else suffix}", picture)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / f"._a.{suffix}").write_text("nor this")
    np.testing.assert_array_equal(load(tmp_path).array, pictures[[1, 2, 0]])


def test_modes_become_grey_or_colour(tmp_path: Path) -> None:
    grey = IMAGES[0]
    for name, mode in {"P": "P", "one": "1", "LA": "LA"}.items():
        folder = tmp_path / name
        folder.mkdir()
        Image.fromarray(grey).convert(mode).save(folder / "a.png")
        assert load(folder).array.shape == (1, 6, 5)
    for name, mode in {"CMYK": "CMYK", "YCbCr": "YCbCr"}.items():
        folder = tmp_path / name
        folder.mkdir()
        Image.fromarray(grey).convert("RGB").convert(mode).save(folder / "a.jpg")
        assert load(folder).array.shape == (1, 6, 5, 3)


def test_transparent_pictures_lie_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0] = [10, 20, 30, 255]
    _save(tmp_path, "a.png", pixels)
    picture = load(tmp_path).array[0]
    assert picture[0].tolist() == [[10, 20, 30]] * 2
    assert picture[1].tolist() == [[255, 255, 255]] * 2


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    _save(tmp_path, "a.png", IMAGES[0], exif=exif)
    np.testing.assert_array_equal(load(tmp_path).array[0], np.rot90(IMAGES[0], -1))


def test_pictures_that_differ_or_break_are_named(tmp_path: Path) -> None:
    with one_line("holds no picture"):
        load(tmp_path)
    _save(tmp_path, "a.png", IMAGES[0])
    _save(tmp_path, "b.png", IMAGES[0].T)
    with one_line(r"b\.png is grey, 5 high by 6 wide, but a\.png is grey, 6 high by 5 wide"):
        load(tmp_path)
    _save(tmp_path, "b.png", np.zeros((6, 5, 3)))
    with one_line(r"b\.png is coloured"):
        load(tmp_path)
    whole = (tmp_path / "a.png").read_bytes()
    for broken in (b"", b"nonsense", whole[:50], whole[:-40]):
        (tmp_path / "b.png").write_bytes(broken)
        with one_line(r"b\.png cannot be read as a picture"):
            load(tmp_path)
    Image.fromarray(np.full((6, 5), 40000, np.uint16)).save(tmp_path / "b.png")
    with one_line(r"b\.png is grey of 16 bits"):
        load(tmp_path)
    frames = [Image.fromarray(picture) for picture in IMAGES[:3]]
    frames[0].save(tmp_path / "0.gif", save_all=True, append_images=frames[1:])
    with one_line(r"0\.gif has 3 frames"):
        load(tmp_path)


# -- values: checked once


def test_a_part_of_values_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    values = Values(TABLE, columns=["a", "b", "c"])
    monkeypatch.setattr(door, "check_finite", None)  # calling it would fail
    assert Values.of(values) is values
    part = values[1:].keeping(np.array([True, False, True]))
    assert part.columns == ("a", "c")
    np.testing.assert_array_equal(part.array, TABLE[1:, [0, 2]])
    schema = Schema.infer(values)
    assert schema.columns == ("a", "b", "c")
    torch.testing.assert_close(
        schema.to_model(values[:2], noise="centre"),
        schema.to_model(values, noise="centre")[:2],
        rtol=0,
        atol=0,
    )
