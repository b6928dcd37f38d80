"""Microseconds per training step of a net too small to matter:
64-64-4 and back, batch 32, so that all else shows.

nelbo's `fit` beside the best loop we can write by hand (batches gathered from one tensor, fused
AdamW, learned beta, no host sync), the loop of PyTorch's examples (DataLoader, Adam, the loss read
at every step) and Lightning's Trainer; and itself without gradients that are written out.
Whole epochs of 1,000 steps after one to warm up, each run in a fresh process; ours includes its
record after every epoch. A ratio compares a run with ours just before it; medians over all pairs.
"""

from __future__ import annotations

from typing import Any

from ._common import machine, report
from ._versus import arguments, bars, median, run, stored, synthetic

PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "PyTorch, resident": ("torch_loop", {"loader": "resident"}),
    "PyTorch, DataLoader": ("torch_loop", {"loader": "dataloader"}),
    "Lightning": ("lightning_loop", {}),
    "nelbo by autograd": ("nelbo", {"without": "direct"}),
}
HEAD = (
    "contestant",
    "version",
    "us/step",
    "ours us/step",
    "theirs / ours",
    "lowest",
    "highest",
    "pairs",
)


def main() -> None:
    """Time all pairs."""
    options = arguments(__doc__, pairs=7).parse_args()
    per_epoch, epochs, pairs = (100, 1, 1) if options.quick else (1000, 5, options.pairs)
    before, mine = machine(), []
    theirs: dict[str, list[tuple[float, float, str]]] = {label: [] for label in PEERS}
    with stored(synthetic(32 * per_epoch, 64)) as data:
        base = {"task": "speed", "data": data, "hidden": [64], "latent": 4, "batch": 32}
        base |= {"warmup": per_epoch, "steps": epochs * per_epoch}
        for seed in range(pairs):
            for label, (peer, extra) in PEERS.items():
                ours = run("nelbo", **base, seed=seed)["seconds_per_step"] * 1e6
                other = run(peer, **base, **extra, seed=seed)
                mine.append(ours)
                theirs[label].append((ours, other["seconds_per_step"] * 1e6, other["version"]))
                print(label, *theirs[label][-1], flush=True)
    rows = []
    for label, found in theirs.items():
        ratios = [them / us for us, them, _ in found]
        medians = median(them for _, them, _ in found), median(us for us, _, _ in found)
        rows.append((label, found[0][2], *medians, median(ratios), min(ratios), max(ratios), pairs))
    report("overhead", HEAD, rows, before, options.quick, runs=theirs)
    bars(
        "overhead",
        options.quick,
        ["nelbo", *theirs],
        [median(mine), *(r[2] for r in rows)],
        "microseconds per step",
    )


if __name__ == "__main__":
    main()
