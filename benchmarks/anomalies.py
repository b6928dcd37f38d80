r"""`nelbo.VAEDetector` with its defaults against PyOD's detectors with theirs: AUROC in per cent on
the 12 sets of ADBench (Han et al., 2022), no labels used.

Protocols (Livernoche et al., 2024): "semi" trains on a random half of the ordinary rows and is
tested on all others; "unsup" trains and is tested on all rows, anomalies among them. At most 50,000
rows; columns are standardised by the training rows; five seeds, of which each draws the halves and
seeds the detectors.

The defaults of `VAEDetector` were chosen on the sets that ``CHOSEN_ON`` names, and on tables that
are not of ADBench. Published figures are those of Livernoche et al. (2024).

--contaminated trains on half of the ordinary rows and anomalies that make up a share of the rows,
and is tested on all others: how much of it the default bears, and without leaving rows out.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from nelbo import VAEDetector

from ._common import data_file, machine, place, report, table, timed
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
PUBLISHED = ("VAE", "KNN", "IForest", "DTE-C")
MOST = 50_000
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
CURVES = ("2_annthyroid", "32_shuttle")
NAME = "anomalies"


def main() -> None:
    """Score what is asked for, keep each score, and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--contaminated", action="store_true", help="the curves instead")
    parser.add_argument("--quick", action="store_true", help="one small set, one seed")
    options = parser.parse_args()
    if options.quick:
        options.only, options.seeds = ["14_glass"], [0]
    before = machine()
    if options.contaminated:
        curves(options.seeds, before, options.quick)
        return
    scores = Scores(options.quick)
    for name in options.only:
        for protocol in PROTOCOLS:
            for seed in options.seeds:
                judge(scores, (protocol, name, seed), options.peers)
    summarise(scores, before, options.quick)


class Scores:
    """AUROC and seconds by protocol, set, seed and method, kept in the result's file."""

    def __init__(self, quick: bool) -> None:
        path = place(NAME, quick)
        self.found: dict[str, list[float]] = {}
        if path.exists():
            self.found = json.loads(path.read_text()).get("scores", {})

    def missing(self, key: tuple[str, str, int], methods: list[str]) -> list[str]:
        return [m for m in methods if " ".join(map(str, (*key, m))) not in self.found]

    def add(self, key: tuple[str, str, int], method: str, auroc: float, seconds: float) -> None:
        self.found[" ".join(map(str, (*key, method)))] = [auroc, seconds]

    def of(self, protocol: str, name: str, method: str) -> list[float]:
        """Return AUROC in per cent for each seed."""
        wanted = (protocol, name, method)
        split = ((key.split(), value) for key, value in self.found.items())
        return [value[0] for (p, n, _, m), value in split if (p, n, m) == wanted]


def judge(scores: Scores, key: tuple[str, str, int], peers: list[str]) -> None:
    """Score all methods on one split that have no score yet."""
    if not scores.missing(key, ["nelbo", *peers]):
        return
    train, test, y = split(*key)
    if scores.missing(key, ["nelbo"]):
        detector = VAEDetector(random_state=key[2])
        found, seconds = timed(lambda: -detector.fit(train).score_samples(test))
        scores.add(key, "nelbo", 100 * roc_auc_score(y, found), seconds)
    wanted = scores.missing(key, peers)
    if wanted:
        with stored(train, test) as folder:
            theirs = run("pyod_detectors", data=folder, detectors=wanted, seed=key[2])
        for name, result in theirs.items():
            auroc = 100 * roc_auc_score(y, np.nan_to_num(np.array(result["scores"])))
            scores.add(key, name, auroc, result["seconds"])
    latest = {m: scores.of(key[0], key[1], m)[-1:] for m in ["nelbo", *peers]}
    print(*key, {m: round(v[0], 1) for m, v in latest.items() if v}, flush=True)


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


def summarise(scores: Scores, before: dict[str, Any], quick: bool) -> None:
    """Print a line for each set and protocol, and means over sets."""
    published = json.loads(data_file("adbench/published_auroc.json").read_text())
    head = ["protocol", "set", "nelbo", "s.e.", *PEERS, *(f"{m}, published" for m in PUBLISHED)]
    rows = []
    for protocol in PROTOCOLS:
        each = {name: line(scores, protocol, name, published) for name in SETS}
        each = {name: cells for name, cells in each.items() if cells is not None}
        rows += [[protocol, name, *cells] for name, cells in each.items()]
        for title, chosen in (
            ("mean of all", SETS),
            ("mean of those it was chosen on", CHOSEN_ON),
            ("mean of the others", tuple(s for s in SETS if s not in CHOSEN_ON)),
        ):
            part = [cells for name, cells in each.items() if name in chosen]
            if part:
                rows.append([protocol, title, *means(part)])
    report(NAME, head, rows, before, quick, scores=scores.found)


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


def curves(seeds: list[int], before: dict[str, Any], quick: bool) -> None:
    """Measure AUROC by the share of anomalies among the rows fitted."""
    head = ["set", "share", "default", "s.e.", "trim=0", "s.e."]
    rows = []
    for name in CURVES:
        for share in SHARES:
            found = [list(contaminated(name, share, seed)) for seed in seeds]
            array = np.array(found)
            mean, error = array.mean(0), array.std(0, ddof=min(1, len(seeds) - 1))
            error = error / math.sqrt(len(seeds))
            rows.append([name, share, mean[0], error[0], mean[1], error[1]])
            print(table(head, rows[-1:]), flush=True)
    report("anomalies_contaminated", head, rows, before, quick)


def contaminated(name: str, share: float, seed: int) -> Iterator[float]:
    """Yield AUROC of the default, and without leaving rows out."""
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
    made: tuple[Callable[[], VAEDetector], ...] = (
        lambda: VAEDetector(random_state=seed),
        lambda: VAEDetector(random_state=seed, trim=0.0),
    )
    for make in made:
        detector = make().fit(scaler.transform(X[train]))
        yield 100 * roc_auc_score(y[test], -detector.score_samples(scaler.transform(X[test])))


if __name__ == "__main__":
    main()
