"""How help is laid out: each description as one paragraph, however its source is wrapped."""

from __future__ import annotations

__all__ = ["Paragraphs"]

from typing import Any

from cyclopts.help import DefaultFormatter


class Paragraphs(DefaultFormatter):
    """Show descriptions without the line breaks of the docstrings that they come from."""

    def __call__(self, console: Any, options: Any, panel: Any) -> None:
        """Show one panel of help."""
        from rich.text import Text

        for entry in panel.entries:
            text = getattr(entry.description, "primary_renderable", None)
            if isinstance(text, Text):
                entry.description.primary_renderable = Text(" ".join(text.plain.split()))
        super().__call__(console, options, panel)
