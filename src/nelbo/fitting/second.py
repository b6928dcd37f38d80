"""The second training of a table: on all rows, from the same start, for as long as was best."""

from __future__ import annotations

__all__ = ["Longer", "Watched", "refit"]

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import training
from ..data.rows import Rows
from ..objective import Objective


@dataclass(frozen=True)
class Longer:
    """By how much the training on all rows is longer than the first one.

    Where overfitting set in early, more steps overfit more; where it set in late, or never, the
    first run was too short for the last word.
    """

    late: float = 0.4
    """The share of the first run after which its best step counts as late."""
    factor: float = 1.5
    last: float = 0.97
    """The share after which the first run still got better at its end."""
    largest: float = 3.0

    def of(self, best: float) -> float:
        """Return the factor for a first run that was best after this share of its steps."""
        if best <= self.late:
            return 1.0
        return self.largest if best >= self.last else self.factor


class Watched:
    """Tells of the second training what was told of the first: its records follow those, and mark
    it as another phase.

    Arguments:
        history: The records of the first training.
        callbacks: Those of the fit; one that returns True ends the second training.
        until: The step at which the second training ends.
    """

    def __init__(
        self,
        history: training.History,
        callbacks: Sequence[training.Callback],
        until: int,
    ) -> None:
        self.history, self.callbacks = history, callbacks
        self.second = training.History()
        self.before = history.records[-1].seconds
        self.until = max(until, 1)

    def __call__(self, record: training.Record) -> bool:
        """Tell one record, and return whether that ends the training."""
        told = self._told(record)
        asked = [callback(told) is True for callback in self.callbacks]  # all of them are told
        return any(asked)

    def add(self) -> None:
        """Let the records of the second training follow those of the first."""
        self.history.records += [self._told(record) for record in self.second.records]

    def _told(self, record: training.Record) -> training.Record:
        return dataclasses.replace(
            record,
            phase=training.ALL_ROWS,
            seconds=self.before + record.seconds,
            progress=min(1.0, record.step / self.until),
        )


def refit(
    objective: Objective,
    rows: Rows,
    before: int,
    steps: int,
    longer: float,
    limits: Mapping[str, Any],
    *,
    seed: int,
    history: training.History,
    callbacks: Sequence[training.Callback],
    store: training.Store | None,
    store_every: float,
) -> None:
    """Train a model from its start on all rows, for as many passes as were best before.

    More rows take longer to be overfitted: run and schedule are stretched. One batch of all rows
    stays one.

    Arguments:
        objective: The objective of the model at its start.
        rows: All rows, with the noise of training on them, where there is such.
        before: How many rows the first run was trained on.
        steps: How many steps of it were best.
        longer: By how much to stretch the run beyond that.
        limits: The arguments of `nelbo.fit` that the first run had.
        seed: The seed of the first run.
        history: The records of the first run, which those of this one follow.
        callbacks: Who is told of them.
        store: Where to keep its state.
        store_every: How often, in seconds.
    """
    limits, batch = dict(limits), limits["batch_size"]
    limits["early_stopping"] = False
    limits["batch_size"] = len(rows) if batch == before else batch
    stretch = longer * math.ceil(len(rows) / limits["batch_size"]) / math.ceil(before / batch)
    limits["max_steps"] = limits["max_steps"] and round(stretch * limits["max_steps"])
    until = round(stretch * steps)
    watched = Watched(history, callbacks, until)
    try:
        training.fit(
            objective,
            rows,
            seed=seed,
            callbacks=[lambda record: record.step >= until, watched],
            history=watched.second,
            store=store,
            store_every=store_every,
            **limits,
        )
    finally:
        watched.add()
