r"""Between conditions as users hold them and c as networks read it.

.. math:: c = \bigl( [l = l_1], \dots, [l = l_K], \; (a - m) / s, \dots \bigr)

A label l becomes one number for each label that there is, 1 for the one it is and 0 for the others;
a number a is standardised. A `ConditionSchema` is found once, from the training rows.
"""

from __future__ import annotations

__all__ = ["ConditionSchema", "Labels", "Quantity", "UNCONDITIONED", "encoded", "missing"]

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nelbo.brief import Brief
from nelbo.data.conditions import Conditions
from nelbo.data.values import Values
from nelbo.data.warned import listed

Array = npt.NDArray[Any]
UNCONDITIONED = (
    "c was passed, but this model was fitted without conditions. Leave c out, or fit with c."
)


class Column(abc.ABC):
    """One column of conditions, as the training rows have it."""

    kind: str
    name: str

    @property
    @abc.abstractmethod
    def width(self) -> int:
        """How many numbers of c it makes."""

    @property
    @abc.abstractmethod
    def told(self) -> str:
        """What it holds, in a few words."""

    @abc.abstractmethod
    def encode(self, cells: Array) -> Array:
        """Return cells (n,) as numbers of c, (n, width).

        Raises:
            ValueError: A cell is none that the column can have.
        """

    @abc.abstractmethod
    def draw(self, rows: int, generator: np.random.Generator) -> Array:
        """Draw cells as they are in the training rows, (rows,)."""

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""


