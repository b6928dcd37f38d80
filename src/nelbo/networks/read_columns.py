"""A network that reads a table whose columns are of different kinds."""

from __future__ import annotations

__all__ = ["ReadColumns"]

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

LOGARITHMS = ("positive", "amount")


class ReadColumns(nn.Module):
    """Give a network numbers for each column: standardised ones, logarithms of counts and amounts,
    and levels one-hot or embedded.

    It composes with `Masked`, which must then be outside: ``Masked(ReadColumns(...))``. What is
    missing is 0 to the network, and the mask tells it apart. Further values behind the columns,
    such as conditions, are passed on as they are.

    Arguments:
        network: A network from `ReadColumns.width` numbers.
        readings: How each column is read: ``{"as": "number"}``, a standardised number (see
            `standardise`); ``"count"``, that of log(1 + x); ``"positive"``, that of log x;
            ``"amount"``, whether x > 0, and that of log x; ``{"as": "points", "points": [0, 40]}``,
            a standardised number, and whether it is each of these points; ``{"as": "levels",
            "levels": k}``, one of k levels by its index.
        masked: Whether values and then a mask come in, from `Masked`.
        widest: Up to so many levels are one-hot; each of more has an embedding that is learned.
        embedding: The size of an embedding.
        generator: Source of the embeddings; torch's global one where None.

    Raises:
        ValueError: A reading is unknown.
    """

    reads_missing = True
    """Whether what is missing is 0 to the network, also where there is no mask."""
    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        network: nn.Module,
        readings: Sequence[Mapping[str, Any]],
        masked: bool = False,
        widest: int = 32,
        embedding: int = 16,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check(readings)
        self.network, self.columns, self.masked = network, len(readings), masked
        levels = [int(how.get("levels", 0)) for how in readings]
        self._note("continuous", [how["as"] != "levels" for how in readings])
        self._note("counts", [how["as"] == "count" for how in readings])
        self._note("logarithms", [how["as"] in LOGARITHMS for how in readings])
        self._note("amounts", [how["as"] == "amount" for how in readings])
        self.pointed = [j for j, how in enumerate(readings) if how["as"] == "points"]
        for j in self.pointed:
            points = torch.tensor([float(point) for point in readings[j]["points"]])
            self.register_buffer(f"points{j}", points, persistent=False)
        self.one_hot_size = self._stack("one_hot", levels, [0 < k <= widest for k in levels])
        self.register_buffer("centre", torch.zeros(self.columns))
        self.register_buffer("spread", torch.ones(self.columns))
        self.table: nn.Parameter | None = None
        entries = self._stack("embedded", levels, [k > widest for k in levels])
        if entries:
            self.table = _drawn(entries, embedding, generator)

    def _note(self, name: str, which: Sequence[bool]) -> list[int]:
        """Keep the numbers of some columns, where the module is."""
        numbers = [number for number, mine in enumerate(which) if mine]
        self.register_buffer(name, torch.tensor(numbers, dtype=torch.long), persistent=False)
        return numbers

    def _stack(self, name: str, levels: Sequence[int], which: Sequence[bool]) -> int:
        """Keep the numbers of some columns, and where the levels of each begin among those of all;
        return how many there are.
        """
        ends = [0]
        for number in self._note(name, which):
            ends.append(ends[-1] + levels[number])
        starts = torch.tensor(ends[:-1], dtype=torch.long)
        self.register_buffer(f"{name}_starts", starts, persistent=False)
        return ends[-1]

    @staticmethod
    def width(
        readings: Sequence[Mapping[str, Any]],
        masked: bool = False,
        widest: int = 32,
        embedding: int = 16,
    ) -> int:
        """Return how many numbers the network reads, but for further values and their mask."""
        total = len(readings) if masked else 0
        for how in readings:
            size = {"levels": int(how.get("levels", 0)), "amount": 2}.get(how["as"], 1)
            total += (embedding if size > widest else size) + len(how.get("points", ()))
        return total

    @torch.no_grad()
    def standardise(self, x: Tensor) -> None:
        """Take mean and standard deviation of what is read of each column from rows x (n, columns),
        in which values may be missing (NaN).
        """
        values = x[:, : self.columns]
        none = torch.zeros_like(values, dtype=torch.bool)
        none[:, self.amounts] = values[:, self.amounts] == 0
        number = self._numbers(values).double()
        number[values.isnan() | none] = torch.nan
        mean = number.nanmean(0)
        deviation = (number - mean).square().nanmean(0).sqrt()
        self.centre.copy_(mean.nan_to_num(0.0))
        self.spread.copy_(torch.where(deviation > 0, deviation, 1.0))

    amounts: Tensor

    def _numbers(self, x: Tensor) -> Tensor:
        """Return x with logarithms where they are read."""
        number = x.clone()
        counts, logarithms = self.get_buffer("counts"), self.get_buffer("logarithms")
        number[:, counts] = x[:, counts].log1p()
        positive = x[:, logarithms]
        number[:, logarithms] = torch.where(positive > 0, positive, 1.0).log()
        return number

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (n, columns), or values and mask (n, 2 columns), as the network does."""
        behind: list[Tensor] = []
        if self.masked:
            x, mask = x.chunk(2, -1)
            behind = [mask]
            there = mask[:, : self.columns]
        else:
            there = (~x[:, : self.columns].isnan()).to(x.dtype)
            x = x.nan_to_num(0.0)
        values, others = x[:, : self.columns], x[:, self.columns :]
        h: Tensor = self.network(torch.cat([*self._read(values, there), others, *behind], 1))
        return h

    def _read(self, x: Tensor, there: Tensor) -> list[Tensor]:
        """Return what is read of columns x (n, D), 0 where they are not ``there``."""
        some = there.clone()
        some[:, self.amounts] *= x[:, self.amounts] > 0
        number = (self._numbers(x) - self.centre) / self.spread * some
        found = [number[:, self.get_buffer("continuous")], some[:, self.amounts]]
        for j in self.pointed:
            at_point = x[:, j, None].float() == self.get_buffer(f"points{j}").float()
            found.append(at_point * there[:, j, None])
        if self.one_hot_size:
            at = self.get_buffer("one_hot")
            index = x[:, at].long() + self.get_buffer("one_hot_starts")
            zeros = x.new_zeros(x.shape[0], self.one_hot_size)
            found.append(zeros.scatter(1, index, there[:, at]))
        if self.table is not None:
            at = self.get_buffer("embedded")
            index = x[:, at].long() + self.get_buffer("embedded_starts")
            found.append((self.table[index] * there[:, at, None]).flatten(1))
        return found


def _check(readings: Sequence[Mapping[str, Any]]) -> None:
    """Refuse columns that are to be read in no known way."""
    kinds = ("number", "count", "levels", "points", *LOGARITHMS)
    for number, how in enumerate(readings):
        if how.get("as") not in kinds:
            raise ValueError(
                f"readings[{number}] must be read as one of {', '.join(kinds)}, got {how!r}."
            )


def _drawn(entries: int, embedding: int, generator: torch.Generator | None) -> nn.Parameter:
    """Return a table of standard normal numbers, (entries, embedding)."""
    table = torch.empty(entries, embedding)
    if not table.is_meta:  # without memory torch would import its compiler to draw nothing
        table.normal_(generator=generator)
    return nn.Parameter(table)
