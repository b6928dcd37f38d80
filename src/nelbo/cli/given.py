"""What `nelbo sample --given` says: values of some columns that all rows are to have."""

from __future__ import annotations

__all__ = ["drawn", "read"]

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .flags import visible

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..data.conditions import Conditions
    from ..fitted import Fitted


def read(model: Fitted, said: Sequence[str] | None) -> dict[str | int, str] | None:
    """Return column -> value, and refuse what the model does not know.

    Arguments:
        model: The model.
        said: "column=value" of each column; None where nothing is given. Columns without a name are
            called x0, x1 and so on, as they are written.

    Raises:
        ValueError: It cannot be read, or a column is named twice or unknown, or cannot hold that.
    """
    from ..fitted.given import row_of

    if said is None:
        return None
    found: dict[str | int, str] = {}
    for part in said:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise ValueError(f"--given must be column=value, such as age=40, got {part!r}.")
        column = _column(model, name)
        if column in found:
            raise ValueError(f"--given names {name} twice. Keep one of them.")
        found[column] = value
    try:
        row_of(model.schema, found)
    except ValueError as error:
        said, unknown, _ = str(error).partition("; 1 such cells")
        said = said.removeprefix("given ").replace(" in row 0 (counting from 0)", "")
        if unknown:
            said += ". Give one of these."
        said = re.sub(r"but row 0 \(counting from 0\) holds (.*?)\. .*", r"got \1.", said)
        raise ValueError(f"--given: {said}") from None
    return found


def _column(model: Fitted, name: str) -> str | int:
    """Return the name of a column, or the place of one without a name."""
    if model.schema.columns is None and name[:1] == "x" and name[1:].isdigit():
        return int(name[1:])
    return name


def drawn(
    model: Fitted,
    given: dict[str | int, str],
    count: int,
    noise: bool,
    seed: int,
    c: Conditions | None,
    quiet: bool,
) -> npt.NDArray[Any]:
    """Draw rows, and say on standard error how many effective draws of z stand behind them."""
    import warnings

    with warnings.catch_warnings():
        if not quiet:
            warnings.simplefilter("ignore")  # it is said below, with the number
        rows, ess = model.sample_given(given, count, noise, seed, c)
    if not quiet:
        what = ", ".join(f"{name}={value}" for name, value in given.items())
        said = f"{count:,} rows given {what}: {ess:,.0f} effective draws of z stand behind them."
        if ess == float("inf"):
            said = f"{count:,} rows given {what}: drawn exactly."
        elif ess < min(count, 100):
            said += " The rows differ less than they should."
        print(visible(f"nelbo: {said}"), file=sys.stderr)
    return rows
