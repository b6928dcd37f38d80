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
from ..markup import card
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
        seconds: The time since the start of training.
        train: Mean objective over the training rows seen since the last record, nats per example;
            None at the start. Where training maximises something else than validation measures
            (another weight of the KL, noise on what the encoder sees, or hidden values), it is
            the plain bound at this step, of as many training rows as are held out, at most 1,024.
        validation: Mean objective over the validation rows, nats per example; None without
            validation rows.
        kl: Mean KL(q(z|x) || p(z)), nats per example; None where it has no closed form.
        beta: Root mean noise variance, in data units; None where the likelihood has no single one.
        learning_rate: The rate at this step.
        rate: Training examples per second since the last record.
        progress: Part of the budget that is spent, 0 to 1.
        skipped: Steps skipped so far because a gradient was not finite.
        phase: "training", or "training on all rows", whose steps, epochs and progress begin again;
            seconds go on.
        refined: Mean bound of the validation rows under a q refined for each of them, nats per
            example: nearer to log p(x), and what training is judged by (`training.refined`). None
            where it was not measured.
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
    refined: float | None = None

    @property
    def bound(self) -> float | None:
        """The validation bound where there is one, else the training bound."""
        if self.validation is None:
            return self.train
        return self.validation


Callback = Callable[[Record], object]
"""Called with each record; training stops early if it returns True."""


@dataclass
class History:
    """The records of a run and how it ended.

    Attributes:
        records: One per validation, in order.
        best_step: The step whose weights were kept.
        stopped: Why training ended: "steps", "seconds", "early", "callback" or "interrupted".
        threads: The number of threads of a CPU that it used; None where that is not known.
    """

    records: list[Record] = field(default_factory=list)
    best_step: int = 0
    stopped: str = ""
    threads: int | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        told = f"{len(self):,} records, best_step={self.best_step:,}, stopped={self.stopped!r}"
        if self.records:
            told = f"{self.steps:,} steps, {told}"
        return f"History({told})"

    def __str__(self) -> str:
        """Return a short table: the first, the best and the last records."""
        if not self.records:
            return repr(self)
        rows, marks = self._table()
        table = aligned(rows, left=0)
        return "\n".join([repr(self), *map("".join, zip(table, marks, strict=True))])

    def _repr_html_(self) -> str:
        """Return the same table for a notebook."""
        if not self.records:
            return card(repr(self))
        (heads, *rows), (_, *marks) = self._table()
        cells = [[*row, mark] for row, mark in zip(rows, marks, strict=True)]
        return card(repr(self), heads=[*heads, ""], rows=cells)

    def _table(self) -> tuple[list[list[str]], list[str]]:
        """Return the cells of a short table, names first, and what stands behind each line."""
        told = "step epoch seconds train validation refined kl beta learning_rate"
        columns = told.split()
        names = [name for name in columns if set(self.column(name)) != {None}]
        rows, marks = [[name.replace("_", " ") for name in names]], [""]
        for i in self._chosen():
            if i is None:
                rows.append(["…"] * len(names))
                marks.append("")
            else:
                record = self.records[i]
                rows.append([_cell(name, getattr(record, name)) for name in names])
                marks.append(self._mark(record))
        return rows, marks

    def _chosen(self) -> list[int | None]:
        """Return the records that are worth printing, the best among them; None is a gap."""
        chosen, steps = selected(len(self)), self.column("step")
        if None not in chosen or self.best_step not in steps:
            return chosen
        best, gap = steps.index(self.best_step), chosen.index(None)
        if best not in chosen:
            chosen[gap + 1 : gap + 1] = [best, None]
        return chosen

    def _mark(self, record: Record) -> str:
        """Return what is printed behind a record."""
        if record.phase != TRAINING:
            return "  on all rows"
        if record.step == self.best_step:
            return "  best"
        return ""

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

    def trouble(
        self, before: float | None, worse_nats: float = 10.0, worse_share: float = 0.2
    ) -> list[str]:
        """Return what went wrong in training without ending it, in sentences: nothing in most runs.

        Arguments:
            before: The bound before the first step, of the kind that the records have; None where
                it is not known.
            worse_nats, worse_share: By how much a bound must have fallen, in nats and as a share of
                it, for training to have failed: it is measured on few rows, with fresh noise.
        """
        if len(self) < 2:
            return []
        last, said = self.records[-1], []
        if 2 * last.skipped > last.step:
            said.append(
                f"{last.skipped:,} of {last.step:,} training steps were skipped, because their "
                "gradients were not finite: the model is hardly trained. Lower the learning rate, "
                "or check the data for extreme values."
            )
        best = (record for record in reversed(self.records) if record.step == self.best_step)
        kept = next(best, last)
        after = kept.bound
        if before is None or after is None:
            return said
        least = before - max(worse_nats, worse_share * abs(before))
        if not math.isfinite(after) or after < least:
            rows = "validation"
            if kept.validation is None:
                rows = "training"
            said.append(
                f"Training made the model worse: the bound on {rows} rows is {after:,.4g} nats per "
                f"example, and was {before:,.4g} before the first step. Lower the learning rate, "
                "or hold rows out to validate on, so that the best weights are kept."
            )
        return said

    @property
    def is_refined(self) -> bool:
        """Whether the run is judged by refined bounds: then its first record has one."""
        return bool(self.records) and self.records[0].refined is not None

    def judged(self) -> list[tuple[Record, float]]:
        """Return the records with what the run is judged by: refined bounds, or those of the
        encoder where there are none.
        """
        name = "refined" if self.is_refined else "validation"
        found = [(record, getattr(record, name)) for record in self.records]
        return [(record, value) for record, value in found if value is not None]

    def column(self, name: str) -> list[Any]:
        """Return one attribute of all records."""
        return [getattr(record, name) for record in self.records]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; a number that is not finite is "nan", "inf" or "-inf"."""
        found = dataclasses.asdict(self)
        found["records"] = [
            {name: fields.spelt_out(value) for name, value in one.items()}
            for one in found["records"]
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
            raise fields.StateError("records is not a list")
        others = {name: value for name, value in state.items() if name != "records"}
        found = fields.record(cls, {**others, "records": []}, "history")
        found.records = [fields.record(Record, one, f"record {i}") for i, one in enumerate(records)]
        return found

    def to_jsonl(self) -> str:
        """Return one JSON object per record and line; a number that is not finite is null."""
        return "".join(json.dumps(plain(one)) + "\n" for one in self.records)


def _cell(name: str, value: float | None) -> str:
    """Return a number as a printed history shows it."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if name in ("beta", "learning_rate"):
        return f"{value:.4g}"
    return f"{value:.2f}"
