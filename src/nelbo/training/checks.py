"""What a run is given, checked before anything is done: each message names the argument and the
cure.
"""

from __future__ import annotations

__all__ = ["Transform", "check_index", "check_objective", "check_rows", "check_stream"]

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..objective import Objective
from ..vae import VAE, check_content
from .stored import Stream

Transform = Callable[[Tensor, torch.Generator], Tensor]
"""What turns some raw rows into what the model takes, with fresh noise: dequantisation, say."""


def check_objective(objective: object) -> None:
    """Refuse what is no objective, such as a model itself."""
    if not isinstance(objective, nn.Module) or not any(
        isinstance(part, Objective) for part in objective.modules()
    ):
        cure = "Pass nelbo.objective.ELBO(vae), or another of nelbo.objective."
        if not isinstance(objective, VAE):
            cure += " Your own is a subclass of nelbo.objective.Objective."
        kind = (
            f"the class {objective.__name__}"
            if isinstance(objective, type)
            else type(objective).__name__
        )
        raise TypeError(f"objective must be an objective, got {kind}. {cure}")
    if any(parameter.is_inference() for parameter in objective.parameters()):
        raise ValueError(
            "The model was made under torch.inference_mode(), so its weights can have no "
            "gradients. Make it outside."
        )


def check_rows(
    vae: VAE, x: Tensor, validation: Tensor | None, transform: Transform | None, whole: bool = True
) -> None:
    """Refuse rows that a model cannot take, by name; of data that are no tensor x is what was
    looked at.
    """
    if not whole and not x.dtype.is_floating_point and transform is None:
        raise TypeError(
            f"x must yield tensors of floats, got {x.dtype}. Let it yield floats, or pass a "
            "transform that makes "
            "floats of a batch, such as transform=lambda rows, generator: rows / 255."
        )
    if transform is None:
        vae.check_rows("x", x)
    elif not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor, got {type(x).__name__}. Pass torch.as_tensor(x).")
    else:
        check_content("x", x)
        vae.check_rows("transform(x)", transform(x[:1], torch.Generator(x.device).manual_seed(0)))
    if validation is not None:
        vae.check_rows("validation", validation)


def check_stream(x: Stream, batch_size: int | None, rows: Tensor | None, limited: bool) -> None:
    """Refuse what a stream of batches leaves no room for."""
    for name, value in (("batch_size", batch_size), ("rows", rows)):
        if value is not None:
            raise ValueError(
                f"{name} cannot be chosen where x yields batches as they come. Leave it at None."
            )
    if not len(x) and not limited:
        raise ValueError(
            f"x is a {type(x.source).__name__} of unknown length. Pass max_steps or max_seconds."
        )


def check_index(rows: Tensor | None, count: int) -> None:
    """Refuse row numbers that are none."""
    if rows is None:
        return
    if not isinstance(rows, Tensor):
        raise TypeError(
            f"rows must be a tensor of row numbers, got {type(rows).__name__}. Pass "
            "torch.as_tensor(rows)."
        )
    if (
        rows.dtype != torch.int64
        or rows.ndim != 1
        or not len(rows)
        or not 0 <= int(rows.min()) <= int(rows.max()) < count
    ):
        raise ValueError(
            f"rows must be a tensor of row numbers from 0 to {count - 1} (int64, one axis), got "
            f"{rows}."
        )
