"""The latent explorer in Chromium, opened from disk without a network: how large a page is, how
soon it is ready, and what a decode takes.

Seconds to write include finding what the page shows, and the export of its decoder. "ready" is from
the opening of the page to the first picture; a decode is the mean of 100, one after the other.
Medians of several openings are reported. It needs playwright (the extra `web`).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits, load_wine

from nelbo import VariationalAutoencoder
from nelbo.explore import explore

from ._common import data_file, images, machine, report

HEAD = ("data", "network", "latents", "page MB", "written s", "ready s", "decode ms", "frame ms")
DECODE = """async () => { const t = performance.now();
    for (let i = 0; i < 100; i++) await nelbo.decode(nelbo.state.z, 1);
    return (performance.now() - t) / 100; }"""
FRAME = """async () => {
    const slider = document.querySelector("#sliders input"), t = performance.now();
    for (let i = 0; i < 100; i++) {
        const before = nelbo.drawn();
        slider.value = Number(slider.min) + (slider.max - slider.min) * i / 100;
        slider.dispatchEvent(new Event("input"));
        while (nelbo.drawn() === before) await new Promise(requestAnimationFrame);
    }
    return (performance.now() - t) / 100; }"""


def models() -> Iterator[tuple[str, str, Any, Any]]:
    """Yield name and network of each fitted model, the model, and its rows."""
    digits = (load_digits().images * 16).clip(0, 255).astype(np.uint8)
    common: dict[str, Any] = {"random_state": 0}
    yield "digits", "default", VariationalAutoencoder(8, **common).fit(digits), digits
    wine = load_wine().data
    yield "wine", "default", VariationalAutoencoder(**common).fit(wine), wine
    fashion = images("fashion_mnist")[0]
    for network, size in (("residual", 10), ("conv", 10)):
        model = VariationalAutoencoder(size, network=network, max_seconds=20, **common)
        yield "fashion_mnist", network, model.fit(fashion), fashion
    with np.load(data_file("frey_faces.npz")) as arrays:
        faces = arrays["x"].reshape(-1, 28, 20)
    yield "frey_faces", "default", VariationalAutoencoder(200, max_steps=200).fit(faces), faces


def main() -> None:
    """Write and open every page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="openings of each page")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        sys.exit("This benchmark needs Chromium on PATH.")
    before, rows = machine(), []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, network, model, x in models():
            page = Path(folder) / f"{name}-{network}.html"
            begun = time.perf_counter()
            explore(model.fitted_, page, x)
            written = time.perf_counter() - begun
            found = [opened(browser, page) for _ in range(options.repeats)]
            ready, decode, frame = map(statistics.median, zip(*found, strict=True))
            size = page.stat().st_size / 1e6
            rows.append(
                (name, network, model.model_.latent_dim, size, written, ready, decode, frame)
            )
            print(*rows[-1], flush=True)
        browser.close()
    report("explorer", HEAD, rows, before, repeats=options.repeats)


def opened(browser: Any, path: Path) -> tuple[float, float, float]:
    """Open a page; return seconds until it is ready, and milliseconds of a decode and a frame."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    begun = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]")
    ready = time.perf_counter() - begun
    decode, frame = page.evaluate(DECODE), page.evaluate(FRAME)
    context.close()
    return ready, decode, frame


if __name__ == "__main__":
    main()
