"""Fit and save the runs of this folder, and record what each of them says of a few rows.

They were made by the code of commit 1348337. `test_old_runs.py` demands that every later version
reads them and gives the same results. A run of a new kind is made by the first version with it:
``PYTHONPATH=/tmp/before/src:. python tests/runs/make.py NAME``, where
``git worktree add /tmp/before COMMIT`` made that folder.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._small import binary, constant_column, grey, images, table
from nelbo import VariationalAutoencoder

FOLDER = Path(__file__).parent
SIDE = 4
PARTS = (slice(None, -3), slice(-6, None))
"""Rows that are fitted, and rows of which much is said: three that are, and three others."""


def fits() -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """Return the data and options of each run, by name."""
    grey_values, pixels = grey()[:, ::2, ::2], images()[:, ::2, ::2]
    return {
        "table": (table(), {}),
        "columns": (constant_column(), {"scale": "standard", "variance": "per_feature"}),
        "linear": (table(), {"network": "linear", "variance": 0.1}),
        "images": (pixels, {"likelihood": "heteroscedastic_gaussian"}),
        "conv": (grey_values, {"network": "conv"}),
        "bytes": (grey_values.reshape(-1, SIDE * SIDE), {"dequantize": True}),
        "bernoulli": (binary()[:, ::2, ::2], {"likelihood": "bernoulli", "network": "mlp"}),
        "discretised": (grey_values, {"likelihood": "discretized_gaussian"}),
        "conditions": (table(), {}),
    }


def conditions(rows: int) -> dict[str, dict[str, list[Any]]]:
    """Return what the rows of some runs are conditioned on, by the name of the run."""
    kinds = [("bird", "cat", "dog")[i % 3] for i in range(rows)]
    return {"conditions": {"kind": kinds, "age": [0.37 * i for i in range(rows)]}}


def said(
    model: VariationalAutoencoder, x: np.ndarray, c: dict[str, list[Any]] | None
) -> dict[str, Any]:
    """Return what a fitted model says of rows, and what it draws."""
    return {
        "score_samples": model.score_samples(x, c=c),
        "elbo": model.elbo(x, c=c),
        "transform": model.transform(x, c=c),
        "reconstruct": model.reconstruct(x, c=c),
        "sample": model.sample(len(x), random_state=1, c=c),
        "noise_variance_": getattr(model, "noise_variance_", None),
        "trained_on": model.trained_on(x),
    }


def main() -> None:
    """Make the runs that are named, or all."""
    warnings.simplefilter("ignore")  # remarks on made-up data
    made = fits()
    for name in sys.argv[1:] or made:
        x, options = made[name]
        small = {"latent_dim": 2, "hidden": (8,), "channels": (2,), "max_steps": 60}
        model, rows = VariationalAutoencoder(**small, **options, random_state=0), x[-6:]
        c = conditions(len(x)).get(name)
        known, told = (c and {key: cells[part] for key, cells in c.items()} for part in PARTS)
        model.fit(x[:-3], c=known)
        model.save(FOLDER / name, overwrite=True)
        expected = {"dtype": str(x.dtype), "rows": rows, "c": told, **said(model, rows, told)}
        (FOLDER / f"{name}.json").write_text(json.dumps(expected, default=plain, indent=1) + "\n")


def plain(value: Any) -> Any:
    """Return lists for arrays, whose float32 numbers are exact as float64."""
    return np.asarray(value).tolist()


if __name__ == "__main__":
    main()
