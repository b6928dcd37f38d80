"""TVAE of the package ctgan (Xu et al., 2019), as it comes: rows in, as many synthetic rows out."""

from __future__ import annotations

import importlib.metadata
import json
import random
import sys
import time
from pathlib import Path

import numpy as np
import pandas
import torch
from ctgan import TVAE


def main() -> None:
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    random.seed(job["seed"])
    np.random.seed(job["seed"])  # noqa: NPY002 (ctgan draws from it)
    torch.manual_seed(job["seed"])
    torch.set_num_threads(1)
    train = pandas.read_csv(job["train"], keep_default_na=False)
    levels = [name for name in train if train[name].dtype.kind not in "iuf"]
    begun = time.perf_counter()
    model = TVAE(epochs=job["epochs"], enable_gpu=False)
    model.fit(train, levels)
    seconds = time.perf_counter() - begun
    model.sample(len(train)).to_csv(job["out"], index=False)
    result = {"seconds": seconds, "version": importlib.metadata.version("ctgan")}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
