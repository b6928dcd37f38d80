"""What the parser of the command line refuses, in words that say how to mend it."""

from __future__ import annotations

__all__ = ["told"]

import re
from collections.abc import Sequence

WORDS = (
    (r'Command "(\w+)" parameter --(data|run|source) requires an argument', r"nelbo \1 needs \2"),
    (r'Command "(\w+)" (DATA|RUN) requires an argument', r"nelbo \1 needs \2"),
    (r'Command "\w+" parameter (--[\w-]+) requires an argument', r"\1 needs a value"),
    (r'unable to convert ("[^"]*") into int(\|[^ ]*)?', r"\1 is no whole number"),
    (r'unable to convert ("[^"]*") into float(\|None)?', r"\1 is no number"),
    (r"Unused Tokens: \[(.*)\]", r"\1 is too much"),
    (r"Available commands: .*", ""),
)
"""What the parser says, and what is said instead."""
NAMES = {"data": "DATA", "run": "RUN", "source": "DATA, or a RUN and DATA"}
"""What the help calls the arguments that are no options."""


def told(error: Exception, tokens: Sequence[str], commands: Sequence[str]) -> str:
    """Return a sentence that names what is wrong, and where the help is.

    Arguments:
        error: The parser's error.
        tokens: The command line.
        commands: The commands that there are.
    """
    text = " ".join(str(error).split())
    for said, instead in WORDS:
        text = re.sub(said, instead, text)
    text = re.sub(r"(?<=needs )(data|run|source)\b", lambda found: NAMES[found[1]], text)
    text = re.sub(r"(?<=[.?])\.", "", text.strip())
    known = [name for name in tokens[:1] if name in commands]
    if not known:
        text = f"{text} Available commands: {', '.join(commands)}"
    if text[-1] not in ".?":
        text += "."
    return f"{text} See: {' '.join(['nelbo', *known, '--help'])}"