@dataclass(frozen=True)
class Labels(Column):
    """A column of labels.

    Attributes:
        name: What it is called.
        values: The labels of the training rows, in order: text or numbers.
        shares: The share of the training rows that has each.
    """

    name: str
    values: tuple[str, ...] | tuple[float, ...]
    shares: tuple[float, ...]

    kind = "labels"

    @classmethod
    def of(cls, name: str, cells: Array) -> Self:
        """Find the labels of some cells."""
        values, counts = np.unique(cells, return_counts=True)
        return cls(name, tuple(values.tolist()), tuple((counts / len(cells)).tolist()))

    @property
    def width(self) -> int:
        """One number for each label."""
        return len(self.values)

    @property
    def told(self) -> str:
        """The number of labels, and the first of them."""
        return f"{self.width} labels ({listed([*map(_said, self.values)])})"

    def encode(self, cells: Array) -> Array:
        """Return 1 for the label that a cell is, and 0 for all others."""
        hit: Array = self._alike(cells)[:, None] == np.array(self.values)
        known = hit.any(1)
        if not known.all():
            row = int(np.argmin(known))
            raise ValueError(
                f"c has {self.name} = {_said(cells[row])} in row {row} (counting from 0), but the "
                f"model was fitted on {listed([*map(_said, self.values)], 20)}. Pass one of these, "
                "or fit again on rows with that label."
            )
        return hit.astype(np.float64)

    def _alike(self, cells: Array) -> Array:
        """Return cells as text where labels are text, else as numbers; NaN is none of them."""
        if isinstance(self.values[0], str):
            return np.array([cell if isinstance(cell, str) else _said(cell) for cell in cells])
        if cells.dtype.kind == "f":
            return cells
        return np.array([_number(cell) for cell in cells])

    def draw(self, rows: int, generator: np.random.Generator) -> Array:
        """Draw labels by their shares."""
        shares = np.array(self.shares)
        return np.array(self.values)[generator.choice(self.width, rows, p=shares / shares.sum())]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        values, shares = [*self.values], [*self.shares]
        return {"kind": self.kind, "name": self.name, "values": values, "shares": shares}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` wrote.

        Raises:
            ValueError: The labels do not fit together.
        """
        values, shares = tuple(fields["values"]), tuple(map(float, fields["shares"]))
        if not values or len(values) != len(shares) or len({type(v) for v in values}) > 1:
            raise ValueError(f"the labels of {fields['name']!r} do not fit together")
        return cls(str(fields["name"]), values, shares)


@dataclass(frozen=True)
class Quantity(Column):
    """A column of numbers a, which become (a - centre) / scale.

    Attributes:
        name: What it is called.
        centre, scale: Mean and standard deviation over the training rows; a scale of 1 where all
            are equal.
    """

    name: str
    centre: float
    scale: float

    kind = "number"
    width = 1

    @classmethod
    def of(cls, name: str, cells: Array) -> Self:
        """Find mean and deviation of some cells."""
        deviation = float(cells.std())
        return cls(name, float(cells.mean()), deviation if deviation > 0 else 1.0)

    @property
    def told(self) -> str:
        """Where the numbers are."""
        return f"a number ({self.centre:.4g} ± {self.scale:.4g})"

    def encode(self, cells: Array) -> Array:
        """Standardise numbers."""
        numbers = np.array([_number(cell) for cell in cells])
        odd = ~np.isfinite(numbers)
        if odd.any():
            row = int(odd.argmax())
            raise ValueError(
                f"c has {self.name} = {_said(cells[row])} in row {row} (counting from 0), but a "
                f"number is required, as the model was fitted on {self.told}."
            )
        return (numbers[:, None] - self.centre) / self.scale

    def draw(self, rows: int, generator: np.random.Generator) -> Array:
        """Draw from the normal with this mean and deviation."""
        return self.centre + self.scale * generator.standard_normal(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {"kind": self.kind, "name": self.name, "centre": self.centre, "scale": self.scale}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` wrote."""
        return cls(str(fields["name"]), float(fields["centre"]), float(fields["scale"]))


@dataclass(frozen=True, repr=False)
class ConditionSchema(Brief):
    """The columns that a model of p(x|c) is conditioned on.

    It is immutable, and has a JSON twin.

    Attributes:
        columns: One for each, in the order in which c holds them.
        named: Whether they have names of their own; else their order tells them apart.
    """

    columns: tuple[Labels | Quantity, ...]
    named: bool = True

    most_labels = 20
    """Whole numbers of which there are more different ones are quantities, not labels."""

    @classmethod
    def infer(cls, given: Conditions) -> Self:
        """Find the schema of the conditions of training rows.

        Text is a label, and so are whole numbers of which there are few different ones; any other
        number is a quantity.
        """
        columns = (
            cls._column(name, cells)
            for name, cells in zip(given.called, given.columns, strict=True)
        )
        return cls(tuple(columns), given.names is not None)

    @classmethod
    def _column(cls, name: str, cells: Array) -> Labels | Quantity:
        if cells.dtype.kind == "U":
            return Labels.of(name, cells)
        whole = bool((cells == np.floor(cells)).all())
        if whole and len(np.unique(cells)) <= cls.most_labels:
            return Labels.of(name, cells)
        return Quantity.of(name, cells)

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns are called."""
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        """How many numbers c has."""
        return sum(column.width for column in self.columns)

    def __str__(self) -> str:
        return "; ".join(f"{column.name}: {column.told}" for column in self.columns)

    def encode(self, given: Conditions) -> Tensor:
        """Return c of rows, (n, width), float64.

        Raises:
            ValueError: A column is missing or not known, or a cell is none that its column can
                have.
        """
        cells = self._ordered(given)
        parts = [column.encode(cells[j]) for j, column in enumerate(self.columns)]
        return torch.from_numpy(np.concatenate(parts, axis=1))

    def _ordered(self, given: Conditions) -> Sequence[Array]:
        """Return the cells of each column: by name where both have names, else by place."""
        by_place = given.names is None or not self.named
        if by_place and len(given.columns) == len(self.columns):
            return given.columns
        told = f"c must have the columns {listed(self.names, 20)}"
        if given.names is None or by_place:
            raise ValueError(
                f"{told}, got {len(given.columns)} columns. Pass a dictionary, a data frame, or an "
                f"array (n, {len(self.columns)})."
            )
        if set(self.names) != set(given.names):
            raise ValueError(
                f"{told}, as those that the model was fitted on, got {listed(given.names, 20)}. "
                "Pass each of these, and no other."
            )
        found = dict(zip(given.names, given.columns, strict=True))
        return [found[name] for name in self.names]

    def draw(self, rows: int, seed: int = 0) -> Conditions:
        """Draw conditions whose columns are those of the training rows, each by itself."""
        generator = np.random.default_rng(seed)
        return Conditions(self.names, tuple(c.draw(rows, generator) for c in self.columns))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types from which `from_dict` restores the schema."""
        return {"named": self.named, "columns": [column.to_dict() for column in self.columns]}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` wrote.

        Raises:
            ValueError: A field is missing or odd.
        """
        kinds: dict[str, type[Labels] | type[Quantity]] = {"labels": Labels, "number": Quantity}
        try:
            columns = (kinds[column["kind"]].from_dict(column) for column in fields["columns"])
            found = cls(tuple(columns), bool(fields["named"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the fields of its condition are odd ({error!r})") from error
        if not found.columns:
            raise ValueError("its condition has no columns")
        return found


def encoded(schema: ConditionSchema | None, values: Values) -> Tensor | None:
    """Return c of rows, (n, k), float64; None for a model that is conditioned on nothing.

    Raises:
        ValueError: Rows lack conditions where the model needs them, or have some where it needs
            none; or they do not fit.
    """
    given = values.conditions
    if schema is None and given is None:
        return None
    if schema is None:
        raise ValueError(UNCONDITIONED)
    if given is None:
        raise ValueError(missing(schema))
    return schema.encode(given)


def missing(schema: ConditionSchema) -> str:
    """Say that c is missing, and what it must be."""
    return (
        f"c is missing: this model is one of p(x|c), where c is {schema}. Pass c, one condition "
        "for each row, or X with those columns where the fit named them."
    )


def _said(cell: object) -> str:
    """Return a label as people write it: 3, not 3.0."""
    if isinstance(cell, float | np.floating) and cell == int(cell):
        return str(int(cell))
    return str(cell)


def _number(cell: object) -> float:
    """Return a cell as a number; NaN where it is none."""
    try:
        return float(cell)  # type: ignore[arg-type]
    except ValueError:
        return float("nan")
