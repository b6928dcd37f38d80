"""What a diagnosis is made of, and how it reads."""

from __future__ import annotations

__all__ = ["VERDICTS", "Diagnosis", "Finding", "Value"]

import dataclasses
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .cures import Cure, Spell, advise, in_python
from .standard_error import Estimate

VERDICTS = ("ok", "warning", "problem", "skipped")
"""What a finding may come to; "skipped" says why it was not looked at."""
WIDTH = 100
"""Characters in a line of text."""


@dataclass(frozen=True)
class Value:
    """A number with its name.

    Attributes:
        label: What it is.
        number: An estimate, or a plain number where there is nothing to estimate.
        unit: "nats" or empty.
    """

    label: str
    number: Estimate | float
    unit: str = ""

    def __str__(self) -> str:
        whole = isinstance(self.number, Estimate | int)
        told = (
            f"{self.number:,}"
            if isinstance(self.number, int)
            else str(self.number)
            if whole
            else f"{self.number:.4g}"
        )
        return f"{told} {self.unit}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; a number that is not finite is None."""
        found = (
            self.number
            if isinstance(self.number, Estimate)
            else Estimate(float(self.number), math.nan, 0)
        )
        return {
            "label": self.label,
            "value": _finite(found.value),
            "standard_error": _finite(found.standard_error),
            "rows": found.rows or None,
            "unit": self.unit,
        }


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        name: What was looked at.
        verdict: "ok", "warning", "problem" or "skipped".
        sentence: What was seen, in one sentence.
        values: The numbers behind it.
        advice: What to change, in options that exist and are not in use; empty where nothing needs
            changing.
        reference: Author, year.
        sickness: Its name, where this finding alone is one; empty otherwise.
        cures: What the advice is chosen from.
    """

    name: str
    verdict: str
    sentence: str
    values: tuple[Value, ...] = ()
    advice: str = ""
    reference: str = ""
    sickness: str = ""
    cures: tuple[Cure, ...] = ()

    def advised(self, used: Mapping[str, Any], spell: Spell = in_python) -> Finding:
        """Return the finding with those of its cures as advice that are open to a model with these
        options.
        """
        return (
            dataclasses.replace(self, advice=advise(self.cures, used, spell))
            if self.cures
            else self
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        told = {name: value for name, value in vars(self).items() if name != "cures"}
        return {**told, "values": [value.to_dict() for value in self.values]}


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a model; prints as a table.

    Attributes:
        leading: The one sickness that explains most, such as "posterior collapse: beta^2 is fixed
            far too large"; empty where the model is healthy.
        findings: Every check, causes first.
        rows: Rows looked at.
        of: Rows there were.
        train_rows: Training rows looked at; None without any.
        seed: Of everything drawn.
    """

    leading: str
    findings: tuple[Finding, ...]
    rows: int
    of: int
    train_rows: int | None
    seed: int

    @property
    def healthy(self) -> bool:
        """Whether no check found a problem; there may be warnings."""
        return not self.leading

    @property
    def advice(self) -> str:
        """What to change first; empty where the model is healthy."""
        return next(
            (f.advice for f in self.findings if f.sickness and f.sickness == self.leading), ""
        )

    def __getitem__(self, name: str) -> Finding:
        """Return the finding of that name.

        Raises:
            KeyError: There is none.
        """
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(
            f"{name!r} is none of the findings: {', '.join(f.name for f in self.findings)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            **vars(self),
            "healthy": self.healthy,
            "advice": self.advice,
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def __str__(self) -> str:
        return "\n".join([*self._head(), "", *self._table(), *self._remarks()])

    def _head(self) -> list[str]:
        warnings = sum(f.verdict == "warning" for f in self.findings)
        told = {0: "no warnings", 1: "1 warning"}.get(warnings, f"{warnings} warnings")
        whole = "" if self.rows == self.of else f" of {self.of:,}, drawn with seed {self.seed}"
        where = f"{self.rows:,} rows{whole}" + (
            f"; {self.train_rows:,} training rows" if self.train_rows else ""
        )
        if self.healthy:
            return [f"Healthy: no problem found, {told} ({where})."]
        return [f"Diagnosis: {self.leading} ({where}).", *_wrapped(f"Cure: {self.advice}", "")]

    def _table(self) -> list[str]:
        lines = [("finding", "", "value", "verdict")]
        for finding in self.findings:
            cells = [(value.label, str(value)) for value in finding.values] or [("", "–")]
            for number, (label, value) in enumerate(cells):
                first = number == 0
                lines.append(
                    (finding.name if first else "", label, value, finding.verdict if first else "")
                )
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]

    def _remarks(self) -> list[str]:
        """What the table cannot hold, the worst first."""
        lines = []
        for verdict in ("problem", "warning"):
            for finding in (f for f in self.findings if f.verdict == verdict):
                reference = f" ({finding.reference})" if finding.reference else ""
                lines += [
                    "",
                    *_wrapped(f"{verdict}: {finding.name}. {finding.sentence}{reference}", "  "),
                ]
                lines += _wrapped(f"→ {finding.advice}", "    ", "  ") if finding.advice else []
        for finding in (f for f in self.findings if f.verdict == "skipped"):
            lines += ["", *_wrapped(f"skipped: {finding.name}. {finding.sentence}", "  ")]
        return lines


def _wrapped(text: str, later: str, first: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=later)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
