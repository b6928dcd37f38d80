"""Measure how the code is built: checks of data, tests of classes, complexity, constants, words.

``--before FOLDER`` measures an older checkout as well, such as ``git worktree add`` makes.
`benchmarks._counts` reads the syntax. Only the checks of data are counted at work, while the
checkout runs `nelbo fit data.csv` on 600 rows of 6 columns, with default options but for 20 steps.
A check is a call of a function that asks for isfinite or isnan, that raises errors or has "check",
"valid" or "finite" in its name, and that holds 50 rows or more in a local variable or an attribute.
At the door stand those of `nelbo.data`; the results name each and how often it was called.

"Complexity of all that branches" also counts what C901 leaves out: conditional expressions, "and",
"or" and comprehensions. An option is written in each list of options that names it, in the files
that say what may be asked of a fit and in those that follow them (`_counts.FACES`): a signature,
fields, a docstring, assignments, strings, or arguments handed on under their own names. The figure
is the median over the estimator's options.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from . import _counts
from ._common import report
from ._versus import ROOT

ASKED = {
    "checks of data at the door, one `nelbo fit data.csv`": "<= 3",
    "checks of data anywhere": "",
    "isinstance and type() on classes of parts": "<= 5",
    "`estimator: Any`": "0",
    "largest complexity (C901)": "<= 12",
    "largest complexity of all that branches": "<= 12",
    "functions beyond 12, of all that branches": "",
    "conditional expressions per 1,000 lines of code": "<= 15",
    "constants of modules": "< 100",
    "names of constants used twice": "0",
    "imports of evaluate's modules in diagnose": "0",
    "places where an option is written": "<= 2",
    "the same of the option written most often": "",
    "documentation, % of lines": ">= 25",
    "the same with strings below names, %": "",
    "lines over 100 characters": "0",
    "imports inside functions": "",
    "files": "",
    "lines of code": "",
}
"""Figures, and what is asked of them."""
WATCH = """
import collections, dis, functools, json, os, sys, threading
import numpy, torch, nelbo
from nelbo.cli import main
place = os.path.join(os.path.dirname(nelbo.__file__), "")
calls, kinds = collections.Counter(), (numpy.ndarray, torch.Tensor)

@functools.cache
def checks(code):
    if not (code.co_filename.startswith(place) and {"isfinite", "isnan"} & {*code.co_names}):
        return False
    named = any(word in code.co_name for word in ("check", "valid", "finite"))
    return named or any(step.opname == "RAISE_VARARGS" for step in dis.get_instructions(code))

def holds_rows(found):
    inside = [*found.values(), *getattr(found.get("self"), "__dict__", {}).values()]
    shapes = [value.shape for value in inside if isinstance(value, kinds)]
    return any(len(shape) == 2 and shape[0] >= 50 for shape in shapes)

def watch(frame, event, value):
    if event == "return" and checks(frame.f_code) and holds_rows(frame.f_locals):
        calls[f"{frame.f_code.co_filename.removeprefix(place)}: {frame.f_code.co_name}"] += 1

threading.setprofile(watch)
sys.setprofile(watch)
status = main(["fit", "data.csv", "--out", "run", "--max-steps", "20", "--quiet"])
sys.setprofile(None)
print(json.dumps([status, calls]))
"""


def main() -> None:
    """Measure one checkout or two, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="an older checkout, to compare with")
    options = parser.parse_args()
    folders = {"now": ROOT}
    if options.before is not None:
        folders = {"before": options.before.resolve(), "now": ROOT}
    found = {version: measured(folder) for version, folder in folders.items()}
    rows = [
        (name, *(rounded(figures[name]) for figures, _ in found.values()), asked)
        for name, asked in ASKED.items()
    ]
    told = {version: details for version, (_, details) in found.items()}
    report("house", ("figure", *folders, "asked"), rows, {}, details=told)


def rounded(value: float) -> float:
    """Return a figure to one decimal, and as an integer where it is one."""
    if value == int(value):
        return int(value)
    return round(value, 1)


def measured(folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the figures of a checkout, and what they consist of."""
    files = _counts.read(folder)
    calls, classes = checks(folder), _counts.tests_of_parts(files)
    plain, wide = _counts.complexities(folder), _counts.branches(files)
    constants, lines = _counts.constants(files), _counts.count_lines(files)
    twice = sorted(name for name, count in constants.items() if count > 1)
    places = {option: _counts.places(files, option) for option in _counts.options(files)}
    documented = lines["docstring"] + lines["comment"]
    figures = (
        sum(count for function, count in calls.items() if function.startswith("data/")),
        sum(calls.values()),
        len(classes),
        _counts.untyped_estimators(files),
        max(plain),
        max(wide),
        sum(one > 12 for one in wide),
        _counts.ternaries(files),
        constants.total(),
        len(twice),
        _counts.deep_imports(files),
        statistics.median(map(len, places.values())),
        max(map(len, places.values())),
        100 * documented / lines.total(),
        100 * (documented + lines["string"]) / lines.total(),
        _counts.long_lines(folder),
        _counts.imports_in_functions(files),
        len(files),
        lines["code"],
    )
    details = {"checks": calls, "classes": classes, "twice": twice, "places": places}
    return dict(zip(ASKED, figures, strict=True)), details


def checks(folder: Path) -> dict[str, int]:
    """Return how often each function of a checkout checked the rows in one `nelbo fit`."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, "data.csv").write_text(table())
        done = subprocess.run(
            [sys.executable, "-c", WATCH],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{folder} failed:\n{done.stderr[-3000:]}")
    status, calls = json.loads(done.stdout.splitlines()[-1])
    if status:
        sys.exit(f"`nelbo fit` of {folder} failed:\n{done.stderr[-3000:]}")
    return dict(calls)


def table() -> str:
    """Return 600 rows of 6 columns with two directions in common, as CSV."""
    random = np.random.default_rng(0)
    x = random.standard_normal((600, 2)) @ random.standard_normal((2, 6))
    x += 0.3 * random.standard_normal(x.shape)
    return "\n".join(["a,b,c,d,e,f", *(",".join(f"{value:.6g}" for value in row) for row in x)])


if __name__ == "__main__":
    main()
