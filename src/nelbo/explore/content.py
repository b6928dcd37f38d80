"""What the explorer shows, as plain values with a JSON twin."""

from __future__ import annotations

__all__ = ["Content", "Limits", "content_of"]

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .. import __version__
from ..data import Values
from ..data.conditions import Conditions
from ..diagnose import operations
from ..distributions import draw
from ..fitted import Fitted
from ..fitted.portrait.latent import Embedded, colourings_of, embed, plane_of, usage
from ..fitted.portrait.look import in_units, look_of
from ..fitted.portrait.rows import Limits as Portrayed
from ..fitted.portrait.rows import of_rows
from ..report.portrait import Colouring, Look, Usage
from .draws import Drawing

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Limits:
    """How much a page holds.

    Attributes:
        points: Rows on the map, at most, and at most where a decode is expensive.
        codes: Numbers in all z of the map, at most.
        columns: Columns that are shown, at most.
        draws: Draws from the prior.
        conditions: Conditions to choose from, at most.
        samples: Importance samples behind log p(x) of each row, at least and at most.
        operations: Floating-point operations that log p(x) of all rows may take: two seconds.
        reach: How far sliders go, as quantiles of the data's means.
        margin: How much farther, in standard deviations.
    """

    points: tuple[int, int] = (3000, 800)
    codes: int = 100_000
    columns: int = 100
    draws: int = 256
    conditions: int = 60
    samples: tuple[int, int] = (10, 100)
    operations: float = 1e11
    reach: tuple[float, float] = (0.005, 0.995)
    margin: float = 0.5

    def most(self, model: Fitted) -> int:
        """Return how many rows the map of a model shows, at most."""
        cheap = self.operations / (self.samples[0] * max(operations(model.vae), 1.0))
        return max(self.points[1], min(self.points[0], int(cheap)))


