"""The page: a portrait as one file of HTML that needs no network, and its JSON twin."""

from __future__ import annotations

__all__ = ["to_html", "write_report"]

import json
from importlib.resources import files
from os import PathLike
from pathlib import Path

from ..whole import write_file
from .portrait import Portrait


def write_report(path: str | PathLike[str], portrait: Portrait) -> tuple[Path, Path]:
    """Write a portrait as HTML, and its JSON twin beside it; each file whole or not at all.

    Arguments:
        path: The page; its twin has the suffix .json.
        portrait: What is seen of a model.

    Returns:
        Both paths.

    Raises:
        ImportError: matplotlib or jinja2 is not installed.
        ValueError: The name has another suffix than .html.
    """
    page = Path(path)
    if page.suffix.lower() != ".html":
        raise ValueError(f"A report is a page, so its name must end in .html, got {page.name!r}.")
    text = to_html(portrait)
    lines = (
        f"{json.dumps(name)}: {json.dumps(part, ensure_ascii=False, allow_nan=False)}"
        for name, part in portrait.to_dict().items()
    )
    twin = "{\n" + ",\n".join(lines) + "\n}\n"
    beside = page.with_suffix(".json")
    write_file(page, lambda file: file.write(text.encode(errors="backslashreplace")))
    write_file(beside, lambda file: file.write(twin.encode(errors="backslashreplace")))
    return page, beside


def to_html(portrait: Portrait) -> str:
    """Return a portrait as one page of HTML. Whatever comes from data is escaped.

    Raises:
        ImportError: matplotlib or jinja2 is not installed.
    """
    try:
        import jinja2
        import matplotlib.figure  # noqa: F401 (to say what is missing before anything is drawn)
    except ImportError as error:
        raise ImportError(
            f'{error.name} is not installed. Run: pip install "nelbo[report]"'
        ) from None
    from .content import content

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nelbo.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    static = files("nelbo.report") / "static"
    text: str = environment.get_template("page.html").render(
        portrait=portrait,
        verdict=portrait.verdict,
        **content(portrait),
        css=(static / "page.css").read_text(encoding="utf-8"),
        js=(static / "page.js").read_text(encoding="utf-8"),
    )
    return text
