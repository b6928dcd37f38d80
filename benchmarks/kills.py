"""What is left of a fit that is killed:
its finished model, or a state that resumes to the same bits, every time.

A fit of a small table (`nelbo fit --resume`, which trains twice, the second time on all rows) is
killed at random moments, resumed, killed again, and in the end left alone. SIGKILL, SIGTERM,
SIGINT, and SIGINT twice come either after a random time or at a random step that a save takes in
the file system: before and after each file is opened, renamed and removed. Its state is saved ten
times a second, so that all that a long run does happens in a short one. The weights are compared
with those of a fit that nobody disturbed.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
from pathlib import Path
from typing import Any

from ._common import machine, report
from ._killing import MOMENTS, SIGNALS, kills

HEAD = (
    "signal",
    "moment",
    "kills",
    "before any state",
    "in training",
    "trained",
    "saved",
    "same bits",
    "lost",
    "rude",
)


def main() -> None:
    """Kill as often as is asked, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how often (default 200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="ten kills")
    options = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory() as folder:
        found = kills(10 if options.quick else options.kills, Path(folder), options.seed)
    rows = table(found)
    phases = collections.Counter(one["phase"] for one in found)
    report(
        "kills",
        HEAD,
        rows,
        before,
        options.quick,
        killed_in=dict(sorted(phases.items())),
        kills=found,
    )
    if any(one["outcome"] == "lost" for one in found):
        sys.exit("Something was lost.")


def table(found: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    """Count what became of the kills of each signal at each kind of moment, and of all of them."""
    rows: list[tuple[object, ...]] = []
    for name in (*SIGNALS, "all"):
        for moment in MOMENTS if name != "all" else ("at any moment",):
            these = [
                one
                for one in found
                if name == "all" or (one["signal"], one["moment"]) == (name, moment)
            ]
            left = collections.Counter(one["left"] for one in these)
            outcome = collections.Counter(one["outcome"] for one in these)
            rude = sum(one["rude"] for one in these)
            places = [left[place] for place in ("nothing yet", "state", "trained", "model")]
            rows.append(
                (name, moment, len(these), *places, outcome["same bits"], outcome["lost"], rude)
            )
    return rows


if __name__ == "__main__":
    main()
