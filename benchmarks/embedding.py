r"""What z says of ten tables: the default beside principal components, held out.

Tables: wine, iris, breast_cancer, digits (flattened) and diabetes of scikit-learn; wine_red and
concrete of UCI; all rows of satellite, cardio and vowels of ADBench. Columns that never vary are
left out, and values that repeat are spread as `benchmarks.tables` spreads them (``--raw``: both as
they are, where a density of repeated values has no bound).

Splits: 60 % to fit and 40 % to judge, five times. Latents: 2, 4 and 8, where the table has more
columns than that.
R²        of `reconstruct`: 1 - squared errors / squared distances from the training mean, in
columns
          standardised by the training rows, pooled over rows and columns
5-NN      accuracy of five nearest neighbours on z, z of training rows as reference, where the table
          has classes
log p     nats per row, in the units of the data; of PCA by its `score_samples` (probabilistic PCA
in
          closed form) on standardised columns, with the Jacobian counted

Differences are paired by split. A row holds where R² and accuracy are at least PCA's minus 0.02,
and log p is at least pPCA's, each within two standard errors.
"""

from __future__ import annotations

import argparse
import ast
import math
import multiprocessing
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from ._common import data_file, kept, machine, report
from .tables import noised

Array = np.ndarray[Any, Any]
TABLES = {
    "wine": "",
    "iris": "",
    "breast_cancer": "",
    "digits": "",
    "diabetes": "",
    "wine_red": "tables/wine_red.csv",
    "concrete": "tables/concrete.csv",
    "satellite": "adbench/30_satellite.npz",
    "cardio": "adbench/6_cardio.npz",
    "vowels": "adbench/40_vowels.npz",
}
CLASSES = ("wine", "iris", "breast_cancer", "digits")
LATENTS, SPLITS = (2, 4, 8), (0, 1, 2, 3, 4)
MEASURES = ("R²", "5-NN", "log p")
LOSSES = (0.02, 0.02, 0.0)
"""What each measure may be behind PCA's."""
HEAD = (
    *("table", "rows", "columns", "q"),
    *(cell for name in MEASURES for cell in (name, f"PCA {name}", f"{name} gain", f"{name} s.e.")),
    *("holds", "fails", "kept start", "seconds to fit"),
)


class Job(NamedTuple):
    """One fit: a table, how many latents, a split, whether values are as they are,
    and the estimator's arguments.
    """

    table: str
    latents: int
    split: int
    raw: bool
    arguments: dict[str, Any]


class Outcome(NamedTuple):
    """What came of a job:
    each of `MEASURES` of ours and of PCA, whether the start was kept, and seconds.
    """

    job: Job
    shape: tuple[int, ...]
    ours: list[float]
    theirs: list[float]
    kept_start: bool
    seconds: float


def main() -> None:
    """Fit what is asked for, in several processes,
    and write a line for each table and number of latents.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--latents", type=int, nargs="+", default=list(LATENTS))
    parser.add_argument("--splits", type=int, nargs="+", default=list(SPLITS))
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with one thread")
    parser.add_argument(
        "--raw", action="store_true", help="repeated values and constant columns as they are"
    )
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="arguments of the estimator"
    )
    options = parser.parse_args()
    arguments = dict(map(argument, options.set))
    trial = bool(arguments) or options.raw or tuple(options.splits) != SPLITS
    before, old = machine(), {} if trial else kept("embedding", HEAD, 4)
    rows = {(row[0], row[3]): row for row in old.values()}
    jobs = [
        Job(name, latents, split, options.raw, arguments)
        for name in options.only
        for latents in options.latents
        if latents < read(name, options.raw)[0].shape[1]
        for split in options.splits
    ]
    for outcomes in finished(jobs, options.jobs):
        row = summary(outcomes)
        rows[row[0], row[3]] = row
        print(*(f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row), flush=True)
    done = [
        rows[name, q] for name in TABLES for q in sorted({q for _, q in rows}) if (name, q) in rows
    ]
    failing = sum(row[HEAD.index("holds")] != "yes" for row in done)
    report(
        "embedding", HEAD, done, before, quick=trial,
        splits=options.splits, arguments=arguments, raw=options.raw, failing=failing,
    )  # fmt: skip


def argument(text: str) -> tuple[str, Any]:
    """Return name and value of an argument of the estimator written as NAME=VALUE."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def read(name: str, raw: bool) -> tuple[Array, Array | None]:
    """Return the rows of a table, and their classes where it has any."""
    if not TABLES[name]:
        bunch = getattr(datasets, f"load_{name}")()
        X, classes = np.asarray(bunch.data, dtype=np.float64), np.asarray(bunch.target)
    else:
        path, classes = data_file(TABLES[name]), None
        if path.suffix == ".csv":
            X = np.genfromtxt(path, delimiter=";" if name == "wine_red" else ",", skip_header=1)
        else:
            with np.load(path) as file:
                X = np.asarray(file["X"], dtype=np.float64)
    if not raw:
        X = noised(X[:, np.ptp(X, axis=0) > 0])
    return X, classes if name in CLASSES else None


