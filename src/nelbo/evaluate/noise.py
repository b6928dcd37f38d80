"""Standard normal noise that belongs to a row: a function of (seed, the row's content, number).

Whatever stands beside it, a row gets the same noise, and so the same estimate, in any order and in chunks of any size.
"""

from __future__ import annotations

__all__ = ["BLOCK", "block", "normals", "row_keys"]

import math

import torch
from torch import Tensor

BLOCK = 32
"""Samples of one row that are drawn together. Part of the definition of the noise, so never tuned at run time."""


def row_keys(x: Tensor) -> Tensor:
    """Return a 62-bit key of each row's content, of shape (n,): equal rows have equal keys."""
    flat = x.flatten(1).to(torch.float64).contiguous().view(torch.int64).cpu()
    generator = torch.Generator().manual_seed(7)
    odd = torch.randint(-(2**62), 2**62, (flat.shape[1],), generator=generator) | 1
    mixed = flat ^ (flat >> 29)  # integer sums wrap around, so their order does not matter
    return _scramble((mixed * odd).sum(1))


def _scramble(key: Tensor) -> Tensor:
    """Mix the bits of 64-bit integers and return non-negative ones."""
    for shift, factor in ((31, -4658895280553007687), (27, -7723592293110705685)):
        key = (key ^ ((key >> shift) & (2 ** (64 - shift) - 1))) * factor
    return (key ^ (key >> 33)) & (2**62 - 1)


def block(keys: Tensor, size: int, seed: int, number: int, like: Tensor) -> Tensor:
    """Draw block ``number`` of standard normal noise, (BLOCK, n, size).

    Each block draws one fresh pool of normals; a row's key says where in the pool its own slice begins. That is
    as cheap as a copy, and two rows hardly ever share a slice.
    """
    width = BLOCK * size
    length = max(2**18, 2 ** math.ceil(math.log2(64 * width)))
    generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
    pool = torch.randn(length, generator=generator, dtype=torch.float32)
    offsets = _scramble(keys + number * 1_000_033 + seed) % (length - width)
    slices = pool.as_strided((length - width + 1, width), (1, 1)).index_select(0, offsets)
    return slices.to(like).reshape(len(keys), BLOCK, size).transpose(0, 1)


def normals(keys: Tensor, count: int, size: int, seed: int, number: int, like: Tensor) -> Tensor:
    """Draw ``count`` samples of noise, (count, n, size), from as many blocks as that takes; ``number`` counts calls."""
    blocks = math.ceil(count / BLOCK)
    drawn = [block(keys, size, seed, number * blocks + index, like) for index in range(blocks)]
    return (drawn[0] if blocks == 1 else torch.cat(drawn))[:count]
