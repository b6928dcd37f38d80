"""Long gradients and such that are not finite:
Python's numbers on a CPU, tensors on a GPU, the same decisions.
"""

from __future__ import annotations

import math

import pytest
import torch

from nelbo.training.clipping import Clipping

CPU = torch.device("cpu")


def gradients(length: float) -> list[torch.Tensor]:
    """Two tensors whose lengths are 3/5 and 4/5 of ``length``."""
    return [torch.full((9,), length * 0.6 / 3), torch.full((2, 8), length * 0.8 / 4)]


@pytest.mark.parametrize("host", [True, False])
def test_long_gradients_are_divided_down_to_the_limit_and_the_mean_forgets_their_length(
    host: bool,
) -> None:
    gauge = Clipping(10.0, CPU, host)
    for step in range(20):
        divisor, finite = gauge.judge(gradients(2.0), step, settled=step >= 10)
        assert bool(finite)
        assert divisor is None or float(divisor) == pytest.approx(1.0)
    divisor, finite = gauge.judge(gradients(200.0), 20, settled=True)
    assert bool(finite)
    assert divisor is not None
    assert float(divisor) == pytest.approx(10.0, rel=1e-5)
    assert float(gauge.mean_norm) == pytest.approx(
        2 + (20 - 2) / 21, rel=1e-5
    )  # as if it had been as long as the limit
    assert gauge.judge([], 21, True) == (None, True)


@pytest.mark.parametrize("host", [True, False])
@pytest.mark.parametrize("clip", [10.0, None])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_counted_and_leaves_no_trace(
    host: bool, clip: float | None, value: float
) -> None:
    gauge = Clipping(clip, CPU, host)
    gauge.judge(gradients(2.0), 0, settled=False)
    gauge.add(torch.tensor([1.0, 2.0]), True if host else torch.tensor(True))
    before = gauge.state()
    _, finite = gauge.judge([torch.tensor([1.0, value])], 30, settled=True)
    gauge.add(torch.tensor([value, 2.0]), finite)
    assert not bool(finite)
    after = gauge.state()
    assert float(after.pop("skipped")) == float(before.pop("skipped")) + 1 == 1
    assert all(float(after[name]) == float(before[name]) for name in before)
    assert float(after["total"]) == 3
    assert float(after["taken"]) == 2


def test_both_kinds_of_numbers_decide_alike_and_are_kept_alike() -> None:
    host, device = Clipping(3.0, CPU, True), Clipping(3.0, CPU, False)
    generator = torch.Generator().manual_seed(0)
    for step in range(60):
        length = float(torch.rand((), generator=generator) ** -2)
        (a, one), (b, other) = (
            gauge.judge(gradients(length), step, step >= 10) for gauge in (host, device)
        )
        assert bool(one) == bool(other)
        assert (1.0 if a is None else float(a)) == pytest.approx(
            1.0 if b is None else float(b), rel=1e-5
        )
    assert float(host.mean_norm) == pytest.approx(float(device.mean_norm), rel=1e-5)
    for gauge in (host, device):
        other_gauge = Clipping(3.0, CPU, gauge.host)
        other_gauge.load_state(gauge.state())
        assert other_gauge.state() == gauge.state()
        gauge.restart()
        assert float(gauge.total) == float(gauge.taken) == 0
