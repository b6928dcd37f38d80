"""What a fitted model is made of, as the functions that save it and describe it see it."""

from __future__ import annotations

__all__ = ["Parts"]

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..baseline import ProbabilisticPCA
from ..data import Schema
from ..data.condition_schema import ConditionSchema
from ..data.known import KnownRows
from ..options import Options
from ..recipe import Entries
from ..spec import Spec
from ..training import History
from ..vae import VAE
from .missing_given_z import MissingGivenZ


class Parts(Protocol):
    """The attributes of `nelbo.Fitted`, to be read."""

    @property
    def vae(self) -> VAE: ...
    @property
    def schema(self) -> Schema: ...
    @property
    def spec(self) -> Spec: ...
    @property
    def recipe(self) -> Entries: ...
    @property
    def asked(self) -> Mapping[str, Any]: ...
    @property
    def options(self) -> Options: ...
    @property
    def history(self) -> History: ...
    @property
    def seed(self) -> int: ...
    @property
    def kept_start(self) -> bool: ...
    @property
    def dtype(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...] | None: ...
    @property
    def known(self) -> KnownRows | None: ...
    @property
    def linear(self) -> ProbabilisticPCA | None: ...
    @property
    def condition(self) -> ConditionSchema | None: ...
    @property
    def missing_given_z(self) -> MissingGivenZ | None: ...
    @property
    def n_iter(self) -> int: ...
    @property
    def objective(self) -> str: ...
    @property
    def noise(self) -> float | npt.NDArray[np.float64]: ...
