"""What ties the state of a run on disk to its data and its options, and where it is kept."""

from __future__ import annotations

__all__ = ["fingerprint", "open_store", "seed_of"]

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import checkpoint
from ..data import Values
from ..options import Options
from ..plain import plain
from ..recipe.check import seed_from
from ..spec import Spec
from ..vae import VAE

STORE_EVERY = 30.0
"""Seconds between two states on disk."""


def open_store(
    options: Options, spec: Spec, values: Values, seed: int, warm: VAE | None
) -> checkpoint.Folder | None:
    """Return where training keeps its state, tied to options, data, and the weights of ``warm``."""
    if options.checkpoint_dir is None:
        return None
    found = fingerprint(options, spec, values, seed)
    if warm is not None:
        weights = b"".join(value.cpu().numpy().tobytes() for value in warm.state_dict().values())
        found = hashlib.sha256(found.encode() + weights).hexdigest()
    return checkpoint.Folder(options.checkpoint_dir, found)


def seed_of(options: Options, spec: Spec, values: Values) -> int:
    """Return the seed; of a run that may have to be resumed, None is one that is found again."""
    if options.random_state is None and options.checkpoint_dir is not None:
        return seed_from(int(fingerprint(options, spec, values, None)[:15], 16))
    return seed_from(options.random_state)


def fingerprint(options: Options, spec: Spec, values: Values, seed: int | None) -> str:
    """Return a digest of the data and of every option that a resumed run must share."""
    fields = {name: _named(value) for name, value in vars(spec).items()}
    if not spec.condition:
        del fields["condition"]  # runs of p(x) are known as they were before there was p(x|c)
    if not spec.masked:
        # and those of complete rows as they were before others were taken
        del fields["masked"], fields["missingness"]
    array = values.array
    digest = hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data)
    if values.conditions is not None:
        for column in values.conditions.columns:
            digest.update(np.ascontiguousarray(column).view(np.uint8).data)
    places = {field.metadata["tied"]: field.name for field in dataclasses.fields(options)}
    names = [places[place] for place in range(len(places.keys() - {None}))]
    tied = [(name, _sorted(plain(getattr(options, name)))) for name in names]
    if options.input_noise is None:  # as it was before there was this option
        tied.remove(("input_noise", None))
    digest.update(repr((array.shape, fields, seed, tied)).encode())
    return digest.hexdigest()


def _sorted(value: Any) -> Any:
    """Return the options of a part in the order of their names, and all else as it is."""
    return dict(sorted(value.items())) if isinstance(value, Mapping) else value


def _named(value: Any) -> Any:
    """Return the name of a network factory; its address would differ in the next process."""
    return getattr(value, "__qualname__", type(value).__qualname__) if callable(value) else value
