"""Seconds until 424 and 550 held-out nats: Fashion-MNIST, x = (u8 + U) / 256, latent 10.

log p(x) by 200 importance samples on the first 1,000 test images, the same estimate for all
(peers/_contest.py); for the fit without a limit the library's own is kept beside it, as
``own_nats``. All get the same float32 images, and every run is a fresh process. The clock counts
what a user waits for, from the start of model building: scaling, initialisation, compilation,
training. It does not count the start of the process, imports (those of a first use included),
reading the data, or pauses to measure log p(x).

Ours: `VariationalAutoencoder(10)` anneals its rate towards the end of a run, so there is no curve
to read off: fresh fits get ``max_seconds`` that grow by a fifth, until two in a row reach the
target, and the first of these two counts, by the seconds from the call of ``fit`` to its return.
``--unlimited`` measures a fit without any limit, too.

Peers (batch 128, Adam at 1e-3): they are measured at times that grow by a quarter, and the time at
which a target is reached is read between two measurements. Before each of them beta^2 is fitted to
training rows for free. A target that the first run has not reached when its limit of seconds is
over is not tried again.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from ._common import dequantised, images, machine, picture, report, training_products
from ._versus import BYTES, arguments, median, run, stored

TARGETS = (424.0, 550.0)
GROWTH = 1.2
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "pythae": ("pythae_vae", {}),
    "PyTorch, DataLoader": ("torch_loop", {"loader": "dataloader"}),
    "PyTorch, resident": ("torch_loop", {"loader": "resident"}),
    "JAX scan": ("jax_scan", {}),
}
NET = {"hidden": [512, 512], "latent": 10, "batch": 128, "chunk": 50}
HEAD = (
    "nats",
    "contestant",
    "version",
    "seconds",
    "ours",
    "theirs / ours",
    "lowest",
    "highest",
    "pairs",
    "best nats",
)


def main() -> None:
    """Find all the times."""
    parser = arguments(__doc__, pairs=3)
    parser.add_argument(
        "--limit", type=float, default=150.0, help="seconds of training that a peer gets"
    )
    parser.add_argument("--bytes", action="store_true", help=BYTES)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument(
        "--unlimited", action="store_true", help="also a default fit without limit, of some minutes"
    )
    options = parser.parse_args()
    limit, targets = (6.0, (100.0, 200.0)) if options.quick else (options.limit, TARGETS)
    pairs = 1 if options.quick else options.pairs
    before = machine(training_products(784, NET["hidden"], NET["latent"], NET["batch"]))
    train, test = dequantised("fashion_mnist")
    if options.quick:
        train, test = train[:6000], test[:200]
    kept = images("fashion_mnist")[0][: len(train)]
    peers = {label: PEERS[label] for label in options.peers}
    theirs: dict[str, list[dict[str, Any]]] = {label: [] for label in peers}
    ours: dict[str, list[dict[float, dict[str, Any]]]] = {label: [] for label in peers}
    starts = dict.fromkeys(targets, 0.25)
    with stored(train, test, bytes=kept) as data:
        base = {"task": "quality", "data": data, "bytes": options.bytes, **NET}
        unlimited = None
        if options.unlimited:
            unlimited = run(
                "nelbo",
                **base,
                seed=0,
                own=True,
                options={"max_steps": 200} if options.quick else {},
            )
            print("no limit:", unlimited, flush=True)
        for seed, (label, (peer, extra)) in itertools.product(range(pairs), peers.items()):
            wanted = [
                t
                for t in targets
                if not theirs[label] or reached(theirs[label][0]["curve"], t) < math.inf
            ]
            if not wanted:
                continue
            found = {}
            for target in wanted:
                found[target] = search(base, target, starts[target], seed, limit)
                starts[target] = max(0.1, found[target]["asked"] / GROWTH**2)
            ours[label].append(found)
            job = {
                **base,
                **extra,
                "seed": seed,
                "growth": 1.25,
                "limit": limit,
                "at": [limit],
                "target": max(wanted),
            }
            theirs[label].append(run(peer, **job))
            print(label, theirs[label][-1]["curve"][-1], flush=True)
    rows = []
    for target, label in itertools.product(targets, peers):
        both = [
            (o[target], reached(t["curve"], target))
            for o, t in zip(ours[label], theirs[label], strict=True)
            if target in o
        ]
        mine, seconds = [o["seconds"] for o, _ in both], [t for _, t in both]
        ratios = [min(t, limit) / m for m, t in zip(mine, seconds, strict=True)]
        more = "" if median(seconds) < math.inf else "> "
        cells = [
            more + f"{value:.3g}"
            for value in (min(median(seconds), limit), median(ratios), min(ratios), max(ratios))
        ]
        best = max(point[2] for one in theirs[label] for point in one["curve"])
        rows.append(
            (
                target,
                label,
                theirs[label][0]["version"],
                cells[0],
                median(mine),
                *cells[1:],
                len(both),
                best,
            )
        )
    everything = {
        "ours": ours,
        "theirs": theirs,
        "unlimited": unlimited,
        "limit": limit,
        "images": len(train),
        "bytes": options.bytes,
    }
    report("time_to_quality", HEAD, rows, before, options.quick, **everything)
    draw(options.quick, targets, theirs, ours, unlimited)


def search(
    base: dict[str, Any], target: float, start: float, seed: int, most: float
) -> dict[str, Any]:
    """Return the first of two fits in a row that reach the target,
    of fits that get more and more seconds.
    """
    asked, last = start, None
    while asked < most:
        one = run("nelbo", **base, seed=seed, options={"max_seconds": asked}) | {"asked": asked}
        print(
            (
                f"asked {asked:.2f} s, took {one['seconds']:.2f} s: {one['nats']:.1f} nats of "
                f"{target:.0f}"
            ),
            flush=True,
        )
        enough = one["nats"] >= target
        if enough and last is not None:
            return last
        last, asked = one if enough else None, asked * GROWTH
    return last or {"asked": most, "seconds": math.inf, "nats": one["nats"]}


def reached(curve: list[list[float]], target: float) -> float:
    """Return the seconds at which a curve first reaches a target,
    between two of its points, or infinity.
    """
    before = [0.0, 0, -math.inf]
    for point in curve:
        if point[2] >= target:
            share = (
                (target - before[2]) / (point[2] - before[2]) if math.isfinite(before[2]) else 1.0
            )
            return before[0] + share * (point[0] - before[0])
        before = point
    return math.inf


def draw(
    quick: bool,
    targets: tuple[float, ...],
    theirs: Any,
    ours: Any,
    unlimited: dict[str, Any] | None,
) -> None:
    """Show log p(x) against seconds: curves of the peers' first runs, points of ours."""
    with picture("time_to_quality", quick) as axes:
        for label, runs in theirs.items():
            axes.plot(
                [p[0] for p in runs[0]["curve"]], [p[2] for p in runs[0]["curve"]], label=label
            )
        points = [
            one
            for found in itertools.chain(*ours.values())
            for one in found.values()
            if one["seconds"] < math.inf
        ]
        points += [unlimited] if unlimited else []
        axes.plot(
            [p["seconds"] for p in points],
            [p["nats"] for p in points],
            "ko",
            label="nelbo, each a whole fit",
        )
        for target in targets:
            axes.axhline(target, color="0.8", zorder=0)
        axes.set(
            xscale="log",
            xlabel="seconds",
            ylabel="held-out nats per image",
            ylim=(min(targets) - 300, None),
        )
        axes.legend()


if __name__ == "__main__":
    main()
