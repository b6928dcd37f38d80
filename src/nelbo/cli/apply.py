"""`nelbo evaluate | score | encode | reconstruct | sample`: a RUN at work on data."""

from __future__ import annotations

__all__ = ["encode", "evaluate", "reconstruct", "sample", "score"]

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from . import conditions, files, progress, show
from . import given as known
from .flags import (
    WHOLE,
    Device,
    Flag,
    Json,
    Limits,
    Overwrite,
    Quiet,
    Run,
    check_seed,
    check_which,
    visible,
)
from .mixed import write_frame
from .reading import Data, ReadOptions

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..fitted import Chosen, Fitted
    from ..fitted.by_column import ByColumn


def evaluate(
    run: Run,
    data: str,
    *,
    method: str = "auto",
    samples: Annotated[int | None, WHOLE] = None,
    tolerance: float | None = None,
    temperatures: Annotated[int | None, WHOLE] = None,
    simulated: Annotated[int, WHOLE] = 0,
    memory: Annotated[int, WHOLE] = 256,
    seed: Annotated[int, WHOLE] = 0,
    rows: str | None = None,
    out: str | None = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    device: Device = "auto",
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
) -> None:
    """Estimate log p(x) of DATA under the model in RUN: the mean with its standard error, and how
    far to trust it.

    Parameters
    ----------
    data
        The rows to evaluate: as for fit, or - for standard input.
    method
        exact (for linear decoders), quadrature (for 1 or 2 latent dimensions), importance
        (sampling), ais (annealed importance sampling), or auto: exact or quadrature where that is
        cheap, else samples, more of them and at last ais for the rows whose estimate is unreliable.
    samples
        Importance samples per row, 200 by default; for ais the number of chains, 16 by default.
    tolerance
        Standard error of each row that --method auto aims at, in nats, 0.5 by default: rows above
        it get more samples, or a better method.
    temperatures
        Number of temperatures of ais, 200 by default.
    simulated
        Also bound log p(x) from below and above on this many rows simulated from the model
        (bidirectional Monte Carlo).
    memory
        Memory for intermediate results, in MiB.
    seed
        Seed of all samples.
    rows
        Which rows of DATA: held-out, trained or all. By default those that the model was not
        trained on, where DATA holds both.
    out
        Also write log p(x) of each of these rows to an .npy, .csv or .parquet file: columns log_p,
        standard_error, effective_samples, khat (Pareto k), unreliable and trained_on (0 or 1), in
        .csv and .parquet after row (counting from 0) and file (of pictures).
    """
    import numpy as np

    from ..fitted.measure import baseline, bracket, density
    from ..plain import plain

    files.check_output(out, overwrite)
    check_which(rows)
    _check_numbers({"samples": samples, "temperatures": temperatures, "memory": memory}, 1)
    _check_numbers({"simulated": simulated}, 0)
    check_seed(seed)
    _check_tolerance(tolerance, method)
    annealing: dict[str, Any] = {"memory": memory * 2**20}
    if temperatures is not None:
        annealing["temperatures"] = temperatures
        if method != "ais" and not simulated:
            raise ValueError(f"--temperatures belongs to --method ais, got --method {method}.")
    settings = annealing
    if method != "ais":
        samples, settings = samples or 200, {"memory": annealing["memory"]}
    model, source = _open(run, data, device, reading)
    chosen = model.choose(source.values, rows)
    taken, trapped = source.values[chosen.mask], None
    with progress.shown(quiet):
        found = model.log_likelihood(taken, method, samples, seed, tolerance=tolerance, **settings)
        if simulated:
            trapped = bracket(model.bidirectional(simulated, seed, **annealing))
    judged, linear = density(found, model.schema), baseline(model, taken, found)
    if out is not None:
        per_row = {
            "log_p": found.value,
            "standard_error": found.standard_error,
            "effective_samples": found.ess,
            "khat": found.khat,
            "unreliable": found.unreliable.astype(np.int64),
        }
        files.write_results(out, source, per_row | _seen(chosen), chosen.mask)
    said = [text for text in (chosen.sentence(data, found.value),) if text]
    if as_json:
        whole = {
            "run": run,
            "data": data,
            **plain(judged),
            "warnings": [*said, *judged.warnings()],
            "out": out,
            "known_rows": chosen.to_dict(),
            "baseline": plain(linear),
            "simulated": plain(trapped),
        }
        text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        text = show.density(judged, linear, said, model.condition is not None)
        if trapped is not None:
            text += show.bracket(trapped)
    print(visible(text), end="")


