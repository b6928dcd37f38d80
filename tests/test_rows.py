"""Rows flow: whatever they are stored in, a batch is the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from helpers import normal, rng
from nelbo.data import Rows, Schema, as_rows
from nelbo.data.jitter import Jittered
from nelbo.data.rows import Batch

X = normal(40, 3).float()
INDEX = torch.tensor([5, 3, 30, 7, 11, 39])
CPU = torch.device("cpu")


class Listed(Dataset[Tensor]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Tensor:
        return X[index]


def noisy(rows: Tensor, generator: torch.Generator) -> Tensor:
    return 2 * rows + torch.rand(rows.shape, generator=generator)


KINDS: dict[str, Callable[[], Rows]] = {
    "tensor": lambda: as_rows(X),
    "some": lambda: as_rows(X, index=INDEX),
    "noise at every visit": lambda: as_rows(X, step=noisy),
    "dataset": lambda: as_rows(Listed()),
    "some of a dataset": lambda: as_rows(Listed(), index=INDEX),
    "loader": lambda: as_rows(DataLoader(Listed(), 8)),
    "jitter": lambda: Jittered(as_rows(X)),
    "table": lambda: Schema.infer(X.numpy()).rows(X.numpy()),
    "bytes": lambda: Schema.infer(PICTURES).rows(PICTURES),
}
PICTURES = (X.repeat(1, 3).reshape(40, 3, 3).abs() * 60).clamp_max(255).to(torch.uint8).numpy()


@pytest.fixture(params=KINDS)
def rows(request: pytest.FixtureRequest) -> Rows:
    return KINDS[request.param]()


def test_an_epoch_visits_each_row_once_in_an_order_of_seed_and_epoch_alone(rows: Rows) -> None:
    order = rows.order(3, 1)
    assert sorted(order.tolist()) == sorted(rows.numbers().tolist())
    assert torch.equal(order, rows.order(3, 1))
    assert not torch.equal(order, rows.order(3, 2))


def test_a_batch_is_fetched_and_prepared(rows: Rows) -> None:
    places = torch.tensor([4, 0, 2])
    stored = rows.fetch(rows.numbers()[places])
    taken, prepared = rows.take(places, rng(1)), rows.prepare(stored, rng(1))
    assert torch.equal(taken.x, prepared.x)
    assert taken.x.dtype == rows.dtype
    visited = next(rows.visits(iter([rows.numbers()[places]])))
    assert torch.equal(visited.x, stored.x)


def test_reading_them_is_taking_all_in_order(rows: Rows) -> None:
    rows.generator.manual_seed(0)
    whole = rows.read()
    assert torch.equal(whole, rows.take(torch.arange(len(rows)), rng(0)).x)
    rows.generator.manual_seed(0)
    assert torch.equal(torch.cat([*rows.split(len(rows))]), whole.flatten(1))
    assert rows.shape == whole.flatten(1).shape


def test_every_second_row_is_every_second_row(rows: Rows) -> None:
    some = rows.every(2)
    assert len(some) == -(-len(rows) // 2)
    assert torch.equal(some.fetch(some.numbers()).x, rows.fetch(rows.numbers()[::2]).x)


def test_on_a_model_of_float64_they_are_float64(rows: Rows) -> None:
    there = rows.on(CPU, torch.float64)
    assert there.take(torch.tensor([1]), rng()).x.dtype == torch.float64
    assert rows.dtype == torch.float32


def test_bytes_stay_bytes_and_get_new_noise_at_every_visit() -> None:
    rows = KINDS["bytes"]()
    assert rows.seen.dtype == torch.uint8
    first, second = (rows.take(torch.arange(5), rng(seed)).x for seed in (0, 1))
    assert not torch.equal(first, second)
    torch.testing.assert_close(first, second, atol=0.1, rtol=0.1)


def test_conditions_go_where_their_rows_go() -> None:
    c = torch.arange(40.0)[:, None]
    for rows in (as_rows(X, c=c), as_rows(X, c=c, index=INDEX), as_rows(X, c=c).every(3)):
        batch = rows.take(torch.tensor([2, 0]), rng())
        assert batch.c is not None
        assert torch.equal(batch.x, X[batch.c[:, 0].long()])
        conditions = rows.conditions()
        assert conditions is not None
        assert torch.equal(X[conditions[:, 0].long()], rows.read())
        parts = [*Batch(rows.read(), conditions).split(4)]
        assert torch.equal(torch.cat([part.x for part in parts]), rows.read())
    assert as_rows(X).conditions() is None
