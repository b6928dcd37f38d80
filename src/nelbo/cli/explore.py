"""`nelbo explore`: a page on which one walks through the latent space of a RUN."""

from __future__ import annotations

__all__ = ["explore"]

from pathlib import Path
from typing import Annotated

from . import files
from .flags import WHOLE, Device, Flag, Overwrite, Run, check_seed, visible
from .reading import ReadOptions
from .report import rows_of


def explore(
    run: Run,
    data: str | None = None,
    *,
    out: str | None = None,
    color: str | None = None,
    serve: Flag = False,
    port: Annotated[int, WHOLE] = 0,
    seed: Annotated[int, WHOLE] = 0,
    overwrite: Overwrite = False,
    device: Device = "cpu",
    reading: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
) -> None:
    """Write one page on which one walks through the latent space of the model in RUN.

    It opens from disk, with its decoder inside: sliders, a map of the data to click and drag on,
    lines between rows, draws from the prior, with noise and without.

    Parameters
    ----------
    data
        The rows of the map: as for fit, or - for standard input. By default those that the model
        was fitted to and judged by, as RUN/run.toml names them.
    out
        The .html file to write, RUN/explore.html by default.
    color
        What to colour the map by, as for report.
    serve
        Serve the page on 127.0.0.1 instead of writing it, for decoders too large for a page.
    port
        The port to serve it on; 0 takes one that is free.
    seed
        Seed of what is drawn.
    """
    check_seed(seed)
    page = Path(out or Path(run, "explore.html"))
    if not serve:
        files.check_output(str(page), overwrite or out is None, suffixes=(".html",))
    model = files.open_model(run, device)
    found = rows_of(model, run, data, color, reading)
    from .. import explore as explorer

    if not serve:
        explorer.explore(
            model, page, found.values, found.labels, found.color, found.title, seed=seed
        )
        print(
            visible(f"Wrote {page} ({page.stat().st_size / 2**20:.1f} MiB). Open it in a browser.")
        )
        return
    content = explorer.content_of(
        model, found.values, found.labels, found.color, found.title, seed=seed
    )
    explorer.serve(
        model, content, port, lambda url: print(f"Serving {url} until Ctrl-C.", flush=True)
    )
