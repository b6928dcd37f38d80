"""Our AdamW and Muon take the steps that torch's own take;
both skip what is not finite, and can be resumed.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nelbo.training.optimisers.adamw import AdamW
from nelbo.training.optimisers.muon import Muon, orthogonal

BOTH = pytest.mark.parametrize("kind", [AdamW, Muon])


def _pair(dtype: torch.dtype) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    g = torch.Generator().manual_seed(0)
    ours = [
        nn.Parameter(torch.randn(shape, generator=g, dtype=dtype))
        for shape in ((5, 3), (7,), (3, 6))
    ]
    return ours, [nn.Parameter(p.detach().clone()) for p in ours]


def _gradients(parameters: list[nn.Parameter], step: int, factor: float = 1.0) -> None:
    g = torch.Generator().manual_seed(step)
    for p in parameters:
        p.grad = factor * torch.randn(p.shape, generator=g, dtype=p.dtype)


def _one(value: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(()), torch.tensor(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_of_adamw_equal_those_of_torch_optim(dtype: torch.dtype) -> None:
    ours, theirs = _pair(dtype)
    optimiser, reference = (
        AdamW(ours, 0.1),
        torch.optim.AdamW(theirs, lr=1e-2, weight_decay=0.1, fused=True),
    )
    for step in range(20):
        _gradients(ours, step)
        _gradients(theirs, step)
        optimiser.step(1e-2, *_one())
        reference.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_steps_of_muon_equal_those_of_torch_optim() -> None:
    ours, theirs = _pair(torch.float32)
    matrices = [p for p in theirs if p.ndim == 2]
    optimiser = Muon(ours, 0.1)
    reference = torch.optim.Muon(
        matrices, lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    rest = torch.optim.AdamW([p for p in theirs if p.ndim != 2], lr=1e-2, weight_decay=0.1)
    for step in range(20):
        _gradients(ours, step)
        _gradients(theirs, step)
        optimiser.step(1e-2, *_one())
        reference.step()
        rest.step()
    for a, b in zip(ours, theirs, strict=True):
        # twenty steps of 1e-2, rounded to bfloat16 in each
        torch.testing.assert_close(a, b, rtol=0, atol=2e-3)


def test_the_orthogonal_factor_has_singular_values_near_one_and_the_right_vectors() -> None:
    g = torch.Generator().manual_seed(0)
    for shape in ((40, 20), (20, 40), (30, 30)):
        matrix = torch.randn(shape, generator=g)
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        found = orthogonal(matrix).float()
        inner = u.mT @ found @ v.mT
        assert float(inner.diagonal()[s > 0.05 * s[0]].min()) > 0.6
        assert float(inner.diagonal().max()) < 1.3
        assert float((inner - inner.diagonal().diag()).abs().max()) < 0.1
    assert bool(torch.isfinite(orthogonal(torch.zeros(3, 2))).all())


@BOTH
def test_a_divisor_divides_the_gradient(kind: type[AdamW] | type[Muon]) -> None:
    ours, theirs = _pair(torch.float32)
    optimiser, reference = kind(ours), kind(theirs)
    for step in range(5):
        factor = 8.0 if step % 2 else 1.0  # which Muon sees only beside its momentum
        _gradients(ours, step, factor=factor)
        _gradients(theirs, step)
        optimiser.step(1e-2, torch.tensor(factor), torch.tensor(True))
        reference.step(1e-2, *_one())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@BOTH
def test_a_gradient_that_is_not_finite_changes_nothing(kind: type[AdamW] | type[Muon]) -> None:
    ours, _ = _pair(torch.float32)
    optimiser = kind(ours, 0.1)
    _gradients(ours, 0)
    optimiser.step(1e-2, *_one())
    before, state = [p.detach().clone() for p in ours], optimiser.state()
    _gradients(ours, 1, factor=float("nan"))
    optimiser.step(1e-2, *_one(False))
    assert all(torch.equal(a, b) for a, b in zip(before, ours, strict=True))
    assert all(torch.equal(value, optimiser.state()[name]) for name, value in state.items())


@BOTH
def test_state_restores_the_next_step(kind: type[AdamW] | type[Muon]) -> None:
    ours, _ = _pair(torch.float32)
    optimiser = kind(ours)
    for step in range(3):
        _gradients(ours, step)
        optimiser.step(1e-2, *_one())
    copies = [nn.Parameter(p.detach().clone()) for p in ours]
    other = kind(copies)
    other.load_state(optimiser.state())
    for parameters, chosen in ((ours, optimiser), (copies, other)):
        _gradients(parameters, 9)
        chosen.step(1e-2, *_one())
    assert all(torch.equal(a, b) for a, b in zip(ours, copies, strict=True))
