r"""How many threads torch works with:
as many as the products of a model's layers keep busy, and no more than allowed.

A layer is shared out over threads that wait for each other at its end. That takes some microseconds
on a machine with nothing else to do, but where another process has the core of one of them, all
wait until it gets that core back: a step of 3 ms then takes 100. One thread for each `PRODUCTS`
multiplications of weights in a step, or in a piece of what is evaluated, is what the arithmetic
pays for (``docs/performance.md``).

The number depends on the model, the rows in a step and on what is allowed, so that a fit gives the
same bits again.
"""

from __future__ import annotations

__all__ = ["PRODUCTS", "allowed", "products", "using", "worth"]

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

PRODUCTS = 2**26
"""Multiplications of weights, forward, that keep a thread busy: with fewer a second one gains too
little. (1,617 images of 8 x 8, 2^25 in a step: 3.1 s with two threads that never sleep, 3.9 s with
one; beside two busy processes 7 to 12 s and 6 s.)"""


def products(network: nn.Module, shape: Sequence[int]) -> int:
    """Return how many multiplications of weights one row takes, at most:
    kernels act at every place of an image.

    Arguments:
        network: Any module.
        shape: The shape of one example x.
    """
    places = 1
    if len(shape) > 2:
        places = math.prod(shape[-2:])
    total = 0
    for weight in network.parameters():
        if is_lazy(weight):
            continue
        times = 1
        if weight.ndim > 2:
            times = places
        total += times * weight.numel()
    return total


def worth(work: float) -> int:
    """Return how many threads this many multiplications are worth:
    a rule, so that results can be reproduced.
    """
    return max(1, int(work // PRODUCTS))


class _Threads(threading.local):
    depth = 0


_here = _Threads()
_lock = threading.Lock()
_inside: list[int] = []
"""What was allowed outside, once for each Python thread that is in a block: torch has one number
for all of them.
"""


def allowed() -> int:
    """Return the number that torch was given by its user,
    also where a fit in another Python thread uses fewer.
    """
    with _lock:
        if _inside and not _here.depth:
            return _inside[0]
        return torch.get_num_threads()


@contextlib.contextmanager
def using(number: int) -> Iterator[None]:
    """Let torch work with this many threads inside the block; afterwards with as many as before."""
    before = allowed()
    with _lock:
        if not _here.depth:
            _inside.append(before)
        _here.depth += 1
    try:
        if number != torch.get_num_threads():
            torch.set_num_threads(number)
        yield
    finally:
        with _lock:
            _here.depth -= 1
            if not _here.depth:
                _inside.pop()
        # else somebody inside chose another number, which stays
        if torch.get_num_threads() == number != before:
            torch.set_num_threads(before)
