"""What `nelbo.Fitted` can do, as the functions that measure it and show it see it."""

from __future__ import annotations

__all__ = ["Model"]

from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import evaluate
from ..data import Values
from ..diagnose import Diagnosis, Effort, Spell
from ..training import Units
from . import choice
from .parts import Parts

Array = npt.NDArray[Any]


class Model(Parts, Protocol):
    """The methods of `nelbo.Fitted` that are called on rows; each is documented there."""

    @property
    def device(self) -> torch.device: ...
    @property
    def units(self) -> Units: ...

    def values(self, X: Any, c: Any = None) -> Values: ...
    def conditions_of(self, values: Values) -> Tensor | None: ...
    def rows(self, X: Any, noise: Literal["hash", "centre"] = "hash") -> Tensor: ...
    def choose(self, X: Any, which: str | None = None, least: int = 1) -> choice.Chosen: ...
    def counts(self, held_out: Any | None) -> choice.RowCounts: ...
    def trained_on(self, X: Any) -> npt.NDArray[np.bool_]: ...
    def quickened(self) -> Model: ...
    def with_baseline(self, train: Any) -> Model: ...
    def plain_method(self, X: Any, c: Any = None) -> str: ...
    def baseline(self, X: Any, c: Any = None) -> Array | None: ...
    def encode(self, X: Any, c: Any = None) -> tuple[Array, Array]: ...
    def decode(self, Z: Any, c: Any = None) -> Array: ...
    def reconstruct(self, X: Any, noise: bool = False, seed: int = 0, c: Any = None) -> Array: ...
    def sample(self, count: int = 1, noise: bool = True, seed: int = 0, c: Any = None) -> Array: ...
    def log_likelihood(
        self,
        X: Any,
        method: str = "auto",
        samples: int | None = None,
        seed: int = 0,
        c: Any = None,
    ) -> evaluate.Scores: ...
    def diagnose(
        self,
        X: Any,
        train: Any | None = None,
        limit: int = 1000,
        seed: int = 0,
        spell: Spell | None = None,
        which: str | None = None,
        c: Any = None,
        train_c: Any = None,
        effort: Effort | None = None,
        log_p: Array | None = None,
    ) -> Diagnosis: ...
