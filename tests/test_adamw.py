"""The bare fused kernel takes the steps that torch.optim.AdamW takes."""

from __future__ import annotations

import torch
from torch import nn

from nelbo.training.adamw import AdamW


def _pair(dtype: torch.dtype) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    g = torch.Generator().manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape, generator=g, dtype=dtype)) for shape in ((5, 3), (7,))]
    return ours, [nn.Parameter(p.detach().clone()) for p in ours]


def _gradients(parameters: list[nn.Parameter], step: int, factor: float = 1.0) -> None:
    g = torch.Generator().manual_seed(step)
    for p in parameters:
        p.grad = factor * torch.randn(p.shape, generator=g, dtype=p.dtype)


def _one(value: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(()), torch.tensor(value)


def test_steps_equal_those_of_torch_optim() -> None:
    for dtype in (torch.float32, torch.float64):
        ours, theirs = _pair(dtype)
        optimiser, reference = AdamW(ours, 0.1), torch.optim.AdamW(theirs, lr=1e-2, weight_decay=0.1, fused=True)
        for step in range(20):
            _gradients(ours, step)
            _gradients(theirs, step)
            optimiser.step(1e-2, *_one())
            reference.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_a_divisor_divides_the_gradient() -> None:
    ours, theirs = _pair(torch.float32)
    optimiser, reference = AdamW(ours), AdamW(theirs)
    for step in range(5):
        _gradients(ours, step, factor=8.0)
        _gradients(theirs, step)
        optimiser.step(1e-2, torch.tensor(8.0), torch.tensor(True))
        reference.step(1e-2, *_one())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    ours, _ = _pair(torch.float32)
    optimiser = AdamW(ours, 0.1)
    _gradients(ours, 0)
    optimiser.step(1e-2, *_one())
    before, state = [p.detach().clone() for p in ours], optimiser.state()
    _gradients(ours, 1, factor=float("nan"))
    optimiser.step(1e-2, *_one(False))
    assert all(torch.equal(a, b) for a, b in zip(before, ours, strict=True))
    assert all(torch.equal(value, optimiser.state()[name]) for name, value in state.items())


def test_state_restores_the_next_step() -> None:
    ours, _ = _pair(torch.float32)
    optimiser = AdamW(ours)
    for step in range(3):
        _gradients(ours, step)
        optimiser.step(1e-2, *_one())
    copies = [nn.Parameter(p.detach().clone()) for p in ours]
    other = AdamW(copies)
    other.load_state(optimiser.state())
    for parameters, chosen in ((ours, optimiser), (copies, other)):
        _gradients(parameters, 9)
        chosen.step(1e-2, *_one())
    assert all(torch.equal(a, b) for a, b in zip(ours, copies, strict=True))
