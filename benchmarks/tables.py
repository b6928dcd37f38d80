r"""Default settings against scikit-learn's density models:
held-out log p(x) on 12 tables, nats per row.

Tables: digits, wine and breast_cancer of scikit-learn; wine_red, concrete and banknote of UCI; and
the ADBench sets whose normal rows number 1,000 to 11,000, leaving out optdigits (digits again),
musk (columns of two values) and thyroid (part of annthyroid).

Noise: a density fitted to values that repeat grows without bound. A column's step is the distance
from a value to the nearest other value of the column, the median over rows. Every value gets
uniform noise of plus or minus half that step, or of half of s standard deviations where a share s
of all rows hold that very value, whichever is wider: no value's density can exceed one over the
column's standard deviation. The data of all methods are the same.

Splits: 80 % to fit and 20 % to score, five times. Baselines choose on an eighth of the rows to fit
and are fitted again on all of these. Scaled data have their Jacobian counted.
PCA                1 to d - 1 components, raw or standardised
FactorAnalysis     1 to d - 1 components, standardised (scale does not matter to it)
GaussianMixture    1 to 50 components, full and diagonal, standardised
KernelDensity      bandwidth from 0.05 to 2, raw (in mean standard deviations), standardised or
whitened
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from nelbo import VariationalAutoencoder

from ._common import RESULTS, data_file, kept, machine, report, timed

Array = np.ndarray[Any, Any]
TABLES = {
    "digits": "",
    "wine": "",
    "breast_cancer": "",
    "wine_red": "tables/wine_red.csv",
    "concrete": "tables/concrete.csv",
    "banknote": "tables/banknote.csv",
    "vowels": "adbench/40_vowels.npz",
    "satellite": "adbench/30_satellite.npz",
    "cardio": "adbench/6_cardio.npz",
    "annthyroid": "adbench/2_annthyroid.npz",
    "wilt": "adbench/44_Wilt.npz",
    "mammography": "adbench/23_mammography.npz",
}
METHODS = ("PCA", "FactorAnalysis", "GaussianMixture", "KernelDensity")
MIXTURES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50)
BANDWIDTHS = tuple(np.geomspace(0.05, 2, 25))
CACHE = RESULTS / "tables_baselines.json"
HEAD = (
    "table",
    "rows",
    "columns",
    "ours",
    *METHODS,
    "best",
    "gain",
    "s.e.",
    "t",
    "kept start",
    "seconds to fit",
)


def main() -> None:
    """Score what is asked for and print a line for each table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--splits", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--baselines", action="store_true", help="only fill the cache of baselines")
    options = parser.parse_args()
    before, rows = machine(), kept("tables", HEAD)
    for name in options.only:
        X = noised(read(name))
        theirs = [baselines(name, X, split) for split in options.splits]
        if options.baselines:
            continue
        (ours, starts), seconds = timed(
            lambda X=X: list(zip(*(fit(X, s) for s in options.splits), strict=True))
        )
        rows[name] = [*summary(name, X, np.array(ours), theirs), sum(starts), seconds / len(ours)]
        done = [rows[table] for table in TABLES if table in rows]
        report(
            "tables",
            HEAD,
            done,
            before,
            splits=options.splits,
            wins=sum(row[9] > 0 for row in done),
        )


def read(name: str) -> Array:
    """Return all rows of a table, of ADBench's the normal ones, without columns that never vary."""
    if not TABLES[name]:
        X = np.asarray(getattr(datasets, f"load_{name}")().data, dtype=np.float64)
    else:
        path = data_file(TABLES[name])
        if path.suffix == ".csv":
            delimiter = ";" if name == "wine_red" else ","
            X = np.genfromtxt(path, delimiter=delimiter, skip_header=1)
        else:
            with np.load(path) as file:
                X = np.asarray(file["X"], dtype=np.float64)[file["y"] == 0]
    return X[:, np.ptp(X, axis=0) > 0]


def noised(X: Array) -> Array:
    """Add half a step of uniform noise to every value, and more to values that many rows hold."""
    uniform = np.random.default_rng(0).uniform(-0.5, 0.5, X.shape)
    return X + uniform * np.stack([widths(column) for column in X.T], 1)


def widths(column: Array) -> Array:
    """Return over what width each value of a column is spread."""
    values, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
    gaps = np.concatenate([[np.inf], np.diff(values), [np.inf]])
    step = np.median(np.minimum(gaps[:-1], gaps[1:])[inverse])
    share = np.where(counts > 1, counts, 0) / len(column)
    return np.maximum(step, share[inverse] * column.std())


def part(X: Array, split: int) -> tuple[Array, Array]:
    """Return 80 % to fit and 20 % to score."""
    order = np.random.default_rng([split, 7]).permutation(len(X))
    held = len(X) // 5
    return X[order[held:]], X[order[:held]]


