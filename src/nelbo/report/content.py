"""From a portrait to what the template writes: charts, pictures and cells of tables, by section.

A section is a dictionary; one that cannot be shown is ``{"absent": why}``.
"""

from __future__ import annotations

__all__ = ["content"]

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ..diagnose import ColumnCalibration
from . import charts
from .pictures import heat, packed, sheet
from .portrait import (
    Absent,
    Blocks,
    Colouring,
    Extremes,
    Interpolations,
    LatentMap,
    Look,
    Missing,
    Neighbours,
    NoiseLevel,
    Portrait,
    Synthetic,
    Traversals,
    Usage,
)

Array = npt.NDArray[Any]
Section = dict[str, Any]


def content(portrait: Portrait) -> dict[str, Any]:
    """Return every section of the page by name."""
    look = portrait.look
    return {
        "examples": _shown(portrait.blocks, lambda found: _examples(found, look)),
        "curves": _curves(portrait),
        "usage": _shown(portrait.usage, _usage),
        "map": _shown(portrait.map, lambda found: _map(found, look)),
        "traversals": _shown(portrait.traversals, lambda found: _traversals(found, look)),
        "lines": _shown(portrait.interpolations, lambda found: _lines(found, look)),
        "calibration": _shown(portrait.calibration, lambda found: _calibration(portrait, found)),
        "noise": _shown(portrait.noise, lambda found: _noise(portrait, found)),
        "extremes": _shown(portrait.extremes, lambda found: _extremes(found, look)),
        "neighbours": _shown(portrait.neighbours, lambda found: _neighbours(found, look)),
        "synthetic": _shown(portrait.synthetic, lambda found: _synthetic(found, look)),
        "missing": _shown(portrait.missing, lambda found: _missing(found, look)),
        "diagnosis": _shown(portrait.diagnosis, lambda found: {"found": found}),
        "levels": _levels(portrait),
    }


def _shown(found: Any | Absent, show: Callable[[Any], Section]) -> Section:
    """Return a section, or why there is none."""
    if isinstance(found, Absent):
        return {"absent": found.why}
    return show(found)


def _chart(svg: str, caption: str = "") -> Section:
    """Return a drawing with what is written below it."""
    return {"svg": Markup(svg), "caption": caption}


def _levels(portrait: Portrait) -> list[Section]:
    """Return each level with its place on a common scale, in per cent."""
    levels = portrait.verdict.levels[:2]
    if not levels:
        return []
    errors = [level.error or 0.0 for level in levels]
    ends = [
        level.mean + side * 2 * error
        for level, error in zip(levels, errors, strict=True)
        for side in (-1, 1)
    ]
    low, high = min(ends), max(ends)
    width = (high - low) or 1.0
    return [
        {
            "level": level,
            "at": 6 + 88 * (level.mean - low) / width,
            "from": 6 + 88 * (level.mean - 2 * error - low) / width,
            "size": 88 * 4 * error / width,
        }
        for level, error in zip(levels, errors, strict=True)
    ]


# -- rows


def _examples(found: Blocks, look: Look) -> Section:
    """Show rows beside reconstructions and samples."""
    parts = [
        (f"Data, {found.which}", "rows as they are", found.data),
        ("Reconstructions, without noise", "f(E[z|x]) of the same rows", found.reconstructions),
        ("Samples, without noise", "f(z) with z drawn from the prior", found.means),
        (
            "Samples, with noise",
            "the same z, noise added",
            found.samples,
        ),
    ]
    if look.images:
        return {
            "sheets": [
                {
                    "title": title,
                    "alt": f"{len(rows)} images: {told}.",
                    "told": told,
                    "src": sheet(_whole_lines(rows, look), look, _across(rows, look)),
                }
                for title, told, rows in parts
                if len(rows)
            ]
        }
    section: Section = {
        "charts": [],
        "tables": [_table(title, told, rows[:4], look) for title, told, rows in parts if len(rows)],
    }
    like = found.samples
    if len(found.data):
        like = found.data
    if len(look.numbers) > 1:
        pair = look.numbers[0], look.numbers[1]
        section["charts"] = [
            _chart(charts.draw_points(rows, like, pair, look.columns, title), title)
            for title, _, rows in parts
            if len(rows)
        ]
    return section