def finished(jobs: list[Job], processes: int) -> Iterator[list[Outcome]]:
    """Yield the outcomes of all splits of a table and number of latents,
    as soon as they are all there.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    waiting: dict[tuple[str, int], list[Outcome]] = {}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        longest_first = sorted(jobs, key=lambda job: -len(read(job.table, job.raw)[0]))
        for outcome in pool.imap_unordered(run, longest_first):
            key = outcome.job.table, outcome.job.latents
            waiting.setdefault(key, []).append(outcome)
            if len(waiting[key]) == sum((job.table, job.latents) == key for job in jobs):
                yield sorted(waiting[key], key=lambda outcome: outcome.job.split)


def run(job: Job) -> Outcome:
    """Fit the estimator and PCA to one split, and judge both on the rows left out."""
    from nelbo import VariationalAutoencoder

    X, classes = read(job.table, job.raw)
    fitted, held = train_test_split(np.arange(len(X)), test_size=0.4, random_state=job.split)
    train, test = X[fitted], X[held]
    labels = None if classes is None else (classes[fitted], classes[held])
    mean, spread = train.mean(0), train.std(0)
    spread[spread == 0] = 1.0
    begun = time.perf_counter()
    model = VariationalAutoencoder(
        **{"latent_dim": job.latents, "random_state": job.split, **job.arguments}
    ).fit(train)
    seconds = time.perf_counter() - begun
    t, u = (train - mean) / spread, (test - mean) / spread
    pca = PCA(job.latents, svd_solver="full").fit(t)
    ours = [
        explained(u, (model.reconstruct(test) - mean) / spread),
        accuracy(model.transform(train), model.transform(test), labels),
        float(model.score(test)),
    ]
    theirs = [
        explained(u, pca.inverse_transform(pca.transform(u))),
        accuracy(pca.transform(t), pca.transform(u), labels),
        float(pca.score_samples(u).mean() - np.log(spread).sum()),
    ]
    return Outcome(job, X.shape, ours, theirs, bool(model.kept_start_), seconds)


def explained(x: Array, x_hat: Array) -> float:
    """Return the share of the variance of standardised rows that their reconstructions have."""
    return 1 - float(np.square(x - x_hat).sum() / np.square(x).sum())


def accuracy(train: Array, test: Array, labels: tuple[Array, Array] | None) -> float:
    """Return the share of rows whose class is that of most of their five nearest neighbours."""
    if labels is None:
        return math.nan
    return float(KNeighborsClassifier(5).fit(train, labels[0]).score(test, labels[1]))


def summary(outcomes: list[Outcome]) -> list[Any]:
    """Compare measure by measure, paired by split."""
    job, shape = outcomes[0].job, outcomes[0].shape
    ours, theirs = (np.array([getattr(o, side) for o in outcomes]) for side in ("ours", "theirs"))
    gain = ours - theirs
    mean = gain.mean(0)
    error = gain.std(0, ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else np.zeros_like(mean)
    failing = [
        name
        for name, g, e, loss in zip(MEASURES, mean, error, LOSSES, strict=True)
        if not math.isnan(g) and g + 2 * e < -loss
    ]
    cells = [
        c
        for m in zip(ours.mean(0), theirs.mean(0), mean, error, strict=True)
        for c in map(float, m)
    ]
    return [
        *(job.table, *shape, job.latents),
        *("–" if math.isnan(cell) else cell for cell in cells),
        *("no" if failing else "yes", ", ".join(failing) or "–"),
        *(sum(o.kept_start for o in outcomes), float(np.mean([o.seconds for o in outcomes]))),
    ]


if __name__ == "__main__":
    main()
