"""Ctrl-C between two steps, never inside one: what is saved then is a state that the run passes through."""

from __future__ import annotations

__all__ = ["uninterrupted"]

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back the Python handlers of SIGINT and SIGTERM until the block ends; a second signal does not wait.

    Signals without a Python handler, and code outside the main thread, are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))}
    held: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if held:
            handlers[signal.Signals(number)](number, frame)
        held.append((number, frame))

    for number in handlers:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for caught, frame in held[:1]:
        handlers[signal.Signals(caught)](caught, frame)
