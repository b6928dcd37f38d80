"""The explorer as one file of HTML that needs no network."""

from __future__ import annotations

__all__ = ["LARGEST", "explore", "to_html"]

import base64
import gzip
import json
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

from ..export import halved, to_onnx
from ..fitted import Fitted
from ..whole import write_file
from . import browser
from .content import Content, content_of
from .draws import Drawing

LARGEST = 10 * 2**20
"""Bytes of a page at most: what is larger is slow to open, and better served."""


def explore(
    model: Fitted,
    path: str | PathLike[str],
    X: Any = None,
    labels: Any = None,
    label: str = "label",
    title: str = "",
    seed: int = 0,
) -> Path:
    """Write a page on which one walks through the latent space of a model.

    The decoder runs in the browser; the page opens from disk, and needs no network. Where the page
    would be too large otherwise, its weights are stored with 16 bits: about three digits.

    Arguments:
        model: The model.
        path: The page, which ends in .html.
        X: Rows for its map; without any, samples of the model.
        labels: A label of each row, by which the map is coloured.
        label: What labels are called.
        title: What the data are called.
        seed: Seed of what is drawn.

    Raises:
        ImportError: A package of the extra ``explore`` is missing, or the browser's runtime.
        ValueError: The name has another suffix, X does not fit, or the decoder is too large.
    """
    page = Path(path)
    if page.suffix.lower() != ".html":
        raise ValueError(f"The explorer is a page: its name must end in .html, got {page.name!r}.")
    parts = {"runtime": browser.module(), "wasm": browser.wasm()}
    drawing = Drawing(model).eval()
    content = content_of(model, X, labels, label, title, seed=seed, drawing=drawing)
    graph, _ = to_onnx(drawing, drawing.example(2), drawing.inputs)
    text = _with_decoder(content, parts, graph)
    if len(text) > LARGEST:
        text = _with_decoder(content, parts, halved(graph))
    if len(text) > LARGEST:
        raise ValueError(
            f"The page would have {len(text) / 2**20:.1f} MiB, more than {LARGEST / 2**20:g}: the "
            f"decoder alone has {len(graph) / 2**20:.1f}. Let the page be served instead, by "
            "nelbo explore --serve."
        )
    write_file(page, lambda file: file.write(text))
    return page


def _with_decoder(content: Content, parts: dict[str, bytes], graph: bytes) -> bytes:
    """Return the page with its decoder inside."""
    zipped = gzip.compress(graph, 6, mtime=0)
    return to_html(content, {**parts, "model": zipped}).encode(errors="backslashreplace")


def to_html(content: Content, parts: dict[str, bytes] | None = None) -> str:
    """Return a page; whatever comes from data is escaped.

    Arguments:
        content: What is shown.
        parts: Runtime and decoder, gzipped, as parts of the page; None where they are served.

    Raises:
        ImportError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError:
        raise ImportError(
            'jinja2 is not installed, which writes pages. Run: pip install "nelbo[explore]"'
        ) from None
    static, looks = files(__package__) / "static", files("nelbo.report") / "static"
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nelbo.explore"), autoescape=True, trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    sheets = (looks / "page.css", static / "explore.css")
    data = {**content.to_dict(), "served": parts is None}
    return environment.get_template("explore.html").render(
        content=content,
        css="\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets),
        js=(static / "explore.js").read_text(encoding="utf-8"),
        data=_json(data),
        served=parts is None,
        runtime_version=browser.VERSION,
        **{name: base64.b64encode(part).decode() for name, part in (parts or {}).items()},
    )


def _json(value: Any) -> str:
    """Return JSON that may stand inside a script element: no text in it can end that."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
