"""Default settings against scikit-learn's imputers: half of all values missing at random.

Tables: breast_cancer of scikit-learn (30 columns), and of UCI wine_red (11 columns, without the
quality), concrete (9) and banknote (5, with the class). Those are the columns with which
missForest comes nearest to what Mattei & Frellsen (2019) print of it; which they took is not told.

Each table is standardised, exactly half of all cells, chosen with equal chance, are removed, and
methods see the rest alone. The figure is the mean squared error of the cells that were removed; the
mean of the whole table would have 1. Published, with other masks: .280, .643, .501 and .446 for
MIWAE, .291, .697, .510 and .676 for missForest.

ours               VAEImputer(), nothing tuned
bayesian ridge     IterativeImputer
random forest      IterativeImputer with RandomForestRegressor, 30 trees, 5 rounds
5 neighbours       KNNImputer
mean               SimpleImputer

Coverage is the share of removed values that lie between the ends of the middle 95 % of 100 draws of
ours, over the first rows of a table.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (makes the next import work)
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from nelbo import VAEImputer

from ._common import data_file, kept, machine, report

Array = np.ndarray[Any, Any]
TABLES = ("breast_cancer", "wine_red", "concrete", "banknote")
PEERS: dict[str, Callable[[int], Any]] = {
    "bayesian ridge": lambda seed: IterativeImputer(max_iter=10, random_state=seed),
    "random forest": lambda seed: IterativeImputer(
        RandomForestRegressor(30, random_state=seed), max_iter=5, random_state=seed
    ),
    "5 neighbours": lambda seed: KNNImputer(),
    "mean": lambda seed: SimpleImputer(),
}
METHODS = ("ours", *PEERS)
HEAD = ("table", "seed", *METHODS, "coverage", "seconds of ours", "seconds of forest")
SUMMARY = ("table", "seeds", *METHODS, "coverage")


def main() -> None:
    """Impute what is asked for, keep each seed, and print means with standard errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--seeds", type=int, default=5, help="masks of each table")
    parser.add_argument("--peers", nargs="*", default=[*PEERS], choices=[*PEERS])
    parser.add_argument("--again", action="store_true", help="measure what is there already, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of rounds that have not converged
    before = machine()
    found = {} if options.again else kept("imputation", HEAD, 2)
    for seed in range(options.seeds):
        for name in options.tables:
            if (name, seed) not in found:
                found[name, seed] = [name, seed, *measured(table(name), seed, options.peers)]
                print(*found[name, seed], flush=True)
                report("imputation", HEAD, [*found.values()], before)
    print(*SUMMARY)
    for row in summary([*found.values()]):
        print(*row)


def table(name: str) -> Array:
    """Return a table, standardised."""
    if name == "breast_cancer":
        x = load_breast_cancer().data
    else:
        mark = {"wine_red": ";"}.get(name, ",")
        x = np.genfromtxt(data_file(f"tables/{name}.csv"), delimiter=mark, skip_header=1)
    if name == "wine_red":
        x = x[:, :-1]
    standard: Array = (x - x.mean(0)) / x.std(0)
    return standard


def mask(shape: tuple[int, ...], seed: int) -> Array:
    """Return which cells are removed: exactly half."""
    gone = np.zeros(int(np.prod(shape)), dtype=bool)
    gone[np.random.default_rng(1000 + seed).permutation(len(gone))[: len(gone) // 2]] = True
    return gone.reshape(shape)


def measured(x: Array, seed: int, peers: list[str]) -> list[float]:
    """Return the error of each method, the coverage, and the seconds of two of them; NaN for peers
    that are left out.
    """
    gone = mask(x.shape, seed)
    holes = np.where(gone, np.nan, x)
    begun = time.perf_counter()
    ours = VAEImputer(random_state=seed).fit(holes)
    errors = [error(ours.transform(holes), x, gone)]
    seconds = [time.perf_counter() - begun, math.nan]
    for name, peer in PEERS.items():
        begun = time.perf_counter()
        if name not in peers:
            errors.append(math.nan)
            continue
        errors.append(error(peer(seed).fit_transform(holes), x, gone))
        if name == "random forest":
            seconds[1] = time.perf_counter() - begun
    return [*errors, coverage(ours, x, holes), *seconds]


def error(filled: Array, x: Array, gone: Array) -> float:
    """Return the mean squared error of cells that were removed."""
    return float(np.square(filled - x)[gone].mean())


def coverage(imputer: VAEImputer, x: Array, holes: Array, rows: int = 300) -> float:
    """Return the share of removed cells of some rows that the middle 95 % of 100 draws hold."""
    few = slice(rows)
    draws = imputer.estimator_.impute(holes[few], draws=100, random_state=0)
    # between these places of the sorted draws lie 95 % of further ones, on average: by those that
    # are usual, of only 100, it would be 93 %
    low, high = np.quantile(draws, (0.025, 0.975), axis=0, method="weibull")
    gone = np.isnan(holes[few])
    return float(((low <= x[few]) & (x[few] <= high))[gone].mean())


def summary(rows: list[list[Any]]) -> list[tuple[str, ...]]:
    """Return mean and standard error over seeds of each table's figures."""
    found = []
    for name in dict.fromkeys(row[0] for row in rows):
        mine = np.array([row[2 : 3 + len(METHODS)] for row in rows if row[0] == name], dtype=float)
        spread = mine.std(0, ddof=1) if len(mine) > 1 else np.full(mine.shape[1], np.nan)
        pairs = zip(mine.mean(0), spread / len(mine) ** 0.5, strict=True)
        cells = [f"{mean:.3f} ± {width:.3f}" for mean, width in pairs]
        found.append((name, str(len(mine)), *cells))
    return found


if __name__ == "__main__":
    main()
