"""The default score against the ladder of method "auto" and against draws of the encoder alone.

Seven data sets, at most 450 held-out rows each, every default but what is named:
digits             latent 8 (scikit-learn's images)
fashion            Fashion-MNIST, latent 10, 30 s of training
binarised          MNIST, a value above 127 is 1: Bernoulli, latent 10, 30 s of training
frey       Frey faces, latent 8
wine_red, satellite   tables, latent 8, as residual networks: by default they become mixtures,
                   whose log p(x) is exact
mammography        a table, with Student-t noise

Seconds are those of the processor, on one thread: the least of three, taken in turns. Models are
kept in ``--models``, so that a second run fits none; rows of data that are not asked for stay in
the table. ``--before`` names an older checkout (``git
worktree add /tmp/before COMMIT``): its "auto" is timed in a process of its own, on its own model of
the same data and seed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from nelbo import VariationalAutoencoder

from ._common import data_file, images, kept, machine, report
from ._versus import ROOT
from .tables import noised, part, read

HEAD = (
    "data",
    "rows",
    "samples",
    "encoder",
    "default",
    "auto",
    "auto - default",
    "flagged encoder",
    "flagged default",
    "flagged auto",
    "s encoder",
    "s default",
    "s auto",
    "default / encoder",
    "auto before",
    "flagged before",
    "s before",
    "before / auto",
)
OPTIONS: dict[str, dict[str, Any]] = {
    "digits": {"latent_dim": 8},
    "fashion": {"latent_dim": 10, "max_seconds": 30},
    "binarised": {"latent_dim": 10, "max_seconds": 30, "likelihood": "bernoulli"},
    "frey": {"latent_dim": 8},
    "wine_red": {"latent_dim": 8, "network": "residual"},
    "satellite": {"latent_dim": 8, "network": "residual"},
    "mammography": {"likelihood": "student_t"},
}


def main() -> None:
    """Measure what is asked for and print a line for each data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(OPTIONS), default=list(OPTIONS))
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "nelbo-scores")
    parser.add_argument("--before", type=Path, help="an older checkout")
    parser.add_argument("--one", choices=list(OPTIONS), help="measure its auto alone, print JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        print("FOUND", json.dumps(automatic(options.one, options.models)))
        return
    before, lines = machine(), kept("scores", HEAD)
    for name in options.only:
        lines[name] = list(measured(name, options.models, options.before))
        rows = [lines[other] for other in OPTIONS if other in lines]
        report("scores", HEAD, rows, before)


def measured(name: str, models: Path, older: Path | None) -> tuple[object, ...]:
    """Score held-out rows in all ways, and return a line of the table."""
    model, test = fitted(name, models / "now")
    count = model.fitted_.score_count
    model.log_likelihood(test[:5], "importance")
    ways = {
        "encoder": lambda: model.log_likelihood(test, "importance", proposal="encoder"),
        "default": lambda: model.log_likelihood(test, "importance"),
        "auto": lambda: model.log_likelihood(test),
    }
    runs = [{way: timed(score) for way, score in ways.items()} for _ in range(3)]
    plain, default, auto = (runs[0][way][0] for way in ways)
    plain_s, default_s, auto_s = (min(run[way][1] for run in runs) for way in ways)
    print(name, auto)
    old: dict[str, float] = {}
    if older is not None:
        # in a checkout of its own: it was built otherwise, and cannot read the model of this one
        old = earlier(name, models / "before", older)
    flagged = [float(found.unreliable.mean()) for found in (plain, default, auto)]
    return (
        name,
        len(test),
        count,
        plain.mean,
        default.mean,
        auto.mean,
        auto.mean - default.mean,
        *flagged,
        plain_s,
        default_s,
        auto_s,
        default_s / plain_s,
        old.get("mean"),
        old.get("flagged"),
        old.get("seconds"),
        old.get("seconds", float("nan")) / auto_s,
    )


def automatic(name: str, models: Path) -> dict[str, float]:
    """Return what method "auto" finds, and its seconds."""
    model, test = fitted(name, models)
    model.log_likelihood(test[:5], "importance")
    found, seconds = timed(lambda: model.log_likelihood(test))
    return {
        "mean": float(np.asarray(found.value).mean()),
        "flagged": float(np.asarray(found.unreliable).mean()),
        "seconds": seconds,
    }


def earlier(name: str, models: Path, checkout: Path) -> dict[str, float]:
    """Return what an older checkout's "auto" finds on its own model of the same data; nothing where
    it lacks an option.
    """
    settings = {**os.environ, "PYTHONPATH": str(checkout.resolve() / "src")}
    script = [sys.executable, "-m", "benchmarks.scores", "--one", name, "--models", str(models)]
    done = subprocess.run(
        script, cwd=ROOT, env=settings, check=False, capture_output=True, text=True
    )
    if done.returncode:
        print(name, done.stderr.strip().rpartition("\n")[2])
        return {}
    last = next(line for line in done.stdout.splitlines() if line.startswith("FOUND"))
    return json.loads(last.removeprefix("FOUND"))  # type: ignore[no-any-return]


def fitted(name: str, folder: Path) -> tuple[VariationalAutoencoder, np.ndarray]:
    """Return a model, fitted now or before, and held-out rows."""
    train, test = data(name)
    path = folder / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        model = VariationalAutoencoder(random_state=0, **OPTIONS[name]).fit(train)
        model.save(path)
    return VariationalAutoencoder.load(path), test[:450]


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rows to fit and rows to score."""
    if name == "digits":
        train, test = train_test_split(load_digits().images, random_state=0)
        return train, test
    if name in ("fashion", "binarised"):
        train, test = images({"fashion": "fashion_mnist", "binarised": "mnist"}[name])
        if name == "binarised":
            train, test = ((each > 127).astype(np.float32) for each in (train, test))
        return train, test
    if name == "frey":
        with np.load(data_file("frey_faces.npz")) as arrays:
            faces = arrays["x"].reshape(-1, 28, 20)
        return tuple(train_test_split(faces, random_state=0))
    return part(noised(read(name)), 0)


def timed(function: Any) -> tuple[Any, float]:
    """Return a call's result and its seconds of the processor."""
    begun = time.process_time()
    found = function()
    return found, time.process_time() - begun


if __name__ == "__main__":
    main()
