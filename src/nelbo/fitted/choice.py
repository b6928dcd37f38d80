"""Which rows a model is judged by: those that it was not trained on, where there are any;
and how that is said.
"""

from __future__ import annotations

__all__ = ["Chosen", "RowCounts", "choose", "count_rows", "fitted"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.known import KnownRows, Use, Uses

UNKNOWN = (
    "Which rows this model was trained on is unknown: it was saved before models "
    "remembered their rows."
)


@dataclass(frozen=True)
class Chosen:
    """Some rows of a data set.

    Attributes:
        which: "held-out", "trained" or "all".
        mask: Whether each row is one of them, of shape (n,).
        seen: Whether the model was trained on each row, of shape (n,); None where that is unknown.
        too_few: Whether all are looked at as those that are new are too few.
    """

    which: str
    mask: npt.NDArray[np.bool_]
    seen: npt.NDArray[np.bool_] | None
    too_few: bool = False

    @property
    def total(self) -> int:
        """How many rows there are."""
        return len(self.mask)

    @property
    def trained(self) -> int | None:
        """How many of all rows the model was trained on; None where that is unknown."""
        return None if self.seen is None else int(self.seen.sum())

    @property
    def judged_as_new(self) -> bool:
        """Whether none of the chosen rows is known to have been trained on."""
        return self.seen is None or not bool(self.seen[self.mask].any())

    def sentence(self, name: str = "DATA", log_p: npt.NDArray[Any] | None = None) -> str:
        """Say how many rows were trained on and which are looked at; empty where all are new.

        Arguments:
            name: What the rows are called.
            log_p: log p(x) of each row that is looked at, to tell both kinds apart where they are
                mixed.
        """
        if self.seen is None:
            return UNKNOWN
        old, all_of = int(self.seen.sum()), f"{self.total:,} rows of {name}"
        if old == 0:
            return ""
        if old == self.total:
            return f"All {all_of} were trained on: this says nothing about new rows."
        told, rest = f"{old:,} of the {all_of} were trained on", f"the other {self.total - old:,}"
        if self.which == "held-out":
            return f"{told}; this is about {rest} (--rows trained or all for the rest)."
        if self.which == "trained":
            return f"{told}; this is about them, and says nothing about new rows."
        if log_p is None:
            why = ""
            if self.too_few:
                why = f", as {rest} are too few to judge by"
            return f"{told}; this is about all of them{why}, and says little about new rows."
        means = [float(log_p[part].mean()) for part in (self.seen, ~self.seen)]
        return f"{told}: mean log p(x) {means[0]:.2f} nats over them, {means[1]:.2f} over {rest}."

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {"which": self.which, "of": self.total, "trained_on": self.trained}


@dataclass(frozen=True)
class RowCounts:
    """What a run did with which rows.

    Attributes:
        trained: Rows of training alone; None where the model does not know its rows.
        validated: Rows that decided when to stop, which tables are trained on in the end; None
            likewise.
        held_out: Rows that the model has not seen, which it is judged by.
        repeated: How many of these have the values of a row that it was fitted to; None likewise.
    """

    trained: int | None
    validated: int | None
    held_out: int
    repeated: int | None

    @property
    def any_new(self) -> bool:
        """Whether any held-out row is one that the model was not fitted to, as far as is known."""
        return self.repeated is None or self.repeated < self.held_out

    def warnings(self, many: float = 0.05) -> list[str]:
        """Say where held-out rows are hardly new: a share of ``many`` are repeated."""
        if not self.repeated or self.repeated < many * self.held_out:
            return []
        if not self.any_new:
            return [
                f"All {self.held_out:,} rows that the model is judged by have the values of rows "
                "that were trained on: "
                "this says nothing about new rows."
            ]
        return [
            f"{self.repeated:,} of the {self.held_out:,} held-out rows have the same values as a "
            "row that was trained "
            "on: their log p(x) says little about rows with new values."
        ]


def fitted(use: Uses) -> npt.NDArray[np.bool_]:
    """Return which rows a model was fitted to, those for validation included: (n,)."""
    found: npt.NDArray[np.bool_] = (use == Use.TRAINED) | (use == Use.VALIDATED)
    return found


def count_rows(known: KnownRows | None, held_out: npt.NDArray[Any] | None) -> RowCounts:
    """Count the rows of a fit, and those that were kept from it.

    Arguments:
        known: The rows that the model knows.
        held_out: The rows (n, D) that were kept from it; None where there are none.
    """
    rows = 0 if held_out is None else len(held_out)
    if known is None:
        return RowCounts(None, None, rows, None)
    trained, validated = (int((known.use == use).sum()) for use in (Use.TRAINED, Use.VALIDATED))
    repeated = 0 if held_out is None else int(known.fitted_to(held_out).sum())
    return RowCounts(trained, validated, rows, repeated)


def choose(use: Uses | None, rows: int, which: str | None = None, least: int = 1) -> Chosen:
    """Choose the rows of a data set to judge a model by.

    Arguments:
        use: What the model used each row for, of shape (n,); None where it does not know its rows.
        rows: How many there are.
        which: "held-out", those that the model was not trained on; "trained", those that it was;
            "all"; None is "held-out" where there are such rows, else "all".
        least: How many of them are needed.

    Raises:
        ValueError: ``which`` is none of these, there are no such rows, or the model does not know
            its rows.
    """
    if which not in (None, "held-out", "trained", "all"):
        raise ValueError(f"--rows must be held-out, trained or all, got {which!r}.")
    if use is None:
        if which not in (None, "all"):
            raise ValueError(f"{UNKNOWN} Take --rows all, or fit it again.")
        return Chosen("all", np.ones(rows, dtype=np.bool_), None)
    seen, too_few = fitted(use), False
    if which is None:
        new = int((~seen).sum())
        too_few = 0 < new < least
        which = "held-out" if seen.any() and new >= least else "all"
    mask = {"held-out": ~seen, "trained": seen, "all": np.ones_like(seen)}[which]
    if not mask.any():
        told = {
            "held-out": "All of these rows were trained on",
            "trained": "None of these rows was trained on",
        }[which]
        raise ValueError(
            f"{told}, so there are none for --rows {which}. Pass other rows, or --rows all."
        )
    return Chosen(which, mask, seen, too_few)
