"""Rows as torch's users hold them: tensors, those of a Dataset, fetched when a step needs them, or
batches as they come.

Items are rows x, tuples (x, ...) or dicts {"x": x, ...}. For a model of p(x|c) they are tuples
(x, c) or dicts {"x": x, "c": c}; else what stands beside x, such as a label, is left alone.

A Dataset of known length, alone or in a DataLoader, is visited in the order of a run, a function of
its seed: a run on it has the bits of a run on the tensor of its rows, and is resumed as such. A
DataLoader with a sampler of its own, one of an IterableDataset and a list of batches keep their own
order, which no seed of a run reaches.
"""

from __future__ import annotations

__all__ = ["Batches", "Data", "OfDataset", "as_rows", "held_out", "rows_for"]

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
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

from nelbo.data.rows import Batch, InMemory, Rows, check_condition, check_index

Data = Rows | Tensor | Dataset[Any] | Iterable[Any]
"""What can be trained on."""
KEPT_NUMBERS = 2**24
"""Numbers of a stream that are kept at once, to set the closed form of a variance at the end."""


class OfDataset(Rows):
    """Rows of a Dataset of known length, of which no more are in memory than are asked for.

    Arguments:
        dataset: Its items are rows x, or tuples that begin with x, or dicts that hold it.
        loader: Whose workers fetch them and whose function collates them; None is this process and
            torch's own.
        c: Whether items hold conditions as well.
        options: Those of `Rows`.

    Raises:
        TypeError: Items hold no tensor x, or no c where there is to be one.
        ValueError: Conditions are no vectors of finite numbers.
    """

    SEEN = 256
    """Rows that are kept at hand, for the KL where nothing is held out."""

    def __init__(
        self,
        dataset: Dataset[Any],
        loader: DataLoader[Any] | None = None,
        c: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.dataset, self.parts = dataset, _Parts(c)
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
        self.dtype = self.head.x.dtype if self.step is None else torch.float32
        check_index(self.index, self.stored_shape[0])

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of all rows of the Dataset, (n, ...)."""
        return len(self.dataset), *self.head.x.shape[1:]  # type: ignore[arg-type]

    def _read(self, numbers: Iterable[int]) -> Batch:
        return self.parts.of(self.collate([self.dataset[i] for i in numbers]))

    def fetch(self, numbers: Tensor) -> Batch:
        """Return rows of the Dataset by their numbers."""
        return self._placed(self._read(numbers.tolist()))

    def some(self, most: int) -> Batch:
        """Return up to so many of the first rows of the Dataset."""
        return self._placed(next(self.head.split(most)))

    @property
    def seen(self) -> Tensor:
        """The first rows of the Dataset."""
        return self.head.x

    def _placed(self, rows: Batch) -> Batch:
        return _placed(rows, self.head, self)

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
        return (self._placed(self.parts.of(item)) for item in loader)


class Batches(Rows):
    """Batches as they come, gone through again and again in their own order.

    Arguments:
        source: What yields batches, of rows x, tuples that begin with x or dicts that hold it, anew
            at each pass.
        c: Whether batches hold conditions as well.
        options: Those of `Rows`.

    Raises:
        TypeError: Batches hold no tensor x, or no c where there is to be one.
        ValueError: It yields nothing, or can be gone through only once, or conditions are no
            vectors of finite numbers.
    """

    UNKNOWN = 100
    """Batches that count as a pass over data of unknown length."""

    def __init__(self, source: Iterable[Any], c: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if iter(source) is source:
            raise ValueError(
                f"x is a {type(source).__name__}, which can be gone through only once, but "
                "training takes many passes. "
                "Pass a tensor, a Dataset, a DataLoader or a list of batches."
            )
        self.source, self.parts = source, _Parts(c)
        self.coming = self._passes()
        first = next(self.coming, None)
        if first is None:
            raise ValueError("x has no rows: it yields no batches.")
        self.first: Batch = first
        self.fresh = True
        self.device = torch.device("cpu")
        self.dtype = first.x.dtype if self.step is None else torch.float32
        self.batch_size = len(first.x)

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
        rows, *shape = self.first.x.shape
        return (self._batches() or self.UNKNOWN) * rows, *shape

    @property
    def seen(self) -> Tensor:
        """The first batch."""
        return self.first.x

    def fetch(self, numbers: Tensor) -> Batch:
        """Refuse to: these rows have no numbers."""
        raise TypeError(
            "Batches that come in their own order have no numbered rows. Pass a tensor or a "
            "Dataset."
        )

    def visits(self, plan: Iterator[Tensor]) -> Iterator[Batch]:
        """Yield batch after batch, whatever is planned."""
        if self.fresh:  # the first was looked at already
            self.fresh = False
            yield self._placed(self.first)
        for rows in self.coming:
            yield self._placed(rows)

    def _placed(self, rows: Batch) -> Batch:
        return _placed(rows, self.first, self)

    def on(self, device: torch.device, dtype: torch.dtype) -> Batches:
        """Bring batches to a device; without a step, they take the type of the weights."""
        return self._with(device=device, dtype=dtype)

    def some(self, most: int) -> Batch:
        """Return up to so many rows of the first batch."""
        return self._placed(next(self.first.split(most)))

    def spaced(self, most: int, values: int) -> InMemory:
        """Return the first rows of a pass, up to ``most`` of them, and up to so many values."""
        kept, count, numbers = [], 0, 0
        for rows in _one_pass(self.source, self.parts):
            kept.append(rows)
            count, numbers = count + len(rows.x), numbers + rows.x.numel()
            if count >= most or numbers >= values:
                break
        stored = next(_joined(kept).split(most))
        found = InMemory(*stored, step=self.step, missing=self.missing, units=self.units)
        return found.on(self.device, self.dtype)

    def _passes(self) -> Iterator[Batch]:
        """Yield the batches of one pass after another."""
        while True:
            empty = True
            for rows in _one_pass(self.source, self.parts):
                empty = False
                yield rows
            if empty:
                return


def as_rows(x: Data, **options: Any) -> Rows:
    """Return what is to be trained on as rows.

    Arguments:
        x: Rows, which are returned as they are; a tensor; a Dataset or DataLoader of known length,
            visited in the order of a run; or batches in their own order.
        options: Those of `Rows`, and ``c``: of a tensor the conditions of its rows, (n, k); of
            other data True, where their items are (x, c) or {"x": x, "c": c}.

    Raises:
        TypeError: It is no data, or its items hold no c where there is to be one.
        ValueError: A condition is no vector of finite numbers.
    """
    if isinstance(x, Rows):
        return x
    if isinstance(x, Tensor):
        return InMemory(x, **options)
    if isinstance(x, DataLoader):
        return _of_loader(x, options)
    if isinstance(x, TensorDataset):
        return _of_tensors(x, options)
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


def _of_tensors(dataset: TensorDataset, options: dict[str, Any]) -> InMemory:
    """Return the first tensor of a TensorDataset, with the second as conditions where asked for."""
    stored = _Parts(options.pop("c", False)).of(dataset.tensors)
    return InMemory(*stored, **options)


def _of_loader(loader: DataLoader[Any], options: dict[str, Any]) -> Rows:
    if not _has_plain_order(loader):
        return Batches(loader, **options)
    if not (isinstance(loader.dataset, TensorDataset) and loader.collate_fn is default_collate):
        return OfDataset(loader.dataset, loader, **options)
    rows = _of_tensors(loader.dataset, options)
    rows.batch_size = loader.batch_size
    return rows


def _yields_batches(x: object) -> bool:
    if isinstance(x, list | tuple):
        parts = [_first(item) for item in x]
        return bool(parts) and all(isinstance(part, Tensor) and part.ndim for part in parts)
    return (
        isinstance(x, Iterable)
        and not hasattr(x, "__array__")
        and not isinstance(x, str | bytes | dict)
    )


def rows_for(x: Data, conditional: bool) -> Rows:
    """Return data as rows: for a model of p(x|c), items of a Dataset and batches hold c as well.

    Raises:
        TypeError: It is no data, or lacks conditions.
    """
    if conditional and not isinstance(x, Rows | Tensor):
        return as_rows(x, c=True)
    return as_rows(x)


def held_out(validation: Data | None, most: int, conditional: bool = False) -> Rows | None:
    """Return rows to validate on: up to ``most`` of batches that come in their own order.

    Arguments:
        validation: Data, or None.
        most: How many.
        conditional: Whether they are for a model of p(x|c).

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
    rows = rows_for(validation, conditional)
    return rows.spaced(most, KEPT_NUMBERS) if isinstance(rows, Batches) else rows


def _placed(rows: Batch, first: Batch, where: Rows) -> Batch:
    """Bring stored rows to the device and type of others, if they are shaped as the first ones.

    Raises:
        ValueError: They have another shape.
    """
    _check_alike("x", rows.x, first.x)
    x = rows.x.to(where.device, where.dtype if where.step is None else rows.x.dtype)
    if rows.c is None or first.c is None:
        return Batch(x)
    _check_alike("c", rows.c, first.c)
    return Batch(x, rows.c.to(where.device, where.dtype))


def _check_alike(name: str, rows: Tensor, first: Tensor) -> None:
    """Raise ValueError where rows have another shape than the first."""
    shape, others = tuple(first.shape[1:]), tuple(rows.shape[1:])
    if others != shape:
        raise ValueError(
            f"{name} has rows of shape {shape}, and others of shape {others}. Give all the same."
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


def _one_pass(source: Iterable[Any], parts: _Parts) -> Iterator[Batch]:
    """Yield the batches of one pass; a single row at its end joins the batch before."""
    waiting: list[Batch] = []
    for item in source:
        waiting.append(parts.of(item))
        if len(waiting) > 2:
            yield waiting.pop(0)
    if len(waiting) == 2 and len(waiting[1].x) == 1 < len(waiting[0].x):
        waiting = [_joined(waiting)]
    yield from waiting


def _joined(batches: list[Batch]) -> Batch:
    """Return some batches as one."""
    x, c = [batch.x for batch in batches], [batch.c for batch in batches if batch.c is not None]
    if not c:
        return Batch(torch.cat(x))
    return Batch(torch.cat(x), torch.cat(c))


def _first(item: Any) -> Any:
    """Return the rows of an item: itself, the first of its parts, or what it calls x."""
    if isinstance(item, Mapping):
        return item.get("x", item)
    if isinstance(item, list | tuple) and len(item):
        return item[0]
    return item


def _second(item: Any) -> Any:
    """Return what follows the rows of an item, or what it calls c; None where nothing does."""
    if isinstance(item, Mapping):
        return item.get("c")
    if isinstance(item, list | tuple) and len(item) > 1:
        return item[1]
    return None


class _Parts:
    """What is taken of the items of a Dataset, or of batches: x, and c where there is to be one.

    Raises:
        TypeError: ``c`` is neither True nor False.
    """

    def __init__(self, c: object) -> None:
        if not isinstance(c, bool):
            raise TypeError(
                f"c must be True where x yields its own (x, c), got {type(c).__name__}. Pass "
                "c=True and let each item be (x, c) or {'x': x, 'c': c}, or pass x as a tensor."
            )
        self.conditional = c

    def of(self, item: Any) -> Batch:
        """Return rows and conditions of an item.

        Raises:
            TypeError: It lacks what is to be taken.
            ValueError: Conditions are no vectors of finite numbers.
        """
        x = _first(item)
        if not isinstance(x, Tensor):
            raise TypeError(
                "x must yield tensors, or tuples whose first part is a tensor, got "
                f"{type(x).__name__}. "
                "Change what the Dataset returns, or the collate_fn of the DataLoader."
            )
        if not self.conditional:
            return Batch(x)
        c = _second(item)
        if not isinstance(c, Tensor):
            raise TypeError(
                "x must yield (x, c) or {'x': x, 'c': c}, as the model is one of p(x|c), but the "
                f"second part is {type(c).__name__}. "
                "Change what the Dataset returns, or the collate_fn of the DataLoader."
            )
        check_condition(c, len(x))
        return Batch(x, c)


class _Plan:
    """Which rows each batch has, as a DataLoader asks for it."""

    def __init__(self, numbers: Iterator[list[int]]) -> None:
        self.numbers = numbers

    def __iter__(self) -> Iterator[list[int]]:
        return self.numbers
