"""Training images per second on the same net, batch 512:
nelbo, pythae, loops in PyTorch and JAX, Lightning, PyOD.

pythae's own net (784-512-16 and back, ReLU, a sigmoid at the end) and 784-512-512-16 and back.
Fashion-MNIST in memory, learned beta^2 where the peer has it. Every run is a fresh process: one
epoch to warm up (JAX compiles in it), then whole epochs with all that happens between them, records
and copies of weights included. A ratio compares a run with ours just before it; the medians of all
pairs are reported. nelbo chooses its precision itself (bfloat16 autocast where the processor has
it); the peers' float32 is their default, and loops that can are timed in bfloat16 too. Two rows are
ours, each without one of the things that make it quick.

Operations count the matrix products only: forward, and backward for weights and for all inputs but
the data. Shares are of the rates of products of just these sizes, timed one after another before
and after the fit in its process.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._common import dequantised, machine, report, table, training_products
from ._versus import arguments, bars, median, run, stored

BATCH, LATENT = 512, 16
NETS: dict[str, tuple[dict[str, Any], dict[str, tuple[str, dict[str, Any]]]]] = {
    "784-512-16": ({"hidden": [512], "sigmoid": True}, {"pythae": ("pythae_vae", {})}),
    "784-512-512-16": (
        {"hidden": [512, 512]},
        {
            "JAX scan, fp32": ("jax_scan", {}),
            "JAX scan, bf16": ("jax_scan", {"bf16": True}),
            "PyTorch, resident, fp32": ("torch_loop", {"loader": "resident"}),
            "PyTorch, resident, bf16": ("torch_loop", {"loader": "resident", "bf16": True}),
            "PyTorch, DataLoader, fp32": ("torch_loop", {"loader": "dataloader"}),
            "Lightning, fp32": ("lightning_loop", {}),
            "Lightning, bf16": ("lightning_loop", {"bf16": True}),
            "PyOD": ("pyod_vae", {}),
            "nelbo, memory given back": ("nelbo", {"without": "keeping"}),
            "nelbo by autograd": ("nelbo", {"without": "direct"}),
        },
    ),
}
HEAD = (
    "net",
    "contestant",
    "version",
    "images/s",
    "ours images/s",
    "ours / theirs",
    "lowest",
    "highest",
    "pairs",
)
SHARES = (
    "net",
    "MFLOP/image",
    "GFLOP/s",
    "fp32 products GFLOP/s",
    "share",
    "bf16 products GFLOP/s",
    "share of bf16",
)


def main() -> None:
    """Time all pairs."""
    parser = arguments(__doc__, pairs=5)
    parser.add_argument("--epochs", type=int, default=3, help="epochs that are timed (default 3)")
    options = parser.parse_args()
    epochs, pairs, steps = (1, 1, 4) if options.quick else (options.epochs, options.pairs, 117)
    rows, shares, kept = [], [], {}
    before = machine(training_products(784, NETS["784-512-512-16"][0]["hidden"], LATENT, BATCH))
    with stored(dequantised("fashion_mnist")[0][: BATCH * steps]) as data:
        base = {"task": "speed", "data": data, "batch": BATCH, "latent": LATENT}
        base |= {"warmup": steps, "steps": epochs * steps, "chunk": steps}
        for name, (shape, peers) in NETS.items():
            job, mine = {**base, **shape}, []
            theirs: dict[str, list[dict[str, Any]]] = {label: [] for label in peers}
            for seed in range(pairs):
                for label, (peer, extra) in peers.items():
                    mine.append(run("nelbo", **job, seed=seed, rates=True))
                    theirs[label].append({**run(peer, **job, **extra, seed=seed), "ours": mine[-1]})
                    print(
                        name,
                        label,
                        *(
                            f"{BATCH / r['seconds_per_step']:.0f}"
                            for r in (mine[-1], theirs[label][-1])
                        ),
                    )
            for label, runs in theirs.items():
                ratios = [one["seconds_per_step"] / one["ours"]["seconds_per_step"] for one in runs]
                rates = [rate(runs), rate([one["ours"] for one in runs])]
                rows.append(
                    (
                        name,
                        label,
                        runs[0]["version"],
                        *rates,
                        median(ratios),
                        min(ratios),
                        max(ratios),
                        pairs,
                    )
                )
            shares.append((name, *share(mine, shape["hidden"])))
            kept[name] = {"nelbo": mine, **theirs}
    print(table(SHARES, shares))
    report(
        "throughput",
        HEAD,
        rows,
        before,
        options.quick,
        shares=[dict(zip(SHARES, s, strict=True)) for s in shares],
    )
    labels = [f"{name}: {label}" for name, label, *_ in rows]
    ours = [f"nelbo: {name}" for name in NETS]
    values = [rate(kept[name]["nelbo"]) for name in NETS]
    bars(
        "throughput",
        options.quick,
        [*ours, *labels],
        [*values, *(row[3] for row in rows)],
        "training images per second",
    )


def rate(runs: list[dict[str, Any]]) -> float:
    """Return the median images per second."""
    return BATCH / median(one["seconds_per_step"] for one in runs)


def share(runs: list[dict[str, Any]], hidden: list[int]) -> tuple[float, ...]:
    """Return what one image costs,
    and how much of the processor's rate of just these products we reach.
    """
    operations = 2 * sum(
        float(np.prod(size)) for size in training_products(784, hidden, LATENT, BATCH)
    )
    speeds = [operations / one["seconds_per_step"] for one in runs]
    fp32, bf16 = ([one[name] for one in runs] for name in ("fp32", "bf16"))
    shares = [median(s / p for s, p in zip(speeds, rates, strict=True)) for rates in (fp32, bf16)]
    per_image, speed = operations / BATCH / 1e6, median(speeds) / 1e9
    return per_image, speed, median(fp32) / 1e9, shares[0], median(bf16) / 1e9, shares[1]


if __name__ == "__main__":
    main()
