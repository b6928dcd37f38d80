"""Pages in a real browser, opened from disk without network: see, point, type, in the dark, on a
phone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import serious_faults
from nelbo import VariationalAutoencoder
from nelbo.fitted.portrait import Limits, portray
from nelbo.report import write_report

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytestmark = pytest.mark.web

RNG = np.random.default_rng(0)
EVIL = "<script>document.title = 'broken'</script>"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of images with labels, and one of a table whose names are markup."""
    import pandas as pd

    folder, options = tmp_path_factory.mktemp("web"), {"hidden": (8,), "random_state": 0}
    images = RNG.integers(0, 256, size=(90, 6, 5), dtype=np.uint8)
    model = VariationalAutoencoder(3, max_steps=20, **options).fit(images[:60])
    labels = [EVIL, "b", "c"] * 30
    quick = Limits(examine=False)
    shown = portray(model.fitted_, images, labels=labels, title=EVIL, limits=quick)
    found = {"images": write_report(folder / "images.html", shown)[0]}
    rows = RNG.normal(size=(120, 2)) @ RNG.normal(size=(2, 4)) + 0.1 * RNG.normal(size=(120, 4))
    frame = pd.DataFrame(rows, columns=[EVIL, "b & <b>", "c", "a_very_long_name_" * 4])
    model = VariationalAutoencoder(2, max_steps=20, **options).fit(frame[:90])
    found["table"] = model.report(folder / "table.html", frame)
    return found


@pytest.fixture
def opened(opened_from_disk: Any, reports: dict[str, Path]) -> Any:
    """Opens a page by name."""

    def open_page(name: str, **options: Any) -> Any:
        return opened_from_disk(reports[name], **options)

    return open_page


@pytest.mark.parametrize("name", ["images", "table"])
def test_a_page_opens_from_disk_and_shows_markup_as_text(opened: Any, name: str) -> None:
    page = opened(name)
    assert page.title() != "broken"
    assert EVIL in page.inner_text("body")
    broken = "[...document.images].filter(image => !image.naturalWidth).length"
    assert page.evaluate(broken) == 0
    assert page.evaluate("document.images.length + document.querySelectorAll('svg').length") > 8
    assert page.evaluate("[...document.images].every(image => image.alt)")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(part => part.id)")
    assert len(ids) == len(set(ids))


def test_the_map_shows_the_row_that_is_pointed_at(opened: Any) -> None:
    page = opened("images")
    point = page.locator("#map circle >> nth=7")
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    row = page.evaluate("JSON.parse(document.getElementById('map-data').textContent).numbers[7]")
    assert f"Row {row}" in page.inner_text("#item")
    assert page.locator("#item .thumb").count() == 1


def test_the_map_is_walked_by_keys(opened: Any) -> None:
    page = opened("table")
    page.focus("#map")
    seen = set()
    for key in ["ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "ArrowDown"]:
        page.keyboard.press(key)
        seen.add(page.inner_text("#item").splitlines()[0])
    assert len(seen) > 2
    assert all(text.startswith("Row ") for text in seen)


def test_colours_follow_what_is_chosen(opened: Any) -> None:
    page = opened("table")
    read = "[...document.querySelectorAll('#map circle')].map(c => getComputedStyle(c).fill).join()"
    before = page.evaluate(read)
    page.select_option("#colour", index=1)
    assert page.evaluate(read) != before
    assert "low" in page.inner_text("#legend")


def test_it_is_light_or_dark_as_the_reader_wishes(opened: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    label = "getComputedStyle(document.querySelector('svg.chart text')).fill"
    light, dark = opened("images"), opened("images", scheme="dark")
    colours = [page.evaluate(ground) for page in (light, dark)]
    inks = [page.evaluate(label) for page in (light, dark)]
    assert colours[0] != colours[1]
    assert inks[0] != inks[1]
    light.click("#theme")
    assert [light.evaluate(ground), light.evaluate(label)] == [colours[1], inks[1]]
    assert light.inner_text("#theme") == "Light"
    for page in (light, dark):  # paper is white
        page.emulate_media(media="print")
        assert page.evaluate(label) == inks[0]


@pytest.mark.parametrize("name", ["images", "table"])
def test_paper_is_white_and_as_wide_as_what_is_on_it(opened: Any, name: str) -> None:
    """A4 less its margins is 688 pixels wide. Nothing is cut, and no buttons are printed."""
    page = opened(name, width=688, scheme="dark")
    page.emulate_media(media="print")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.evaluate("document.documentElement.scrollWidth") == 688
    cut = """[...document.querySelectorAll("td, th, .wide, figure, p")].filter(part =>
        part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflowX !== "visible")
        .length"""
    assert page.evaluate(cut) == 0
    assert not any(page.is_visible(part) for part in ("header", "#theme", "#colour", "#item"))
    assert "coloured by" in page.inner_text(".axes")
    assert len(page.pdf(format="A4")) > 10_000


@pytest.mark.parametrize("name", ["images", "table"])
def test_a_phone_of_400_pixels_does_not_scroll_sideways(opened: Any, name: str) -> None:
    page = opened(name, width=400)
    assert page.evaluate("document.documentElement.scrollWidth") == 400


def test_the_first_key_leads_to_the_verdict(opened: Any) -> None:
    page = opened("images")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


@pytest.mark.parametrize(("name", "scheme"), [("images", "light"), ("table", "dark")])
def test_axe_finds_no_serious_fault(opened: Any, name: str, scheme: str) -> None:
    assert serious_faults(opened(name, scheme=scheme)) == []
