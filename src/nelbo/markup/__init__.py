"""Results as a small piece of HTML, for notebooks: whatever they hold is escaped."""

from __future__ import annotations

__all__ = ["card"]

import html
from collections.abc import Iterable, Sequence
from importlib.resources import files

Row = Sequence[str]


def card(
    title: str,
    text: Iterable[str] = (),
    facts: Iterable[tuple[str, str]] = (),
    heads: Row = (),
    rows: Iterable[Row] = (),
) -> str:
    """Return a title, paragraphs, facts and a table, whatever of these there is.

    Arguments:
        title: What it is.
        text: Paragraphs.
        facts: Names and what they are.
        heads: Of the columns of the table.
        rows: Cells of the table.
    """
    css = (files("nelbo.markup") / "card.css").read_text(encoding="utf-8")
    parts = [f"<style>{css}</style>", '<div class="nelbo">', f"<p><b>{html.escape(title)}</b></p>"]
    parts += [f"<p>{html.escape(paragraph)}</p>" for paragraph in text]
    parts += _table([], [*facts])
    parts += _table(heads, [*rows])
    return "".join([*parts, "</div>"])


def _table(heads: Row, rows: Sequence[Row]) -> list[str]:
    """Return the pieces of a table; none where it has no rows."""
    if not rows:
        return []
    parts = ["<table>"]
    if heads:
        parts.append(_line(heads, "th"))
    return [*parts, *(_line(row, "td") for row in rows), "</table>"]


def _line(cells: Row, kind: str) -> str:
    """Return one line of a table."""
    told = "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells)
    return f"<tr>{told}</tr>"
