"""How far a long computation has come: loops report their progress to whoever watches.

Nobody has to pass a callback on: `watching` is in force for all that is called inside it, and a
loop within a loop reports its share of the outer one's progress.
"""

from __future__ import annotations

__all__ = ["Tell", "pieces", "watching"]

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Tell = Callable[[str, float], None]
"""Takes what is being done, in words, and the share of it that is done, from 0 to 1."""

_watcher: ContextVar[tuple[Tell, str, float, float] | None] = ContextVar("_watcher", default=None)
"""Who watches, what is being done, and from which share to which."""


@contextlib.contextmanager
def watching(tell: Tell) -> Iterator[None]:
    """Report how far the loops inside the block have come to ``tell``."""
    token = _watcher.set((tell, "", 0.0, 1.0))
    try:
        yield
    finally:
        _watcher.reset(token)


def pieces(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Go through the pieces of a piece of work.

    Arguments:
        items: The pieces, each about as much work.
        what: What is done with them, in a few words; a loop inside another one keeps the outer
            one's words.
    """
    watched = _watcher.get()
    if watched is None:
        yield from items
        return
    tell, outer, low, high = watched
    width = (high - low) / max(len(items), 1)
    for i, item in enumerate(items):
        token = _watcher.set((tell, outer or what, low + i * width, low + (i + 1) * width))
        try:
            yield item
        finally:
            _watcher.reset(token)
        tell(outer or what, low + (i + 1) * width)
