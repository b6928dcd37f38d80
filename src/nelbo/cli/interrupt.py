"""What Ctrl-C and SIGTERM do: both end a command in the same way, in words of our own."""

from __future__ import annotations

__all__ = ["Terminated", "raising", "restored"]

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM was received."""


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Put the handlers of both signals back when the block ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is None:  # it was not set from Python
                handler = signal.SIG_DFL
            signal.signal(number, handler)


def raising() -> None:
    """From now on raise KeyboardInterrupt on Ctrl-C, and `Terminated` on SIGTERM.

    It is called once there is something to put in order or to save. Before that `nelbo.__main__`
    ends the process at once: an exception in the middle of an import may be lost, or leave half a
    module behind.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    """End a command on SIGTERM as Ctrl-C does."""
    raise Terminated
