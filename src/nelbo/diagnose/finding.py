"""The parts of a diagnosis, and how it is printed."""

from __future__ import annotations

__all__ = ["Check", "Diagnosis", "Finding", "Value", "Verdict"]

import dataclasses
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..brief import aligned
from ..markup import card
from ..plain import plain
from .cures import Cure, Spell, advise, in_python
from .standard_error import Estimate

Verdict = Literal["ok", "warning", "problem", "skipped"]
"""What a finding may come to; "skipped" says why nothing was measured."""


@dataclass(frozen=True)
class Value:
    """A number with its name.

    Attributes:
        label: What the number is.
        number: An estimate, or a plain number where there is nothing to estimate.
        unit: "nats" or empty.
    """

    label: str
    number: Estimate | float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self._number()} {self.unit}".rstrip()

    def _number(self) -> str:
        if isinstance(self.number, Estimate):
            return str(self.number)
        if isinstance(self.number, int):
            return f"{self.number:,}"
        return f"{self.number:.4g}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; a number that is not finite is None."""
        found = self.number
        if not isinstance(found, Estimate):
            found = Estimate(float(found), math.nan, 0)
        return {
            "label": self.label,
            "value": plain(found.value),
            "standard_error": plain(found.standard_error),
            "rows": found.rows or None,
            "unit": self.unit,
        }


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: What was looked at.
        verdict: "ok", "warning", "problem" or "skipped".
        sentence: What was seen, in one or two sentences.
        values: The numbers behind it.
        advice: What to change, in options that exist and are not in use; empty where nothing needs
            changing.
        reference: Author, year.
        cause: What is wrong with the model, where this finding alone shows it; empty otherwise.
        cures: What the advice is chosen from.
    """

    name: str
    verdict: Verdict
    sentence: str
    values: tuple[Value, ...] = ()
    advice: str = ""
    reference: str = ""
    cause: str = ""
    cures: tuple[Cure, ...] = ()

    def advised(self, used: Mapping[str, Any], spell: Spell = in_python) -> Finding:
        """Return the finding with advice:
        those of its cures that are open to a model with these options.
        """
        if not self.cures:
            return self
        return dataclasses.replace(self, advice=advise(self.cures, used, spell))

    def remark(self) -> Iterator[str]:
        """Yield the lines that say what the table of numbers cannot hold."""
        reference = ""
        if self.reference:
            reference = f" ({self.reference})"
        yield from _wrapped(f"{self.verdict}: {self.name}. {self.sentence}{reference}", "  ")
        if self.advice:
            yield from _wrapped(f"→ {self.advice}", "    ", "  ")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        told = {name: value for name, value in vars(self).items() if name != "cures"}
        return {**told, "values": [value.to_dict() for value in self.values]}


@dataclass(frozen=True)
class Check:
    """What all findings of one check share, whatever they come to.

    Attributes:
        name: What is looked at.
        reference: Author, year.
        cause: What is wrong with the model where the verdict is "problem".
        cures: What may be changed where the verdict is not "ok".
    """

    name: str
    reference: str = ""
    cause: str = ""
    cures: tuple[Cure, ...] = ()

    def found(
        self, verdict: Verdict, sentence: str, values: Iterable[Value] = (), **changes: Any
    ) -> Finding:
        """Return the finding; ``changes`` replaces the check's fields where cases differ."""
        check = dataclasses.replace(self, **changes)
        cause, cures = check.cause, check.cures
        if verdict != "problem":
            cause = ""
        if verdict == "ok":
            cures = ()
        return Finding(
            check.name,
            verdict,
            sentence,
            tuple(values),
            reference=check.reference,
            cause=cause,
            cures=cures,
        )

    def skipped(self, why: str) -> Finding:
        """Return a finding that says why nothing was measured."""
        return Finding(self.name, "skipped", why)


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a model; prints as a table.

    Attributes:
        leading: The one cause that explains most, such as "posterior collapse: beta^2 is fixed
            far too large"; empty where the model is healthy.
        findings: The outcome of every check, causes before their consequences.
        rows: Rows looked at.
        of: Rows there were.
        train_rows: Training rows looked at; None without any.
        seed: The seed of everything drawn.
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
    def warnings(self) -> tuple[Finding, ...]:
        """What could be better, causes before their consequences."""
        return tuple(finding for finding in self.findings if finding.verdict == "warning")

    @property
    def known(self) -> bool:
        """Whether the rows tell how the model does on new ones: else they were trained on."""
        return all(finding.name != "new rows" or not finding.cause for finding in self.findings)

    @property
    def headline(self) -> str:
        """The diagnosis in a few words."""
        if not self.healthy:
            name = self.leading
            if name[:2].isalpha():  # not q(z)
                name = name[:1].upper() + name[1:]
            return name
        return {False: "Healthy", True: "Healthy, but could be better"}[bool(self.warnings)]

    @property
    def advice(self) -> str:
        """What to change first; empty where the model is healthy."""
        for finding in self.findings:
            if finding.cause and finding.cause == self.leading:
                return finding.advice
        return ""

    def __getitem__(self, name: str) -> Finding:
        """Return the finding of that name.

        Raises:
            KeyError: There is none.
        """
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(
            f"There is no finding {name!r}, only {', '.join(f.name for f in self.findings)}."
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

    def _repr_html_(self) -> str:
        """Return the same for a notebook: each finding with what was seen, and its numbers."""
        rows = [
            (
                finding.name,
                finding.verdict,
                f"{finding.sentence} {finding.advice}".strip(),
                "; ".join(f"{value.label}: {value}" for value in finding.values),
            )
            for finding in self.findings
        ]
        title, *text = self._head()
        return card(
            title, text, heads=("finding", "verdict", "what was seen", "numbers"), rows=rows
        )

    def _head(self) -> list[str]:
        count = len(self.warnings)
        warnings = {0: "no warnings", 1: "1 warning"}.get(count, f"{count} warnings")
        where = f"{self.rows:,} rows"
        if self.rows != self.of:
            where += f" of {self.of:,}, drawn with seed {self.seed}"
        if self.train_rows:
            where += f"; {self.train_rows:,} training rows"
        if self.healthy:
            return [f"{self.headline}: no problem found, {warnings} ({where})."]
        return [f"Diagnosis: {self.leading} ({where}).", *_wrapped(f"Cure: {self.advice}", "")]

    def _table(self) -> list[str]:
        lines: list[Sequence[str]] = [("finding", "", "value", "verdict")]
        for finding in self.findings:
            cells = [(value.label, str(value)) for value in finding.values] or [("", "–")]
            lines.append((finding.name, *cells[0], finding.verdict))
            lines += [("", label, value, "") for label, value in cells[1:]]
        return aligned(lines, left=len(lines[0]))

    def _remarks(self) -> list[str]:
        """Return the lines below the table, the worst first."""
        lines = []
        for verdict in ("problem", "warning", "skipped"):
            for finding in self.findings:
                if finding.verdict == verdict:
                    lines += ["", *finding.remark()]
        return lines


def _wrapped(text: str, later: str, first: str = "", width: int = 100) -> list[str]:
    """Break a text into lines of ``width`` characters, indented by ``first`` and ``later``."""
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=later)
