"""Data that fill the memory: trained on where they lie, neither copied nor changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nelbo
from helpers import PEAK, build, normal, ring, rng
from helpers import small_estimator as vae
from nelbo import objective
from nelbo.data import Schema, Values, as_rows
from nelbo.recipe import facts

RNG = np.random.default_rng(0)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every array counts as large."""
    monkeypatch.setattr(Schema, "copied", 0)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", ["global", "standard", "whitened", None])
@pytest.mark.parametrize("shape", [(6,), (3, 2), (4, 3, 2)])
def test_a_batch_of_stored_rows_is_what_the_model_sees(
    shape: tuple[int, ...], scale: str | None, dtype: type
) -> None:
    if scale == "whitened" and len(shape) > 1:
        pytest.skip("only tables are whitened")
    X = RNG.normal(size=(50, *shape)).astype(dtype)
    found = Schema.infer(X, scale=scale)
    rows, transform = found.stored(X)
    assert transform is not None
    assert np.shares_memory(rows.numpy(), X)
    some = torch.tensor([7, 3, 3, 49])
    wanted = found.to_model(X, noise="centre")[some]
    torch.testing.assert_close(transform(rows[some], rng()), wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mean_far_greater_than_the_spread_costs_nothing(dtype: type) -> None:
    spread = 1.0 if dtype == np.float32 else 1e-6
    X = (1e5 + spread * RNG.normal(size=(500, 3))).astype(dtype)
    found = Schema.infer(X)
    rows, transform = found.stored(X)
    assert transform is not None
    torch.testing.assert_close(
        transform(rows, rng()), found.to_model(X, noise="centre"), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": "standard"},
        {"variance": "learned"},
        {"network": "linear", "variance": "learned"},
        {"max_steps": 1},
    ],
)
def test_a_fit_does_not_depend_on_where_rows_are_kept(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    X = ring(300).astype(np.float32)
    copied = vae(**options).fit(X)
    monkeypatch.setattr(Schema, "copied", 0)
    kept = vae(**options).fit(X)
    assert kept.kept_start_ == copied.kept_start_
    np.testing.assert_allclose(
        kept.score_samples(X).mean(), copied.score_samples(X).mean(), atol=0.02
    )


@pytest.mark.usefixtures("large")
def test_arrays_that_nobody_may_write_to_are_trained_on_where_they_lie(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", RNG.normal(size=(200, 5)).astype(np.float32))
    before = (tmp_path / "X.npy").read_bytes()
    for mode in ("r", "c"):
        X = np.load(tmp_path / "X.npy", mmap_mode=mode)
        vae(max_steps=20).fit(X)
        np.testing.assert_array_equal(X, np.load(tmp_path / "X.npy"))
    assert (tmp_path / "X.npy").read_bytes() == before


@pytest.mark.usefixtures("large")
def test_large_floats_that_are_no_bytes_are_refused_all_the_same() -> None:
    X = np.full((40, 4, 4), 0.5, dtype=np.float32)
    X[-1, 0, 0] = 300
    with pytest.raises(ValueError, match="8-bit"):
        vae(dequantize=True).fit(X)


def test_rows_that_are_not_named_play_no_part() -> None:
    x = normal(60, 6, dtype=torch.float32)
    numbers = torch.randperm(60, generator=rng())[:40]
    found = []
    for rows, index in (
        (x[numbers], None),
        (torch.where(torch.isin(torch.arange(60), numbers)[:, None], x, 1e6), numbers),
    ):
        model = build(dtype=torch.float32)
        nelbo.fit(objective.ELBO(model), as_rows(rows, index=index), max_steps=30, batch_size=16)
        found.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*found)


@pytest.mark.parametrize(
    "rows",
    [
        torch.tensor([0, 6]),
        torch.tensor([-1]),
        torch.tensor([0.0]),
        torch.tensor([], dtype=torch.int64),
    ],
)
def test_numbers_of_no_rows_are_refused(rows: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="index must be a tensor of row numbers from 0 to 5"):
        as_rows(normal(6, 6, dtype=torch.float32), index=rows)


def test_numbers_of_rows_that_are_no_tensor_are_refused() -> None:
    with pytest.raises(
        TypeError, match=r"index must be a tensor of row numbers, got list\. Pass torch\.as_tensor"
    ):
        as_rows(
            normal(6, 6, dtype=torch.float32),
            index=[0, 1],
        )  # type: ignore[arg-type]


def test_no_more_rows_are_held_out_than_a_run_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "VALIDATED", 50)
    assert facts.Facts(Values(np.zeros((1000, 2))), 0.1).held_out(10) == 50


MEMORY = """
import numpy as np
from nelbo import VariationalAutoencoder
def data(rows, columns):
    X = np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32)
    X += X[:, :1].copy()
    return X
model = VariationalAutoencoder(4, max_steps=30, random_state=0)
columns = int(sys.argv[1])
model.fit(data(5_000, columns))  # loads what a first fit loads
X = data(2**26 // columns, columns)
before = peak()
model.fit(X)
after = peak()
kept = np.ones(2**25)
print(after - before, peak() - after)
"""


@pytest.mark.parametrize("columns", [784, pytest.param(64, marks=pytest.mark.slow)])
def test_a_fit_takes_no_copy_of_large_data(columns: int) -> None:
    """The data are 256 MiB; a table of 64 columns has the rules for tables."""
    command = [sys.executable, "-c", PEAK + MEMORY, str(columns)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    grown, control = map(int, printed.split())
    assert grown < 150 * 2**20
    assert control > 100 * 2**20  # the gauge would have shown it
