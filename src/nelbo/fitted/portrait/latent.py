"""What the latent space of a fitted model says: use of dimensions, a map, traversals, lines."""

from __future__ import annotations

__all__ = [
    "Embedded",
    "Plane",
    "colourings_of",
    "embed",
    "interpolations",
    "latent_map",
    "plane_of",
    "traversals",
    "usage",
]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ... import diagnose
from ...data import Values
from ...evaluate import Examples
from ...report.portrait import (
    Absent,
    Colouring,
    Interpolations,
    LatentMap,
    Look,
    Traversals,
    Usage,
)
from ..model import Model
from .look import in_units
from .rows import Limits, Rows, coloured, spread

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Embedded:
    """Posterior means and deviations of the rows of a portrait, both (n, latent_dim)."""

    mean: Array
    deviation: Array

    @property
    def centre(self) -> Array:
        """Mean of the aggregate posterior."""
        return np.asarray(self.mean.mean(0))

    @property
    def width(self) -> Array:
        """Standard deviation of the aggregate posterior."""
        return np.asarray(np.sqrt(self.mean.var(0) + np.square(self.deviation).mean(0)))


def embed(model: Model, values: Values) -> Embedded:
    """Encode rows."""
    return Embedded(*model.encode(values))


def examples(model: Model, values: Values) -> Examples:
    """Return rows with their conditions, in the units of the model."""
    return Examples(model.rows(values), model.conditions_of(values))


def usage(model: Model, values: Values, z: Embedded, most: int = 500) -> Usage:
    """Measure how much each latent dimension says.

    Where q and p are no independent normals, it is the KL of two normals with the means and
    deviations that each coordinate has under q and p.

    Arguments:
        model: The model.
        values: The rows.
        z: What the encoder says of them.
        most: Rows to look at, at most.
    """
    some = examples(model, values[:most])
    found = diagnose.rate_distortion(model.vae, some.x, samples=1, c=some.c)
    active = np.asarray(z.mean.var(0) > 0.01)
    if found.per_dimension is not None:
        kl = np.asarray(found.per_dimension.double().cpu().numpy())
        return Usage(kl, active, len(some))
    mean, width = (t.double().cpu().numpy() for t in model.vae.prior.moments(model.device))
    ratio = (z.deviation / width).astype(np.float64)
    shift = (z.mean - mean) / width
    kl = 0.5 * (ratio**2 + shift**2 - 1 - 2 * np.log(np.maximum(ratio, 1e-12))).mean(0)
    note = (
        "q(z|x) or p(z) is no independent normal: these are KL divergences of normals with the "
        "same means and deviations, which do not add up to the rate."
    )
    return Usage(kl, active, len(z.mean), note)