def score(
    run: Run,
    data: str,
    *,
    samples: Annotated[int, WHOLE] = 200,
    bound: str | None = None,
    by_column: Flag = False,
    tolerance: float | None = None,
    rows: str = "all",
    out: str | None = None,
    overwrite: Overwrite = False,
    quiet: Flag = False,
    device: Device = "auto",
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
) -> None:
    """Write log p(x) of every row of DATA, in nats, or a lower bound on it.

    One number goes to each line, or, with its standard error, into --out. How many of the rows are
    unreliable, and how many were trained on, is printed on standard error.

    Parameters
    ----------
    data
        The rows to score: as for fit, or - for standard input.
    samples
        Importance samples per row.
    bound
        Write the ELBO instead: encoder is that of q(z|x); refined is that of a normal fitted to
        each row's posterior, where that is better, and is closer to log p(x).
    by_column
        Write what each column adds to log p(x), too, and what z does: E[log p(x_j|z)] over p(z|x),
        and -KL(p(z|x) || p(z)). They sum to log p(x).
    tolerance
        Standard error of each row that is asked for, in nats: rows above it, and unreliable ones,
        get more samples, or a better method, as by evaluate --method auto.
    rows
        Which rows of DATA: held-out, trained or all.
    out
        File to write: .csv or .parquet with columns row (counting from 0), file (of pictures),
        log_p, standard_error, unreliable (1 for rows whose estimate is) and trained_on (1 for rows
        that were), or .npy with log p(x) alone. With --bound, elbo takes the place of log_p,
        standard_error and unreliable.
    quiet
        Print nothing but numbers and errors.
    """
    import numpy as np

    files.check_output(out, overwrite)
    check_which(rows)
    _check_bound(bound)
    _check_tolerance(tolerance)
    if bound is not None and tolerance is not None:
        raise ValueError("--tolerance is for log p(x), not for --bound: leave one of them out.")
    if by_column and (bound is not None or tolerance is not None):
        raise ValueError("--by-column is for log p(x) as it is: leave --bound and --tolerance out.")
    model, source = _open(run, data, device, reading)
    chosen = model.choose(source.values, rows)
    taken = source.values[chosen.mask]
    if by_column:
        with progress.shown(quiet):
            terms = model.by_column(taken, samples)
        if not quiet:
            show.notes(chosen.sentence(data, terms.total))
        _write_terms(out, source, chosen, terms)
        return
    if bound is not None:
        with progress.shown(quiet):
            nats = model.elbo(taken, refined=bound == "refined")
        if not quiet:
            show.notes(chosen.sentence(data, nats))
        _write_rows(out, source, chosen, {"elbo": nats})
        return
    with progress.shown(quiet):
        method = model.plain_method(taken)
        if tolerance is not None:
            method = "auto"
        found = model.log_likelihood(taken, method, samples, tolerance=tolerance)
    if not quiet:
        show.notes(
            chosen.sentence(data, found.value),
            found.reason or show.unreliable(found.unreliable, run, data),
        )
    per_row = {"log_p": found.value, "standard_error": found.standard_error}
    per_row |= {"unreliable": found.unreliable.astype(np.int64)}
    _write_rows(out, source, chosen, per_row)


def _write_terms(out: str | None, source: Data, chosen: Chosen, terms: ByColumn) -> None:
    """Write what columns add to log p(x) of the chosen rows, a column for each."""
    found = {"log_p": terms.total}
    found |= {name: terms.value[:, j] for j, name in enumerate(terms.columns)}
    found["z"] = terms.of_z
    if out is None:
        import numpy as np

        files.write_rows(None, np.stack([*found.values()], axis=1), [*found])
        return
    files.write_results(out, source, found, chosen.mask)


def _write_rows(
    out: str | None, source: Data, chosen: Chosen, per_row: dict[str, npt.NDArray[Any]]
) -> None:
    """Write numbers of the chosen rows to a file.

    The first of them goes alone to an .npy, or to standard output.
    """
    name = next(iter(per_row))
    if out is None or Path(out).suffix.lower() == ".npy":
        files.write_rows(out, per_row[name], (name,), header=False)
        return
    files.write_results(out, source, {**per_row, **_seen(chosen)}, chosen.mask)


def _seen(chosen: Chosen) -> dict[str, npt.NDArray[Any]]:
    """Return which of the chosen rows were trained on, as a column, where that is known."""
    if chosen.seen is None:
        return {}
    return {"trained_on": chosen.seen[chosen.mask].astype("int64")}


