"""Standard normal noise that belongs to a row: a function of (seed, the row's content, number).

Whatever stands beside it, a row gets the same noise, and so the same estimate, in any order and in
chunks of any size. Each number is a hash of its place (Steele et al., 2014), so drawing costs what
is drawn and nothing is stored.
"""

from __future__ import annotations

__all__ = ["BLOCK", "block", "normals", "row_keys"]

import math

import torch
from torch import Tensor

BLOCK = 32
"""Samples of one row that are drawn together.
Part of the definition of the noise, so never tuned at run time.
"""


def row_keys(x: Tensor) -> Tensor:
    """Return a 62-bit key of each row's content, of shape (n,): equal rows have equal keys.

    Missing values, which are NaN, are equal, whatever bits they have.
    """
    numbers = x.flatten(1).to(torch.float64) + 0.0  # which makes -0.0 the 0.0 that it equals
    numbers = numbers.masked_fill(numbers.isnan(), math.nan)
    flat = numbers.contiguous().view(torch.int64)
    generator = torch.Generator().manual_seed(7)
    odd = torch.randint(-(2**62), 2**62, (flat.shape[1],), generator=generator) | 1
    odd = odd.to(flat.device)
    mixed = flat ^ (flat >> 29)  # integer sums wrap around, so their order does not matter
    return _scramble((mixed * odd).sum(1)) & (2**62 - 1)


def _scramble(key: Tensor) -> Tensor:
    """Mix the bits of 64-bit integers, one to one."""
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        key = (key ^ ((key >> shift) & (2 ** (64 - shift) - 1))) * factor
    return key ^ ((key >> 31) & (2**33 - 1))


def stream(seed: int, number: int) -> int:
    """Return 64 bits that stand for block ``number`` of a seed."""
    return int(_scramble(torch.tensor([(seed * 1_000_003 + number) % 2**63])))


def block(keys: Tensor, size: int, seed: int, number: int, like: Tensor) -> Tensor:
    """Draw block ``number`` of standard normal noise, (BLOCK, n, size)."""
    pairs = math.ceil(size / 2)
    # 2^64 / golden ratio, odd: steps of this size visit all 64-bit integers as evenly as can be
    golden = -7046029254386353131
    count = torch.arange(1, BLOCK * pairs + 1, device=keys.device)
    place = count.reshape(BLOCK, 1, pairs) * golden
    bits = _scramble(place + _scramble(keys ^ stream(seed, number))[:, None])
    # Box & Muller (1958): two normals of one hash; half a unit keeps the logarithm finite.
    radius = (
        ((bits & 0xFFFFFFFF).float() + 0.5).mul_(2.0**-32).clamp_max_(1.0).log_().mul_(-2).sqrt_()
    )
    angle = ((bits >> 32).float()).mul_(math.pi * 2.0**-31)
    noise = torch.cat([radius * angle.cos(), radius * angle.sin()], -1)[..., :size]
    return noise.to(like)


def normals(keys: Tensor, count: int, size: int, seed: int, number: int, like: Tensor) -> Tensor:
    """Draw ``count`` samples of noise, (count, n, size),
    from as many blocks as that takes; ``number`` counts calls.
    """
    blocks = math.ceil(count / BLOCK)
    drawn = [block(keys, size, seed, number * blocks + index, like) for index in range(blocks)]
    if blocks == 1:
        return drawn[0][:count]
    return torch.cat(drawn)[:count]
