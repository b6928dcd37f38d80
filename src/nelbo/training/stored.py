"""Training rows that are no tensor: those of a Dataset, fetched when a step needs them, or batches
as they come.

A Dataset of known length, alone or in a DataLoader, is visited in the order of a run, a function of
its seed: a run on it has the bits of a run on the tensor of its rows, and is resumed as such. A
DataLoader with a sampler of its own, one of an IterableDataset and a list of batches keep their own
order, which no seed of a run reaches.
"""

from __future__ import annotations

__all__ = ["Data", "Stored", "Stream", "as_rows", "held_out"]

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

Data = Tensor | Dataset[Any] | Iterable[Any]
"""What can be trained on."""
KEPT = 2**24
"""Numbers of a stream that are kept at once, to set the closed form of a variance at the end."""


class Stored:
    """Rows of a Dataset of known length, (n, ...) like a tensor's, of which no more are in memory
    than are asked for.

    Arguments:
        dataset: Its items are rows x, or tuples that begin with x.
        loader: Whose workers fetch them and whose function collates them; None is this process and
            torch's own.
    """

    def __init__(self, dataset: Dataset[Any], loader: DataLoader[Any] | None = None) -> None:
        self.dataset = dataset
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
        first = self[torch.zeros(1, dtype=torch.int64)]
        self.dtype, self.device, self.shape = (
            first.dtype,
            torch.device("cpu"),
            (len(self), *first.shape[1:]),
        )

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, numbers: Tensor | slice) -> Tensor:
        """Return the rows of these numbers."""
        if isinstance(numbers, slice):
            numbers = torch.arange(len(self))[numbers]
        return _x(self.collate([self.dataset[i] for i in numbers.tolist()]))

    def batches(self, plan: Iterator[list[int]]) -> Iterator[Tensor]:
        """Yield the rows of the numbers that the plan yields, fetched ahead where there are
        workers.
        """
        if not self.workers:
            return (self[torch.tensor(numbers)] for numbers in plan)
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_sampler=_Plan(plan),
            collate_fn=self.collate,
            # else seeds of workers come from torch's global state
            generator=torch.Generator().manual_seed(0),
            **self.workers,
        )
        return (_x(item) for item in loader)


class Stream:
    """Batches as they come, gone through again and again.

    Arguments:
        source: What yields batches, of rows x or tuples that begin with x, anew at each pass.

    Raises:
        ValueError: It yields nothing, or can be gone through only once.
    """

    def __init__(self, source: Iterable[Any]) -> None:
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

    def __len__(self) -> int:
        """Return the number of rows of a pass, as if all batches were like the first; 0 where
        nothing tells.
        """
        try:
            return len(self.source) * len(self.first)  # type: ignore[arg-type]
        except TypeError:
            return 0

    def __next__(self) -> Tensor:
        if self.fresh:  # it was looked at already
            self.fresh = False
            return self.first
        return next(self.coming)

    def some(self, most: int, values: int) -> Tensor:
        """Return up to ``most`` rows, and ``values`` numbers, of a pass."""
        kept, count, numbers = [], 0, 0
        for rows in _one_pass(self.source):
            kept.append(rows)
            count, numbers = count + len(rows), numbers + rows.numel()
            if count >= most or numbers >= values:
                break
        return torch.cat(kept)[:most]

    def _passes(self) -> Iterator[Tensor]:
        """Yield the batches of one pass after another."""
        while True:
            empty = True
            for rows in _one_pass(self.source):
                empty = False
                yield rows
            if empty:
                return


def as_rows(x: Data) -> tuple[Tensor | Stored | Stream, int | None]:
    """Return what is to be trained on as rows, and the number of rows in a batch that it asks for.

    Raises:
        TypeError: It is no data.
    """
    if isinstance(x, Tensor):
        return x, None
    if isinstance(x, DataLoader):
        if not _has_plain_order(x):
            return Stream(x), None
        if isinstance(x.dataset, TensorDataset) and x.collate_fn is default_collate:
            return x.dataset.tensors[0], x.batch_size
        return Stored(x.dataset, x), x.batch_size
    if isinstance(x, TensorDataset):
        return x.tensors[0], None
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
        return Stored(x), None
    if isinstance(x, list | tuple):
        parts = [item[0] if isinstance(item, list | tuple) and len(item) else item for item in x]
        batches = bool(parts) and all(isinstance(part, Tensor) and part.ndim for part in parts)
    else:
        batches = (
            isinstance(x, Iterable)
            and not hasattr(x, "__array__")
            and not isinstance(x, str | bytes | dict)
        )
    if not batches:
        raise TypeError(
            f"x must be a tensor of floats, got {type(x).__name__}. Pass "
            "torch.as_tensor(x).float(), a Dataset, a "
            "DataLoader or a list of batches."
        )
    return Stream(x), None


def held_out(validation: Data | None, most: int) -> Tensor | None:
    """Return up to ``most`` rows to validate on, as a tensor: evenly spaced, or the first of a
    stream.
    """
    if validation is None:
        return None
    if not isinstance(validation, Tensor | Dataset | DataLoader | list | tuple):
        raise TypeError(
            f"validation must be a tensor of floats, got {type(validation).__name__}. "
            "Pass torch.as_tensor(validation).float()."
        )
    rows, _ = as_rows(validation)
    if isinstance(rows, Stored):
        return rows[:: -(-len(rows) // most)]
    return rows.some(most, KEPT) if isinstance(rows, Stream) else rows


def _has_plain_order(loader: DataLoader[Any]) -> bool:
    """Return whether a loader visits each row of a Dataset of known length once in a pass, in
    whatever order.
    """
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
