"""A progress bar for work that takes more than two seconds, on a terminal alone."""

from __future__ import annotations

__all__ = ["shown"]

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any


class Bar:
    """A bar on standard error that appears after a while, and vanishes at the end."""

    after = 2.0
    """Seconds of work after which it appears: what is done sooner needs no bar."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.bar: Any = None
        self.task: Any = None
        self.what, self.share = "", 0.0

    def __call__(self, what: str, share: float) -> None:
        """Show what is being done, and how much of it is done.

        Inside one piece of work the share only grows, though inner loops begin again.
        """
        if what == self.what:
            share = max(share, self.share)
        self.what, self.share = what, share
        if self.bar is None:
            if time.monotonic() - self.begun < self.after:
                return
            self._appear()
        self.bar.update(self.task, completed=self.share, description=what)

    def _appear(self) -> None:
        """Show the bar; rich is imported only here."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(bar_width=16),
            TimeElapsedColumn(),
        )
        words = TextColumn("{task.description}")
        self.bar = Progress(*columns, words, console=Console(file=sys.stderr), transient=True)
        self.bar.start()
        self.task = self.bar.add_task("", total=1.0)

    def stop(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()


@contextlib.contextmanager
def shown(quiet: bool = False) -> Iterator[None]:
    """Show how far the work inside has come, if it takes long and standard error is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from ..watching import watching

    bar = Bar()
    try:
        with watching(bar):
            yield
    finally:
        bar.stop()
