"""What every test gets:
one thread, a known global random state, and the real data when they are at hand.
"""

from __future__ import annotations

import os

# Before numpy and torch are imported: workers of pytest-xdist share the cores, and no test opens a
# window.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import random
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

# A suite that a shell runs in the background is started with Ctrl-C ignored; tests send it to
# themselves.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The suite draws the same examples every time; `pytest --hypothesis-profile=explore` looks for new
# ones.
settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for `data_dir` carries the marker `data` without saying so."""
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker("data")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("data") is not None and not os.environ.get("NELBO_DATA"):
        pytest.skip("needs real data: set NELBO_DATA to the folder that holds them")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder NELBO_DATA names; the test is skipped when the variable is not set."""
    folder = Path(os.environ.get("NELBO_DATA") or pytest.skip("needs real data: set NELBO_DATA"))
    if not folder.is_dir():
        pytest.fail(f"NELBO_DATA names {folder}, which is no folder")
    return folder


def _global_random_state() -> list[Any]:
    """Python's, numpy's and torch's global random state, as plain comparable values."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return [
        random.getstate(),
        (name, keys.tobytes(), *rest),
        torch.get_rng_state().numpy().tobytes(),
    ]


@pytest.fixture(autouse=True)
def _known_global_random_state() -> None:
    """A test that draws from a global generator draws the same numbers alone and in any order."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture
def untouched_random_state(_known_global_random_state: None) -> Iterator[None]:
    """Fail the test if what it ran moved a global random state (the library must never).

    For one test: `@pytest.mark.usefixtures("untouched_random_state")`; for a file: that as
    `pytestmark`.
    """
    before = _global_random_state()
    yield
    for owner, old, new in zip(
        ("random", "numpy", "torch"), before, _global_random_state(), strict=True
    ):
        if old != new:
            pytest.fail(f"the global random state of {owner} was changed")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium."""
    api = pytest.importorskip(
        "playwright.sync_api",
        reason='needs a browser: pip install "nelbo[web]", and Chromium on PATH',
    )
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("needs a browser: there is no Chromium on PATH")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened_from_disk(browser: Any) -> Iterator[Any]:
    """Opens a page by its path, without network; what the console says is an error of the test."""
    said: list[str] = []
    contexts = []

    def open_page(path: Path, width: int = 1200, scheme: str = "light", fragment: str = "") -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri() + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
