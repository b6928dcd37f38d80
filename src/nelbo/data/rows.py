"""Rows flow: what training, evaluation and diagnosis take, in the units of a model.

Where rows are stored, in which form, and what they become at each visit is known here and nowhere
else. A batch is taken in two steps: `fetch` gets rows as they are stored, `prepare` makes of them
what the model takes, with fresh noise where a step adds some.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from nelbo.data.order import epoch_order
from nelbo.data.units import Units

__all__ = ["Batch", "InMemory", "Rows", "Step", "check_condition", "check_index"]

Step = Callable[[Tensor, torch.Generator], Tensor]
"""Makes of some stored rows what the model takes, with fresh noise: dequantisation, say."""


class Batch(NamedTuple):
    """Some rows, and what they are conditioned on.

    Attributes:
        x: Rows (n, ...).
        c: Conditions (n, ...) of p(x|c), or None.
    """

    x: Tensor
    c: Tensor | None = None

    def split(self, size: int) -> Iterator[Batch]:
        """Go through the rows, so many at a time."""
        for start in range(0, len(self.x), size):
            yield self.part(start, start + size)

    def part(self, start: int, end: int) -> Batch:
        """Return the rows from ``start`` to before ``end``."""
        x = self.x[start:end]
        if self.c is None:
            return Batch(x)
        return Batch(x, self.c[start:end])

    def every(self, step: int) -> Batch:
        """Return the first row, and each that is ``step`` rows after the last."""
        if self.c is None:
            return Batch(self.x[::step])
        return Batch(self.x[::step], self.c[::step])

    def room(self, rows: int) -> Batch:
        """Return so many rows like these that are still to be written."""
        x = self.x.new_empty(rows, *self.x.shape[1:])
        if self.c is None:
            return Batch(x)
        return Batch(x, self.c.new_empty(rows, *self.c.shape[1:]))

    def put(self, rows: Batch, start: int) -> None:
        """Overwrite the rows from ``start`` on by others."""
        end = start + len(rows.x)
        self.x[start:end] = rows.x
        if self.c is not None and rows.c is not None:
            self.c[start:end] = rows.c


class Rows(abc.ABC):
    """Rows that a model is trained on or judged by.

    Arguments:
        step: Makes of stored rows what the model takes, anew at each visit; None takes them as they
            are.
        index: Numbers of the stored rows that are meant, int64; None is all of them.
        units: From those of the model to those of the data.
        missing: Whether a value may be missing, which is NaN.
        checked: Whether all values are known to be finite, or missing where they may be.
        generator: Source of the step's noise where rows are read without a generator of one's own;
            None is one with the seed 0.
    """

    dtype: torch.dtype
    """The type of x, as the model takes it."""
    device: torch.device
    batch_size: int | None = None
    """Rows in a step, where what the rows come from says so."""

    def __init__(
        self,
        *,
        step: Step | None = None,
        index: Tensor | None = None,
        units: Units | None = None,
        missing: bool = False,
        generator: torch.Generator | None = None,
        checked: bool = False,
    ) -> None:
        self.step, self.index = step, index
        self.missing, self.checked = missing, checked
        self.units = units or Units()
        self.generator = generator or torch.Generator().manual_seed(0)

    @property
    @abc.abstractmethod
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of all that is stored, (n, ...)."""

    @property
    @abc.abstractmethod
    def seen(self) -> Tensor:
        """Stored rows that are in memory, (m, ...): what all others must be like."""

    @abc.abstractmethod
    def fetch(self, numbers: Tensor) -> Batch:
        """Return stored rows, as they are stored, by their numbers."""

    @abc.abstractmethod
    def on(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Return the same rows for a model on that device, with weights of that type."""

    def __len__(self) -> int:
        return self.stored_shape[0] if self.index is None else len(self.index)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, values of each)."""
        return len(self), math.prod(self.stored_shape[1:])

    def order(self, seed: int, epoch: int) -> Tensor:
        """Return the numbers of the stored rows in the order in which an epoch visits them."""
        order = epoch_order(len(self), seed, epoch).to(self.device)
        if self.index is None:
            return order
        return self.index[order]

    def visits(self, plan: Iterator[Tensor]) -> Iterator[Batch]:
        """Yield the stored rows whose numbers the plan yields; it has no end."""
        return map(self.fetch, plan)

    def prepare(
        self, batch: Batch, generator: torch.Generator, progress: Tensor | None = None
    ) -> Batch:
        """Return stored rows as the model takes them, (n, *shape).

        Arguments:
            batch: Rows, as `fetch` returns them.
            generator: Source of noise.
            progress: How much of a training is over, from 0 to 1; None outside of one.
        """
        if self.step is None:
            return batch
        return Batch(self.step(batch.x, generator).to(self.dtype), batch.c)

    def take(
        self, index: Tensor, generator: torch.Generator, progress: Tensor | None = None
    ) -> Batch:
        """Return some of these rows as the model takes them, by their places among them."""
        if self.index is not None:
            index = self.index[index]
        return self.prepare(self.fetch(index), generator, progress)

    def some(self, most: int) -> Batch:
        """Return up to so many of the stored rows, always the same."""
        return self.fetch(self.numbers()[:most])

    def numbers(self) -> Tensor:
        """Return the numbers of these rows among all that are stored."""
        if self.index is None:
            return torch.arange(len(self), device=self.device)
        return self.index

    def spaced(self, most: int, values: int) -> Rows:
        """Return about so many of these rows, evenly spaced; of data that have no numbers, the
        first, of up to so many values.
        """
        return self.every(max(1, len(self) // most))

    def only(self, index: Tensor) -> Self:
        """Return some of the stored rows, by their numbers."""
        return self._with(index=index)

    def every(self, step: int) -> Self:
        """Return every ``step``-th of these rows."""
        return self._with(index=self.numbers()[::step])

    def _with(self, **changed: Any) -> Self:
        """Return a copy of which some attributes are others."""
        found = object.__new__(type(self))
        found.__dict__.update(vars(self), **changed)
        return found

    # -- read a part at a time, in model units

    PIECE = 2**18
    """Values that are put through a step at once: it may need much more memory."""

    def whole(self, generator: torch.Generator | None = None) -> Batch:
        """Return all of them in model units, and what they are conditioned on.

        Arguments:
            generator: Source of noise; None is that of these rows.
        """
        return self._part(0, len(self), generator or self.generator)

    def read(self) -> Tensor:
        """Return all of them in model units."""
        return self.whole().x

    def split(self, size: int) -> Iterator[Tensor]:
        """Go through them in model units and flat, ``size`` at a time."""
        return (
            self._part(start, min(start + size, len(self)), self.generator).x.flatten(1)
            for start in range(0, len(self), size)
        )

    def conditions(self) -> Tensor | None:
        """Return what all of them are conditioned on, or None."""
        return self.whole().c

    def _part(self, start: int, end: int, noise: torch.Generator) -> Batch:
        """Read the rows from ``start`` to before ``end``, few at a time."""
        few = max(1, self.PIECE // self.shape[1])
        first = self._piece(start, min(start + few, end), noise)
        if start + few >= end:
            return first
        whole = first.room(end - start)
        whole.put(first, 0)
        for i in range(start + few, end, few):
            whole.put(self._piece(i, min(i + few, end), noise), i - start)
        return whole

    def _piece(self, start: int, end: int, noise: torch.Generator) -> Batch:
        return self.prepare(self.fetch(self.numbers()[start:end]), noise)


class InMemory(Rows):
    """Rows of a tensor: numbers in model units, bytes that get fresh noise at every visit, or a
    file left where it lies (memory-mapped).

    Arguments:
        stored: The rows, (n, ...), which are never written to.
        c: What each is conditioned on, (n, k); None where p(x) is no p(x|c).
        options: Those of `Rows`.

    Raises:
        TypeError: The index is no tensor.
        ValueError: There are more or fewer conditions than rows, a condition is no vector of finite
            numbers, or the index names other rows.
    """

    def __init__(self, stored: Tensor, c: Tensor | None = None, **options: Any) -> None:
        super().__init__(**options)
        if c is not None:
            check_condition(c, len(stored))
        self.stored, self.c = stored, c
        self.device = stored.device
        self.dtype = stored.dtype if self.step is None else torch.float32
        check_index(self.index, len(stored))

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return self.stored.shape

    @property
    def seen(self) -> Tensor:
        """All that is stored."""
        return self.stored

    def fetch(self, numbers: Tensor) -> Batch:
        """Return stored rows by their numbers."""
        x = self.stored.index_select(0, numbers)
        return Batch(x) if self.c is None else Batch(x, self.c.index_select(0, numbers))

    def on(self, device: torch.device, dtype: torch.dtype) -> InMemory:
        """Move what is stored to a device; without a step, it takes the type of the weights."""
        kept = dtype if self.step is None else self.stored.dtype
        return self._with(
            stored=self.stored.to(device, kept),
            c=None if self.c is None else self.c.to(device, dtype),
            index=None if self.index is None else self.index.to(device),
            device=device,
            dtype=dtype,
        )

    def conditions(self) -> Tensor | None:
        """Return what all of them are conditioned on, or None."""
        return self.c if self.c is None or self.index is None else self.c[self.index]

    def every(self, step: int) -> InMemory:
        """Return every ``step``-th of these rows."""
        if self.index is not None:
            return self._with(index=self.index[::step])
        c = None if self.c is None else self.c[::step]
        return self._with(stored=self.stored[::step], c=c)

    def _piece(self, start: int, end: int, noise: torch.Generator) -> Batch:
        if self.index is not None:
            return super()._piece(start, end, noise)
        part = Batch(self.stored, self.c).part(start, end)  # no copy
        return self.prepare(part, noise)


def check_index(index: Tensor | None, count: int) -> None:
    """Refuse row numbers that are none."""
    if index is None:
        return
    if not isinstance(index, Tensor):
        raise TypeError(
            f"index must be a tensor of row numbers, got {type(index).__name__}. Pass "
            "torch.as_tensor(index)."
        )
    if (
        index.dtype != torch.int64
        or index.ndim != 1
        or not len(index)
        or not 0 <= int(index.min()) <= int(index.max()) < count
    ):
        raise ValueError(
            f"index must be a tensor of row numbers from 0 to {count - 1} (int64, one axis), got "
            f"{index}."
        )


def check_condition(c: object, rows: int) -> None:
    """Refuse what is no condition for each of so many rows.

    Raises:
        TypeError: It is no tensor.
        ValueError: It is no vector of finite numbers for each.
    """
    if not isinstance(c, Tensor):
        raise TypeError(
            f"c must be a tensor of one condition for each row, ({rows}, k), got "
            f"{type(c).__name__}. c=True is for a Dataset, a DataLoader or batches of (x, c)."
        )
    if c.ndim != 2 or len(c) != rows:
        raise ValueError(
            f"c has shape {tuple(c.shape)}, but there are {rows} rows x. Pass one condition for "
            f"each row, of shape ({rows}, k)."
        )
    if not bool(c.isfinite().all()):
        raise ValueError(
            "c contains NaN or infinite values, but each condition must be known. Drop those rows, "
            "or fill the values in."
        )
