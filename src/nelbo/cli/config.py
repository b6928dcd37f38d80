"""TOML files of options: read before the command line is, which wins, and written beside the
model.
"""

from __future__ import annotations

__all__ = ["sources", "to_toml"]

import dataclasses
import difflib
import itertools
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cyclopts

from .. import __version__
from .options import FitOptions
from .reading import ReadOptions

LARGEST = 2**20
"""Bytes of a file of options."""
OTHER_KEYS = ("data", "out", "overwrite", "resume", "quiet", "json")


def sources(tokens: Sequence[str]) -> list[cyclopts.config.Dict]:
    """Return the file that ``--config`` names, as a source of what the command line leaves open.

    Raises:
        ValueError: The file is missing, is not TOML, or has a key or value that no option takes.
    """
    path = _path(tokens)
    if path is None:
        return []
    return [cyclopts.config.Dict(read(path), source=path, use_commands_as_keys=False)]


def _path(tokens: Sequence[str]) -> str | None:
    for token, following in itertools.zip_longest(tokens, tokens[1:]):
        if token == "--config":
            return following
        if token.startswith("--config="):
            return token.removeprefix("--config=")
    return None


def read(path: str) -> dict[str, Any]:
    """Return options by name; lists become what the command line takes, "512,512"."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise ValueError(
                f"--config {path} is larger than {LARGEST:,} bytes. Pass a file of options."
            )
        values = tomllib.loads(text.decode())
    except FileNotFoundError:
        raise ValueError(f"--config {path} does not exist. Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {path} is not valid TOML: {error}.") from error
    except RecursionError:
        raise ValueError(f"--config {path} is not valid TOML: it is nested too deeply.") from None
    known = [
        *OTHER_KEYS,
        *(field.name for kind in (FitOptions, ReadOptions) for field in dataclasses.fields(kind)),
    ]
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if isinstance(value, dict):
            raise ValueError(
                f"--config {path} has a table [{key}]; write its options at the top, outside any "
                "table."
            )
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
            raise ValueError(f"--config {path} has the unknown key {key}. {hint}")
        if name in found:
            raise ValueError(f"--config {path} has {name} twice, with - and with _. Keep one.")
        found[name] = ",".join(map(str, value)) if isinstance(value, list) else value
    return found


def to_toml(data: str, options: FitOptions, reading: ReadOptions) -> str:
    """Return the file that repeats a fit: every option as it was resolved."""
    lines = [
        f"# Written by nelbo {__version__}. Repeat with: nelbo fit --config run.toml --out RUN"
    ]
    for name, value in {
        "data": data,
        **dataclasses.asdict(options),
        **dataclasses.asdict(reading),
    }.items():
        # JSON's strings, numbers and booleans are TOML's; what is None is left to be decided by the
        # data.
        lines.append(
            f"# {name} =" if value is None else f"{name} = {json.dumps(value, ensure_ascii=False)}"
        )
    return "\n".join(lines) + "\n"
