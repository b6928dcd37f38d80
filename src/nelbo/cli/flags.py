"""Options that several commands share."""

from __future__ import annotations

__all__ = [
    "WHOLE",
    "Device",
    "Flag",
    "Json",
    "Limits",
    "Overwrite",
    "Quiet",
    "Run",
    "as_flag",
    "check_seed",
    "check_which",
    "in_flags",
    "visible",
]

import ast
import dataclasses
import re
import typing
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

from ..options import Options
from .reading import ReadOptions

Flag = Annotated[bool, Parameter(negative=())]
"""A switch without its opposite."""
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object.")]
Run = Annotated[str, Parameter(help="The folder that fit wrote.")]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace what --out names, if it exists.")]
Quiet = Annotated[bool, Parameter(negative=(), help="Show no progress.")]
Device = Annotated[
    str, Parameter(help="Where to compute: cpu, cuda, or auto, which is a GPU if there is one.")
]
Limits = Annotated[
    str | None,
    Parameter(
        name="--range",
        help="LOW,HIGH: the values that PNGs show as black and white. By default 0,1 for 8-bit "
        "data, else the smallest and the largest value.",
    ),
]


def _whole(kind: Any, tokens: Sequence[Token], most_digits: int = 100) -> Any:
    """Return a whole number, or another word that an option takes; nothing is rounded in silence.

    Arguments:
        kind: The annotation of the option.
        tokens: What was written for it.
        most_digits: Digits after which Python itself would refuse to read a number.
    """
    text = tokens[0].value.strip()
    others = typing.get_args(kind)
    words = [word for other in others for word in typing.get_args(other)]
    if text in words:
        return text
    if type(None) in others and text.lower() in ("none", "null"):
        return None
    if not re.fullmatch(r"[+-]?[0-9]+(_[0-9]+)*", text) or len(text) > most_digits:
        raise ValueError  # cyclopts tells option, value, type and the file that it comes from
    return int(text)


WHOLE = Parameter(converter=_whole)
"""For options that take a whole number, and nothing that has to be rounded to be one."""


def visible(text: str) -> str:
    """Return a text with control characters spelt out: no file name can give a terminal orders."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)


PHRASES = {
    "Say otherwise by schema={'name': 'kind'}.": (
        "Say otherwise by --schema, which takes a file such as schema.toml of a run."
    ),
    "a missing cell, declare it so": "a missing cell, declare it by --missing",
    "say that the column is 'categorical' or 'left_out'": (
        "say by --schema that the column is 'categorical' or 'left_out'"
    ),
    "or give the frame the columns of the fit": "as in the file of the fit",
}
"""What the library says of Python, and what is said on the shell."""


def renamed() -> dict[str, str]:
    """Return the options of Python that have another name on the shell, with that name."""
    found = {field.name: field.metadata["flag"] for field in dataclasses.fields(Options)}
    return {option: flag for option, flag in found.items() if flag}


def as_flag(option: str, value: Any = None) -> str:
    """Return an option of Python as it is written on the shell."""
    name = renamed().get(option, option).replace("_", "-")
    if value is True:
        return f"--{name}"
    if value is False:
        return f"--no-{name}"
    if value is None:
        return f"--{name}"
    return f"--{name} {value}"


def in_flags(text: str, options: type) -> str:
    """Return a message of the library in which options of Python are written as flags.

    An option is recognised where a value is assigned to it, where it begins the message, and, if
    its name has an underscore, wherever it stands as a word of its own.

    Arguments:
        text: The message.
        options: The dataclass whose fields are the options.
    """
    if text.startswith("--config"):
        return text  # the keys of a file are written as in Python
    for said, instead in PHRASES.items():
        text = text.replace(said, instead)
    names = [*renamed()]
    for kind in (options, ReadOptions):
        names += [field.name for field in dataclasses.fields(kind)]
    every, longer = "|".join(names), "|".join(name for name in names if "_" in name)
    begin = r"(?<![\w/.=\[-])"
    value = r"""("[^"]*"|'[^']*'|\([\d, ]*\)|None|True|False|-?\d[\d.e+-]*\d|\d)"""
    text = re.sub(rf"{begin}({every})={value}", _as_flag, text)
    text = re.sub(rf"^({every})(?= (?:must|is|cannot)\b)", lambda found: as_flag(found[1]), text)
    text = re.sub(rf"{begin}({longer})(?![\w/=-]|\.\w)", lambda found: as_flag(found[1]), text)
    if text.startswith("--"):  # a tuple among what the flag takes
        text = re.sub(r"\((\d+(?:, \d+)*),?\)", lambda found: found[1].replace(" ", ""), text)
    return text


def _as_flag(found: re.Match[str]) -> str:
    """Return name=value as a flag: a mark of missing cells is an option of reading, and a size has
    an x.
    """
    name, value = found[1], _value(found[2])
    if name == "missing" and value not in ("auto", "refuse"):
        return f"--missing {value}"
    if name == "resize":
        value = str(value).replace(",", "x")
    return as_flag(name, value)


def _value(text: str) -> str | bool:
    """Return a value as the shell takes it: None as "none", a tuple without parentheses."""
    value = ast.literal_eval(text)
    if isinstance(value, bool):
        return value
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def check_seed(seed: int) -> None:
    """Refuse a seed that no random generator takes, before a model or data are read.

    Raises:
        ValueError: The seed is out of range.
    """
    if not 0 <= seed < 2**62:
        raise ValueError(f"--seed must be at least 0 and below 2**62, got {seed}.")


def check_which(rows: str | None) -> None:
    """Refuse what --rows does not take, before anything is read.

    Raises:
        ValueError: It is none of the words.
    """
    if rows not in (None, "held-out", "trained", "all"):
        raise ValueError(f"--rows must be held-out, trained or all, got {rows!r}.")
