"""What is seen of a fitted model: plain values, in the units of the data, with a JSON twin.

`nelbo.fitted.portrait` finds them; the page draws them and computes nothing.
"""

from __future__ import annotations

__all__ = [
    "Absent",
    "Blocks",
    "Colouring",
    "Column",
    "ColumnPair",
    "Decision",
    "Extremes",
    "Fact",
    "Interpolations",
    "LatentMap",
    "Level",
    "Look",
    "Marginal",
    "Missing",
    "Neighbours",
    "NoiseLevel",
    "Portrait",
    "Synthetic",
    "Tone",
    "Traversals",
    "Usage",
    "Verdict",
]

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..diagnose import Calibration, ColumnCalibration, Diagnosis
from ..plain import plain
from ..training import History

Array = npt.NDArray[Any]
Tone = Literal["good", "fair", "bad", "open"]
"""Healthy; healthy, but could be better; wrong; or not known."""


@dataclass(frozen=True)
class Absent:
    """What cannot be shown.

    Attributes:
        why: Why, in a sentence.
    """

    why: str


@dataclass(frozen=True)
class Level:
    """A mean of log p(x), or a difference of two.

    Attributes:
        name: Of what.
        mean: Nats per row.
        error: Its standard error; None for a single row.
        note: What to know about it.
    """

    name: str
    mean: float
    error: float | None
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the model is worth, in plain words.

    Attributes:
        tone: Healthy; healthy, but could be better; wrong; or not known.
        headline: The verdict in a line.
        model: What the model is, in sentences.
        sentences: How good it is, and why.
        levels: log p(x) of the model, of exact pPCA, and their difference.
        warnings: What to know about these numbers.
    """

    tone: Tone
    headline: str
    model: str
    sentences: tuple[str, ...]
    levels: tuple[Level, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A column of a table, or a value of other rows.

    Attributes:
        name: Its name.
        levels: The names of its values, if these are categories: value k is the k-th of them.
        date: Whether its values are dates, in days since 1970.
    """

    name: str
    levels: tuple[str, ...] = ()
    date: bool = False

    def cell(self, value: float) -> str:
        """Return a value as people read it."""
        if math.isnan(value):
            return "missing"
        if self.levels:
            return self.levels[min(max(round(value), 0), len(self.levels) - 1)]
        if self.date:
            return str(np.datetime64(round(value), "D"))
        if abs(value) >= 10_000:
            return f"{value:,.0f}"
        if value == round(value):
            return f"{value:.0f}"
        return f"{value:.4g}"


@dataclass(frozen=True)
class Look:
    """How a row is to be shown.

    Attributes:
        images: Whether rows are images; else they are tables.
        layout: How an image is held: "hw", "hwc" or "chw"; "flat" for tables.
        low, high: What images show as black and as white.
        columns: The columns of a table; empty for images.
        telling: Numbers of the columns that vary, the two most correlated first.
    """

    images: bool
    layout: str
    low: float
    high: float
    columns: tuple[Column, ...] = ()
    telling: tuple[int, ...] = ()

    @property
    def numbers(self) -> list[int]:
        """The columns that vary and are no categories, in the order of ``telling``."""
        return [j for j in self.telling if not self.columns[j].levels]


@dataclass(frozen=True, eq=False)
class Blocks:
    """Rows beside what the model makes of them, and what it makes up.

    Attributes:
        which: What the rows are called.
        numbers: Their numbers in the data.
        data, reconstructions: Rows, and f(E[z|x]).
        means, samples: f(z) with z ~ p(z), and x ~ p(x|z) at the same z.
    """

    which: str
    numbers: Array
    data: Array
    reconstructions: Array
    means: Array
    samples: Array


@dataclass(frozen=True, eq=False)
class Usage:
    """How much each latent dimension says.

    Attributes:
        kl: Mean KL(q(z_u|x) || p(z_u)) in nats, of shape (latent_dim,).
        active: Whether the posterior mean of each varies: more than 0.01 (Burda et al., 2016).
        rows: The number of rows behind it.
        note: How it was found, where q and p are no independent normals.
    """

    kl: Array
    active: Array
    rows: int
    note: str = ""

    @property
    def order(self) -> Array:
        """The dimensions, those that say most first."""
        return np.argsort(-self.kl, kind="stable")


@dataclass(frozen=True, eq=False)
class Colouring:
    """What the points of the map are coloured by.

    Attributes:
        name: What it is called.
        values: A number of each point, (n,); of categories their code.
        levels: The names of the categories; empty where values are numbers.
    """

    name: str
    values: Array
    levels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LatentMap:
    """Posterior means of rows in two dimensions.

    Attributes:
        points: (n, 2).
        axes: What the axes are.
        numbers: The numbers of the rows in the data.
        rows: The rows (n, ...), in data units.
        colourings: What points may be coloured by, the first one at the beginning.
        note: How the map was made, and of how many rows.
    """

    points: Array
    axes: tuple[str, str]
    numbers: Array
    rows: Array
    colourings: tuple[Colouring, ...]
    note: str


@dataclass(frozen=True, eq=False)
class Traversals:
    """What changes along single latent dimensions.

    Attributes:
        dimensions: Their numbers, those that say most first: (k,).
        kl: KL of each, in nats: (k,).
        values: The values of z_u, (k, steps).
        decoded: f(z) at each, (k, steps, ...), all other dimensions as in one row.
        number: The number of that row.
        deviations: Standard deviation of each column of the data, (D,).
        left: How many active dimensions are not shown.
    """

    dimensions: Array
    kl: Array
    values: Array
    decoded: Array
    number: int
    deviations: Array
    left: int


