"""The latent explorer in a real browser: what it shows is what torch decodes."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import serious_faults
from nelbo import VariationalAutoencoder
from nelbo.distributions import draw

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytest.importorskip("jinja2")

from nelbo.explore import browser as vendored
from nelbo.explore import explore

try:
    vendored.module()
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.web
RNG = np.random.default_rng(0)
EVIL = "<script>document.title = 'broken'</script>"
OPTIONS: dict[str, Any] = {"hidden": (16,), "max_steps": 40, "random_state": 0}
Z = "nelbo.state.z"


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    import pandas as pd

    spots = RNG.normal(size=(90, 3))
    at = np.stack(np.meshgrid(np.arange(7), np.arange(6), indexing="ij"), -1)
    middle = 3 + spots[:, None, None, :2]
    images = 255 * np.exp(-np.square(at - middle).sum(-1) / 3)
    images = images.astype(np.uint8)
    rows = RNG.normal(size=(120, 2)) @ RNG.normal(size=(2, 4)) + 0.1 * RNG.normal(size=(120, 4))
    frame = pd.DataFrame(rows, columns=[EVIL, "b & <b>", "c", "a_very_long_name_" * 4])
    noisy = frame + RNG.normal(size=rows.shape)
    return {
        "images": (VariationalAutoencoder(3, **OPTIONS).fit(images), images),
        "table": (VariationalAutoencoder(2, **OPTIONS).fit(frame), frame),
        "mixed": (VariationalAutoencoder(2, **OPTIONS).fit(mixed := of_kinds()), mixed),
        "given": (
            VariationalAutoencoder(2, condition=["k"], prior="mixture", **OPTIONS).fit(
                both := noisy.assign(k=np.where(RNG.random(120) < 0.4, "odd", "even"))
            ),
            both,
        ),
    }


def of_kinds() -> Any:
    """Columns of levels, dates, counts and numbers, with holes."""
    import pandas as pd

    z = np.random.default_rng(1).normal(size=120)
    frame = pd.DataFrame(
        {
            "kind": np.array(["bird", "cat", EVIL])[np.digitize(z, [-0.5, 0.5])],
            "seen": np.datetime64("2020-01-01") + (90 * z).astype("timedelta64[D]"),
            "size": (10 + z).round(1),
            "fit": z > 0,
        }
    )
    frame.loc[::9, ["kind", "size"]] = None
    return frame


class Pages(dict[str, Path]):
    """The page of each model, written when it is asked for."""

    def __init__(self, models: dict[str, Any], folder: Path) -> None:
        self.models, self.folder = models, folder

    def __missing__(self, name: str) -> Path:
        labels = {"images": [EVIL, "b", "c"] * 30, "table": [EVIL, "b"] * 60}
        model, rows = self.models[name]
        path = self.folder / f"{name}.html"
        self[name] = explore(model.fitted_, path, rows, labels.get(name), title=EVIL)
        return self[name]


@pytest.fixture(scope="module")
def pages(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return Pages(models, tmp_path_factory.mktemp("explore"))


@pytest.fixture
def opened(opened_from_disk: Any, pages: Pages) -> Any:
    """Opens a page by name, and waits for its decoder."""

    def open_page(name: str, **options: Any) -> Any:
        page = opened_from_disk(pages[name], **options)
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        return page

    return open_page


def settled(page: Any, before: int) -> None:
    """Wait until something newer is shown."""
    until(page, f"nelbo.drawn() > {before}")


def until(page: Any, holds: str) -> None:
    """Wait until an expression holds; the page lets no text be evaluated from inside."""
    for _ in range(500):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"It never came to hold that {holds}.")


def pixels(page: Any) -> np.ndarray[Any, Any]:
    read = """() => { const c = document.getElementById("picture");
        const copy = document.createElement("canvas");
        [copy.width, copy.height] = [c.width, c.height];
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage(c, 0, 0);
        return [...context.getImageData(0, 0, c.width, c.height).data]; }"""
    found = np.array(page.evaluate(read)).reshape(7, 6, 4)
    return found[..., 0]


def expected(model: Any, page: Any) -> np.ndarray[Any, Any]:
    z = np.array(page.evaluate(f"[...{Z}]"), dtype=np.float32)
    image = model.inverse_transform(z[None])[0]
    return np.clip(image, 0, 1) * 255


def test_a_slider_moves_the_picture_to_what_torch_decodes(opened: Any, models: Any) -> None:
    page, model = opened("images"), models["images"][0]
    first = pixels(page)
    assert np.abs(first - expected(model, page)).max() <= 1
    count = page.evaluate("nelbo.drawn()")
    page.focus("#sliders input >> nth=0")
    page.keyboard.press("End")
    settled(page, count)
    moved = pixels(page)
    assert np.abs(moved - first).max() > 5
    assert np.abs(moved - expected(model, page)).max() <= 1
    page.keyboard.press("Control+z")
    settled(page, count + 1)
    assert np.array_equal(pixels(page), first)


def test_a_row_is_told_in_the_words_of_its_frame(opened: Any, models: Any) -> None:
    model, _ = models["mixed"]
    page = opened("mixed")
    z = np.array(page.evaluate(f"[...{Z}]"), dtype=np.float32)[None]
    table = model.schema_.table
    mean = model.fitted_.decode(z)
    cells = [row.query_selector_all("td") for row in page.query_selector_all("#row tbody tr")]
    assert [row[0].inner_text() for row in cells] == table.words(table.rounded(mean))[0].tolist()
    spread = [row[1].inner_text() for row in cells]
    assert spread[1].endswith(" days")
    chance = round(100 * max(mean[0, 3], 1 - mean[0, 3]))
    assert spread[3] == f"{chance} %"


def test_a_click_on_the_map_moves_z_there_and_a_dot_is_picked(opened: Any, models: Any) -> None:
    page, (model, frame) = opened("table"), models["table"]
    count = page.evaluate("nelbo.drawn()")
    page.click("#map", position={"x": 3, "y": 3})
    settled(page, count)
    assert "No row" in page.inner_text("#picked")
    z = page.evaluate(f"[...{Z}]")
    means = model.transform(frame)
    assert z[0] < means[:, 0].min()
    assert z[1] > means[:, 1].max()
    places = """(i) => { const d = JSON.parse(document.getElementById("data").textContent);
        return d.map.numbers[i]; }"""
    page.keyboard.press("Tab")
    page.click("#reset")
    assert f"Row {page.evaluate(places, 0)} is picked" in page.inner_text("#picked")
    row = page.evaluate(places, 0)
    np.testing.assert_allclose(page.evaluate(f"[...{Z}]"), means[row], atol=1e-5)
    shown = page.inner_text("#row tbody td.number >> nth=0")
    value = model.inverse_transform(means[row][None])
    assert float(shown) == pytest.approx(np.asarray(value)[0, 0], rel=1e-3)


def test_a_condition_is_chosen_and_a_row_brings_its_own(opened: Any, models: Any) -> None:
    page, (model, frame) = opened("given"), models["given"]
    own = "document.querySelector('#condition').selectedOptions[0].textContent"
    row = page.evaluate("JSON.parse(document.getElementById('data').textContent).map.numbers[0]")
    began = page.evaluate(own)
    assert began == f"k = {frame['k'][row]}"
    count = page.evaluate("nelbo.drawn()")
    page.select_option("#condition", index=1 - page.evaluate("nelbo.state.given"))
    settled(page, count)
    other = page.evaluate(own).removeprefix("k = ")
    assert other != frame["k"][row]
    z = np.array(page.evaluate(f"[...{Z}]"))[None]
    decoded = model.fitted_.decode(z, np.array([other]))[0]
    assert float(page.inner_text("#row tbody td.number >> nth=0")) == pytest.approx(
        decoded[0], rel=1e-3
    )
    page.click("#reset")
    until(page, f"{own} === {began!r}")


def test_draws_are_those_of_the_models_own_prior(opened: Any, models: Any) -> None:
    page, model = opened("given"), models["given"][0].fitted_
    assert model.spec.prior == "mixture"
    page.click("#prior")
    z = torch.tensor(page.evaluate(f"[...{Z}]"))
    generator = torch.Generator().manual_seed(0)
    drawn = draw(model.vae.prior(), (256,), generator, gradients=False)
    assert float((drawn - z).abs().amax(1).min()) < 1e-6


def test_noise_is_drawn_and_drawn_anew(opened: Any, models: Any) -> None:
    page, model = opened("images"), models["images"][0]
    clean = pixels(page)
    seen = [clean]
    for button in ("#noise", "#again"):
        count = page.evaluate("nelbo.drawn()")
        page.click(button)
        settled(page, count)
        seen.append(pixels(page))
    assert not np.array_equal(seen[1], seen[2])
    draws = page.evaluate(
        """async () => { const found = [];
        for (let i = 1; i <= 200; i++) {
            const r = await nelbo.decode(nelbo.state.z, i);
            found.push([...r.x_tilde].map((v, j) => v - r.x_hat[j]));
        } return found; }"""
    )
    width = np.sqrt(np.square(np.array(draws)).mean())
    assert width == pytest.approx(model.noise_variance_**0.5, rel=0.05)
    assert page.get_attribute("#noise", "aria-pressed") == "true"


def test_the_address_keeps_the_state(opened: Any) -> None:
    page = opened("table", fragment="#z=0.5,-1.25&noise=1&seed=4")
    assert page.evaluate(f"[...{Z}]") == [0.5, -1.25]
    assert page.get_attribute("#noise", "aria-pressed") == "true"
    page.focus("#map")
    page.keyboard.press("ArrowRight")
    until(page, "!location.hash.includes('z=0.5')")
    assert "noise=1&seed=4" in page.evaluate("decodeURIComponent(location.hash)")


def test_from_one_row_to_another(opened: Any) -> None:
    page = opened("table")
    assert page.is_disabled("#between")
    page.click("#set-a")
    a = np.array(page.evaluate(f"[...{Z}]"))
    page.click("#prior")
    b = np.array(page.evaluate(f"[...{Z}]"))
    assert np.abs(a - b).max() > 0
    page.click("#set-b")
    page.focus("#between")
    page.keyboard.press("Home")
    np.testing.assert_allclose(page.evaluate(f"[...{Z}]"), a, atol=1e-6)
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    np.testing.assert_allclose(page.evaluate(f"[...{Z}]"), 0.9 * a + 0.1 * b, atol=1e-5)


@pytest.mark.parametrize("name", ["images", "table"])
def test_markup_is_text_and_a_phone_does_not_scroll_sideways(opened: Any, name: str) -> None:
    page = opened(name, width=400)
    assert page.title().startswith(EVIL)
    assert EVIL in page.inner_text("h1")
    assert EVIL in page.inner_text("#legend")
    page.evaluate("document.querySelector('h1').textContent = 'long'.repeat(40)")
    if name == "table":  # a long category makes the table wider than the page
        page.evaluate("document.querySelector('#row td.number').textContent = 'long'.repeat(40)")
    assert page.evaluate("document.documentElement.scrollWidth") == 400


def test_it_is_light_or_dark(opened: Any) -> None:
    page = opened("table", scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.click("#theme")
    assert page.evaluate(ground) != dark
    assert page.inner_text("#theme") == "Dark"


@pytest.mark.parametrize(("name", "scheme"), [("images", "light"), ("table", "dark")])
def test_axe_finds_no_serious_fault(opened: Any, name: str, scheme: str) -> None:
    assert serious_faults(opened(name, scheme=scheme)) == []


def test_a_decoder_too_large_for_a_page_is_served_to_this_machine_alone(
    models: Any, tmp_path: Path, browser: Any
) -> None:
    model, _ = models["table"]
    model.save(tmp_path / "run")
    command = [sys.executable, "-m", "nelbo", "explore", "run", "--serve"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[1]
            page = browser.new_page()
            page.goto(url)
            page.wait_for_selector("body[data-ready]")
            z = np.array(page.evaluate(f"[...{Z}]"), dtype=np.float32)
            found = page.evaluate(f"nelbo.decode({Z}, 1)")["x_hat"]
            np.testing.assert_allclose(found, model.inverse_transform(z[None])[0], rtol=1e-4)
            page.close()
            request = urllib.request.Request(url, headers={"Host": "example.org"})
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(request, timeout=10)
            wrong = urllib.request.Request(url + "decode", data=json.dumps({"z": [1]}).encode())
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(wrong, timeout=10)
        finally:
            process.terminate()
