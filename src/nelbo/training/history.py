"""What a run reports of itself: one record per validation, in the units of the data."""

from __future__ import annotations

__all__ = ["ALL_ROWS", "TRAINING", "Callback", "History", "Record"]

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..brief import aligned, selected
from ..plain import plain
from . import fields

TRAINING, ALL_ROWS = "training", "training on all rows"
"""Phases of a fit: tables are trained a second time, on the rows for validation, too."""


@dataclass(frozen=True)
class Record:
    """The state of a run at one validation.

    Attributes:
        step: Optimiser steps taken.
        epoch: Passes over the training rows, a fraction.
        seconds: Since the start of training.
        train: Mean objective over the training rows seen since the last record, nats per example;
            None at the start. Where training gives the KL another weight, the plain bound of up to
            1,024 training rows at this step.
        validation: Mean objective over the validation rows, nats per example; None without
            validation rows.
        kl: Mean KL(q(z|x) || p(z)), nats per example; None where it has no closed form.
        beta: Root mean noise variance, in data units; None where the likelihood has no single one.
        learning_rate: In force at this step.
        rate: Training examples per second since the last record.
        progress: Part of the budget that is spent, 0 to 1.
        skipped: Steps skipped so far because a gradient was not finite.
        phase: "training", or "training on all rows", whose steps, epochs and progress begin again;
            seconds go on.
    """

    step: int
    epoch: float
    seconds: float
    train: float | None
    validation: float | None
    kl: float | None
    beta: float | None
    learning_rate: float
    rate: float
    progress: float
    skipped: int
    phase: str = TRAINING

    @property
    def bound(self) -> float | None:
        """The validation bound where there is one, else the training bound."""
        return self.train if self.validation is None else self.validation


WORSE_NATS, WORSE_SHARE = 10.0, 0.2
"""By how much a bound must have fallen for training to have failed:
it is measured on few rows, with fresh noise.
"""
COLUMNS = ("step", "epoch", "seconds", "train", "validation", "kl", "beta", "learning_rate")
"""What a printed history shows of each record; bounds in nats per example."""

Callback = Callable[[Record], object]
"""Called with each record; training stops early if it returns True."""


@dataclass
class History:
    """The records of a run and how it ended.

    Attributes:
        records: One per validation, in order.
        best_step: The step whose weights were kept.
        stopped: Why training ended: "steps", "seconds", "early", "callback" or "interrupted".
        threads: How many threads of a CPU it used; None where that is not known.
    """

    records: list[Record] = field(default_factory=list)
    best_step: int = 0
    stopped: str = ""
    threads: int | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        last = f"{self.steps:,} steps, " if self.records else ""
        kept = f"best_step={self.best_step:,}, stopped={self.stopped!r}"
        return f"History({last}{len(self):,} records, {kept})"

    def __str__(self) -> str:
        """Return a short table: the first, the best and the last records."""
        if not self.records:
            return repr(self)
        chosen = selected(len(self))
        steps = self.column("step")
        if None in chosen and self.best_step in steps and steps.index(self.best_step) not in chosen:
            gap = chosen.index(None)
            chosen[gap + 1 : gap + 1] = [steps.index(self.best_step), None]
        names = [name for name in COLUMNS if any(value is not None for value in self.column(name))]
        rows = [
            ["…"] * len(names)
            if i is None
            else [_cell(name, getattr(self.records[i], name)) for name in names]
            for i in chosen
        ]
        marks = ["" if i is None else self._mark(self.records[i]) for i in chosen]
        table = aligned([[name.replace("_", " ") for name in names], *rows], left=0)
        return "\n".join([repr(self), *map("".join, zip(table, ["", *marks], strict=True))])

    def _mark(self, record: Record) -> str:
        if record.phase != TRAINING:
            return "  on all rows"
        return "  best" if record.step == self.best_step else ""

    @property
    def last(self) -> Record:
        """The last record of the first training, whose steps `best_step` counts."""
        return next(record for record in reversed(self.records) if record.phase == TRAINING)

    @property
    def steps(self) -> int:
        """Optimiser steps taken in all phases."""
        found: dict[str, int] = {}
        for record in self.records:
            found[record.phase] = record.step
        return sum(found.values())

    def trouble(self, before: float | None) -> list[str]:
        """Return what went wrong in training without ending it, in sentences: nothing in most runs.

        Arguments:
            before: The bound before the first step, of the kind that the records have; None where
                nobody knows.
        """
        if len(self) < 2:
            return []
        last, said = self.records[-1], []
        if 2 * last.skipped > last.step:
            said.append(
                f"{last.skipped:,} of {last.step:,} training steps were skipped, because their "
                "gradients were not "
                "finite: the model is hardly trained. Lower the learning rate, or check the data "
                "for extreme values."
            )
        kept = next(
            (record for record in reversed(self.records) if record.step == self.best_step), last
        )
        after = kept.bound
        if before is None or after is None:
            return said
        if not math.isfinite(after) or after < before - max(WORSE_NATS, WORSE_SHARE * abs(before)):
            rows = "training" if kept.validation is None else "validation"
            said.append(
                f"Training made the model worse: the bound on {rows} rows is {after:,.4g} nats per "
                "example, and was "
                f"{before:,.4g} before the first step. Lower the learning rate, or hold rows out "
                "to validate on, so "
                "that the best weights are kept."
            )
        return said

    def column(self, name: str) -> list[Any]:
        """Return one attribute of all records."""
        return [getattr(record, name) for record in self.records]

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, ready for JSON;
        what is not finite is "nan", "inf" or "-inf".
        """
        found = dataclasses.asdict(self)
        found["records"] = [
            {name: fields.plain(value) for name, value in one.items()} for one in found["records"]
        ]
        return found

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> History:
        """Undo `to_dict`.

        Raises:
            ValueError: A field is missing, unknown or of another type; the message names it.
        """
        records = fields.section(state, "records")
        if not isinstance(records, list):
            raise fields.StateError("records is no list")
        others = {name: value for name, value in state.items() if name != "records"}
        found = fields.record(cls, {**others, "records": []}, "history")
        found.records = [fields.record(Record, one, f"record {i}") for i, one in enumerate(records)]
        return found

    def to_jsonl(self) -> str:
        """Return one JSON object per record and line;
        what is not finite is null, as tools that read it expect.
        """
        return "".join(json.dumps(plain(one)) + "\n" for one in self.records)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if name in ("beta", "learning_rate") else f"{value:.2f}"
