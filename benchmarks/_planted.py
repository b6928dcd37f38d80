"""People of the census with five wrong cells: anomalies among words, counts and amounts.

Scattered: in each row other cells, which are another person's. Alike: in all rows the same cells,
with the same values, each drawn from those that there are, rare or not: a mistake made again and
again, which makes itself probable where it is frequent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas

from nelbo.data import TableSchema

from ._common import data_file

CELLS = 5
"""How many of the 15 cells of a row are wrong."""
KINDS = ("scattered", "alike")


class People(NamedTuple):
    """Rows to fit, a share of them anomalies, and rows to judge with their labels."""

    train: pandas.DataFrame
    test: pandas.DataFrame
    y: np.ndarray
    schema: TableSchema


def planted(
    kind: str, share: float, seed: int, train: int = 3000, ordinary: int = 1500, odd: int = 750
) -> People:
    """Return a case; people are fitted, judged or give cells, never two of these.

    Arguments:
        kind: "scattered" or "alike".
        share: Of the rows fitted that are anomalies.
        seed: Of the split and of what is planted.
        train, ordinary, odd: Numbers of rows fitted, of ordinary rows judged, and of anomalies.
    """
    rng = np.random.default_rng([seed, 7])
    frame = pandas.read_csv(data_file("tables/adult.csv"), skipinitialspace=True)
    schema = TableSchema.infer(frame)  # words that few have are known
    frame = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
    spoiled = round(share * train)
    parts = iter(_parts(frame, (train, ordinary, odd, spoiled + odd)))
    fitted, known, new, donors = parts
    if kind == "alike":
        columns = np.tile(rng.permutation(frame.shape[1])[:CELLS], (spoiled + odd, 1))
        one = pandas.DataFrame({name: [rng.choice(frame[name].unique())] for name in frame})
        donors = one.iloc[np.zeros(spoiled + odd, dtype=int)].reset_index(drop=True)
    else:
        columns = rng.random((spoiled + odd, frame.shape[1])).argsort(1)[:, :CELLS]
    fitted = _with_cells(fitted, donors[:spoiled], columns[:spoiled])
    wrong = _with_cells(new, donors[spoiled:].reset_index(drop=True), columns[spoiled:])
    test = pandas.concat([known, wrong], ignore_index=True)
    return People(fitted, test, np.repeat([0, 1], [ordinary, odd]), schema)


def _parts(frame: pandas.DataFrame, sizes: tuple[int, ...]) -> Iterator[pandas.DataFrame]:
    """Yield one part of the rows after the other."""
    begin = 0
    for size in sizes:
        yield frame[begin : begin + size].reset_index(drop=True)
        begin += size


def _with_cells(
    rows: pandas.DataFrame, donors: pandas.DataFrame, columns: np.ndarray
) -> pandas.DataFrame:
    """Return rows, the first of them with cells ``columns`` (donors, CELLS) of donors."""
    cells = {name: rows[name].to_numpy(copy=True) for name in rows}
    for number, name in enumerate(rows):
        mine = np.flatnonzero((columns == number).any(1))
        cells[name][mine] = donors[name].to_numpy()[mine]
    return pandas.DataFrame(cells)
