"""What the benchmarks share: data, the machine's description, and where results go."""

from __future__ import annotations

import ctypes
import itertools
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from nelbo import VAE, likelihood, networks, posterior, prior

RESULTS = Path(__file__).parent / "results"


def data_file(name: str) -> Path:
    """Return a file in the folder that NELBO_DATA names, or end with what is missing."""
    folder = os.environ.get("NELBO_DATA")
    path = Path(folder or ".") / name
    if folder is None or not path.exists():
        sys.exit(f"This benchmark needs {name} in the folder that NELBO_DATA names.")
    return path


def images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and test images of "mnist" or "fashion_mnist", uint8,
    of shape (n, 28, 28).
    """
    with np.load(data_file(f"{name}.npz")) as arrays:
        return arrays["x_train"], arrays["x_test"]


def dequantised(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (u8 + U) / 256 of both parts as float32, U drawn by numpy's default_rng(0):
    train first, then test.
    """
    rng = np.random.default_rng(0)
    train, test = images(name)
    return tuple(
        ((part + rng.random(part.shape)) / 256).astype(np.float32) for part in (train, test)
    )  # type: ignore[return-value]


def machine(products: Sequence[tuple[int, int, int]] = ((2048, 2048, 2048),)) -> dict[str, Any]:
    """Describe the machine that the figures come from,
    with its rates of matrix products of some sizes.
    """
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        names = [
            x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")
        ]
        model = names[0].split(":")[1].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "products": [list(size) for size in products]
        if len(products) < 4
        else f"{len(products)} sizes of the net",
        "fp32_gflops": product_rate(products, torch.float32) / 1e9,
        "bf16_gflops": product_rate(products, torch.bfloat16) / 1e9,
    }


def product_rate(
    products: Sequence[tuple[int, int, int]], dtype: torch.dtype, seconds: float = 0.5
) -> float:
    """Return the floating-point operations per second
    of (m, k) @ (k, n) products done one after another, the median.

    The right-hand matrix is transposed in memory, as a linear layer's weight is.
    """
    pairs = [
        (torch.rand(m, k, dtype=dtype), torch.rand(n, k, dtype=dtype).T) for m, k, n in products
    ]
    operations, rates, begun = 2 * sum(m * k * n for m, k, n in products), [], time.perf_counter()
    while len(rates) < 4 or time.perf_counter() - begun < seconds:
        _, took = timed(lambda: [torch.mm(a, b) for a, b in pairs])
        rates.append(operations / took)
    return statistics.median(rates[1:])


def training_products(
    features: int, hidden: Sequence[int], latent: int, batch: int
) -> list[tuple[int, int, int]]:
    """Return the (m, k, n) of all matrix products
    in one step of features-hidden-latent and back.
    """
    encoder, decoder = (features, *hidden, 2 * latent), (latent, *reversed(hidden), features)
    layers = [*itertools.pairwise(encoder), *itertools.pairwise(decoder)]
    forward = [(batch, a, b) for a, b in layers]
    for_weights = [(b, batch, a) for a, b in layers]
    for_inputs = [(batch, b, a) for a, b in layers[1:]]  # nobody asks for the gradient of the data
    return forward + for_weights + for_inputs


def keep_memory() -> None:
    """Let glibc keep freed memory instead of returning it:
    tensors of tens of megabytes are then not zeroed anew.

    With 5,000 decoded images in a step that is a third of its time.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            # trim, top pad, mmap thresholds
            for option, value in ((-1, 2**31 - 1), (-2, 2**26), (-3, 2**25)):
                libc.mallopt(option, value)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return a call's result and its wall-clock seconds."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def kept(name: str, head: Sequence[str], cells: int = 1) -> dict[Any, list[Any]]:
    """Return the rows of a result with these columns that is there already,
    by their first cell, or cells.
    """
    path = RESULTS / f"{name}.json"
    record = json.loads(path.read_text()) if path.exists() else {"columns": []}
    rows = record["rows"] if record["columns"] == list(head) else []
    return {row[0] if cells == 1 else tuple(row[:cells]): row for row in rows}


def guess(decoder: torch.nn.Module, mean: torch.Tensor, least: float) -> None:
    """Let the first guess of a decoder's sigmoid be the mean of every pixel, at least ``least``
    away from 0 and 1.
    """
    last = [part for part in decoder.modules() if isinstance(part, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.bias.copy_(torch.logit(mean.clamp(least, 1 - least)))


def burda_net(latent_dim: int, mean: torch.Tensor, p: prior.Prior | None = None) -> VAE:
    """784-200-200-latents-200-200-784, tanh, Bernoulli (Burda et al., 2016), with N(0, I) where no
    prior is given; the same weights each time.
    """
    head, q = likelihood.Bernoulli((784,)), posterior.DiagonalNormal(latent_dim)
    shape: dict[str, Any] = {
        "hidden": (200, 200),
        "activation": "tanh",
        "generator": torch.Generator().manual_seed(0),
    }
    decoder = networks.MLP((latent_dim,), head.in_shape, **shape)
    encoder = networks.MLP((784,), q.in_shape, **shape)
    guess(decoder, mean, 1e-3)
    return VAE(p or prior.StandardNormal(latent_dim), decoder, head, encoder, q)


def save_weights(path: Path, vae: VAE, **facts: float) -> None:
    """Keep weights with a few numbers about them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(
        vae.state_dict(), path, {key: str(value) for key, value in facts.items()}
    )


def load_weights(path: Path, vae: VAE) -> dict[str, float]:
    """Take weights that were kept, and return the numbers."""
    vae.load_state_dict(safetensors.torch.load_file(path))
    with safetensors.safe_open(path, "pt") as file:
        return {key: float(value) for key, value in file.metadata().items()}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out a Markdown table."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = [head, ["-" * w for w in widths], *cells]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


@contextmanager
def picture(name: str, quick: bool, columns: int = 1) -> Iterator[Any]:
    """Give axes, one or an array of them, and keep the picture beside the results."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(5 * columns + 2, 4), layout="constrained")
    yield axes
    figure.savefig(place(name, quick).with_suffix(".png"), dpi=120)
    pyplot.close(figure)


def place(name: str, quick: bool) -> Path:
    """Return where a result goes; those of a quick run never replace real ones."""
    folder = RESULTS / "quick" if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.json"


def report(
    name: str,
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    before: dict[str, Any],
    quick: bool = False,
    **more: Any,
) -> None:
    """Print a table, and keep it as Markdown, and with the machine's description as JSON."""
    print(table(head, rows))
    path = place(name, quick)
    path.with_suffix(".md").write_text(table(head, rows) + "\n")
    record = {
        "benchmark": name,
        "machine": before,
        "columns": list(head),
        "rows": [list(r) for r in rows],
        **more,
    }
    path.write_text(json.dumps(_finite(record), indent=1, default=float, allow_nan=False) + "\n")
    print(f"written: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def _finite(value: Any) -> Any:
    """Return the same with None for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: object) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float) and abs(value) < 1
        else f"{value:.2f}"
        if isinstance(value, float)
        else str(value)
    )