@dataclass(frozen=True, eq=False)
class Interpolations:
    """Straight lines in latent space from one row to another.

    Attributes:
        numbers: The numbers of both rows of each line, (k, 2).
        ends: Both rows, (k, 2, ...).
        decoded: f(z) along the line, (k, steps, ...).
    """

    numbers: Array
    ends: Array
    decoded: Array


@dataclass(frozen=True, eq=False)
class Extremes:
    """Rows that are improbable, and rows that are typical.

    Attributes:
        titles: What the groups are called.
        numbers: The numbers of the rows of each group.
        log_p: log p(x) of each, in nats.
        rows: The rows.
        all_log_p: log p(x) of all rows that were judged.
        note: What to know.
    """

    titles: tuple[str, ...]
    numbers: tuple[Array, ...]
    log_p: tuple[Array, ...]
    rows: tuple[Array, ...]
    all_log_p: Array
    note: str


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The training rows that are nearest to samples.

    Attributes:
        samples: Samples, (k, ...).
        nearest: The nearest training rows of each, (k, m, ...).
        numbers: Their numbers in the data, (k, m).
        distances: How far they are, (k, m).
        of_samples, of_rows: Distances from many samples, and from as many rows that were not
            trained on, to their nearest training row; the latter is empty without such rows.
        note: How distance is measured, and in how many rows.
    """

    samples: Array
    nearest: Array
    numbers: Array
    distances: Array
    of_samples: Array
    of_rows: Array
    note: str


@dataclass(frozen=True, eq=False)
class NoiseLevel:
    """The noise of p(x|z).

    Attributes:
        kind: "learned", "fixed", "per feature" or "from z".
        beta: Its standard deviation in data units: of one value, or (D,).
        share: The same over the standard deviation of each feature.
    """

    kind: str
    beta: Array
    share: Array


@dataclass(frozen=True, eq=False)
class Marginal:
    """One column of the data beside the same of samples.

    Attributes:
        column: Which.
        edges: Of the bins, (bins + 1,); of categories empty.
        data, samples: The share of rows in each bin, or of each category.
        missing: The share of rows that lack it.
    """

    column: int
    edges: Array
    data: Array
    samples: Array
    missing: float


@dataclass(frozen=True, eq=False)
class ColumnPair:
    """Two columns of the data beside the same of samples.

    Attributes:
        columns: Which.
        data, samples: Points, (n, 2).
        correlation: Of the data, and of samples.
    """

    columns: tuple[int, int]
    data: Array
    samples: Array
    correlation: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Synthetic:
    """A table beside a synthetic one.

    Attributes:
        rows: How many rows of either.
        which: What the rows are called.
        marginals: Of single columns.
        pairs: Of the most correlated pairs.
        correlations: Of all pairs of columns that were looked at, (pairs, 2): of data, of samples.
        left: How many columns are not shown.
    """

    rows: int
    which: str
    marginals: tuple[Marginal, ...]
    pairs: tuple[ColumnPair, ...]
    correlations: Array
    left: int


@dataclass(frozen=True, eq=False)
class Missing:
    """What is missing from a table.

    Attributes:
        share: The share of missing values of each column, (D,).
        incomplete: How many rows lack at least one value.
        rows: How many rows were looked at.
        which: What they are called.
    """

    share: Array
    incomplete: int
    rows: int
    which: str


@dataclass(frozen=True)
class Fact:
    """A name and what it is."""

    name: str
    value: str


@dataclass(frozen=True)
class Decision:
    """What was decided, and why."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True, eq=False)
class Portrait:
    """All that is seen of a fitted model; `to_dict` is its JSON twin.

    Attributes:
        title: What the data are called.
        look: How rows are shown.
        verdict: What the model is worth.
        history: The records of training.
        diagnosis: What is wrong with it.
        blocks: Data, reconstructions and samples.
        usage: How much each latent dimension says.
        map: The latent space.
        traversals: What single dimensions do.
        interpolations: Lines between rows.
        calibration: Residuals beside the noise, or columns beside what is said of them.
        noise: beta of each feature.
        extremes: Improbable and typical rows.
        neighbours: The training rows nearest to samples.
        synthetic: A table beside a synthetic one.
        missing: What is missing from a table.
        recipe: What was decided, and why.
        options: What was asked for.
        provenance: Data, versions, seed.
    """

    title: str
    look: Look
    verdict: Verdict
    history: History
    diagnosis: Diagnosis | Absent
    blocks: Blocks | Absent
    usage: Usage | Absent
    map: LatentMap | Absent
    traversals: Traversals | Absent
    interpolations: Interpolations | Absent
    calibration: Calibration | ColumnCalibration | Absent
    noise: NoiseLevel | Absent
    extremes: Extremes | Absent
    neighbours: Neighbours | Absent
    synthetic: Synthetic | Absent
    missing: Missing | Absent
    recipe: tuple[Decision, ...] = ()
    options: tuple[Fact, ...] = ()
    provenance: tuple[Fact, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; of rows of images, and of arrays of many numbers, the shape alone."""
        found = {part.name: _json(getattr(self, part.name)) for part in dataclasses.fields(self)}
        return {"nelbo_report": 1, **found}


def _json(value: Any, most: int = 4096) -> Any:
    """Return a value as JSON holds it, arrays of more than ``most`` numbers by their shape."""
    if hasattr(value, "shape"):
        if math.prod(value.shape) > most:
            return {"shape": list(value.shape)}
        return plain(value)
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if dataclasses.is_dataclass(value):
        return {part.name: _json(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_json(part) for part in value]
    if isinstance(value, Mapping):
        return {str(name): _json(part) for name, part in value.items()}
    return plain(value)
