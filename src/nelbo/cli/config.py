"""TOML files of options, read before the command line (which wins) and written beside the model."""

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
from .options import FitOptions, takes_pairs
from .reading import ReadOptions


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
    """Return the file that ``--config`` names, if any."""
    for token, following in itertools.zip_longest(tokens, tokens[1:]):
        if token == "--config":
            return following
        if token.startswith("--config="):
            return token.removeprefix("--config=")
    return None


def read(path: str) -> dict[str, Any]:
    """Return options by name; lists become what the command line takes, "512,512", and tables of
    options of a part likewise, "df=4".

    Raises:
        ValueError: The file is not one of options.
    """
    known = ["data", "out", "overwrite", "resume", "quiet", "json"]
    for kind in (FitOptions, ReadOptions):
        known += [field.name for field in dataclasses.fields(kind)]
    found: dict[str, Any] = {}
    for key, value in _parsed(path).items():
        name = key.replace("-", "_")
        if isinstance(value, dict) and not takes_pairs(name):
            raise ValueError(
                f"--config {path} has a table [{key}]; write its options at the top, outside any "
                "table. Only options of a part have one, such as [likelihood-options]."
            )
        if name not in known:
            hint = f"Known: {', '.join(known)}."
            for close in difflib.get_close_matches(name, known, n=1):
                hint = f"Did you mean {close}?"
            raise ValueError(f"--config {path} has the unknown key {key}. {hint}")
        if name in found:
            raise ValueError(f"--config {path} has {name} twice, with - and with _. Keep one.")
        if isinstance(value, list):
            value = ",".join(map(str, value))
        if isinstance(value, dict):
            value = _pairs(f"--config {path}: {key}", value)
        found[name] = value
    return found


def _pairs(place: str, options: dict[str, Any]) -> str | None:
    """Return a table of options as the command line takes it; an empty one is none.

    Raises:
        ValueError: A value is neither a word, a number, true nor false.
    """
    pairs = []
    for name, value in options.items():
        text = str(value)
        if isinstance(value, bool):
            text = text.lower()
        if not isinstance(value, str | int | float) or "," in text or not text.strip():
            raise ValueError(
                f"{place}.{name} must be a number, true, false or a word without commas, got "
                f"{value!r}."
            )
        pairs.append(f"{name}={text}")
    return ",".join(pairs) or None


def _parsed(path: str, largest: int = 2**20) -> dict[str, Any]:
    """Return what a TOML file holds, unless it has more bytes than any file of options."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(largest + 1)
        if len(text) > largest:
            raise ValueError(
                f"--config {path} is larger than {largest:,} bytes. Pass a file of options."
            )
        return tomllib.loads(text.decode())
    except FileNotFoundError:
        raise ValueError(f"--config {path} does not exist. Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {path} is not valid TOML: {error}.") from error
    except RecursionError:
        raise ValueError(f"--config {path} is not valid TOML: it is nested too deeply.") from None


def to_toml(data: str, options: FitOptions, reading: ReadOptions) -> str:
    """Return the file that repeats a fit: every option as it was resolved."""
    lines = [
        f"# Written by nelbo {__version__}. Repeat with: nelbo fit --config run.toml --out RUN"
    ]
    values = {"data": data, **dataclasses.asdict(options), **dataclasses.asdict(reading)}
    for name, value in values.items():
        if value is None:
            lines.append(f"# {name} =")  # the data decide
        else:  # JSON's strings, numbers and booleans are TOML's
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"
