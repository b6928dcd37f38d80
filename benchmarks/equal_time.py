"""Held-out nats after the same time, 10 s and 60 s:
Fashion-MNIST, latent 10, as in time_to_quality.py.

Ours are fits of `VariationalAutoencoder(10)` with ``max_seconds``; peers are measured at the first
step after each time, with the beta^2 that is best for their weights. Medians over the rounds, in
each of which ours come before the peers.
"""

from __future__ import annotations

from typing import Any

from ._common import dequantised, images, machine, report, training_products
from ._versus import BYTES, arguments, bars, median, run, stored
from .time_to_quality import NET, PEERS

HEAD = (
    "contestant",
    "version",
    "seconds",
    "took s",
    "nats",
    "s.e.",
    "beta",
    "steps",
    "ours ahead by",
    "rounds",
)


def main() -> None:
    """Run all rounds."""
    parser = arguments(__doc__, pairs=3)
    parser.add_argument("--bytes", action="store_true", help=BYTES)
    options = parser.parse_args()
    times, rounds = ([2.0, 4.0], 1) if options.quick else ([10.0, 60.0], options.pairs)
    before = machine(training_products(784, NET["hidden"], NET["latent"], NET["batch"]))
    train, test = dequantised("fashion_mnist")
    if options.quick:
        train, test = train[:6000], test[:200]
    kept = images("fashion_mnist")[0][: len(train)]
    ours: list[list[list[float]]] = []
    found: dict[str, list[dict[str, Any]]] = {label: [] for label in PEERS}
    with stored(train, test, bytes=kept) as data:
        base = {"task": "quality", "data": data, "bytes": options.bytes, **NET}
        for seed in range(rounds):
            fits = [
                run("nelbo", **base, seed=seed, own=True, options={"max_seconds": seconds})
                for seconds in times
            ]
            points = [
                [fit[name] for name in ("seconds", "steps", "nats", "error", "beta")]
                for fit in fits
            ]
            ours.append(points)
            for label, (peer, extra) in PEERS.items():
                found[label].append(
                    run(peer, **base, **extra, seed=seed, at=times, limit=times[-1])
                )
            print(
                points,
                {label: [point[2] for point in runs[-1]["curve"]] for label, runs in found.items()},
                flush=True,
            )
    everything = {
        "nelbo": ours,
        **{label: [after(one["curve"], times) for one in runs] for label, runs in found.items()},
    }
    versions = {
        "nelbo": fits[0]["version"],
        **{label: runs[0]["version"] for label, runs in found.items()},
    }
    rows = []
    for label, curves in everything.items():
        for number, seconds in enumerate(times):
            took, steps, nats, error, beta = (
                median(c[number][i] for c in curves) for i in range(5)
            )
            ahead = median(o[number][2] - c[number][2] for o, c in zip(ours, curves, strict=True))
            rows.append(
                (
                    label,
                    versions[label],
                    seconds,
                    took,
                    nats,
                    error,
                    beta,
                    int(steps),
                    ahead,
                    rounds,
                )
            )
    report(
        "equal_time",
        HEAD,
        rows,
        before,
        options.quick,
        curves=everything,
        images=len(train),
        bytes=options.bytes,
    )
    labels = [f"{row[0]}, {row[2]:.0f} s" for row in rows]
    bars("equal_time", options.quick, labels, [row[4] for row in rows], "held-out nats per image")


def after(curve: list[list[float]], times: list[float]) -> list[list[float]]:
    """Return the first point of a curve at or after each time;
    one long step can pass two of them.
    """
    return [next(point for point in curve if point[0] >= seconds) for seconds in times]


if __name__ == "__main__":
    main()
