"""Paired comparisons: exact where the answer is known, and deaf to single rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from nelbo.paired import surely_greater, trimmed_mean

SURE = 0.9772


def test_the_mean_leaves_out_a_five_hundredth_on_either_side() -> None:
    values = torch.tensor(np.random.default_rng(0).standard_t(2, size=1000))
    mean, error = trimmed_mean(values)
    assert mean == pytest.approx(stats.trim_mean(values.numpy(), 0.002), rel=1e-12)
    winsorised = stats.mstats.winsorize(values.numpy(), (0.002, 0.002))
    assert error == pytest.approx(
        float(np.std(winsorised, ddof=1)) / (0.996 * math.sqrt(1000)), rel=1e-12
    )
    few = torch.tensor([1.0, 2.0, 6.0])
    assert trimmed_mean(few) == pytest.approx((3.0, float(few.double().std()) / math.sqrt(3)))


def test_its_error_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(0)
    found = np.array([trimmed_mean(torch.tensor(rng.normal(size=200))) for _ in range(2000)])
    assert found[:, 0].std() == pytest.approx(found[:, 1].mean(), rel=0.05)


def test_no_row_of_a_thousand_decides() -> None:
    gain = 0.1 + 0.01 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    zero = torch.zeros(1000)
    for loss in (-1e6, -math.inf, math.nan):
        gain[17] = loss
        assert surely_greater(gain, zero, SURE)
        assert not surely_greater(-gain, zero, SURE)


def test_a_decision_needs_more_than_luck_and_more_than_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    one, many = torch.zeros(1), [torch.zeros(n) for n in (2, 3, 5, 20) for _ in range(500)]
    sure = [
        surely_greater(torch.randn(len(zero), generator=generator), zero, SURE) for zero in many
    ]
    assert 0.01 < np.mean(sure) < 0.04  # 2.3 % of gains that are none, whatever the number of rows
    assert surely_greater(
        torch.ones(10) + 0.1 * torch.randn(10, generator=generator), torch.zeros(10), SURE
    )
    assert not surely_greater(one + 1, one, SURE)
    assert not surely_greater(torch.tensor([1.0, math.inf, 2.0]), torch.zeros(3), SURE)
    nats = torch.full((100,), -20.0)
    assert not surely_greater(nats + 3e-7 * torch.rand(100, generator=generator), nats, SURE)
    assert surely_greater(nats + 1e-3, nats, SURE)
