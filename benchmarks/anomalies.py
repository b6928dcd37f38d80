r"""`nelbo.VAEDetector` with its defaults against PyOD's detectors with theirs: AUROC in per cent on
the 12 sets of ADBench (Han et al., 2022), no labels used.

Protocols (Livernoche et al., 2024): "semi" trains on a random half of the ordinary rows and is
tested on all others; "unsup" trains and is tested on all rows, anomalies among them. At most 50,000
rows; columns are standardised by the training rows; five seeds, of which each draws the halves and
seeds the detectors.

The defaults of `VAEDetector` were chosen on the sets that ``CHOSEN_ON`` names, and on tables that
are not of ADBench. Published figures are those of Livernoche et al. (2024).

--contaminated trains on half of the ordinary rows and anomalies that make up a share of the rows,
and is tested on all others: how much of it is borne where a tenth of the rows is left out, the
default of tables of numbers, and where none is. In the census ("adult") anomalies are people with
cells of others: see `benchmarks._planted`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import sys
import time
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from nelbo import VAEDetector

from ._common import data_file, kept, machine, place, report
from ._planted import KINDS as PLANTED
from ._planted import planted
from ._versus import PEERS as PYTHON_OF_PEERS
from ._versus import run, stored

Array = np.ndarray[Any, Any]
SETS = (
    "14_glass",
    "18_Ionosphere",
    "23_mammography",
    "25_musk",
    "26_optdigits",
    "2_annthyroid",
    "30_satellite",
    "32_shuttle",
    "38_thyroid",
    "40_vowels",
    "44_Wilt",
    "6_cardio",
)
CHOSEN_ON = (
    "14_glass",
    "23_mammography",
    "26_optdigits",
    "32_shuttle",
    "40_vowels",
    "6_cardio",
)
PROTOCOLS = ("semi", "unsup")
PEERS = ("VAE", "ECOD", "IForest", "KNN")
SLOW = ("VAE",)
PUBLISHED = ("VAE", "KNN", "IForest", "DTE-C")
MOST = 50_000
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
CENSUS, CENSUS_SHARES = "adult, ", (0.0, 0.01, 0.02, 0.05, 0.1)
CURVES = ("2_annthyroid", "32_shuttle", *(CENSUS + kind for kind in PLANTED))
TRIMS = (0.1, 0.0)
NAME = "anomalies"


def main() -> None:
    """Score what is asked for, keep each score, and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--slow-seeds", type=int, default=1, help="with how many of them VAE runs")
    parser.add_argument("--jobs", type=int, default=2, help="processes, each with one thread")
    parser.add_argument("--again", action="store_true", help="score what is there already, too")
    parser.add_argument("--contaminated", action="store_true", help="the curves instead")
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--quick", action="store_true", help="one small set, one seed")
    options = parser.parse_args()
    if options.quick:
        options.only, options.seeds = ["14_glass"], [0]
    before = machine()
    if options.contaminated:
        curves(options.seeds, options.curves, before, options.quick)
        return
    scores = Scores(options.quick, options.again)
    methods = ["nelbo", *options.peers]
    largest = sorted(options.only, key=lambda name: -read(name)[0].size)  # begun first
    quick_ones = [method for method in methods if method not in SLOW]
    by_seed = dict.fromkeys(options.seeds, quick_ones)
    by_seed |= dict.fromkeys(options.seeds[: options.slow_seeds], methods)
    every = [Job(protocol, name, by_seed) for name in largest for protocol in PROTOCOLS]
    jobs = [job for job in map(scores.missing, every) if job.methods]
    if options.peers and jobs and not PYTHON_OF_PEERS.exists():
        sys.exit(
            f"{PYTHON_OF_PEERS} is missing: `make peers` installs the packages to compare with."
        )
    begun, took = time.perf_counter(), {"jobs": options.jobs, "minutes": 0.0}
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for job, found in pool.imap_unordered(judged, jobs, chunksize=1):
            scores.add(found)
            took["minutes"] = (time.perf_counter() - begun) / 60
            print(f"{job.protocol} {job.name} done after {took['minutes']:.1f} minutes", flush=True)
    summarise(scores, before, options.quick, took)


class Job(NamedTuple):
    """A set and a protocol, and who is to be scored with each seed."""

    protocol: str
    name: str
    methods: dict[int, list[str]]

    def key(self, seed: int, method: str) -> str:
        return f"{self.protocol} {self.name} {seed} {method}"


