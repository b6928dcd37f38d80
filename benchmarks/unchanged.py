"""Compare small fits of all kinds with an older checkout, bit by bit: scores, samples, weights.

Each fit of `benchmarks._fits` runs in a fresh process, on one thread, once with the older nelbo
and once with this one. ``git worktree add /tmp/before COMMIT`` makes the older checkout; NAMES
choose among the fits. Without ``--before`` this checkout is compared with itself. The exit status
is 1 where a result differs or a fit fails. Only results of one machine can be compared: another
processor rounds otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ._common import table
from ._fits import CASES
from ._versus import ROOT

HEAD = ("fit", "same bits", "first difference")


def main() -> None:
    """Run both sides of each fit, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"fits: {' '.join(CASES)}")
    parser.add_argument("names", nargs="*", metavar="NAME", help="fits to run (default: all)")
    parser.add_argument("--before", type=Path, default=ROOT, help="the older checkout")
    parser.add_argument("--workers", type=int, default=2, help="fits at a time (default 2)")
    options = parser.parse_args()
    names = options.names or list(CASES)
    if unknown := set(names) - set(CASES):
        parser.error(f"no fit is called {', '.join(sorted(unknown))}; --help lists them.")
    with ThreadPoolExecutor(options.workers) as pool:
        before = pool.map(lambda name: results(options.before.resolve(), name), names)
        now = pool.map(lambda name: results(ROOT, name), names)
        pairs = zip(names, before, now, strict=True)
        rows = [(name, *compared(old, new)) for name, old, new in pairs]
    print(table(HEAD, rows))
    differ = sum(row[1] != "yes" for row in rows)
    print(f"{len(rows) - differ} of {len(rows)} fits came to the same bits.")
    sys.exit(differ > 0)


def results(folder: Path, name: str) -> dict[str, Any]:
    """Return the results of a fit with the nelbo of a checkout, or its error."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    settings = {**os.environ, **threads, "PYTHONPATH": str(folder / "src")}
    script = [sys.executable, "-m", "benchmarks._fits", name]
    done = subprocess.run(
        script, cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"error": [done.returncode, done.stderr.strip().rpartition("\n")[2]]}
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def compared(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, str]:
    """Return whether two results are equal, and the first that is not; errors come first."""
    keys = sorted({**old, **new}, key=lambda key: key != "error")
    for key in keys:
        (before, told), (now, tells) = (result.get(key, ("", "none")) for result in (old, new))
        if before != now or key == "error":
            return "NO", f"{key}: {told} -> {tells}"
    return "yes", ""


if __name__ == "__main__":
    main()
