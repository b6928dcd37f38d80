"""`nelbo fit`: data in, a model, its numbers, a picture and a report out."""

from __future__ import annotations

__all__ = ["fit"]

import contextlib
import dataclasses
import json
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ..whole import write_file
from . import config as toml
from . import files, heavy, progress, show
from .flags import Flag, in_flags, visible
from .interrupt import Terminated, raising
from .mixed import Kinds
from .options import FitOptions
from .reading import ReadOptions

if TYPE_CHECKING:
    from ..data import TableSchema, Values
    from ..estimator import VariationalAutoencoder
    from ..evaluate import Scores
    from ..fitted import Fitted
    from ..fitted.summary import Summary

PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts to save a model; a disk may be full for a moment only."""


def fit(
    data: str,
    *,
    out: Annotated[str | None, Parameter(alias="-o")] = None,
    options: FitOptions = FitOptions(),  # noqa: B008 (frozen)
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
    config: str | None = None,
    explain: Flag = False,
    overwrite: Flag = False,
    resume: Flag = False,
    no_report: Flag = False,
    quiet: Flag = False,
    as_json: Annotated[Flag, Parameter(name="--json")] = False,
) -> None:
    """Fit a model to DATA, save it in RUN, and compare it with exact pPCA on held-out rows.

    Ctrl-C or SIGTERM saves the state of training in RUN.partial; the same command with --resume
    goes on from there. That state is removed once the model is saved in RUN.

    Parameters
    ----------
    data
        A built-in name (digits), an .npy, .npz, .csv or .parquet file, a folder of images, or - for
        standard input.
    out
        RUN, the folder to write the model, its results and a report to. [required, but for
        --explain]
    config
        TOML file of options, such as the run.toml in a RUN; the command line wins.
    explain
        Print what would be done with DATA, and why, and train nothing.
    overwrite
        Replace RUN if it exists.
    resume
        Go on with an interrupted fit, if there is one.
    no_report
        Leave out report.html and picture.png, which take a second or two: for many fits in turn.
    quiet
        Print nothing but errors (and, with --json, the results).
    as_json
        Print the results as one JSON object.
    """
    if explain:
        return _explain(data, options, reading, quiet, as_json)
    if out is None:
        raise ValueError(
            "--out is missing. Name a folder RUN to write to, such as --out runs/first, or pass "
            "--explain. See: nelbo fit --help"
        )
    run = Path(out)
    if run.name in ("", ".."):
        raise ValueError(
            f"--out {out} is no name for a new folder. Name one to make, such as runs/first."
        )
    partial = run.with_name(f"{run.name}.partial")
    options.check()
    options = options.resolved()
    heavy.load()
    from ..checkpoint import locked

    raising()
    with locked(partial):
        before = _identity(run)
        try:
            _check_free(run, partial, overwrite, resume)
            fitted = _fit(data, run, partial, options, reading, overwrite, resume, quiet)
            _report(*fitted, run, data, options, quiet, as_json, no_report)
        except KeyboardInterrupt as stop:
            raise type(stop)(_what_is_left(stop, run, before, partial)) from None


def _explain(
    data: str, options: FitOptions, reading: ReadOptions, quiet: bool, as_json: bool
) -> None:
    """Print what would be done with some data, and why."""
    options.check()
    options = options.resolved()
    heavy.load()
    raising()
    notes: list[str] = []
    with _noted(notes, quiet):
        train, held_out, _ = _rows(data, options, reading)
        found = options.estimator().explain(train)
    kept = 0 if held_out is None else len(held_out)
    if as_json:
        whole = {
            "data": data,
            "training_rows": len(train),
            "held_out": kept,
            "recipe": dict(found),
            "warnings": notes,
        }
        print(visible(json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)))
        return
    shape = " × ".join(map(str, train.shape[1:]))
    told = f"{data}: {len(train):,} rows of {shape} to train on, {kept:,} to hold out"
    print(visible("\n\n".join(filter(None, [told, _columns(train.table), str(found)]))))


def _fit(
    data: str,
    run: Path,
    partial: Path,
    options: FitOptions,
    reading: ReadOptions,
    overwrite: bool,
    resume: bool,
    quiet: bool,
) -> tuple[Fitted, Values, Values | None, tuple[str, ...]]:
    """Fit and save; return the model, its rows, those held out, and what is to be known of them."""
    from ..checkpoint import exists, remove_folder

    notes: list[str] = []
    with _noted(notes, quiet):
        train, held_out, test = _rows(data, options, reading)
    if test is not None and held_out is not None:
        held_out, repeated = _only_new(train, held_out, quiet)
        notes += repeated
    estimator = options.estimator(checkpoint_dir=partial, progress=not quiet)
    if not resume and exists(partial):
        remove_folder(partial)
    with _noted(notes, quiet):
        estimator.fit(train)
    model = estimator.fitted_.with_baseline(train)
    if held_out is not None and (test is None or not model.trained_on(held_out).all()):
        model = model.with_held_out(held_out)
    estimator.fitted_ = model
    text = {"run.toml": toml.to_toml(data, options, reading)}
    if model.schema.table is not None:
        text["schema.toml"] = model.schema.table.to_toml()
    _save(estimator, run, overwrite, text, partial)
    if not quiet and held_out is not None:
        told = f"Saved in {run}. Measuring log p(x) of {len(held_out):,} held-out rows ..."
        print(visible(told), file=sys.stderr, flush=True)
    return model, train, held_out, tuple(notes)


def _save(
    model: VariationalAutoencoder, run: Path, overwrite: bool, text: dict[str, str], partial: Path
) -> None:
    """Save the model in RUN; where the system goes on refusing, save it elsewhere, and say where.

    Raises:
        OSError: It is not in RUN; the message says where it is, and what to do.
    """
    from ..checkpoint import CheckpointWriteError
    from ..training import deferred

    for pause in (*PAUSES, None):
        try:
            with deferred():  # Ctrl-C waits for the end of a save
                model.save(run, overwrite=overwrite, extra_text=text)
            model.checkpoint_dir = None
            return
        except CheckpointWriteError as error:
            why = error
        if pause is not None:
            time.sleep(pause)
    model.checkpoint_dir = None  # whose state stays, until the model is where it belongs
    again = (
        "Free some space and run the same command with --resume: the state of training "
        f"is in {partial}."
    )
    for folder in (tempfile.gettempdir(), os.path.expanduser("~")):
        elsewhere = Path(folder, f"nelbo-{run.name}-{os.getpid()}")
        try:
            model.save(elsewhere, overwrite=True, extra_text=text)
        except (OSError, ValueError):
            continue
        left = (
            again
            if _manifest(partial).exists()
            else f"Move it where it belongs: mv {elsewhere} {run}"
        )
        raise OSError(
            f"{_refusal(run, why)} The model is saved in {elsewhere} instead. {left}"
        ) from why
    if _manifest(partial).exists():
        raise OSError(f"{_refusal(run, why)} {again}") from why
    raise OSError(
        f"{_refusal(run, why)} Nor could it anywhere else: free some space and fit again."
    ) from why


def _refusal(run: Path, why: OSError) -> str:
    return (
        f"The model is trained, but could not be saved in {run}: "
        f"{os.strerror(why.errno) if why.errno else why}."
    )


def _report(
    model: Fitted,
    train: Values,
    held_out: Values | None,
    notes: tuple[str, ...],
    run: Path,
    data: str,
    options: FitOptions,
    quiet: bool,
    as_json: bool,
    plain: bool,
) -> None:
    """Measure the saved model, show it, and print what came out."""
    from ..fitted.summary import measure

    for stale in (_results_file(run), *_drawn(run)):  # of a run that was here before
        stale.unlink(missing_ok=True)
    with progress.shown(quiet):
        summary, scores = measure(model, train, held_out, options.samples, notes)
    missing = ""
    if not plain:
        missing = _draw(model, train, held_out, run, data, summary, scores)
    results = _results(summary, data, run, options, missing)
    refused = _refusal_of(_results_file(run), results)
    if missing and not quiet:
        print(visible(f"nelbo: {missing}"), file=sys.stderr)
    if as_json:
        print(visible(results), end="")
    elif not quiet:
        columns = _columns(model.schema.table)
        print(visible(show.fit(summary, data, options, _written(run), columns)), end="")
    if refused is not None:
        raise OSError(
            f"{_results_file(run)} could not be written: {refused.strerror or refused}. The model "
            f"is saved in {run}; its numbers stand above."
        )


def _columns(table: TableSchema | None) -> str:
    """Say what each column is, where they are of different kinds."""
    if table is None:
        return ""
    return str(table)


def _draw(
    model: Fitted,
    train: Values,
    held_out: Values | None,
    run: Path,
    data: str,
    summary: Summary,
    scores: Scores | None,
) -> str:
    """Write the picture and the report, and return why there is none, where there is none."""
    from ..fitted.portrait import portray_fit
    from ..picture import write_picture
    from ..report import write_report

    title = os.path.basename(data.rstrip("/")) or data
    later = f"nelbo report {run} looks for what is wrong with it."
    picture, page, _ = _drawn(run)
    try:
        write_picture(picture, model, train, held_out, summary, title=title)
    except (ImportError, OSError) as error:
        return f"No picture and no report were written: {error}"
    try:
        found = portray_fit(model, train, held_out, summary, scores, title, later)
        write_report(page, found)
    except (ImportError, OSError) as error:
        return f"No report was written: {error}"
    return ""


def _refusal_of(path: Path, text: str) -> OSError | None:
    """Write a text to a file, and return why that is refused, where it is."""
    try:
        write_file(path, lambda file: file.write(text.encode(errors="backslashreplace")))
    except OSError as error:
        return error
    return None


def _results(summary: Summary, data: str, run: Path, options: FitOptions, missing: str) -> str:
    found = summary.to_dict()
    found["warnings"] = [text for text in (*summary.warnings, missing) if text]
    written = [*_written(run), str(_results_file(run))]
    whole = {
        "data": data,
        "run": str(run),
        "test": options.test,
        **found,
        "files": sorted(set(written)),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _written(run: Path) -> list[str]:
    """The files of a RUN, those that other people put there left out."""
    listed = json.loads(_manifest(run).read_text(encoding="utf-8"))["files"]
    ours = {*(run / name for name in listed), _results_file(run), *_drawn(run), _manifest(run)}
    return [str(path) for path in sorted(ours) if path.exists()]


# -- rows
# --------------------------------------------------------------------------------------------


def _rows(
    data: str, options: FitOptions, reading: ReadOptions
) -> tuple[Values, Values | None, Values | None]:
    """Read DATA; return the rows to train on, those to be held out, and those of --test."""
    model, schema = options.estimator(), None
    if model.looks_for_kinds:
        schema = options.schema
    kinds = Kinds(schema, options.columns(), options.missing_values != "refuse")
    with model.numbers_alone():
        values = files.read(data, reading, kinds).values
    test = None
    if options.test is not None:
        kinds = dataclasses.replace(kinds, schema=values.table)
        test = _read_test(options.test, values, reading, kinds)
    return *_split(values, test, options), test


def _read_test(where: str, rows: Values, reading: ReadOptions, kinds: Kinds) -> Values:
    test = files.read(where, reading, kinds).values
    if test.shape[1:] != rows.shape[1:]:
        raise ValueError(
            f"--test {where} has rows of shape {test.shape[1:]}, but DATA has "
            f"{rows.shape[1:]}. "
            "Pass data with the same columns."
        )
    if None not in (test.columns, rows.columns) and test.columns != rows.columns:
        raise ValueError(
            f"--test {where} has other columns than DATA. Pass the same columns in the same order."
        )
    return test


def _only_new(train: Values, test: Values, quiet: bool) -> tuple[Values, list[str]]:
    """Return the rows of --test that were not trained on, and what there is to say about them.

    Where all of them were trained on, all are returned.
    """
    from ..data.known import KnownRows

    seen = KnownRows.of(_flat(train)).fitted_to(_flat(test))
    if not seen.any():
        return test, []
    told = f"All {len(test):,} rows of --test are rows of DATA, and trained on."
    if not seen.all():
        told = (
            f"{int(seen.sum()):,} of the {len(test):,} rows of --test are rows of DATA, too, and "
            "trained on: the model "
            f"is judged by the other {int((~seen).sum()):,}."
        )
    if not quiet:
        print(visible(f"nelbo: {told}"), file=sys.stderr, flush=True)
    return (test, []) if seen.all() else (test[~seen], [told])


def _flat(values: Values) -> Any:
    return values.array.reshape(len(values), -1)


def _split(
    values: Values, test: Values | None, options: FitOptions
) -> tuple[Values, Values | None]:
    """Part the rows by the seed: those to train on, and those never seen in training."""
    import numpy as np

    if test is not None:
        return values, test
    n = len(values)
    if not options.held_out or n < 3:
        return values, None
    count = min(max(math.ceil(options.held_out * n), 1), n - 2)
    order = np.random.default_rng([options.seed, 2]).permutation(n)
    return values[np.sort(order[count:])], values[np.sort(order[:count])]


# -- refusals, warnings and interruptions
# ------------------------------------------------------------


def _check_free(run: Path, partial: Path, overwrite: bool, resume: bool) -> None:
    """Refuse what could not be written, before hours of training."""
    from ..checkpoint import check_free, exists

    if exists(run) and run.is_dir() and not overwrite:
        raise ValueError(
            f"--out {run} exists. Choose another name, or replace it with --overwrite."
        )
    if exists(partial):
        if not _manifest(partial).exists():
            raise ValueError(
                f"{partial} is in the way and was not written by nelbo. Move it, or choose another "
                "--out."
            )
        if not (resume or overwrite):
            raise ValueError(
                f"{partial} holds an interrupted fit. Go on with --resume, or start anew and "
                "delete it with "
                "--overwrite."
            )
    check_free(run, overwrite)


@contextlib.contextmanager
def _noted(notes: list[str], quiet: bool) -> Iterator[None]:
    """Collect warnings as plain text, each once, and show them on standard error as they come."""

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        text = in_flags(" ".join(str(message).split()), FitOptions)
        if text not in notes:
            notes.append(text)
            if not quiet:
                print(visible(f"nelbo: {text}"), file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = note
        yield


def _identity(run: Path) -> tuple[int, int] | None:
    """Tell one saved model in RUN from the next."""
    try:
        found = _manifest(run).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _what_is_left(
    stop: KeyboardInterrupt, run: Path, before: tuple[int, int] | None, partial: Path
) -> str:
    how = "Terminated" if isinstance(stop, Terminated) else "Interrupted"
    if _identity(run) not in (None, before):
        return (
            f"{how} after the model was saved in {run}; measure it with: nelbo evaluate {run} DATA"
        )
    if _manifest(partial).exists():
        return (
            f"{how}; the state of training is saved in {os.fspath(partial)}. Go on with "
            "the same command and --resume."
        )
    return f"{how} before there was anything to save."


def _manifest(run: Path) -> Path:
    """Return the file that lists all others of a run, and is there once it is whole."""
    return run / "manifest.json"


def _results_file(run: Path) -> Path:
    return run / "results.json"


def _drawn(run: Path) -> tuple[Path, Path, Path]:
    """Return the picture of a run, its report, and the numbers of that."""
    return run / "picture.png", run / "report.html", run / "report.json"