def encode(
    run: Run,
    data: str,
    *,
    out: str | None = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    device: Device = "auto",
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
) -> None:
    """Write the latent means E[z|x] of every row of DATA.

    Parameters
    ----------
    data
        The rows to encode: as for fit, or - for standard input.
    out
        File to write: .npy, .csv or .parquet. Without it, CSV goes to standard output.
    """
    files.check_output(out, overwrite)
    model, source = _open(run, data, device, reading)
    with progress.shown(quiet):
        latents, _ = model.encode(source.values)
    files.write_rows(
        out, latents, [f"z{j}" for j in range(latents.shape[1])], lead=files.named(source)
    )


def reconstruct(
    run: Run,
    data: str,
    *,
    out: str | None = None,
    noise: bool = False,
    seed: Annotated[int, WHOLE] = 0,
    limits: Limits = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    device: Device = "auto",
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
) -> None:
    """Encode and decode every row of DATA, and write the result in data units.

    Parameters
    ----------
    data
        The rows to reconstruct: as for fit, or - for standard input.
    out
        File to write: .npy, .csv or .parquet; or, without a suffix, a folder of PNGs under the
        names of the pictures in DATA. Without it, CSV goes to standard output.
    noise
        Draw from p(x|z) instead of writing its mean.
    seed
        Seed of that noise.
    """
    check_seed(seed)
    files.check_output(out, overwrite, pictures=True)
    model, source = _open(run, data, device, reading)
    shown = _limits(model, out, limits)
    with progress.shown(quiet):
        rows = model.reconstruct(source.values, noise, seed)
    _write(model, out, rows, shown or _span(source.values.array, "DATA"), source)


def sample(
    run: Run,
    *,
    count: Annotated[int | None, WHOLE, Parameter(name=("--count", "-n"))] = None,
    condition: str | None = None,
    given: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    noise: bool = True,
    with_missing: Flag = False,
    seed: Annotated[int, WHOLE] = 0,
    out: str | None = None,
    quality: str | None = None,
    target: str | None = None,
    limits: Limits = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    device: Device = "auto",
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
) -> None:
    """Draw new rows from the model in RUN, in data units.

    Parameters
    ----------
    count
        Number of rows, 100 by default, or as many as there are conditions in a file.
    condition
        What rows are conditioned on, for a model that was fitted with --condition: name=value,
        separated by commas, such as label=3, or a file that holds those columns, one row for each
        to draw.
    given
        Values of some columns of a table that all rows are to have: column=value, one or several,
        such as --given age=40 sex=Female. How many effective draws stand behind the rows is told;
        values that hardly occur under the model are refused.
    noise
        Draw x from p(x|z); --no-noise writes its mean f(z) instead.
    with_missing
        Leave values missing as they are in the rows fitted.
    seed
        Seed of the draw.
    out
        File to write: .npy, .csv or .parquet; or, without a suffix, a folder of PNGs. Without it,
        CSV goes to standard output.
    quality
        Rows of data, as for fit, best those of the fit and others: tell how like them the drawn
        rows are, and whether they are copies. Without --out that goes to standard error.
    target
        With --quality, the column whose prediction is to show what the drawn rows are good for.
    """
    _check_sample(count, target, quality, given, with_missing)
    check_seed(seed)
    files.check_output(out, overwrite, pictures=True)
    model = files.open_model(run, device)
    if with_missing and model.missing_given_z is None:
        raise ValueError(
            f"--with-missing: no values were missing in the rows that {run} was fitted to, or it "
            "was written before that was remembered. Leave it out."
        )
    c = conditions.read(model, condition)
    if count is None:
        count = conditions.rows(c)
    values = known.read(model, given)
    shown, judge = _limits(model, out, limits), None
    if quality is not None:
        judge = files.read_for(model, quality, reading).values
        model.check_quality(judge, target)
    with progress.shown(quiet):
        if values is None:
            rows = model.sample(count, noise, seed, c, missing=with_missing)
        else:
            rows = known.drawn(model, values, count, noise, seed, c, quiet)
    if shown is None:
        shown = _span(model.sample(count, False, seed, c), "their means")
    _write(model, out, rows, shown, exact=values is not None)
    if judge is not None:
        found = model.quality(judge, rows, target, seed)
        print(visible(str(found)), file=sys.stdout if out else sys.stderr)


