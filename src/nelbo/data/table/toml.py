"""A schema as a TOML file that people read and edit: one table [[column]] for each column."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["read", "written"]


def written(fields: Mapping[str, Any]) -> str:
    """Return the text of a file that holds a schema's JSON twin."""
    lines = [
        '# The columns of a table. Change a kind, or leave a column out (kind = "left_out"), and '
        "fit again",
        "# with this file; what a column does not say is found out from the data.",
    ]
    lines += [_line(name, value) for name, value in fields.items() if name != "column"]
    for column in fields["column"]:
        lines += ["", "[[column]]", *(_line(name, value) for name, value in column.items())]
    return "\n".join(lines) + "\n"


def _line(name: str, value: Any) -> str:
    return f"{name} = {_value(value)}"


def _value(value: Any) -> str:
    """Return a value as TOML has it: JSON's, but for tables."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{json.dumps(name)} = {_value(part)}" for name, part in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read(path: str | Path) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises:
        ValueError: It does not exist, or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"schema {path} does not exist. Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"schema {path} is not valid TOML: {error}.") from error
    except OSError as error:
        raise ValueError(f"schema {path} cannot be read: {error.strerror or error}.") from error
