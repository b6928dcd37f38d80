"""`nelbo export`: a RUN as graphs that run without Python."""

from __future__ import annotations

__all__ = ["export"]

import json
from pathlib import Path
from typing import Annotated

from . import files
from .flags import WHOLE, Device, Flag, Json, Overwrite, Run, check_seed, visible


def export(
    run: Run,
    *,
    onnx: Flag = False,
    out: str | None = None,
    samples: Annotated[int, WHOLE] = 100,
    seed: Annotated[int, WHOLE] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
    device: Device = "cpu",
) -> None:
    """Write encoder, decoder and score of the model in RUN as ONNX graphs, in units of the data.

    Each is run beside torch first, on rows drawn from the model; where a number differs by more
    than 1e-4, nothing is written.

    Parameters
    ----------
    onnx
        The format, the only one there is.
    out
        The folder to write, RUN/onnx by default: encoder.onnx, decoder.onnx, score.onnx, and
        graphs.json with the shapes.
    samples
        Draws of q(z|x) in the score, for each row, where log p(x) has no closed form.
    seed
        Seed of these draws.
    """
    if not onnx:
        raise ValueError("export needs the format. Add --onnx.")
    if samples < 1:
        raise ValueError(f"--samples must be at least 1, got {samples}.")
    check_seed(seed)
    folder = Path(out or Path(run) / "onnx")
    if folder.exists() and not overwrite:
        raise ValueError(f"{folder} exists. Add --overwrite, or choose another folder with --out.")
    model = files.open_model(run, device)
    from ..export import export as write

    found = write(model, folder, overwrite, samples, seed)
    text = f"Wrote {folder}\n\n{found}"
    if as_json:
        told = {"run": run, "out": str(folder), **found.to_dict()}
        text = json.dumps(told, indent=2, ensure_ascii=False)
    print(visible(text))
