"""Ctrl-C between two steps, never inside one:
what is saved then is a state that the run passes through.
"""

from __future__ import annotations

__all__ = ["deferred"]

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
        handlers = {
            number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))
        }

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