class Scores:
    """AUROC and processor seconds by protocol, set, seed and method, kept beside the results."""

    def __init__(self, quick: bool, again: bool = False) -> None:
        self.path = place(f"{NAME}_scores", quick)
        self.found: dict[str, list[float]] = {}
        if self.path.exists() and not again:
            self.found = json.loads(self.path.read_text())

    def missing(self, job: Job) -> Job:
        """Return what is left to do of a job."""
        left = {
            seed: [method for method in methods if job.key(seed, method) not in self.found]
            for seed, methods in job.methods.items()
        }
        return job._replace(methods={seed: methods for seed, methods in left.items() if methods})

    def add(self, found: dict[str, list[float]]) -> None:
        """Take scores, and keep all on disk, so that a run that is cut off can go on."""
        self.found |= found
        self.path.write_text(json.dumps(self.found, indent=1) + "\n")

    def of(self, protocol: str, name: str, method: str) -> list[float]:
        """Return AUROC in per cent for each seed."""
        wanted = (protocol, name, method)
        split = ((key.split(), value) for key, value in self.found.items())
        return [value[0] for (p, n, _, m), value in split if (p, n, m) == wanted]

    def seconds(self) -> dict[str, float]:
        """Return the processor seconds that each method took in all, fits and scores."""
        total: dict[str, float] = {}
        for key, (_, seconds) in self.found.items():
            method = key.split()[-1]
            total[method] = total.get(method, 0.0) + seconds
        return total


def judged(job: Job) -> tuple[Job, dict[str, list[float]]]:
    """Return AUROC and processor seconds of every method and seed, in a process of its own."""
    found, labels = {}, {}
    with contextlib.ExitStack() as stack:
        splits: list[dict[str, Any]] = []
        for seed, methods in job.methods.items():
            train, test, labels[seed] = split(job.protocol, job.name, seed)
            if "nelbo" in methods:
                begun = time.process_time()
                ours = -VAEDetector(random_state=seed).fit(train).score_samples(test)
                seconds = time.process_time() - begun
                found[job.key(seed, "nelbo")] = [auroc(labels[seed], ours), seconds]
            peers = [method for method in methods if method != "nelbo"]
            if peers:
                folder = stack.enter_context(stored(train, test))
                splits.append({"data": folder, "seed": seed, "detectors": peers})
        for task, theirs in zip(splits, of_peers(splits), strict=True):
            for name, result in theirs.items():
                score = auroc(labels[task["seed"]], result["scores"])
                found[job.key(task["seed"], name)] = [score, result["seconds"]]
    return job, found