def _whole_lines(rows: Array, look: Look) -> Array:
    """Return rows without those that would not fill a line, where there is a line."""
    across = _across(rows, look)
    return rows[: max(across, len(rows) // across * across)]


def _across(rows: Array, look: Look) -> int:
    """Return how many images stand in a line: eight squares, fewer or more of other shapes."""
    height, width = (rows.shape[1:3], rows.shape[2:4])[int(look.layout == "chw")]
    return max(3, min(12, round(8 * int(height) / int(width))))


def _table(
    title: str,
    told: str,
    rows: Array,
    look: Look,
    heads: tuple[str, ...] = (),
    lead: Sequence[tuple[str, ...]] | None = None,
    most: int = 10,
) -> Section:
    """Return rows of a table as cells: some of the columns, after cells of their own.

    Arguments:
        title, told: What the rows are.
        rows: (n, D).
        look: Names and levels of the columns.
        heads: Of the cells that lead.
        lead: Cells that come before those of each row.
        most: How many columns.
    """
    columns = sorted(look.telling[:most])
    cells = [[look.columns[j].cell(float(row[j])) for j in columns] for row in rows]
    if lead is not None:
        cells = [[*first, *rest] for first, rest in zip(lead, cells, strict=True)]
    names = [*heads, *(look.columns[j].name for j in columns)]
    left = len(look.columns) - len(columns)
    return {"title": title, "told": told, "heads": names, "rows": cells, "left": left}


def _extremes(found: Extremes, look: Look) -> Section:
    """Show the least probable rows, those in the middle, and the most probable."""
    groups = zip(found.titles, found.numbers, found.log_p, found.rows, strict=True)
    section: Section = {"note": found.note, "sheets": [], "tables": []}
    if np.isfinite(found.all_log_p).any():
        section["chart"] = _chart(
            charts.draw_log_p(found.all_log_p), "log p(x) of rows; the dashed line is the median."
        )
    for title, numbers, log_p, rows in groups:
        told = f"log p(x) {_number(log_p.min())} to {_number(log_p.max())} nats"
        listed = ", ".join(f"{number}" for number in numbers)
        if look.images:
            alt = f"{title}: {len(rows)} images, {told}."
            section["sheets"].append(
                {
                    "title": title,
                    "told": f"{told}; rows {listed}",
                    "alt": alt,
                    "src": sheet(rows, look, len(rows)),
                }
            )
        else:
            lead = [(f"{n}", _number(p)) for n, p in zip(numbers, log_p, strict=True)]
            section["tables"].append(_table(title, told, rows, look, ("row", "log p(x)"), lead))
    return section


def _neighbours(found: Neighbours, look: Look) -> Section:
    """Show samples beside the training rows that are nearest."""
    section: Section = {
        "note": found.note,
        "chart": _chart(
            charts.draw_distances(found.of_samples, found.of_rows),
            "Samples much nearer to training rows than new rows are would be copies.",
        ),
    }
    if look.images:
        section["strips"] = [
            {
                "label": f"sample {i + 1}",
                "src": sheet(np.concatenate([sample[None], near]), look, 1 + len(near)),
                "alt": f"Sample {i + 1}, then the training rows nearest to it: "
                + ", ".join(f"row {n} at {d:.3g}" for n, d in zip(numbers, distance, strict=True)),
                "told": ", ".join(f"{n}" for n in numbers),
            }
            for i, (sample, near, numbers, distance) in enumerate(
                zip(found.samples, found.nearest, found.numbers, found.distances, strict=True)
            )
        ]
        return section
    rows, lead = [], []
    for i, sample in enumerate(found.samples[:4]):
        rows.append(sample)
        lead.append((f"sample {i + 1}", "–"))
        for n, d, near in zip(found.numbers[i], found.distances[i], found.nearest[i], strict=True):
            rows.append(near)
            lead.append((f"row {n}", f"{d:.3g}"))
    section["table"] = _table(
        "Samples and their nearest training rows", "", np.array(rows), look, ("", "distance"), lead
    )
    return section


# -- training


def _curves(portrait: Portrait) -> Section:
    """Show how training went."""
    history = portrait.history
    if not history.records:
        return {"absent": "Training left no records."}
    said = {
        "steps": "all steps were done",
        "seconds": "the time was up",
        "early": "the validation bound no longer improved",
        "callback": "a callback ended it",
        "interrupted": "it was interrupted",
    }.get(history.stopped, history.stopped)
    parts = [
        _chart(
            charts.draw_bound(history, portrait.verdict.levels),
            "The bound on log p(x), in the units of the data; higher is better.",
        )
    ]
    known = {name for name in ("kl", "beta") if any(v is not None for v in history.column(name))}
    absent = []
    if "kl" in known:
        parts.append(
            _chart(charts.draw_parts(history), "What z costs (KL), and what it buys: log p(x|z).")
        )
    else:
        absent.append("KL has no closed form here, so it was not recorded.")
    if "beta" in known:
        parts.append(_chart(charts.draw_noise_level(history), "The noise variance β²."))
    else:
        absent.append("There is no single β² that training would have recorded.")
    return {"charts": parts, "ended": said, "not_drawn": absent}


# -- latent space


def _usage(found: Usage) -> Section:
    """Show how much each latent dimension says."""
    caption = (
        f"Mean KL of each dimension over {found.rows:,} rows, the largest first; grey ones are "
        "inactive: their posterior mean hardly varies."
    )
    if len(found.kl) > 64:
        caption += f" Of {len(found.kl)} dimensions the first 64 are shown."
    if found.note:
        caption += f" {found.note}"
    return {"chart": _chart(charts.draw_usage(found), caption)}


def _map(found: LatentMap, look: Look, width: int = 640, height: int = 480) -> Section:
    """Place the points, colour them, and list what is shown of each."""
    low, high = np.nanmin(found.points, 0), np.nanmax(found.points, 0)
    unit = np.where(high > low, (found.points - low) / np.where(high > low, high - low, 1), 0.5)
    x = np.round(14 + (width - 28) * unit[:, 0], 1)
    y = np.round(height - 14 - (height - 28) * unit[:, 1], 1)
    colourings = [_colouring(part) for part in found.colourings]
    section: Section = {
        "width": width,
        "height": height,
        "points": [*zip(x.tolist(), y.tolist(), colourings[0]["codes"], strict=True)],
        "axes": found.axes,
        "note": found.note,
        "colourings": colourings,
        "data": {
            "x": x.tolist(),
            "y": y.tolist(),
            "numbers": found.numbers.tolist(),
            "colourings": colourings,
        },
    }
    if look.images:
        across = max(1, math.isqrt(len(found.rows)))
        section["sprite"] = packed(found.rows, look, across)
        section["data"]["sprite"] = {"across": across, "of": len(found.rows)}
    else:
        columns = sorted(look.telling[:8])
        section["data"]["columns"] = [look.columns[j].name for j in columns]
        section["data"]["cells"] = [
            [look.columns[j].cell(float(row[j])) for j in columns] for row in found.rows
        ]
    return section


def _colouring(found: Colouring, shades: int = 9) -> Section:
    """Return codes of colours: of up to ten categories their number, of numbers one of a few
    shades from low to high; and a legend."""
    if found.levels:
        known = np.isfinite(found.values)
        codes = np.nan_to_num(found.values).astype(int).tolist()
        told = [
            ("missing", found.levels[code])[int(there)]
            for code, there in zip(codes, known, strict=True)
        ]
        legend = [
            {"code": f"k{i % 10}", "text": level} for i, level in enumerate(found.levels[:20])
        ]
        shown = [
            ("n", f"k{code % 10}")[int(there)] for code, there in zip(codes, known, strict=True)
        ]
        return {"name": found.name, "codes": shown, "told": told, "legend": legend}
    values = found.values
    known = values[np.isfinite(values)]
    told = [_number(value) for value in values]
    if not len(known):
        return {"name": found.name, "codes": ["n"] * len(values), "told": told, "legend": []}
    edges = np.quantile(known, np.linspace(0, 1, shades + 1)[1:-1])
    shade = np.searchsorted(edges, np.nan_to_num(values), "right")
    codes = [
        ("n", f"s{i}")[int(there)] for i, there in zip(shade, np.isfinite(values), strict=True)
    ]
    legend = [
        {"code": "s0", "text": f"low: {_number(known.min())}"},
        {"code": f"s{shades // 2}", "text": f"median: {_number(np.median(known))}"},
        {"code": f"s{shades - 1}", "text": f"high: {_number(known.max())}"},
    ]
    if len(known) < len(values):
        legend.append({"code": "n", "text": f"not known: {len(values) - len(known):,} rows"})
    return {"name": found.name, "codes": codes, "told": told, "legend": legend}


def _traversals(found: Traversals, look: Look) -> Section:
    """Show what single dimensions do."""
    base = "all others at the mean of p(z)"
    if found.number >= 0:
        base = f"all others as in row {found.number}, whose log p(x) is middling"
    section: Section = {"base": base, "left": found.left}
    if not look.images:
        section["chart"] = _chart(
            charts.draw_changes(found, look),
            "Change of each column, in its standard deviations, from the low to the high end of "
            "each dimension; of categories a dot where another is the most probable.",
        )
        return section
    section["strips"] = [
        {
            "label": f"z{u + 1}",
            "told": _kl(kl),
            "src": sheet(decoded, look, len(decoded)),
            "alt": f"Images along z{u + 1}, from {values[0]:.2f} to {values[-1]:.2f}.",
        }
        for u, kl, values, decoded in zip(
            found.dimensions, found.kl, found.values, found.decoded, strict=True
        )
    ]
    return section


def _kl(kl: float) -> str:
    """Return KL of a dimension, where it is known."""
    if not math.isfinite(kl):
        return ""
    return f"KL {kl:.2f}"


def _lines(found: Interpolations, look: Look) -> Section:
    """Show lines between rows."""
    if look.images:
        return {
            "strips": [
                {
                    "label": f"{first} → {last}",
                    "told": "",
                    "src": sheet(
                        np.concatenate([ends[:1], decoded, ends[1:]]), look, len(decoded) + 2
                    ),
                    "alt": f"Row {first}, images on the way from it to row {last}, and that row.",
                }
                for (first, last), ends, decoded in zip(
                    found.numbers, found.ends, found.decoded, strict=True
                )
            ]
        }
    (first, last), ends, decoded = found.numbers[0], found.ends[0], found.decoded[0]
    decoded = decoded[:: max(1, len(decoded) // 4)]
    rows = np.concatenate([ends[:1], decoded, ends[1:]])
    steps = [f"{share:.0%}" for share in np.linspace(0, 1, len(decoded))]
    lead = [(f"row {first}",), *((step,) for step in steps), (f"row {last}",)]
    return {"table": _table("On a straight line between two rows", "", rows, look, ("",), lead)}


# -- noise


def _calibration(portrait: Portrait, found: Any) -> Section:
    """Show residuals beside the noise."""
    if isinstance(found, ColumnCalibration):
        return _of_columns(portrait, found)
    half, most = (estimate.value for estimate in found.coverage)
    section: Section = {
        "chart": _chart(
            charts.draw_pit(found.pit.numpy()),
            f"A flat histogram is calibrated noise. Central 50 % intervals hold {half:.1%} of the "
            f"values, 90 % ones {most:.1%}; residuals are {math.sqrt(found.dispersion.value):.2f} "
            "β wide.",
        )
    }
    scale = found.scale_by_feature.numpy()
    look = portrait.look
    if look.images and len(scale) == _pixels(portrait):
        shape = _plane(portrait)
        section["heat"] = _heat(
            scale.reshape(shape), "Root mean square of the residuals of each pixel, in units of β"
        )
    return section


def _of_columns(portrait: Portrait, found: ColumnCalibration) -> Section:
    """Show where numbers lie in p(x|z), and whether levels are as frequent as they are probable."""
    columns = portrait.look.columns
    section: Section = {}
    if found.numbers:
        half, most = found.coverage.mean(0).tolist()
        worst = int((found.coverage[:, 1] - 0.9).abs().argmax())
        told = (
            "Numbers, counts and amounts: a flat histogram is calibrated. Central 50 % intervals "
            f"hold {half:.1%} of the values, 90 % ones {most:.1%}; farthest from that is "
            f"{columns[found.numbers[worst]].name} with {float(found.coverage[worst, 1]):.1%}."
        )
        section["chart"] = _chart(charts.draw_pit(found.pit.mean(0).numpy()), told)
    if found.levels:
        worst, error = int(found.error.argmax()), found.error
        told = (
            "Levels: on the diagonal they are as frequent as they are probable. The mean "
            f"difference is {float(error.mean()):.1%}, at most {float(error[worst]):.1%} "
            f"({columns[found.levels[worst]].name})."
        )
        picture = charts.draw_reliability(
            found.predicted.numpy(), found.observed.numpy(), found.cases.numpy()
        )
        section["levels"] = _chart(picture, told)
    return section


def _pixels(portrait: Portrait) -> int:
    """Return how many values an image has that is one plane; 0 for one of several channels."""
    shape = _plane(portrait)
    if len(shape) != 2:
        return 0
    return shape[0] * shape[1]


def _plane(portrait: Portrait) -> tuple[int, ...]:
    """Return the shape of an image."""
    if isinstance(portrait.blocks, Absent):
        return ()
    return tuple(portrait.blocks.means.shape[1:])


def _heat(values: Array, told: str) -> Section:
    """Return an image of numbers with its range."""
    low, high = _number(values.min()), _number(values.max())
    return {
        "src": heat(values),
        "told": f"{told}: {low} (dark) to {high} (light).",
        "alt": f"{told}, from {low} to {high}.",
    }


def _noise(portrait: Portrait, found: NoiseLevel) -> Section:
    """Show the noise of each feature."""
    beta, look = found.beta, portrait.look
    if len(beta) == 1 or np.ptp(beta) < 1e-9 * beta.max():
        return {
            "told": f"One β for all features: {beta[0]:.4g} in the units of the data "
            f"({found.kind})."
        }
    if look.images and len(beta) == _pixels(portrait):
        return {
            "told": f"β of each pixel ({found.kind}).",
            "heat": _heat(beta.reshape(_plane(portrait)), "β of each pixel"),
        }
    names = [column.name for column in look.columns] or [f"{j}" for j in range(len(beta))]
    told = [_number(value) for value in beta]
    return {
        "told": f"β of each feature ({found.kind}).",
        "chart": _chart(
            charts.draw_by_feature(found.share, told, names),
            "How much of each feature is noise; beside the bars, β in its own units.",
        ),
    }


# -- columns


def _synthetic(found: Synthetic, look: Look) -> Section:
    """Show columns of the data beside those of samples."""
    section: Section = {
        "rows": found.rows,
        "which": found.which,
        "left": found.left,
        "marginals": [
            _chart(charts.draw_marginal(part, look.columns[part.column]))
            for part in found.marginals
        ],
        "pairs": [
            _chart(
                charts.draw_pair(part, look.columns),
                f"Correlation {_number(round(part.correlation[0], 2))} in the data, "
                f"{_number(round(part.correlation[1], 2))} in samples.",
            )
            for part in found.pairs
        ],
    }
    if len(found.correlations) > 2:
        section["correlations"] = _chart(
            charts.draw_correlations(found.correlations),
            f"Correlations of {len(found.correlations):,} pairs of columns.",
        )
    return section


def _missing(found: Missing, look: Look) -> Section:
    """Show what is missing."""
    return {
        "lead": f"{found.incomplete:,} of {found.rows:,} rows {found.which} lack at least one "
        "value.",
        "chart": _chart(
            charts.draw_missing(found.share, look.columns), "Share of values that are missing."
        ),
    }


def _number(value: float) -> str:
    """Return a number in a few digits."""
    value = float(value) + 0.0  # -0 is 0
    if not math.isfinite(value):
        return "–"
    text = f"{value:.4g}"
    if abs(value) >= 1000:
        text = f"{value:,.0f}"
    return text.replace("-", "−")
