"""Peak memory of reading, and of fitting, a .parquet of 2,000,000 rows and 20 columns of numbers,
counts and words, beside the size of the file. Each is measured in a fresh process.

``--quick`` takes a tenth of the rows, which is read at once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ._common import machine, report

READ = """
from nelbo.data.table.stream import Stream
Stream(many=0).read(FILE)
"""
FIT = """
from nelbo.cli import main
main(["fit", FILE, "--out", OUT, "--max-steps", "200", "--samples", "20", "--quiet"])
"""
PEAK = """
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
HEAD = ("what", "rows", "file MiB", "peak MiB")


def written(path: Path, rows: int, together: int = 100_000) -> None:
    """Write a table of 8 columns of numbers, 8 of words and 4 of counts."""
    import pyarrow
    import pyarrow.parquet

    random, writer = np.random.default_rng(0), None
    words = np.array([f"level {i}" for i in range(300)])
    for _ in range(0, rows, together):
        z = random.normal(size=together)
        level = np.clip((20 * z + 10 * random.normal(size=together) + 150).astype(int), 0, 299)
        columns = {f"number {j}": (j + 1) * z + random.normal(size=together) for j in range(8)}
        columns |= {f"word {j}": words[level % (10 * (j + 1))] for j in range(8)}
        columns |= {f"count {j}": random.poisson(np.exp(1 + 0.3 * z)) for j in range(4)}
        table = pyarrow.table(columns)
        if writer is None:
            writer = pyarrow.parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    before, found, rows = machine(), [], 200_000 if quick else 2_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.parquet")
        written(path, rows)
        size = path.stat().st_size / 2**20
        for what, code in (("reading", READ), ("nelbo fit, 200 steps", FIT)):
            names = f"FILE, OUT = {str(path)!r}, {str(Path(folder, 'run'))!r}\n"
            done = subprocess.run(
                [sys.executable, "-c", names + code + PEAK],
                capture_output=True,
                text=True,
                check=True,
            )
            found.append((what, rows, round(size), round(float(done.stdout.split()[-1]))))
            print(*found[-1], flush=True)
    report("stream", HEAD, found, before, quick)


if __name__ == "__main__":
    main()
