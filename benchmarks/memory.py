"""Peak memory of a fit as the data grow: 784 features of float32, latent 16, hidden 512-512, each
in a fresh process.

The peak is the largest resident size that the operating system saw. Less the data (one copy) and
the weights (one copy) it is to stay within 300 MB, of which the libraries take a good part before
there are any data; that part is shown, and so is what is left without it. Peers train 50 steps on
the same arrays. MB are 10^6 bytes.
"""

from __future__ import annotations

from typing import Any

from ._common import machine, picture, report
from ._versus import arguments, median, run, stored, synthetic

ALLOWED = 300
CONTESTANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "nelbo": ("nelbo", {"task": "quality", "judge": False, "options": {"max_steps": 50}}),
    "PyTorch, DataLoader": ("torch_loop", {"task": "speed", "loader": "dataloader"}),
    "pythae": ("pythae_vae", {"task": "speed"}),
}
NET = {"hidden": [512, 512], "latent": 16, "batch": 512, "warmup": 1, "steps": 49}
WEIGHTS = 4 * (784 * 512 + 512 * 512 + 512 * 32 + 16 * 512 + 512 * 512 + 512 * 784) / 1e6
HEAD = (
    "contestant",
    "rows",
    "data MB",
    "peak MB",
    "less data and weights",
    "imports MB",
    "less those too",
    "repeats",
)


def main() -> None:
    """Measure every size."""
    options = arguments(__doc__, pairs=3).parse_args()
    sizes = (5_000, 20_000) if options.quick else (5_000, 20_000, 80_000, 320_000)
    before, rows, repeats = machine(), [], 1 if options.quick else options.pairs
    for count in sizes:
        with stored(synthetic(count, 784)) as data:
            for label, (contestant, job) in CONTESTANTS.items():
                found = [
                    run(contestant, **NET, **job, data=data, seed=seed) for seed in range(repeats)
                ]
                peak, imports = (
                    median(one[key] / 1e6 for one in found)
                    for key in ("peak_bytes", "imports_bytes")
                )
                size = count * 784 * 4 / 1e6
                more = peak - size - WEIGHTS
                rows.append((label, count, size, peak, more, imports, more - imports, repeats))
                print(*rows[-1], flush=True)
    report("memory", HEAD, rows, before, options.quick, allowed_mb=ALLOWED)
    with picture("memory", options.quick) as axes:
        for label in CONTESTANTS:
            mine = [row for row in rows if row[0] == label]
            axes.plot([row[2] for row in mine], [row[4] for row in mine], "o-", label=label)
        axes.axhline(ALLOWED, color="0.8", zorder=0)
        axes.set(xlabel="data, MB", ylabel="peak memory less data and weights, MB", xscale="log")
        axes.legend()


if __name__ == "__main__":
    main()