def _check_sample(
    count: int | None,
    target: str | None,
    quality: str | None,
    given: list[str] | None,
    with_missing: bool,
) -> None:
    """Refuse options that do not go together, before a model is read."""
    if target is not None and quality is None:
        raise ValueError("--target belongs to --quality: name the rows of data, too.")
    if count is not None and count < 1:
        raise ValueError(f"--count must be at least 1, got {count}.")
    if given is not None and quality is not None:
        raise ValueError("--quality judges rows of all kinds: leave --given out, or it.")
    if given is not None and with_missing:
        raise ValueError("--with-missing draws whole rows with holes: leave --given out, or it.")


def _check_bound(bound: str | None) -> None:
    """Refuse what --bound does not take, before anything is read."""
    if bound not in (None, "encoder", "refined"):
        raise ValueError(f"--bound must be encoder or refined, got {bound!r}.")


def _check_numbers(given: dict[str, int | None], least: int) -> None:
    """Refuse numbers that are too small, before a model or data are read."""
    for name, value in given.items():
        if value is not None and value < least:
            need = {0: "0 or more", 1: "at least 1"}[least]
            raise ValueError(f"--{name} must be {need}, got {value}.")


def _check_tolerance(tolerance: float | None, method: str = "auto") -> None:
    """Refuse a standard error that nothing could reach, before a model or data are read."""
    if tolerance is not None and method != "auto":
        raise ValueError(f"--tolerance belongs to --method auto, got --method {method}.")
    if tolerance is not None and not 0 < tolerance < math.inf:
        raise ValueError(f"--tolerance must be a positive number of nats, got {tolerance}.")


def _open(run: str, data: str, device: str, reading: ReadOptions) -> tuple[Fitted, Data]:
    model = files.open_model(run, device)
    return model, files.read_for(model, data, reading)


def _limits(model: Fitted, out: str | None, limits: str | None) -> tuple[float, float] | None:
    """Return what PNGs show as black and white, None where that depends on the values.

    Raises:
        ValueError: --range cannot be read, or the model's rows are not pictures.
    """
    schema = model.schema
    if out is None or Path(out).suffix:
        return 0.0, 1.0
    if schema.kind != "images" or (schema.layout != "hw" and schema.shape[0] not in (1, 3, 4)):
        raise ValueError(
            f"--out {out} would be a folder of PNGs, but this model's rows are not. Write .npy, "
            ".csv or .parquet."
        )
    if limits is None:
        if schema.discrete:
            return -0.5, 255.5
        if schema.dequantize:
            return 0.0, 1.0
        return None
    try:
        low, high = (float(part) for part in limits.split(","))
    except ValueError:
        raise ValueError(f"--range must be LOW,HIGH, such as 0,1, got {limits!r}.") from None
    if not low < high:
        raise ValueError(f"--range must be LOW,HIGH with LOW below HIGH, got {limits!r}.")
    return low, high


def _span(values: npt.NDArray[Any], what: str) -> tuple[float, float]:
    """Return the least and the largest value, and say that PNGs show them as black and white."""
    low, high = float(values.min()), float(values.max())
    if high == low:
        high = low + 1
    print(
        f"nelbo: PNGs show {low:g} as black and {high:g} as white, the least and largest value of "
        f"{what}; --range LOW,HIGH sets others.",
        file=sys.stderr,
    )
    return low, high


def _write(
    model: Fitted,
    out: str | None,
    rows: npt.NDArray[Any],
    limits: tuple[float, float],
    source: Data | None = None,
    exact: bool = False,
) -> None:
    """Write rows in data units, under the names of the pictures that they were made from.

    Arguments:
        model: The model.
        out: The file or the folder; None is standard output.
        rows: The rows.
        limits: What pictures show as black and white.
        source: What they were made from, if anything.
        exact: Whether values are ones that columns of different kinds can have, as they are.
    """
    from ..data import to_uint8

    schema, pictures_of, lead = model.schema, None, None
    if schema.table is not None:
        frame = schema.table.decode(rows, library="pyarrow", exact=exact)
        sys.stdout.writelines(map(visible, write_frame(out, frame)))
        return
    if source is not None:
        pictures_of, lead = source.files, files.named(source)
    if out is not None and not Path(out).suffix:
        pictures = to_uint8((rows - limits[0]) / (limits[1] - limits[0]))
        if schema.layout == "chw":
            pictures = pictures.transpose(0, 2, 3, 1)
        if pictures.ndim == 4 and pictures.shape[-1] == 1:
            pictures = pictures.squeeze(-1)
        files.write_pictures(out, pictures, pictures_of)
        return
    names = schema.columns or [f"x{j}" for j in range(schema.n_features)]
    files.write_rows(out, rows, names, lead=lead)