def fit(X: Array, split: int, **options: Any) -> tuple[float, bool]:
    """Return our held-out nats per row, and whether the closed-form start was kept."""
    train, test = part(X, split)
    model = VariationalAutoencoder(random_state=split, **options).fit(train)
    return float(model.score(test)), model.kept_start_


# -- baselines
# ---------------------------------------------------------------------------------------


def baselines(name: str, X: Array, split: int) -> dict[str, float]:
    """Return the held-out nats per row of every baseline,
    from the cache where the data are the same.
    """
    train, test = part(X, split)
    digest = hashlib.sha256(
        train.tobytes() + test.tobytes() + repr((MIXTURES, BANDWIDTHS)).encode()
    ).hexdigest()[:16]
    cache = json.loads(CACHE.read_text()) if CACHE.exists() else {}
    key = f"{name} {split} {digest}"
    if key not in cache:
        found = {
            method: best_of(candidates(method, train.shape[1]), train, test, split)
            for method in METHODS
        }
        cache = json.loads(CACHE.read_text()) if CACHE.exists() else {}
        cache[key] = {
            method: {"nats": nats, "chosen": chosen} for method, (nats, chosen) in found.items()
        }
        RESULTS.mkdir(exist_ok=True)
        CACHE.write_text(json.dumps(cache, indent=1, sort_keys=True) + "\n")
        print(
            key,
            *(f"{method}: {nats:.3f} ({chosen})" for method, (nats, chosen) in found.items()),
            flush=True,
        )
    return {method: cache[key][method]["nats"] for method in METHODS}


def candidates(method: str, columns: int) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Yield name, scaling and constructor of what a baseline chooses among."""
    if method == "KernelDensity":
        for scaling in ("raw", "standard", "whitened"):
            for width in BANDWIDTHS:
                yield (
                    f"{scaling}, bandwidth {width:.3g}",
                    scaling,
                    lambda w=width: KernelDensity(bandwidth=w),
                )
    elif method == "GaussianMixture":
        for kind in ("full", "diag"):
            for k in MIXTURES:
                yield (
                    f"{k} {kind}",
                    "standard",
                    lambda k=k, c=kind: GaussianMixture(k, covariance_type=c, random_state=0),
                )
    else:
        cls, scalings = (
            (PCA, ("raw", "standard")) if method == "PCA" else (FactorAnalysis, ("standard",))
        )
        for scaling in scalings:
            for q in sorted(
                {min(q, columns - 1) for q in (*range(1, 13), 15, 18, 22, 26, 31, 37, 45, 53, 63)}
            ):
                yield f"{scaling}, {q} components", scaling, lambda q=q, c=cls: c(q)


def best_of(options: Iterator[Any], train: Array, test: Array, split: int) -> tuple[float, str]:
    """Choose on an eighth of the training rows, fit again on all of them,
    and score the test rows.
    """
    order = np.random.default_rng([split, 8]).permutation(len(train))
    held = len(train) // 8
    fitted, valid = train[order[held:]], train[order[:held]]
    scored = []
    for name, scaling, make in options:
        try:
            scored.append((nats(make(), scaling, fitted, valid), name, scaling, make))
        except ValueError:  # more components than rows, or a component that collapsed
            continue
    _, name, scaling, make = max(scored, key=lambda entry: entry[0])
    return nats(make(), scaling, train, test), name


def nats(model: Any, scaling: str, train: Array, test: Array) -> float:
    """Fit in a scaling, and return nats per row in the units of the data."""
    mean, spread = train.mean(0), train.std(0).clip(1e-12)
    if scaling == "standard":
        matrix = np.diag(1 / spread)
    elif scaling == "raw":  # one number for all columns, so that the same bandwidths are of use
        matrix = np.eye(train.shape[1]) / spread.mean()
    else:
        values, vectors = np.linalg.eigh(np.cov(train.T))
        matrix = vectors / np.sqrt(values.clip(1e-12 * values.max()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit((train - mean) @ matrix)
        return float(
            model.score_samples((test - mean) @ matrix).mean() + np.linalg.slogdet(matrix)[1]
        )


def summary(name: str, X: Array, ours: Array, theirs: list[dict[str, float]]) -> tuple[Any, ...]:
    """Compare with the baseline of the best mean, split by split."""
    means = {method: float(np.mean([scores[method] for scores in theirs])) for method in METHODS}
    best = max(METHODS, key=means.__getitem__)
    gain = ours - np.array([scores[best] for scores in theirs])
    error = float(gain.std(ddof=1) / math.sqrt(len(gain))) if len(gain) > 1 else math.nan
    mean = float(gain.mean())
    return (name, *X.shape, float(ours.mean()), *means.values(), best, mean, error, mean / error)


if __name__ == "__main__":
    main()