@dataclass(frozen=True, eq=False)
class Content:
    """All that a page holds besides the decoder.

    Attributes:
        title: What is explored.
        told: The model, and where its rows come from, in a line.
        latent: The number of latent dimensions.
        dimensions: For each its number u, its KL in nats, and how far its slider goes; those that
            say most first.
        image: Height, width, channels, layout, and the values shown as black and white; None for
            tables.
        columns: Name, range and categories of each column that is shown; of columns of different
            kinds also what a value is, after how many decimals it ends, and the range that it is
            kept to.
        hidden: What is said of columns that are not.
        map: Rows on a plane, and the plane; "given" is the number of each row's own condition, -1
            where it is not among ``conditions``, and None for a model of p(x).
        prior: Draws from p(z), (n, latent).
        noise: How many numbers of noise a draw from p(x|z) takes; 0 where none can be made.
        called: What a point of the map is.
        conditions: What c may be, for a model of p(x|c), and how it is told; else None.
    """

    title: str
    told: str
    latent: int
    dimensions: tuple[dict[str, Any], ...]
    image: dict[str, Any] | None
    columns: tuple[dict[str, Any], ...]
    hidden: str
    map: dict[str, Any]
    prior: Array
    noise: int
    conditions: tuple[dict[str, Any], ...] | None
    called: str = "Row"
    version: str = __version__
    noiseless: str = (
        "Draws of this noise are not made in the browser: what is shown is the mean of p(x|z)."
    )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; arrays are float32 in base64."""
        return {**vars(self), "prior": packed(self.prior)}


def packed(values: Array) -> str:
    """Return numbers as float32 in base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def content_of(
    model: Fitted,
    X: Any = None,
    labels: Any = None,
    label: str = "label",
    title: str = "",
    limits: Limits = Limits(),
    seed: int = 0,
    drawing: Drawing | None = None,
) -> Content:
    """Find what the explorer of a model shows.

    Arguments:
        model: The model.
        X: Rows for the map, of which those are taken that the model has not seen, where there are
            any. Without rows, samples of the model take their place.
        labels: A label of each row, by which the map is coloured.
        label: What labels are called.
        title: What the data are called.
        limits: How much the page holds.
        seed: Seed of what is drawn.
        drawing: The decoder of the page; None makes it.

    Raises:
        ValueError: X does not fit the model.
    """
    told, called = "points are samples of the model, as no data were passed", "Sample"
    if X is not None:
        values = model.values(X)
    else:
        given = None
        if model.condition is not None:
            given = model.condition.draw(1000, seed)
        values = model.values(model.sample(1000, seed=seed, c=given), given)
    most = max(20, min(limits.most(model), limits.codes // model.vae.latent_dim))
    rows = of_rows(model, values, labels, label, Portrayed(judged=most), seed)
    judged = rows.judged
    if judged is None:
        raise ValueError("There are no rows to put on the map. Pass some.")
    if X is not None:
        told, called = rows.some(len(judged)), "Row"
    z = embed(model, judged)
    found = usage(model, judged, z)
    array = in_units(model, judged.array)
    look = look_of(model, array)
    colours = [] if rows.labels is None else [rows.labels[0]]
    colours = [*colourings_of(model, judged, look, colours[0] if colours else None)]
    if model.vae.latent_dim == 1 or not colours:
        likely = _likely(model, judged, limits)
        colours.append(likely)
        plane = plane_of(z.mean, likely.values)
    else:
        plane = plane_of(z.mean)
    drawing = drawing or Drawing(model)
    conditions, own = _conditions(model, judged, limits)
    return Content(
        title=title or "A variational autoencoder",
        told=f"{model.vae.latent_dim} latent dimension{'s' * (model.vae.latent_dim > 1)}; {told}.",
        latent=model.vae.latent_dim,
        dimensions=tuple(_dimensions(z, found, limits)),
        image=_image(model, look),
        columns=_columns(model, array, look, limits),
        hidden=_hidden(look, limits),
        map={
            "points": packed(plane.points),
            "z": packed(z.mean),
            "numbers": rows.numbers.tolist(),
            "axes": [*plane.axes],
            "note": f"{plane.told}",
            "centre": plane.centre.tolist(),
            "plane": plane.basis.tolist(),
            "colourings": [_colouring(part) for part in colours],
            "given": own,
        },
        prior=_prior(model, limits, seed),
        noise=drawing.noise,
        conditions=conditions,
        called=called,
    )


def _likely(model: Fitted, judged: Values, limits: Limits) -> Colouring:
    """Return how likely rows are: log p(x) where that is quick, else a bound on it."""
    one = 2 * len(judged) * max(operations(model.vae), 1.0)
    samples = min(limits.samples[1], int(limits.operations / one))
    if samples < limits.samples[0]:
        return Colouring("ELBO, a bound on log p(x)", _numbers(model.elbo(judged)))
    found = model.log_likelihood(judged, model.plain_method(judged), samples)
    return Colouring("log p(x)", _numbers(found.value))


def _numbers(values: Any) -> Array:
    """Return a number for each row, in float64."""
    return np.asarray(values, dtype=np.float64)


def _dimensions(z: Embedded, found: Usage, limits: Limits) -> Iterator[dict[str, Any]]:
    """Yield each dimension, those that say most first, and how far its slider goes."""
    low, high = np.quantile(z.mean, limits.reach, axis=0)
    margin = limits.margin * z.width
    for u in found.order.tolist():
        yield {
            "u": u,
            "kl": None if np.isnan(found.kl[u]) else float(found.kl[u]),
            "low": float(low[u] - margin[u]),
            "high": float(high[u] + margin[u]),
        }


def _image(model: Fitted, look: Look) -> dict[str, Any] | None:
    """Return how a row is painted; None for tables."""
    if not look.images:
        return None
    shape = model.schema.data_shape
    height, width, channels = (*shape, 1)[:3]
    if look.layout == "chw":
        channels, height, width = shape
    return {
        "height": height,
        "width": width,
        "channels": channels,
        "layout": look.layout,
        "low": look.low,
        "high": look.high,
    }


def _columns(model: Fitted, array: Array, look: Look, limits: Limits) -> tuple[dict[str, Any], ...]:
    """Return the columns that are shown, with the range of the middle of their values."""
    if look.images:
        return ()
    found = []
    for j, column in enumerate(look.columns[: limits.columns]):
        values = array[:, j][~np.isnan(array[:, j])]
        low, high = (0.0, 1.0) if not len(values) else np.quantile(values, (0.005, 0.995))
        if not low < high:
            low, high = low - 0.5, low + 0.5
        ends = {"low": float(low), "high": float(high)}
        found.append({"name": column.name, "levels": [*column.levels], **ends})
    if model.schema.table is not None:
        for known, part in zip(found, model.schema.table.in_model, strict=False):
            known |= {name: getattr(part, name, None) for name in ("form", "decimals")}
            known |= {"least": getattr(part, "low", None), "most": getattr(part, "high", None)}
    return tuple(found)


def _hidden(look: Look, limits: Limits) -> str:
    """Say how many columns are not shown."""
    more = len(look.columns) - limits.columns
    if more <= 0:
        return ""
    return f" The first {limits.columns} of {len(look.columns):,} columns."


def _colouring(part: Colouring) -> dict[str, Any]:
    """Return JSON types of a colouring, to four digits; what is missing is null."""
    values = [None if np.isnan(v) else float(f"{v:.4g}") for v in part.values.tolist()]
    return {"name": part.name, "levels": [*part.levels], "values": values}


def _prior(model: Fitted, limits: Limits, seed: int) -> Array:
    """Draw from p(z)."""
    generator = torch.Generator(model.device).manual_seed(seed)
    drawn = draw(model.vae.prior(), (limits.draws,), generator, gradients=False)
    return np.asarray(drawn.cpu().numpy())


def _conditions(
    model: Fitted, judged: Values, limits: Limits
) -> tuple[tuple[dict[str, Any], ...] | None, list[int] | None]:
    """Return the conditions that rows have, the most frequent first, and which of these each row
    has, -1 for none of them; None without any."""
    given, c = judged.conditions, model.conditions_of(judged)
    if given is None or c is None:
        return None, None
    rows = np.asarray(c.numpy())
    _, first, which, count = np.unique(
        rows, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(-count, kind="stable")[: limits.conditions]
    place = np.full(len(count), -1)
    place[order] = np.arange(len(order))
    told = tuple({"told": _told(given, int(i)), "c": rows[i].tolist()} for i in first[order])
    return told, place[which.reshape(-1)].tolist()


def _told(given: Conditions, row: int) -> str:
    """Return the condition of a row in words."""
    cells = zip(given.called, given.columns, strict=True)
    return ", ".join(f"{name} = {_said(cells[row])}" for name, cells in cells)


def _said(cell: Any) -> str:
    """Return a label or a number as people write it."""
    if isinstance(cell, float | np.floating):
        return f"{cell:.4g}"
    return str(cell)