def of_peers(splits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the scores and seconds of each peer on each split."""
    if not splits:
        return []
    try:
        found: list[dict[str, Any]] = run("pyod_detectors", splits=splits)["found"]
    except SystemExit as error:  # which would end this process, and leave the pool waiting
        raise RuntimeError(str(error)) from error
    return found


def auroc(y: Array, scores: Any) -> float:
    """Return AUROC in per cent; a score that is no number counts as ordinary."""
    return float(100 * roc_auc_score(y, np.nan_to_num(np.array(scores))))


def read(name: str) -> tuple[Array, Array]:
    """Return rows and labels, 1 for anomalies."""
    with np.load(data_file(f"adbench/{name}.npz")) as file:
        return np.asarray(file["X"], dtype=np.float64), np.asarray(file["y"], dtype=np.int64)


def split(protocol: str, name: str, seed: int) -> tuple[Array, Array, Array]:
    """Return training rows, test rows and the labels of these."""
    X, y = read(name)
    rng = np.random.default_rng(seed)
    if len(X) > MOST:
        chosen = rng.permutation(len(X))[:MOST]
        X, y = X[chosen], y[chosen]
    train = test = np.arange(len(X))
    if protocol == "semi":
        ordinary = rng.permutation(np.flatnonzero(y == 0))
        half = len(ordinary) // 2
        train, test = ordinary[:half], np.append(ordinary[half:], np.flatnonzero(y == 1))
    scaler = StandardScaler().fit(X[train])
    return scaler.transform(X[train]), scaler.transform(X[test]), y[test]


def summarise(scores: Scores, before: dict[str, Any], quick: bool, took: dict[str, float]) -> None:
    """Print a line for each set and protocol, and then means over sets."""
    published = json.loads(data_file("adbench/published_auroc.json").read_text())
    head = ["protocol", "set", "nelbo", "s.e.", *PEERS, *(f"{m}, published" for m in PUBLISHED)]
    rows: list[list[Any]] = []
    of_many: list[list[Any]] = []
    for protocol in PROTOCOLS:
        each = {name: line(scores, protocol, name, published) for name in SETS}
        each = {name: cells for name, cells in each.items() if cells is not None}
        rows += [[protocol, name, *cells] for name, cells in each.items()]
        for title, chosen in (
            ("all 12", SETS),
            ("the 6 it was chosen on", CHOSEN_ON),
            ("the other 6", tuple(s for s in SETS if s not in CHOSEN_ON)),
        ):
            part = [cells for name, cells in each.items() if name in chosen]
            if part:
                of_many.append([protocol, title, *means(part)])
    report(NAME, head, rows, before, quick, processor_seconds=scores.seconds(), **took)
    head[1] = "sets"
    report(f"{NAME}_means", head, of_many, before, quick)


def line(scores: Scores, protocol: str, name: str, published: dict[str, Any]) -> list[Any] | None:
    """Return the cells of a set; those that were not measured are blank."""
    ours = scores.of(protocol, name, "nelbo")
    if not ours:
        return None
    error = math.nan
    if len(ours) > 1:
        error = float(np.std(ours, ddof=1) / math.sqrt(len(ours)))
    theirs = [scores.of(protocol, name, method) for method in PEERS]
    known = published[protocol][name]
    return [
        float(np.mean(ours)),
        error,
        *(float(np.mean(found)) if found else math.nan for found in theirs),
        *(float(known[method]) for method in PUBLISHED),
    ]


def means(part: list[list[Any]]) -> list[float]:
    """Return the means of columns; the error is that of a mean of independent sets."""
    array = np.array(part, dtype=np.float64)
    found = array.mean(0)
    found[1] = np.sqrt(np.square(array[:, 1]).sum()) / len(array)
    return [float(value) for value in found]


def curves(seeds: list[int], names: list[str], before: dict[str, Any], quick: bool) -> None:
    """Measure AUROC by the share of anomalies among the rows fitted."""
    head = ("set", "share", "seeds", *(cell for trim in TRIMS for cell in (f"trim={trim}", "s.e.")))
    found = kept("anomalies_contaminated", head, 2)
    for name in names:
        for share in CENSUS_SHARES if name.startswith(CENSUS) else SHARES:
            cases = [_case(name, share, seed) for seed in seeds]
            array = np.array([[c.auroc(trim) for trim in TRIMS] for c in cases])
            mean, error = array.mean(0), np.full(len(TRIMS), math.nan)
            if len(seeds) > 1:
                error = array.std(0, ddof=1) / math.sqrt(len(seeds))
            cells = [float(cell) for pair in zip(mean, error, strict=True) for cell in pair]
            found[name, share] = [name, share, len(seeds), *cells]
            report("anomalies_contaminated", head, [*found.values()], before, quick)


class Case(NamedTuple):
    """Rows to fit, rows to judge, labels of these, and the arguments of a detector."""

    train: Any
    test: Any
    y: Array
    arguments: dict[str, Any]

    def auroc(self, trim: float) -> float:
        """Return the AUROC in per cent of a detector that leaves a share of the rows out."""
        detector = VAEDetector(trim=trim, **self.arguments).fit(self.train)
        return auroc(self.y, -detector.score_samples(self.test))


def _case(name: str, share: float, seed: int) -> Case:
    """Return the rows of a set, or people of the census some of whom have cells of others."""
    if name.startswith(CENSUS):
        people = planted(name.removeprefix(CENSUS), share, seed)
        arguments = {"random_state": seed, "schema": people.schema}
        return Case(people.train, people.test, people.y, arguments)
    X, y = read(name)
    rng = np.random.default_rng(seed)
    ordinary = rng.permutation(np.flatnonzero(y == 0))[:10_000]
    anomalous = rng.permutation(np.flatnonzero(y == 1))
    half = len(ordinary) // 2
    # the rest of the anomalies are tested on: at least half of them are
    half = min(half, int(len(anomalous) // 2 * (1 - max(SHARES)) / max(SHARES)))
    added = round(share / (1 - share) * half)
    train = np.append(ordinary[:half], anomalous[:added])
    test = np.append(ordinary[half:], anomalous[len(anomalous) // 2 :])
    scaler = StandardScaler().fit(X[train])
    rows = (scaler.transform(X[part]) for part in (train, test))
    return Case(*rows, y[test], {"random_state": seed})


if __name__ == "__main__":
    main()
