"""PyOD's detectors with their defaults: scores of test rows, large for anomalies."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch


def main() -> None:
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    torch.set_num_threads(1)
    found = [judged(split) for split in job["splits"]]
    (folder / "result.json").write_text(json.dumps({"found": found}))


def judged(split: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of the test rows of a split by its detectors, and processor seconds."""
    train, test = (np.load(Path(split["data"]) / f"{part}.npy") for part in ("train", "test"))
    result = {}
    for name in split["detectors"]:
        detector = made(name, split["seed"], train.shape[1])
        begun = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            detector.fit(train)
            scores = np.asarray(detector.decision_function(test), dtype=np.float64)
        result[name] = {"scores": scores.tolist(), "seconds": time.process_time() - begun}
    return result


def made(name: str, seed: int, columns: int) -> Any:
    if name == "VAE":
        from pyod.models.vae import VAE

        return VAE(random_state=seed, verbose=0, latent_dim=min(2, columns))
    if name == "ECOD":
        from pyod.models.ecod import ECOD

        return ECOD()
    if name == "IForest":
        from pyod.models.iforest import IForest

        return IForest(random_state=seed)
    from pyod.models.knn import KNN

    return KNN()


if __name__ == "__main__":
    main()