def latent_map(
    model: Model,
    rows: Rows,
    look: Look,
    z: Embedded,
    log_p: Array | None,
    limits: Limits,
) -> LatentMap | Absent:
    """Put posterior means on a plane: as they are, or on their principal axes.

    Arguments:
        model: The model.
        rows: The rows.
        look: How they are shown.
        z: What the encoder says of those that are judged.
        log_p: log p(x) of these, where it is known.
        limits: How many points.
    """
    judged = rows.judged
    if judged is None or len(judged) < 2:
        return Absent("There are fewer than two rows to put on a map.")
    most = min(limits.points, max(20, limits.picture // judged.array[0].size))
    few = spread(len(judged), most, 0)
    plane = plane_of(z.mean, log_p)
    shown, numbers, given = judged[few], rows.numbers[few], None
    if rows.labels is not None:
        given = rows.labels[0]
        given = Colouring(given.name, given.values[few], given.levels)
    colours = [*colourings_of(model, shown, look, given)]
    if log_p is not None:
        colours.append(Colouring("log p(x)", log_p[few]))
    if not colours:
        colours.append(Colouring("row", numbers.astype(np.float64)))
    note = f"{plane.told} {len(few):,} rows {rows.which}."
    points, pictures = plane.points[few], in_units(model, shown.array)
    return LatentMap(points, plane.axes, numbers, pictures, tuple(colours), note)


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane through latent space, and where posterior means are on it.

    Attributes:
        points: Where they are, (n, 2). With one latent dimension the second number is log p(x), or
            the number of the row.
        axes: What its axes are called.
        told: How it was found.
        centre: Its middle, (latent_dim,).
        basis: Its axes as rows, (2, latent_dim); one row with one latent dimension.
    """

    points: Array
    axes: tuple[str, str]
    told: str
    centre: Array
    basis: Array


def plane_of(mean: Array, log_p: Array | None = None) -> Plane:
    """Put posterior means on a plane: as they are, or on their principal axes.

    Arguments:
        mean: Posterior means, (n, latent_dim).
        log_p: log p(x) of each row, where it is known.
    """
    size = mean.shape[1]
    if size == 1:
        height = np.arange(len(mean), dtype=np.float64)
        name = "row"
        if log_p is not None and np.isfinite(log_p).all():
            height, name = log_p, "log p(x), nats"
        points = np.column_stack([mean[:, 0], height])
        told = "The only latent dimension."
        return Plane(points, ("z₁", name), told, np.zeros(1), np.eye(1))
    if size == 2:
        told = "Both latent dimensions, posterior means."
        return Plane(mean, ("z₁", "z₂"), told, np.zeros(2), np.eye(2))
    centre = mean.mean(0)
    _, sizes, axes = np.linalg.svd(mean - centre, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(1)])[:, None]
    shares = np.square(sizes) / max(float(np.square(sizes).sum()), 1e-300)
    names = tuple(f"principal axis {i + 1} of z ({shares[i]:.0%})" for i in range(2))
    told = f"Posterior means in {size} dimensions, on their two principal axes."
    return Plane((mean - centre) @ axes.T, (names[0], names[1]), told, centre, axes)


def colourings_of(
    model: Model, shown: Values, look: Look, given: Colouring | None, most: int = 12
) -> list[Colouring]:
    """Return what rows may be coloured by: labels, conditions, and columns of a table."""
    found = []
    if given is not None:
        found.append(given)
    if shown.conditions is not None:
        pairs = zip(shown.conditions.called, shown.conditions.columns, strict=True)
        found += [coloured(cells, cells, name) for name, cells in pairs]
    for j in look.telling[:most]:
        column = look.columns[j]
        if given is not None and given.name == column.name:
            continue
        values = np.asarray(shown.array[:, j], dtype=np.float64)
        found.append(Colouring(column.name, values, column.levels))
    return found


def traversals(
    model: Model,
    rows: Rows,
    z: Embedded | None,
    found: Usage | None,
    log_p: Array | None,
    deviations: Array,
    limits: Limits,
) -> Traversals:
    """Vary one dimension after the other, all others as in a row of middling log p(x).

    Without rows all others are at the mean of p(z).

    Arguments:
        model: The model.
        rows: The rows.
        z: What the encoder says of them.
        found: How much each dimension says.
        log_p: log p(x) of each row, where it is known.
        deviations: The standard deviation of each value of the data, (D,).
        limits: How much is shown.
    """
    width = model.vae.latent_dim
    kl, active = np.full(width, np.nan), np.ones(width, dtype=bool)
    order = np.arange(width)
    if found is not None:
        kl, active, order = found.kl, found.active, found.order
    chosen = np.array([u for u in order if active[u]][: limits.dimensions] or [order[0]])
    base, centre, spread_of, number, c = _base(model, rows, z, log_p)
    steps = np.linspace(-limits.reach, limits.reach, limits.steps)
    values = centre[chosen][:, None] + spread_of[chosen][:, None] * steps
    points = np.repeat(base[None], len(chosen) * limits.steps, 0)
    points[np.arange(len(points)), np.repeat(chosen, limits.steps)] = values.ravel()
    decoded = model.decode(points, c)
    return Traversals(
        chosen,
        kl[chosen],
        values,
        decoded.reshape(len(chosen), limits.steps, *decoded.shape[1:]),
        number,
        deviations,
        int(active.sum()) - len(chosen),
    )


def _base(
    model: Model, rows: Rows, z: Embedded | None, log_p: Array | None
) -> tuple[Array, Array, Array, int, Any]:
    """Return z of a typical row, mean and deviation of the aggregate posterior, the row's number,
    and what it is conditioned on."""
    if z is None or rows.judged is None:
        with torch.no_grad():
            mean, width = model.vae.prior.moments(model.device)
        centre = mean.expand(model.vae.latent_dim).cpu().numpy()
        spread_of = width.expand(model.vae.latent_dim).cpu().numpy()
        return centre.copy(), centre, spread_of, -1, _any_condition(model)
    row = 0
    if log_p is not None:
        known = np.flatnonzero(~np.isnan(log_p))
        row = int(known[np.argsort(log_p[known])[len(known) // 2]])
    given = rows.judged.conditions
    if given is not None:
        given = given[[row]]
    return z.mean[row].copy(), z.centre, z.width, int(rows.numbers[row]), given


def _any_condition(model: Model) -> Any:
    """Return a condition of the training rows; None for a model of p(x)."""
    if model.condition is None:
        return None
    return model.condition.draw(1)


def interpolations(
    model: Model, rows: Rows, z: Embedded, limits: Limits
) -> Interpolations | Absent:
    """Go from one row to another on a straight line in latent space."""
    judged = rows.judged
    if judged is None or len(judged) < 2:
        return Absent("There are fewer than two rows to go between.")
    lines = min(limits.lines, len(judged) // 2)
    order = np.random.default_rng(0).permutation(len(judged))[: 2 * lines].reshape(lines, 2)
    weight = np.linspace(0, 1, limits.steps)[None, :, None]
    points = (1 - weight) * z.mean[order[:, :1]] + weight * z.mean[order[:, 1:]]
    given = judged.conditions
    if given is not None:
        given = given[np.repeat(order[:, 0], limits.steps)]
    decoded = model.decode(points.reshape(-1, points.shape[-1]).astype(z.mean.dtype), given)
    ends = in_units(model, judged.array[order])
    shape = (lines, limits.steps, *decoded.shape[1:])
    return Interpolations(rows.numbers[order], ends, decoded.reshape(shape))
