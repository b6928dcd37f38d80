"""A progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

__all__ = ["ProgressBar", "describe"]

import sys
import time
from types import TracebackType
from typing import Any, TextIO

from .history import TRAINING, Record


class ProgressBar:
    """A callback of `nelbo.fit` that shows the bound, beta, KL, rate and time left.

    Use it as a context manager.

    Arguments:
        stream: Where to write; standard error by default, so that standard output stays clean.
    """

    every = 5.0
    """Seconds between two plain lines."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.bar: Any = None
        self.task: Any = None
        self.last = -self.every
        self.phase = TRAINING

    def __enter__(self) -> ProgressBar:
        if self.stream.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.table import Column

            self.bar = Progress(
                TextColumn("{task.percentage:>3.0f}%"),
                BarColumn(bar_width=16),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                # cut off first
                TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True)),
                console=Console(file=self.stream),
                expand=True,
                transient=False,
            )
            self.bar.start()
            self.task = self.bar.add_task("starting", total=1.0)
        return self

    def __call__(self, record: Record) -> None:
        """Show one record."""
        if record.phase != self.phase:
            self._end()
            self.phase, self.last = record.phase, -self.every
            if self.bar is not None:
                self.task = self.bar.add_task(record.phase, total=1.0)
        if self.bar is not None:
            self.bar.update(self.task, completed=record.progress, description=describe(record))
        elif time.monotonic() - self.last >= self.every or record.progress >= 1:
            self.last = time.monotonic()
            self.stream.write(
                f"{record.progress:4.0%} {record.seconds:6.1f} s  {describe(record)}\n"
            )
            self.stream.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._end()
        if self.bar is not None:
            self.bar.stop()

    def _end(self) -> None:
        """Show that a training is over, which may be long before its budget is spent."""
        if self.bar is not None:
            self.bar.update(self.task, completed=1.0)


def describe(record: Record) -> str:
    """Say in a few words how a run stands."""
    bound = "validation bound"
    if record.validation is None:
        bound = "training bound"
    parts = []
    if record.phase != TRAINING:
        parts.append(record.phase)
    parts.append(f"epoch {record.epoch:.1f}")
    if record.bound is not None:
        parts.append(f"{bound} {record.bound:.2f} nats")
    if record.kl is not None:
        parts.append(f"KL {record.kl:.2f}")
    if record.beta is not None:
        parts.append(f"beta {record.beta:.4g}")
    if record.rate > 0:
        parts.append(f"{record.rate:,.0f} rows/s")
    if record.skipped:
        parts.append(f"{record.skipped} steps skipped (gradient not finite)")
    return " · ".join(parts)
