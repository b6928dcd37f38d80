"""Rows that come one by one (lists, torch Dataset and DataLoader) -> one array.

What cannot be read once, in order, to its end is refused with a cure that works.
"""

from __future__ import annotations

import array as standard
import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
)
from torch.utils.data.dataloader import default_collate

__all__ = ["from_sequence", "from_tensor"]

Array = npt.NDArray[Any]


def from_tensor(X: torch.Tensor, name: str) -> Array:
    """Return the values of a dense tensor on any device, as numpy holds them."""
    if X.is_quantized:
        raise TypeError(
            f"{name} is a quantized tensor, but plain numbers are required. Use "
            f"{name}.dequantize()."
        )
    X = X.detach().cpu().resolve_conj().resolve_neg()
    if X.is_floating_point() and X.dtype not in (torch.float32, torch.float64):
        X = X.float()  # bfloat16 and the 8-bit floats have no numpy type
    return X.numpy()


def from_sequence(X: Any, name: str) -> Array:
    """Return the rows of something that is not an array yet.

    Raises:
        TypeError: It has no rows, no end, or rows that are not arrays.
        ValueError: Its rows differ in length.
    """
    if isinstance(X, str | bytes | Path):
        raise TypeError(
            f"{name} must be an array of numbers, got {X!r}. Read files and built-in data with "
            "nelbo.data.load."
        )
    if isinstance(X, DataLoader):
        return _from_loader(X, name)
    if isinstance(X, TensorDataset):
        return from_tensor(X.tensors[0], name)
    if isinstance(X, Mapping):
        raise TypeError(
            f"{name} must be an array of numbers of shape (n, d), got {type(X).__name__}. "
            "Pass pandas.DataFrame(...) of it, if its values are columns."
        )
    if isinstance(X, Dataset):
        return _from_items(X, name)
    if X is None:
        _refuse(X, name)
    if not _is_finite(X):
        if hasattr(X, "__getitem__"):
            return _from_items(X, name)
        if hasattr(X, "__iter__"):
            _refuse(X, name)
    return _from_list(X, name)


def _is_finite(X: object) -> bool:
    """Return whether numpy reads X to its end.

    Of anything else that has ``__getitem__`` it would ask for rows until one is refused.
    """
    if isinstance(X, Sequence | deque | standard.array | memoryview):
        return True
    protocols = ("__array__", "__array_interface__", "__array_struct__", "__dlpack__")
    return any(hasattr(X, protocol) for protocol in protocols)


def _refuse(X: object, name: str) -> None:
    """Raise the error for something that is no array of numbers."""
    cure = "Pass an array, a tensor, a data frame or a list of rows."
    if isinstance(X, Iterator):
        cure = "Pass np.stack(list(...)) of it, if it ends."
    elif hasattr(X, "__iter__"):
        cure = "Pass np.array(list(...)) of it."
    raise TypeError(
        f"{name} must be an array of numbers of shape (n, d), got {type(X).__name__}. {cure}"
    )


def _from_list(X: Any, name: str) -> Array:
    """Return what numpy makes of a list, if that is an array of numbers."""
    if isinstance(X, list | tuple) and X and all(isinstance(row, torch.Tensor) for row in X):
        return _stack(list(X), name)
    try:
        array = np.asarray(X)
        if array.dtype.kind in "US" and isinstance(X, list | tuple):
            # numpy turned the numbers beside the text into text, too
            array = np.array(X, dtype=object)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{name} is not a rectangular array of numbers ({_line(error)}). Give every row the "
            "same length."
        ) from None
    if array.ndim == 0 and array.dtype.kind == "O":
        _refuse(X, name)
    return array


def _from_items(X: Any, name: str) -> Array:
    """Read something of known length by its indices; of rows (x, y) the x."""
    try:
        length = len(X)
    except (TypeError, NotImplementedError, AttributeError):
        cure = f"Draw rows from it first: np.stack([row for row, _ in zip({name}, range(1000))])"
        if not isinstance(X, IterableDataset):
            cure += f", or give it a __len__ so that {name}[i] is row i"
        raise TypeError(
            f"{name} is a {type(X).__name__} of no known length, which may have no end. {cure}."
        ) from None
    rows: Iterator[Any] = (X[i] for i in range(length))
    if isinstance(X, IterableDataset):
        rows = itertools.islice(X, length)
    return _stack([_features(row, name) for row in rows], name)


def _features(row: Any, name: str) -> Any:
    """Return x of a row x or (x, y, ...)."""
    if isinstance(row, Mapping):
        keys = ", ".join(map(repr, list(row)[:5]))
        raise TypeError(
            f"{name} has rows that are {type(row).__name__} with the keys {keys}. "
            f"Pass the values of one of them: np.stack([{name}[i][key] for i in "
            f"range(len({name}))])."
        )
    if isinstance(row, tuple | list) and row and np.ndim(_plain(row[0])) > 0:
        row = row[0]
    return row


def _plain(row: Any) -> Any:
    """Return a tensor on the CPU and without its gradient, all else as it is."""
    if isinstance(row, torch.Tensor):
        return row.detach().cpu()
    return row


def _stack(rows: list[Any], name: str) -> Array:
    """Return rows of one shape as one array."""
    if not rows:
        return np.empty((0, 1))
    try:
        if isinstance(rows[0], torch.Tensor):
            return from_tensor(torch.stack(rows), name)
        return np.stack([np.asarray(_plain(row)) for row in rows])
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{name} is not a rectangular array of numbers ({_line(error)}). Give every row the "
            "same shape."
        ) from None


def _from_loader(loader: DataLoader[Any], name: str) -> Array:
    """Read each row of a loader's data set once, in order.

    Raises:
        TypeError: The loader does more than shuffle and batch.
    """
    sampler, data = loader.sampler, loader.dataset
    if loader.collate_fn is default_collate and _is_plain(loader):
        if type(sampler) is SubsetRandomSampler:
            return _stack([_features(data[i], name) for i in sorted(sampler.indices)], name)
        shuffled = type(sampler) is RandomSampler and not sampler.replacement
        if shuffled or type(sampler) is SequentialSampler:
            return from_sequence(data, name)
    raise TypeError(
        f"{name} is a DataLoader that draws or changes rows in a way of its own, so they cannot be "
        f"read once each. Pass torch.cat(list({name})), or, where batches are (x, y), "
        f"torch.cat([batch[0] for batch in {name}])."
    )


def _is_plain(loader: DataLoader[Any]) -> bool:
    """Return whether batches are taken in turn from rows that have indices."""
    if isinstance(loader.dataset, IterableDataset):
        return False
    return loader.batch_sampler is None or type(loader.batch_sampler) is BatchSampler


def _line(error: Exception) -> str:
    """Return an error as one line."""
    return " ".join(str(error).split()).rstrip(".")
