r"""Some columns given others: which they are, and rows in which all others are missing.

.. math:: \log p(x_T \mid x_G) = \log p(x_T, x_G) - \log p(x_G)
"""

from __future__ import annotations

__all__ = ["Names", "difference", "parted"]

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..data import Schema, Values
from ..evaluate import LogLikelihood

Names = Sequence[str | int] | str | int


def parted(
    schema: Schema, values: Values, given: Names | None, target: Names | None
) -> tuple[Values, Values]:
    """Return rows with the columns of both T and G alone, and with those of G alone; all other
    values are missing.

    Arguments:
        schema: The schema of the data.
        values: The rows of a table.
        given: G, by names or places; None is all columns but T.
        target: T; None is all columns but G.

    Raises:
        ValueError: A column is unknown, T is empty or shares a column with G, or the rows are no
            table.
    """
    if len(schema.data_shape) > 1:
        raise ValueError("given and target name columns of a table, but these are images.")
    known = mask_of(schema, given, "given")
    wanted = mask_of(schema, target, "target")
    if target is None:
        wanted = ~known
    elif given is None:
        known = ~wanted
    if not wanted.any():
        raise ValueError(
            "There is no column left to score. Name fewer in given, or some in target."
        )
    both = np.flatnonzero(known & wanted)
    if len(both):
        name = schema.feature_name(int(both[0]))
        raise ValueError(f"{name} is in given and in target. Keep one of them.")
    return values.only(known | wanted), values.only(known)


def mask_of(schema: Schema, columns: Names | None, what: str) -> npt.NDArray[np.bool_]:
    """Return which columns are named, (D,); none for None.

    Raises:
        ValueError: One is unknown, or named twice.
    """
    found = np.zeros(schema.n_features, dtype=np.bool_)
    if columns is None:
        return found
    if isinstance(columns, str | int):
        columns = [columns]
    for column in columns:
        place = schema.place_of(column, what)
        if found[place]:
            raise ValueError(f"{what} names {column!r} twice.")
        found[place] = True
    return found


def difference(both: LogLikelihood, given: LogLikelihood) -> LogLikelihood:
    """Return log p(T|G) of log p(T, G) and log p(G), with the error of the difference."""
    value = both.value - given.value
    value = value.where(given.value.isfinite(), given.value)
    return dataclasses.replace(
        both,
        value=value,
        standard_error=(both.standard_error.square() + given.standard_error.square()).sqrt(),
        ess=both.ess.minimum(given.ess),
        khat=both.khat.maximum(given.khat),
        samples=both.samples.maximum(given.samples),
        cost=both.cost + given.cost,
    )
