"""Which rows come when: pure functions of a seed, so that a run is resumed from a step alone."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

__all__ = ["epoch_order", "stream_seed"]


def stream_seed(*key: int | str) -> int:
    """Return an independent 63-bit seed for each key, such as (seed, "noise", step)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def epoch_order(rows: int, seed: int, epoch: int) -> Tensor:
    """Return the order in which an epoch visits the rows:
    a permutation that depends on (seed, epoch) alone.
    """
    generator = torch.Generator().manual_seed(stream_seed(seed, "order", epoch))
    return torch.randperm(rows, generator=generator)
