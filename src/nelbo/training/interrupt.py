"""Ctrl-C between two steps, never inside one: a state that is saved is one of the run's own."""

from __future__ import annotations

__all__ = ["deferred"]

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Hold back the Python handlers of SIGINT and SIGTERM; a second signal does not wait.

    The function that the block gets calls the handler of a signal held back, if there is one: it
    belongs between two steps. Signals without a Python handler, and code outside the main thread,
    are left alone.
    """
    held: list[tuple[int, FrameType | None]] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler

    def hold(number: int, frame: FrameType | None) -> None:
        if held:
            handlers[signal.Signals(number)](number, frame)
        held.append((number, frame))

    def release() -> None:
        if held:
            number, frame = held.pop(0)
            held.clear()
            handlers[signal.Signals(number)](number, frame)

    for number in handlers:
        signal.signal(number, hold)
    try:
        yield release
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    release()
