"""Rows as torch's users hold them: tensors, those of a Dataset, fetched when a step needs them, or
batches as they come.

A Dataset of known length, alone or in a DataLoader, is visited in the order of a run, a function of
its seed: a run on it has the bits of a run on the tensor of its rows, and is resumed as such. A
DataLoader with a sampler of its own, one of an IterableDataset and a list of batches keep their own
order, which no seed of a run reaches.
"""

from __future__ import annotations

__all__ = ["Batches", "Data", "OfDataset", "as_rows", "held_out"]

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from nelbo.data.rows import Batch, InMemory, Rows, check_index

Data = Rows | Tensor | Dataset[Any] | Iterable[Any]
"""What can be trained on."""
KEPT_NUMBERS = 2**24
"""Numbers of a stream that are kept at once, to set the closed form of a variance at the end."""


class OfDataset(Rows):
    """Rows of a Dataset of known length, of which no more are in memory than are asked for.

    Arguments:
        dataset: Its items are rows x, or tuples that begin with x.
        loader: Whose workers fetch them and whose function collates them; None is this process and
            torch's own.
        options: Those of `Rows`.
    """

    SEEN = 256
    """Rows that are kept at hand, for the KL where nothing is held out."""

    def __init__(
        self, dataset: Dataset[Any], loader: DataLoader[Any] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.dataset = dataset
        self.batch_size = None if loader is None else loader.batch_size
        self.collate: Callable[[list[Any]], Any] = (
            default_collate if loader is None else loader.collate_fn
        )
        self.workers: dict[str, Any] = {}
        if loader is not None and loader.num_workers:
            names = (
                "num_workers",
                "timeout",
                "worker_init_fn",
                "multiprocessing_context",
                "prefetch_factor",
            )
            self.workers = {name: getattr(loader, name) for name in names}
        self.head = self._read(range(min(self.SEEN, len(dataset))))  # type: ignore[arg-type]
        self.device = torch.device("cpu")
        self.dtype = self.head.dtype if self.step is None else torch.float32
        check_index(self.index, self.stored_shape[0])

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of all rows of the Dataset, (n, ...)."""
        return len(self.dataset), *self.head.shape[1:]  # type: ignore[arg-type]

    def _read(self, numbers: Iterable[int]) -> Tensor:
        return _x(self.collate([self.dataset[i] for i in numbers]))

    def fetch(self, numbers: Tensor) -> Batch:
        """Return rows of the Dataset by their numbers."""
        return self._placed(self._read(numbers.tolist()))

    def some(self, most: int) -> Batch:
        """Return up to so many of the first rows of the Dataset."""
        return self._placed(self.head[:most])

    @property
    def seen(self) -> Tensor:
        """The first rows of the Dataset."""
        return self.head

    def _placed(self, rows: Tensor) -> Batch:
        _check_alike(rows, self.head)
        return Batch(rows.to(self.device, self.dtype if self.step is None else rows.dtype))

    def on(self, device: torch.device, dtype: torch.dtype) -> OfDataset:
        """Bring what is fetched to a device; without a step, it takes the type of the weights."""
        index = None if self.index is None else self.index.to(device)
        return self._with(index=index, device=device, dtype=dtype)

    def visits(self, plan: Iterator[Tensor]) -> Iterator[Batch]:
        """Yield the rows of the numbers that the plan yields,
        fetched ahead where there are workers.
        """
        if not self.workers:
            return super().visits(plan)
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_sampler=_Plan(numbers.tolist() for numbers in plan),
            collate_fn=self.collate,
            # else seeds of workers come from torch's global state
            generator=torch.Generator().manual_seed(0),
            **self.workers,
        )
        return (self._placed(_x(item)) for item in loader)


class Batches(Rows):
    """Batches as they come, gone through again and again in their own order.

    Arguments:
        source: What yields batches, of rows x or tuples that begin with x, anew at each pass.
        options: Those of `Rows`.

    Raises:
        ValueError: It yields nothing, or can be gone through only once.
    """

    UNKNOWN = 100
    """Batches that count as a pass over data of unknown length."""

    def __init__(self, source: Iterable[Any], **options: Any) -> None:
        super().__init__(**options)
        if iter(source) is source:
            raise ValueError(
                f"x is a {type(source).__name__}, which can be gone through only once, but "
                "training takes many passes. "
                "Pass a tensor, a Dataset, a DataLoader or a list of batches."
            )
        self.source = source
        self.coming = self._passes()
        first = next(self.coming, None)
        if first is None:
            raise ValueError("x has no rows: it yields no batches.")
        self.first: Tensor = first
        self.fresh = True
        self.device = torch.device("cpu")
        self.dtype = first.dtype if self.step is None else torch.float32
        self.batch_size = len(first)

    @property
    def known(self) -> bool:
        """Whether the number of batches of a pass is known."""
        return self._batches() > 0

    def _batches(self) -> int:
        try:
            return len(self.source)  # type: ignore[arg-type]
        except TypeError:
            return 0

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of the rows of a pass, as if all batches were like the first."""
        return (self._batches() or self.UNKNOWN) * len(self.first), *self.first.shape[1:]

    @property
    def seen(self) -> Tensor:
        """The first batch."""
        return self.first

    def fetch(self, numbers: Tensor) -> Batch:
        """Refuse to: these rows have no numbers."""
        raise TypeError("Batches that come in their own order have no numbered rows.")

    def visits(self, plan: Iterator[Tensor]) -> Iterator[Batch]:
        """Yield batch after batch, whatever is planned."""
        if self.fresh:  # the first was looked at already
            self.fresh = False
            yield self._placed(self.first)
        for rows in self.coming:
            yield self._placed(rows)

    def _placed(self, rows: Tensor) -> Batch:
        _check_alike(rows, self.first)
        return Batch(rows.to(self.device, self.dtype if self.step is None else rows.dtype))

    def on(self, device: torch.device, dtype: torch.dtype) -> Batches:
        """Bring batches to a device; without a step, they take the type of the weights."""
        return self._with(device=device, dtype=dtype)

    def some(self, most: int) -> Batch:
        """Return up to so many rows of the first batch."""
        return self._placed(self.first[:most])

    def spaced(self, most: int, values: int) -> InMemory:
        """Return the first rows of a pass, up to ``most`` of them, and up to so many values."""
        kept, count, numbers = [], 0, 0
        for rows in _one_pass(self.source):
            kept.append(rows)
            count, numbers = count + len(rows), numbers + rows.numel()
            if count >= most or numbers >= values:
                break
        stored = torch.cat(kept)[:most]
        found = InMemory(stored, step=self.step, missing=self.missing, units=self.units)
        return found.on(self.device, self.dtype)

    def _passes(self) -> Iterator[Tensor]:
        """Yield the batches of one pass after another."""
        while True:
            empty = True
            for rows in _one_pass(self.source):
                empty = False
                yield rows
            if empty:
                return


def as_rows(x: Data, **options: Any) -> Rows:
    """Return what is to be trained on as rows.

    Arguments:
        x: Rows, which are returned as they are; a tensor; a Dataset or DataLoader of known length,
            visited in the order of a run; or batches in their own order.
        options: Those of `Rows` and, for a tensor, ``c``.

    Raises:
        TypeError: It is no data.
    """
    if isinstance(x, Rows):
        return x
    if isinstance(x, Tensor):
        return InMemory(x, **options)
    if isinstance(x, DataLoader):
        return _of_loader(x, options)
    if isinstance(x, TensorDataset):
        return InMemory(x.tensors[0], **options)
    if isinstance(x, IterableDataset):
        raise TypeError(
            "x is an IterableDataset, which yields rows one by one. Pass a DataLoader of it."
        )
    if isinstance(x, Dataset):
        if not isinstance(x, Sized):
            raise TypeError(
                f"x is a {type(x).__name__} without a length. Give it __len__, or pass a "
                "DataLoader of it."
            )
        return OfDataset(x, **options)
    if not _yields_batches(x):
        raise TypeError(
            f"x must be a tensor of floats, got {type(x).__name__}. Pass "
            "torch.as_tensor(x).float(), a Dataset, a "
            "DataLoader or a list of batches."
        )
    return Batches(x, **options)


def _of_loader(loader: DataLoader[Any], options: dict[str, Any]) -> Rows:
    if not _has_plain_order(loader):
        return Batches(loader, **options)
    if not (isinstance(loader.dataset, TensorDataset) and loader.collate_fn is default_collate):
        return OfDataset(loader.dataset, loader, **options)
    rows = InMemory(loader.dataset.tensors[0], **options)
    rows.batch_size = loader.batch_size
    return rows


def _yields_batches(x: object) -> bool:
    if isinstance(x, list | tuple):
        parts = [item[0] if isinstance(item, list | tuple) and len(item) else item for item in x]
        return bool(parts) and all(isinstance(part, Tensor) and part.ndim for part in parts)
    return (
        isinstance(x, Iterable)
        and not hasattr(x, "__array__")
        and not isinstance(x, str | bytes | dict)
    )


def held_out(validation: Data | None, most: int) -> Rows | None:
    """Return rows to validate on: up to ``most`` of batches that come in their own order.

    Raises:
        TypeError: It is no data.
    """
    if validation is None:
        return None
    if not isinstance(validation, Rows | Tensor | Dataset | DataLoader | list | tuple):
        raise TypeError(
            f"validation must be a tensor of floats, got {type(validation).__name__}. "
            "Pass torch.as_tensor(validation).float()."
        )
    rows = as_rows(validation)
    return rows.spaced(most, KEPT_NUMBERS) if isinstance(rows, Batches) else rows


def _check_alike(rows: Tensor, first: Tensor) -> None:
    """Raise ValueError where rows have another shape than the first."""
    shape, others = tuple(first.shape[1:]), tuple(rows.shape[1:])
    if others != shape:
        raise ValueError(
            f"x has rows of shape {shape}, and others of shape {others}. Give all the same."
        )


def _has_plain_order(loader: DataLoader[Any]) -> bool:
    """Return whether a loader visits each row of a Dataset of known length once, in any order."""
    sampler, dataset = loader.sampler, loader.dataset
    if (
        isinstance(dataset, IterableDataset)
        or not isinstance(dataset, Sized)
        or loader.batch_size is None
    ):
        return False
    if type(sampler) is RandomSampler:
        return not sampler.replacement and sampler.num_samples == len(dataset)
    return type(sampler) is SequentialSampler


def _one_pass(source: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the batches of one pass; a single row at its end joins the batch before."""
    waiting: list[Tensor] = []
    for item in source:
        waiting.append(_x(item))
        if len(waiting) > 2:
            yield waiting.pop(0)
    if len(waiting) == 2 and len(waiting[1]) == 1 < len(waiting[0]):
        waiting = [torch.cat(waiting)]
    yield from waiting


def _x(item: Any) -> Tensor:
    """Return the rows of a batch: the batch itself, or the first of its parts.

    Raises:
        TypeError: It has none.
    """
    rows = item[0] if isinstance(item, list | tuple) and len(item) else item
    if not isinstance(rows, Tensor):
        raise TypeError(
            "x must yield tensors, or tuples whose first part is a tensor, got "
            f"{type(rows).__name__}. "
            "Change what the Dataset returns, or the collate_fn of the DataLoader."
        )
    return rows


class _Plan:
    """Which rows each batch has, as a DataLoader asks for it."""

    def __init__(self, numbers: Iterator[list[int]]) -> None:
        self.numbers = numbers

    def __iter__(self) -> Iterator[list[int]]:
        return self.numbers
