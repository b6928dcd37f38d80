r"""Synthetic rows of the adult census table: are they like the data, useful, and no copies.

80 % of the rows are for training and 20 % for tests, five times. As many rows are drawn as there
are for training, and compared with these: the error of column shapes and of pair trends (1 less
SDMetrics' scores of these names). Gradient boosting that predicts the income, trained on synthetic
rows, is tested on the rows that nobody was trained on: AUC, and F1 of the rarer class. A "?" is a
missing cell, and plays no part in shapes and trends. Beside ours stand the training rows
themselves, drawn with replacement, which no model can beat, and TVAE of the package ctgan, as it
comes: 300 epochs (left out where `make peers` has not installed it).

Numbers of the recipe were found on parts of the training rows of the first split alone.
"""

from __future__ import annotations

import argparse
import ast
import math
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas

from nelbo.synthesis import Quality, Tables, quality

from . import _versus as versus
from ._common import data_file, kept, machine, report

SEEDS = (0, 1, 2, 3, 4)
TARGET = "income"
MEASURES = (
    "column shapes %", "pair trends %", "AUC", "F1", "two-sample AUC", "memorised", "copies %",
    "held-out log p", "seconds",
)  # fmt: skip
HEAD = ("rows from", "seeds", *(cell for name in MEASURES for cell in (name, "s.e.")))
CONTESTANTS = ("nelbo", "training rows, redrawn", "TVAE (ctgan)")
RECALLED = (
    ("TVAE, as Zhang et al. (2024) report it", 14.2, 14.2, 0.878, math.nan),
    ("CTGAN, likewise", 16.8, 20.2, 0.886, math.nan),
    ("TabDDPM, likewise", 1.8, 3.0, 0.907, math.nan),
    ("latent diffusion (TabSyn), likewise", 0.6, 1.5, 0.915, math.nan),
    ("TVAE, as Xu et al. (2019) report it", math.nan, math.nan, math.nan, 0.626),
    ("real rows, likewise", math.nan, math.nan, math.nan, 0.669),
)
"""Published figures, recalled: other classifiers, splits and treatment of "?"."""


class Job(NamedTuple):
    """Whose rows, of which split, and the arguments of ours."""

    who: str
    seed: int
    arguments: dict[str, Any]


def main() -> None:
    """Fit, draw and judge; write a line for each contestant."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--jobs", type=int, default=2, help="processes, each with one thread")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE",
                        help="arguments of the estimator")  # fmt: skip
    options = parser.parse_args()
    arguments = dict(map(argument, options.set))
    trial = bool(arguments) or tuple(options.seeds) != SEEDS
    before, old = machine(), {} if trial else kept("synthesis", HEAD)
    rows = {who: old[who] for who in CONTESTANTS if who in old}
    contestants = [who for who in options.only if "TVAE" not in who or versus.PEERS.exists()]
    minutes = {}
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for who in contestants:
            begun = time.perf_counter()
            jobs = [Job(who, seed, arguments) for seed in options.seeds]
            found = np.array(pool.map(run, jobs, chunksize=1))
            rows[who] = [who, len(jobs), *summary(found)]
            minutes[who] = (time.perf_counter() - begun) / 60
            print(*(f"{x:.3f}" if isinstance(x, float) else x for x in rows[who]), flush=True)
    done = [rows[who] for who in CONTESTANTS if who in rows]
    done += [
        [who, "", shapes, "", trends, "", auc, "", f1, *[""] * (len(HEAD) - 9)]
        for who, shapes, trends, auc, f1 in RECALLED
    ]
    report("synthesis", HEAD, done, before, quick=trial, seeds=options.seeds,
           arguments=arguments, minutes=minutes)  # fmt: skip


def argument(text: str) -> tuple[str, Any]:
    """Return name and value of an argument of the estimator written as NAME=VALUE."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def split(seed: int) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Return rows for training and for tests; a "?" is a word like any other."""
    frame = pandas.read_csv(data_file("tables/adult.csv"), skipinitialspace=True)
    order = np.random.default_rng(seed).permutation(len(frame))
    cut = len(frame) * 4 // 5
    train, test = (frame.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut:]))
    return train, test


def run(job: Job) -> list[float]:
    """Return each of `MEASURES`."""
    train, test = split(job.seed)
    made, nats, seconds = {
        "nelbo": _ours,
        "training rows, redrawn": _redrawn,
        "TVAE (ctgan)": _theirs,
    }[job.who](job, train, test)
    found = judged(train, made, test)
    use, private = found.usefulness, found.privacy
    return [
        100 * found.shape_error, 100 * found.trend_error, use.synthetic, use.f1,
        found.two_sample.value, private.memorised.value, 100 * private.copies, nats, seconds,
    ]  # type: ignore[union-attr, list-item]  # fmt: skip


def judged(train: pandas.DataFrame, made: pandas.DataFrame, test: pandas.DataFrame) -> Quality:
    """Judge synthetic rows by the training and the test rows, "?" missing."""
    levels = [train[name].dtype.kind not in "iuf" for name in train]
    words = {
        name: {w: i for i, w in enumerate(sorted(set(train[name]) - {"?"}))}
        for name, has in zip(train, levels, strict=True) if has
    }  # fmt: skip
    arrays = [
        np.column_stack([
            x[name].map(words[name]).to_numpy(float) if name in words else x[name].to_numpy(float)
            for name in train
        ])
        for x in (train, made, test)
    ]  # fmt: skip
    return quality(Tables.of(*arrays, list(train), levels), TARGET)


def _ours(
    job: Job, train: pandas.DataFrame, test: pandas.DataFrame
) -> tuple[pandas.DataFrame, float, float]:
    from nelbo import VariationalAutoencoder

    begun = time.perf_counter()
    model = VariationalAutoencoder(
        **{"latent_dim": 16, "random_state": job.seed, **job.arguments}
    ).fit(train)
    seconds = time.perf_counter() - begun
    made = model.sample(len(train), random_state=job.seed)
    return made, float(model.score(test[:2000])), seconds


def _theirs(
    job: Job, train: pandas.DataFrame, test: pandas.DataFrame
) -> tuple[pandas.DataFrame, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder, f"{name}.csv")) for name in ("train", "out")}
        train.to_csv(paths["train"], index=False)
        done = versus.run("ctgan_tvae", seed=job.seed, epochs=300, **paths)
        return pandas.read_csv(paths["out"], keep_default_na=False), math.nan, done["seconds"]


def _redrawn(
    job: Job, train: pandas.DataFrame, test: pandas.DataFrame
) -> tuple[pandas.DataFrame, float, float]:
    made = train.sample(frac=1, replace=True, random_state=job.seed)
    return made.reset_index(drop=True), math.nan, math.nan


def summary(found: np.ndarray[Any, Any]) -> list[float]:
    """Return the mean of each measure over seeds, and its standard error."""
    mean = found.mean(0)
    error = np.full_like(mean, math.nan)
    if len(found) > 1:
        error = found.std(0, ddof=1) / math.sqrt(len(found))
    return [float(cell) for pair in zip(mean, error, strict=True) for cell in pair]


if __name__ == "__main__":
    main()
