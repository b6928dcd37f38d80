"""How long a fit and the whole command take,
alone and beside one busy process per core that this benchmark starts.

Every figure is of a fresh process, one kind after the other in each round, alone and beside others
in turn; medians over the rounds, and ratios are medians over the pairs. "fit" is the call of `fit`
on 1,617 digits, imports not counted; "nelbo fit digits" is the command from its start to its end.
Seconds of the processor count all cores, threads that wait included. ``--before FOLDER`` runs an
older checkout beside this one: ``git worktree add /tmp/before COMMIT`` makes it. Nothing else must
run on the machine: the load at the beginning is kept with the results.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ._common import machine, report
from ._versus import ROOT, arguments, median

FIT = """
import time
from nelbo import VariationalAutoencoder
from sklearn.datasets import load_digits
x = load_digits().images[:1617]
options = {"max_steps": 20} if QUICK else {}
VariationalAutoencoder(8, random_state=0, max_steps=1).fit(x)
began = time.perf_counter(), time.process_time()
VariationalAutoencoder(8, random_state=0, **options).fit(x)
print(time.perf_counter() - began[0], time.process_time() - began[1])
"""
BUSY = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""
HEAD = (
    "what",
    "version",
    "alone s",
    "beside s",
    "beside / alone",
    "lowest",
    "highest",
    "alone, processor s",
    "rounds",
)
LONGEST = 100
"""Seconds after which a run beside others is ended and counted as that long."""
Seconds = tuple[float, float]


def main() -> None:
    """Time all rounds."""
    parser = arguments(__doc__, pairs=3)
    parser.add_argument("--before", type=Path, help="an older checkout, to compare with")
    options = parser.parse_args()
    before, rounds = machine(), 1 if options.quick else options.pairs
    versions = {"now": ROOT} | (
        {} if options.before is None else {"before": options.before.resolve()}
    )
    found: dict[tuple[str, str], list[tuple[Seconds, Seconds]]] = {}
    for _ in range(rounds):
        for version, folder in versions.items():
            for what, time_of in (("fit", fit), ("nelbo fit digits", command)):
                alone = time_of(folder, options.quick)
                with busy(os.cpu_count() or 1):
                    beside = time_of(folder, options.quick)
                found.setdefault((what, version), []).append((alone, beside))
    rows = []
    for (what, version), pairs in sorted(found.items()):
        ratios = [beside[0] / alone[0] for alone, beside in pairs]
        wall, others, processor = (
            median(column) for column in zip(*((a[0], b[0], a[1]) for a, b in pairs), strict=True)
        )
        rows.append(
            (
                what,
                version,
                wall,
                others,
                median(ratios),
                min(ratios),
                max(ratios),
                processor,
                rounds,
            )
        )
    report(
        "shared",
        HEAD,
        rows,
        before,
        options.quick,
        runs=[[*key, pairs] for key, pairs in found.items()],
    )


def fit(folder: Path, quick: bool) -> Seconds:
    """Return wall-clock and processor seconds of a fit."""
    out = run([sys.executable, "-c", f"QUICK = {quick}\n{FIT}"], folder)
    if out is None:
        return LONGEST, LONGEST
    wall, processor = map(float, out.split())
    return wall, processor


def command(folder: Path, quick: bool) -> Seconds:
    """Return wall-clock and processor seconds of the whole command."""
    with tempfile.TemporaryDirectory() as place:
        limit = ["--max-steps", "20"] if quick else []
        began, spent = time.perf_counter(), os.times()
        run(
            [
                sys.executable,
                "-m",
                "nelbo",
                "fit",
                "digits",
                "--out",
                f"{place}/run",
                "--quiet",
                *limit,
            ],
            folder,
        )
        after = os.times()
    processor = (
        after.children_user + after.children_system - spent.children_user - spent.children_system
    )
    return time.perf_counter() - began, processor


def run(arguments: list[str], folder: Path) -> str | None:
    """Return what a process prints that imports nelbo from a checkout;
    None where it was still at work after long.
    """
    settings = {**os.environ, "PYTHONPATH": str(folder / "src")}
    try:
        done = subprocess.run(
            arguments, env=settings, capture_output=True, text=True, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        sys.exit(f"{folder} failed:\n{done.stderr[-3000:]}")
    return done.stdout


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many cores busy while the block lasts."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    main()
